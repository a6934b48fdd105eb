"""How the plugin's modules depend on each other."""

import ast
from importlib.resources import files
from pathlib import Path

PACKAGE = Path(str(files("napari_dift_edit")))


def _imports(path):
    """The plugin's modules that a module imports anywhere in it, also for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "napari_dift_edit":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_dift_edit."):
            yield node.module.split(".")[1]


def test_modules_import_in_no_circles():
    edges = {path.stem: set(_imports(path)) for path in PACKAGE.glob("*.py")}
    assert len(edges) > 30 and edges["engine"] >= {"channel", "store", "tasks"}
    done: set[str] = set()

    def visit(name, way):
        assert name not in way, f"a circle: {' → '.join([*way, name])}"
        if name not in done:
            for other in edges.get(name, ()):
                visit(other, [*way, name])
            done.add(name)

    for name in edges:
        visit(name, [])


def test_widgets_are_made_in_one_place():
    """Buttons get their tip, and their reason when they are off, from the helpers of one module."""
    for path in PACKAGE.glob("*.py"):
        made = {
            node.func.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }  # fmt: skip
        assert path.stem == "widgets" or "QPushButton" not in made, path.name
