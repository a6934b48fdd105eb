"""The same from a script."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import napari
from dift_edit.errors import DiftEditError
from napari_dift_edit.api import DiftEdit

GUIDE = Path(__file__).parents[2] / "docs" / "napari.md"


@pytest.mark.slow
def test_the_script_of_the_guide(make_napari_viewer, pictures, sticker, tmp_path, monkeypatch):
    """The guide's own lines, in a folder with files of its names; then the rest of the interface."""
    for name, file in (("cat", "cat.jpg"), ("dark", "other.jpg"), ("coffee", "third.jpg")):
        PIL.Image.fromarray(pictures[name]).save(tmp_path / file, quality=95)
    PIL.Image.fromarray(sticker).save(tmp_path / "hat.png")
    viewer = make_napari_viewer(show=True)
    DiftEdit(viewer).settings(model="lite", mirror="never")
    assert DiftEdit(viewer).models()  # the engine's process runs, in another folder
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(napari, "Viewer", lambda: viewer)
    lines: dict[str, Any] = {}
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    exec(block, lines)
    edit = lines["edit"]
    results = edit.results
    assert edit.targets == ["other", "third"] and edit.dock.editor.session.edit.quad[2] == (200, 160)
    assert results["other"].status == "applied" and results["third"].status == "abstained"
    assert np.abs(np.array(results["other"].quad)[0] - (102, 52)).max() < 8
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["other.jpg"]

    edit.accept("third")
    assert edit.results["third"].review == "accepted" and "third · edited" in viewer.layers
    edit.undo()
    assert not edit.results["third"].review
    edit.correct("other", [(50, 60), (230, 60), (230, 130), (50, 130)])
    assert edit.results["other"].by_hand
    point, confidence = edit.find((120, 90))["other"]
    assert np.hypot(point[0] - 102, point[1] - 102) < 15 and 0 <= confidence <= 1
    edit.stop_exploring()
    viewer.add_points([(90.0, 120.0)], name="eye")
    assert edit.carry_landmarks("eye") == 2 and "other · eye" in viewer.layers
    assert edit.export_annotations("eyes.json") == 3 and (tmp_path / "eyes.json").is_file()
    edit.save_session(tmp_path / "session")
    assert (tmp_path / "session" / "session.json").is_file()
    edit.screenshot(tmp_path / "window.png")
    with PIL.Image.open(tmp_path / "window.png") as window:
        assert window.width > 600
    with pytest.raises(DiftEditError, match="There is no target 'nothing': use one of other, third"):
        edit.reject("nothing")
    with pytest.raises(DiftEditError, match="There is no layer 'nothing'"):
        edit.carry("nothing")
    (tmp_path / "file.txt").write_text("no folder")
    corners = ((50, 60), (230, 60), (230, 130), (50, 130))
    wrong = {
        "three corners": (lambda: edit.correct("other", corners[:3]), "has 3 corners: give four"),
        "beyond all pictures": (lambda: edit.correct("other", ((-1e300, 60), *corners[1:])), "which no picture does"),
        "two corners": (lambda: edit.view("other", corners[:2]), "has 2 corners: give four"),
        "not a number": (lambda: edit.sticker(sticker, at=(float("nan"), 1, 2, 3)), "must be finite"),
        "three numbers": (lambda: edit.sticker(sticker, at=(1, 2, 3)), "give left, top, right, bottom"),
        "a row of numbers": (lambda: edit.sticker(np.zeros(5)), r"or \(H, W, 3 or 4\), not"),
        "a pin": (lambda: edit.pin("other", (float("nan"), 1), (2, 2)), "must be finite"),
        "a kind": (lambda: edit.use_layer("third", "foo"), "There is no kind of edit 'foo'"),
        "points": (lambda: edit.use_layer("eye"), "eye cannot be the edit"),
        "a setting": (lambda: edit.settings(foo=1), "There is no setting 'foo': use one of engine, mirror"),
        "a file": (lambda: edit.save_session(tmp_path / "file.txt"), "file.txt cannot be made"),
        "no file": (lambda: edit.open(["nowhere.png"]), "nowhere.png does not exist"),
    }
    session = edit.dock.editor.session
    for what, (call, sentence) in wrong.items():
        with pytest.raises(DiftEditError, match=sentence):
            call()
        assert edit.dock.editor.session is session, what
    assert edit.export(tmp_path / "file.txt") == 0
    assert "file.txt cannot be made" in edit.dock.results.reason.text()
    edit.dock.shut()
