"""Several edits in the window: a list with order, opacity and visibility, carried as one."""

import json

import numpy as np
import pytest
from qtpy.QtCore import Qt

from conftest import EYES
from dift_edit.edits import Layers, load_edit
from napari_dift_edit.sessions import open_session, save_session


def _mean(bench, x, y):
    """The colour that the source shows at a pixel: its own, or the edit's over it."""
    crop = bench.editor.session.preview
    row, column = y - crop.y, x - crop.x
    pixel = crop.pixels[row, column] if 0 <= row < crop.pixels.shape[0] and 0 <= column < crop.pixels.shape[1] else None
    source = bench.viewer.layers["cat"].data[y, x]
    return source.astype(int) if pixel is None or not pixel[3] else pixel[:3].astype(int)


@pytest.fixture
def several(open_bench, pictures, sticker):
    """A sticker on the eyes, and over it a part of the picture without colour."""
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")})
    bench.use(sticker)
    mask = np.zeros((260, 360), np.uint8)
    mask[100:200, 60:150] = 1
    layer = bench.viewer.add_labels(mask, name="region")
    panel = bench.dock.choose.edit
    bench.qtbot.mouseClick(panel.add, Qt.MouseButton.LeftButton)
    panel.use_layer(layer, "recolour", {"saturation": 0.0})
    bench.idle()
    return bench


@pytest.mark.slow
def test_list_orders_hides_and_fades(several):
    bench, parts = several, several.dock.choose.edit.parts
    assert not bench.dock.choose.edit.add.isChecked(), "only the next one is added"
    assert parts.isVisible() and parts.list.count() == 2 and parts.list.item(0).text().startswith("region")
    assert np.ptp(_mean(bench, 100, 115)) <= 2, "the sticker is grey where the upper edit lies"
    assert _mean(bench, 200, 100)[0] > 200, "and red elsewhere"
    parts.list.setCurrentRow(1)  # the sticker
    bench.qtbot.mouseClick(parts.up, Qt.MouseButton.LeftButton)
    bench.idle()
    assert _mean(bench, 100, 115)[0] > 200, "it lies above now"
    assert [part.edit.kind for part in bench.editor.session.edit.parts] == ["recolour", "sticker"]
    assert not parts.up.isEnabled() and "topmost" in parts.up.toolTip()
    parts.opacity.setValue(50)
    bench.wait(lambda: bench.editor.session.edit.parts[1].opacity == 0.5, 10)
    bench.idle()
    own = bench.viewer.layers["cat"].data[100, 200].astype(int)
    assert np.abs(_mean(bench, 200, 100) - (own + (220, 30, 30)) / 2).max() < 40, "half of it shows through"
    parts.list.item(0).setCheckState(Qt.CheckState.Unchecked)
    bench.idle()
    assert np.array_equal(_mean(bench, 200, 100), own), "a hidden one is not put on"
    parts.list.item(1).setCheckState(Qt.CheckState.Unchecked)
    bench.idle()
    assert parts.list.item(1).checkState() == Qt.CheckState.Checked, "one has to be visible"
    bench.editor.undo()
    bench.idle()
    assert bench.editor.session.edit.parts[1].visible
    parts.list.setCurrentRow(1)
    bench.qtbot.mouseClick(parts.remove, Qt.MouseButton.LeftButton)
    bench.idle()
    assert [part.edit.kind for part in bench.editor.session.edit.parts] == ["sticker"]


@pytest.mark.slow
def test_chosen_sticker_is_dragged_and_all_are_carried(several, open_bench, tmp_path):
    bench, parts = several, several.dock.choose.edit.parts
    parts.list.setCurrentRow(1)
    bench.idle()
    assert np.allclose(bench.dock.scene.outlines.data[0], [point[::-1] for point in EYES])
    bench.drag("cat", (150, 95), (160, 100))
    bench.idle()
    quad = np.array(bench.editor.session.edit.parts[0].edit.quad)
    assert np.abs(quad - np.array(EYES) - (10, 5)).max() < 3
    bench.propagate()
    if not bench.result("dark").shown:
        bench.editor.review(bench.key("dark"), "accepted")
        bench.idle()
    crop = bench.result("dark").crops[0]
    at = lambda x, y: crop.pixels[y - crop.y, x - crop.x].astype(int)  # noqa: E731
    red, grey = at(200 - 18 + 10, 100 + 12 + 5), at(100 - 18, 180 + 12)
    assert red[0] > 180 and red[1] < 80 and grey[3] and np.ptp(grey[:3]) <= 4

    bench.dock.keeper.save_job(tmp_path / "job.toml")
    bench.wait(lambda: bench.editor.job is None)
    made = load_edit(tmp_path / "job-pictures" / "edit.json")
    assert isinstance(made, Layers) and len(made.edits) == 2
    save_session(bench.editor, tmp_path / "kept")
    bench.wait(lambda: bench.editor.job is None)
    kept = json.loads((tmp_path / "kept" / "session.json").read_text())["edit"]
    assert [part["kind"] for part in kept["parts"]] == ["sticker", "recolour"]
    other = open_bench()  # the window opened again
    open_session(other.editor, tmp_path / "kept", other.dock.add_picture)
    other.wait(lambda: other.editor.job is None and other.editor.session.edit)
    other.idle()
    edit = other.editor.session.edit
    assert np.allclose(edit.parts[0].edit.quad, quad) and edit.parts[1].edit.options == {"saturation": 0.0}
    assert other.dock.choose.edit.parts.isVisible()
