"""The examples run as they are, from another folder, and leave pictures."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from dift_edit import load_image

EXAMPLES = Path(__file__).parents[1] / "examples"
PICTURES = {"batch_sticker": 8, "cross_domain": 2, "redaction": 2, "before_after": 1, "sequence": 4, "cluster": 2}


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_example(name, tmp_path, monkeypatch, capsys):
    if name == "cluster":
        pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path / "out")])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    written = [path for path in (tmp_path / "out").rglob("*.jpg") if not path.name.startswith("contact")]
    assert len(written) >= PICTURES[name], capsys.readouterr().out
    assert all(min(load_image(path).size) > 20 for path in written)
    assert capsys.readouterr().out.strip()


def test_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {}
    for cell in json.loads((EXAMPLES / "tutorial.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "tutorial.ipynb", "exec"), space)
    assert space["result"].status == "applied" and len(space["matches"].points) == 1
    assert not list(tmp_path.iterdir())
