"""What users may rely on: names, quick imports, one direction of imports, flags that equal settings, a whole wheel."""

import argparse
import ast
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import os
import re
import resource
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import dift_edit as de
from dift_edit.cli import COMMANDS, build_parser
from dift_edit.settings import BatchSettings, TransferSettings, choices_of

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src"

LEVELS = [
    {"_version", "errors", "types"},
    {"atomic_files", "settings"},
    {"geometry", "imaging"},
    {"annotations", "features", "targets", "viz"},
    {"matching", "rendering", "results"},
    {"edits", "placement"},
    {"landmarks"},
    {"job", "pipeline"},
    {"clips", "report", "samples"},
    {"batch", "evaluation"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
"""Packages by stage; each imports only from earlier rows, or from its own row without going in a circle."""

HEAVY = {
    "torch", "numpy", "scipy", "cv2", "PIL", "kornia", "diffusers", "transformers", "napari", "qtpy", "ray",
    "distributed", "dask", "pyarrow", "av", "onnx", "onnxruntime",
}  # fmt: skip


def fresh(code: str, **options):
    """Run code in a new interpreter that sees this checkout."""
    path = os.pathsep.join([str(SOURCE), str(REPOSITORY / "napari_plugin")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *code], capture_output=True, text=True, env=environment, check=False, **options
    )


def test_every_public_name_can_be_imported():
    assert sorted(set(de.__all__)) == sorted(de.__all__) == sorted(set(dir(de)))
    assert all(getattr(de, name) is not None for name in de.__all__)


@pytest.mark.parametrize("name", [name for name in de.__all__ if name != "__version__"])
def test_each_public_name_says_what_it_takes_and_gives(name):
    public = getattr(de, name)
    text = inspect.getdoc(public) or ""
    assert text and text.splitlines()[0].endswith("."), f"{name} needs a first line that ends with a full stop"
    if isinstance(public, types.FunctionType):
        signature = inspect.signature(public)
        for parameter in signature.parameters:
            assert re.search(rf"^(\S.*, )?\**{parameter}\b.*( :|$)", text, re.M), (
                f"{name}: {parameter} is not described"
            )
        if signature.return_annotation is not None:
            assert "\nReturns\n---" in text or "\nYields\n---" in text, f"{name} does not say what it returns"
    elif inspect.isclass(public) and dataclasses.is_dataclass(public) and not issubclass(public, de.Sticker):
        for item in dataclasses.fields(public):
            if "help" not in item.metadata:
                assert re.search(rf"\b{item.name}\b", text), f"{name}: the field {item.name} is not described"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="trasnfer"):
        _ = de.trasnfer


def test_import_is_light():
    result = fresh(["-c", "import sys, dift_edit; print(*{m.partition('.')[0] for m in sys.modules})"])
    assert result.returncode == 0, result.stderr
    assert not HEAVY & set(result.stdout.split())


def test_what_the_window_of_napari_needs_of_folders_is_light():
    result = fresh(
        ["-c", "import sys, dift_edit.results.folder as f; print('cv2' in sys.modules, 'torch' in sys.modules)"]
    )
    assert result.stdout.split() == ["False", "False"], result.stderr


def test_help_takes_less_than_a_second():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = fresh(["-X", "importtime", "-m", "dift_edit", "--help"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0 and all(command in result.stdout for command in COMMANDS)
    loaded = set(re.findall(r"\| +(\w+)$", result.stderr, re.M))
    assert "argparse" in loaded and not HEAVY & loaded
    # The processor's time, so that other work on this machine does not count.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules of this package that a file imports, and whether it does when it is itself imported.

    What only a type checker imports is left out.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    checker = (node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    left_out = {id(inner) for node in checker for inner in ast.walk(node)}
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    later = {id(inner) for node in functions for inner in ast.walk(node)}
    for node in nodes:
        found = []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: imports are absolute"
            found = [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            found = [name.name for name in node.names]
        for name in found:
            if name.partition(".")[0] == "dift_edit" and id(node) not in left_out:
                yield name, id(node) not in later


def part_of(name: str) -> str:
    """The module or package that a dotted name below ``dift_edit`` lies in."""
    part = [*name.split("."), "__init__"][1]
    return part if any(part in row for row in LEVELS) else "__init__"


@functools.cache
def graph() -> list[tuple[str, str, bool, Path]]:
    """Which part imports which, whether it does so when it is imported, and in which file."""
    return list(_edges())


def _edges() -> Iterator[tuple[str, str, bool, Path]]:
    for path in sorted((SOURCE / "dift_edit").rglob("*.py")):
        part = path.relative_to(SOURCE / "dift_edit").parts[0].removesuffix(".py")
        for name, at_import in imports_of(path):
            other = part_of(name)
            if other != part:
                yield part, other, at_import, path


def test_every_module_has_a_level():
    level = {name for row in LEVELS for name in row}
    assert sum(map(len, LEVELS)) == len(level)
    found = {
        path.stem
        for path in (SOURCE / "dift_edit").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - level == set(), "add the new modules to LEVELS"


def test_modules_import_only_from_levels_above():
    level = {name: number for number, row in enumerate(LEVELS) for name in row}
    wrong = {
        f"{path.relative_to(SOURCE)} imports {other}"
        for part, other, _, path in graph()
        if level[other] > level[part] and not (part == "__init__" and other in level)
    }
    assert not wrong


def circle_in(edges: dict[str, set[str]]) -> list[str]:
    """The names on one circle of a graph; empty when there is none."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        for other in () if name in done else sorted(edges.get(name, ())):
            if found := visit(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := visit(name, []))), [])


def test_a_circle_is_found():
    assert circle_in({"a": {"b"}, "b": {"c", "d"}, "d": {"b"}}) == ["b", "d", "b"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}}) == []


def test_no_packages_import_in_a_circle():
    edges: dict[str, set[str]] = {}
    for part, other, at_import, _ in graph():
        if at_import:
            edges.setdefault(part, set()).add(other)
    assert not circle_in(edges)


def test_no_modules_import_in_a_circle_not_even_inside_functions():
    files = {
        path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
        for path in (SOURCE / "dift_edit").rglob("*.py")
    }
    edges = {name: set() for name in files}
    for name, path in files.items():
        for imported, _ in imports_of(path):
            module = imported if imported in files else imported.rpartition(".")[0]
            if module in files and module != name:
                edges[name].add(module)
    assert not circle_in(edges)


def test_plugin_uses_only_public_names():
    for path in (REPOSITORY / "napari_plugin").rglob("*.py"):
        for name, _ in imports_of(path):
            steps = name.split(".")[1:]
            assert not any(step.startswith("_") and step != "__version__" for step in steps), f"{path.name}: {name}"
            module = ".".join(["dift_edit", *steps[:-1]]) if len(steps) > 1 else "dift_edit"
            public = importlib.import_module(module)
            assert not steps or steps[-1] in public.__all__ or steps[-1] == "*", f"{path.name}: {name} is not public"


def parser_of(command: str) -> argparse.ArgumentParser:
    action = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return action.choices[command]


@pytest.mark.parametrize("settings", [TransferSettings, BatchSettings])
def test_flags_equal_the_fields_of_the_settings(settings):
    flags = {flag: action for action in parser_of("propagate")._actions for flag in action.option_strings}
    for item in dataclasses.fields(settings):
        action = flags[f"--{item.name.replace('_', '-')}"]
        assert action.default == item.default
        assert item.metadata["help"] in action.help
        assert tuple(action.choices or ()) == choices_of(item)


def test_transfer_takes_what_the_flags_take():
    with pytest.raises(de.DiftEditError, match="min_confidence is 2"):
        TransferSettings(min_confidence=2)
    names = {item.name for item in dataclasses.fields(TransferSettings)}
    assert names >= {"engine", "mirror", "min_confidence", "seed"}
    text = inspect.getdoc(de.transfer)
    assert "Fields of `TransferSettings`" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_flag_is_documented(command):
    sys.path.insert(0, str(REPOSITORY / "tools"))
    try:
        hooks = importlib.import_module("docs_hooks")
    finally:
        sys.path.remove(str(REPOSITORY / "tools"))
    page = hooks.commands_page()
    assert f"dift-edit {command}" in page
    for action in parser_of(command)._actions:
        for flag in action.option_strings:
            if flag not in ("-h", "--help"):
                assert f"`{flag}`" in page, f"{command} {flag}"
    written = "\n".join(path.read_text() for path in (REPOSITORY / "docs").glob("*.md"))
    assert f"dift-edit {command}" in written, f"no page of docs/ tells of 'dift-edit {command}'"


def test_types_are_shipped():
    assert (SOURCE / "dift_edit" / "py.typed").exists()


SCRIPTS = [
    path for folder in ("benchmarks", "tools", "training") for path in sorted((REPOSITORY / folder).rglob("*.py"))
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_what_a_script_takes_from_the_packages_is_there(path):
    """No other test runs most of them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("dift_edit", "napari_dift_edit"):
            module = importlib.import_module(node.module)
            for name in (each.name for each in node.names):
                assert hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}"), (node.lineno, name)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "de":
            assert hasattr(de, node.attr), (node.lineno, node.attr)
