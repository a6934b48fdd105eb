"""Sets of photos that lie elsewhere: a real HTTP server on this machine, fsspec's memory, missing drivers."""

import functools
import http.server
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from batch_data import make_scene, rows_of
from dift_edit.batch import run_batch
from dift_edit.cli import main
from dift_edit.edits import Sticker
from dift_edit.errors import DiftEditError, MissingDependencyError
from dift_edit.imaging.files import load_image
from dift_edit.results.folder import open_output
from dift_edit.settings import BatchSettings, TransferSettings
from dift_edit.targets.collect import collect_targets
from dift_edit.targets.storage import filesystem

fsspec = pytest.importorskip("fsspec")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_words):
        pass


@pytest.fixture
def scene(tmp_path):
    return make_scene(tmp_path, 3)


@pytest.fixture
def server(scene):
    """The address of a server of the scene's folder."""
    pytest.importorskip("aiohttp")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(scene))) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()


@pytest.mark.slow
def test_targets_and_lists_over_http(scene, server, tiny_model, capsys):
    (scene / "list.csv").write_text("id,path\nthird,photos/photo0002.png\ngone,photos/none.png\n")
    arguments = [
        "propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), "--model", str(tiny_model),
        "--min-confidence", "0", "--quiet", "--no-report",
    ]  # fmt: skip
    remote = [f"{server}/photos/photo0000.png", f"{server}/photos/photo%30001.png"]
    assert main([*arguments, *remote, "--targets-from", f"{server}/list.csv", "-o", str(scene / "out")]) == 1
    assert main([*arguments, str(scene / "photos"), "-o", str(scene / "near")]) == 0
    rows = rows_of(scene / "out")
    assert [row["status"] for row in rows] == ["applied", "applied", "applied", "failed"]
    assert [row["id"] for row in rows] == [*remote, "third", "gone"]
    assert f"{server}/photos/none.png does not exist" in rows[-1]["reason"]
    for row, name in zip(rows, ["photo0000.png", "photo0001.png", "photo0002.png"], strict=False):
        assert (scene / "out" / row["output"]).read_bytes() == (scene / "near" / name).read_bytes()
    assert "Traceback" not in capsys.readouterr().err


def test_a_server_that_is_gone_is_a_failed_row(scene, tiny):
    pytest.importorskip("aiohttp")
    source, sticker = load_image(scene / "source.png"), Sticker.from_file(scene / "sticker.png")
    summary = run_batch(
        source, sticker, ["http://127.0.0.1:9/a.png"], scene / "out", featurizer=tiny, settings=TransferSettings()
    )
    (row,) = summary.rows
    assert row.status == "failed" and "http://127.0.0.1:9/a.png cannot be read" in row.reason
    assert len(row.reason.splitlines()) == 1


def test_memory_in_and_out(scene, tiny, monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_state_dir", lambda *_: str(tmp_path / "state"))
    memory = fsspec.filesystem("memory")
    for number in range(2):
        memory.pipe_file(f"/in/{number}/cat.png", (scene / "photos" / f"photo000{number}.png").read_bytes())
    source, sticker = load_image(scene / "source.png"), Sticker.from_file(scene / "sticker.png")
    options = {
        "featurizer": tiny,
        "settings": TransferSettings(min_confidence=0.0),
        "batch": BatchSettings(preview_size=32),
    }
    targets = ["memory://in", "memory://in/none.png", (scene / "photos").as_uri()]
    summary = run_batch(source, sticker, targets, "memory://out", **options)
    assert [row.output for row in summary.rows] == [
        "0/cat.png", "1/cat.png", None, "photo0000.png", "photo0001.png", "photo0002.png",
    ]  # fmt: skip
    assert "memory://in/none.png does not exist" in summary.rows[2].reason
    assert memory.cat_file("/out/0/cat.png") == memory.cat_file("/out/photo0000.png")
    assert len(memory.cat_file("/out/manifest.jsonl").splitlines()) == 6 and memory.exists("/out/review.html")
    memory.rm_file("/out/1/cat.png")
    again = run_batch(source, sticker, targets, "memory://out", **options)
    assert again.kept == 5 and memory.exists("/out/1/cat.png")
    with pytest.raises(DiftEditError, match="no kind that fsspec knows"):
        open_output("nonsense://x")


def test_folders_and_patterns_in_memory(scene):
    memory = fsspec.filesystem("memory")
    for name in ("/set/a.png", "/set/sub/a.png", "/set/readme.md"):
        memory.pipe_file(name, b"x")
    found = collect_targets(["memory://set", f"file://{scene}/source.png"])
    assert [target.name for target in found] == ["a.png", "sub/a.png", "source.png"]
    assert [reason for _, reason in found.skipped] == ["it is not an image"]
    assert [target.name for target in collect_targets(["memory://set/*/*.png"])] == ["sub/a.png"]


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://bucket/a.png", "s3fs", "s3"),
        ("gs://bucket/a.png", "gcsfs", "gcs"),
        ("https://127.0.0.1:9/a.png", "aiohttp", "http"),
    ],
)
def test_a_missing_driver_names_its_extra(monkeypatch, scene, capsys, url, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.setattr(sys.modules["fsspec.registry"], "_registry", {})
    with pytest.raises(
        MissingDependencyError, match=rf"needs the package '{package}'.*pip install 'dift-edit\[{extra}]"
    ):
        filesystem(url)
    arguments = ["propagate", str(scene / "source.png"), "--sticker", str(scene / "sticker.png"), url]
    assert main([*arguments, "-o", str(scene / "out")]) == 2
    said = capsys.readouterr().err
    assert f"dift-edit[{extra}]" in said and "Traceback" not in said and not (scene / "out").exists()


def test_the_extras_are_declared():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for extra, driver in (("s3", "s3fs"), ("gcs", "gcsfs"), ("http", "aiohttp")):
        assert any(need.startswith(driver) for need in project["optional-dependencies"][extra])
        assert extra in project["optional-dependencies"]["all"][0]
