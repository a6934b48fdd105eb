"""The same from a script."""

import numpy as np
import PIL.Image
import pytest

from dift_edit.errors import DiftEditError
from napari_dift_edit.api import DiftEdit


def test_main_path_in_five_lines(make_napari_viewer, pictures, sticker, tmp_path):
    for name in ("cat", "dark", "coffee"):
        PIL.Image.fromarray(pictures[name]).save(tmp_path / f"{name}.png")
    PIL.Image.fromarray(sticker).save(tmp_path / "sign.png")
    viewer = make_napari_viewer(show=True)

    edit = DiftEdit(viewer, timeout=300)
    edit.open([tmp_path / "cat.png", tmp_path / "dark.png", tmp_path / "coffee.png"])
    edit.sticker(tmp_path / "sign.png", at=(60, 60, 240, 130))
    results = edit.propagate()
    assert edit.export(tmp_path / "out") == 1

    assert results["dark"].status == "applied" and results["coffee"].status == "abstained"
    assert np.abs(np.array(results["dark"].quad)[0] - (42, 72)).max() < 8
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dark.png"]

    edit.accept("coffee")
    assert edit.results["coffee"].review == "accepted" and "coffee · edited" in viewer.layers
    edit.undo()
    assert not edit.results["coffee"].review
    edit.correct("dark", [(50, 60), (230, 60), (230, 130), (50, 130)])
    assert edit.results["dark"].by_hand
    point, confidence = edit.find((120, 90))["dark"]
    assert np.hypot(point[0] - 102, point[1] - 102) < 15 and 0 <= confidence <= 1
    edit.stop_exploring()
    viewer.add_points([(90.0, 120.0)], name="eye")
    assert edit.carry_landmarks("eye") == 2 and "dark · eye" in viewer.layers
    edit.save_session(tmp_path / "session")
    assert (tmp_path / "session" / "session.json").is_file()
    edit.screenshot(tmp_path / "window.png")
    with PIL.Image.open(tmp_path / "window.png") as window:
        assert window.width > 600
    with pytest.raises(DiftEditError, match="There is no target 'nothing': use one of dark, coffee"):
        edit.reject("nothing")
    with pytest.raises(DiftEditError, match="There is no layer 'nothing'"):
        edit.carry("nothing")
    edit.dock.shut()
