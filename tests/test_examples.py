"""The examples run as they are, from another folder, and leave pictures."""

import json
import runpy
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from dift_edit import load_image, samples

EXAMPLES = Path(__file__).parents[1] / "examples"
PICTURES = {
    "landmarks_on_specimens": 2,
    "batch_sticker": 2,
    "cross_domain": 2,
    "redaction": 2,
    "before_after": 1,
    "sequence": 4,
    "cluster": 2,
}


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PICTURES)


def few_targets(monkeypatch):
    known = samples.samples()
    known["targets"] = [each for each in known["targets"] if each["file"] in ("kitten.jpg", "grey.jpg", "coffee.jpg")]
    monkeypatch.setattr(samples, "samples", lambda: known)


@contextmanager
def scheduler():
    """The address of a dask cluster whose worker is a thread here: it need not load torch again."""
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_example(name, tmp_path, monkeypatch, capsys, small_network):
    """With few targets, to be quick."""
    monkeypatch.chdir(tmp_path)
    few_targets(monkeypatch)
    with scheduler() if name == "cluster" else nullcontext() as address:
        more = [address] if address else ["2"]  # of the example that draws its pictures: so many
        monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path / "out"), *more])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    written = [path for path in (tmp_path / "out").rglob("*.jpg") if not path.name.startswith("contact")]
    assert len(written) >= PICTURES[name], capsys.readouterr().out
    assert all(min(load_image(path).size) > 20 for path in written)
    assert capsys.readouterr().out.strip()


def test_notebook(tmp_path, monkeypatch, small_network):
    monkeypatch.chdir(tmp_path)
    space = {}
    for cell in json.loads((EXAMPLES / "tutorial.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "tutorial.ipynb", "exec"), space)
    assert space["result"].status == "applied" and len(space["matches"].points) == 1
    assert not list(tmp_path.iterdir())
