"""The canvas and the layer list: handles, outlines, rings, what is zoomed to, what is listed."""

import numpy as np
import PIL.Image
import pytest
from qtpy.QtCore import Qt

from napari_dift_edit import layers as glue


def _rows(bench):
    """Names of the rows that the layer list shows."""
    view = bench.viewer.window._qt_viewer.layers
    model = view.model()
    return {model.index(row, 0).data() for row in range(model.rowCount()) if not view.isRowHidden(row)}


def test_handles_answer_at_once_and_an_outline_is_chosen_by_a_click(open_bench, pictures, sticker):
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")}, arrange=True)
    bench.use(sticker)
    bench.idle()
    outlines = bench.dock.scene.outlines
    assert bench.viewer.layers.selection.active is outlines and len(outlines.selected_data) == 1
    before = np.array(bench.editor.session.edit.quad)
    bench.drag("cat", (150, 95), (170, 105))  # nothing was chosen by hand before
    bench.idle()
    assert np.abs(np.array(bench.editor.session.edit.quad) - before - (20, 10)).max() < 3

    bench.editor.correct(bench.key("dark"), ((60.0, 60.0), (240.0, 60.0), (240.0, 130.0), (60.0, 130.0)))
    bench.idle()
    bench.viewer.layers.selection.active = bench.viewer.layers["cat"]
    bench.drag("dark", (150, 95), (165, 110))  # a press on an outline chooses it, though another layer is active
    bench.idle()
    assert bench.viewer.layers.selection.active is outlines
    assert bench.dock.results.table.current() == bench.key("dark")
    assert np.abs(np.array(bench.result("dark").quad)[0] - (75, 75)).max() < 3

    # whoever draws in a layer of their own is left alone
    mine = bench.viewer.add_points(np.zeros((0, 2)), name="mine")
    mine.mode = "add"
    bench.click("dark", 150, 110)
    assert len(mine.data) == 1 and bench.viewer.layers.selection.active is mine


def test_choosing_a_row_zooms_to_its_picture(bench):
    bench.press("Period")
    bench.idle()
    corners = [bench.spot("mirror", x, y) for x, y in ((0, 0), (359, 259))]
    assert all(bench.canvas.rect().contains(corner) for corner in corners)
    size = bench.canvas.size()
    part = max((corners[1].x() - corners[0].x()) / size.width(), (corners[1].y() - corners[0].y()) / size.height())
    assert 0.85 < abs(part) <= 1


@pytest.mark.slow
def test_layer_list_shows_the_users_layers_only(bench, sticker, pictures):
    bench.use(sticker)
    bench.editor.correct(bench.key("dark"), ((60.0, 60.0), (240.0, 60.0), (240.0, 130.0), (60.0, 130.0)))
    bench.idle()
    bench.idle()
    assert "dark · edited" in bench.viewer.layers and _rows(bench) == set(pictures)
    bench.dock.list.hide(False)
    assert _rows(bench) == {layer.name for layer in bench.viewer.layers}
    bench.dock.list.hide(True)
    bench.dock.shut()
    assert _rows(bench) == set(pictures), "own layers are gone, the user's are there"
    bench.viewer.layers["dark"].translate = (5, 5)
    bench.idle()
    assert _rows(bench) == set(pictures), "nobody follows a picture any more"


def test_opened_file_gets_a_place_on_the_table(open_bench, pictures, tmp_path):
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")}, arrange=True)
    PIL.Image.fromarray(pictures["mirror"]).save(tmp_path / "mirror.png")
    bench.dock.choose.add_folder(tmp_path)
    bench.wait(lambda: len(bench.editor.session.targets) == 2, 60)
    bench.dock.open_file(next(key for key in bench.editor.session.targets if key.startswith("file:")))
    bench.wait(lambda: "mirror.png" in bench.viewer.layers, 60)
    bench.idle()
    boxes = [glue.world_box(bench.viewer.layers[name]) for name in ("cat", "dark", "mirror.png")]
    for index, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[index + 1 :]:
            assert (high <= other_low + 1e-6).any() or (other_high <= low + 1e-6).any(), "pictures overlap"


@pytest.mark.slow
def test_sixteen_bits_stay_sixteen(open_bench, cat, sticker, tmp_path):
    """The values are the layer's own, however it is shown; the edit has the range of what is shown."""
    import cv2

    deep = cat.mean(2).astype(np.uint16) * 25 + 7
    bench = open_bench({"cat": cat})
    bench.viewer.add_image(deep, name="deep", contrast_limits=(500, 5000))
    bench.wait(lambda: len(bench.editor.session.targets) == 1, 5)
    bench.use(sticker)
    bench.editor.correct(bench.key("deep"), ((60.0, 60.0), (240.0, 60.0), (240.0, 130.0), (60.0, 130.0)))
    bench.idle()
    bench.dock.keeper.export(tmp_path)
    bench.wait(lambda: bench.editor.job is None)
    (path,) = tmp_path.iterdir()
    written = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16
    assert all(np.array_equal(written[200:, :, channel], deep[200:]) for channel in range(3))
    blue, _, red = written[110, 150]
    assert abs(red - (500 + 220 / 255 * 4500)) < 100 and abs(blue - (500 + 30 / 255 * 4500)) < 100


@pytest.mark.slow
def test_rings_leave_the_point_to_be_seen(bench):
    bench.qtbot.mouseClick(bench.dock.results.explore, Qt.MouseButton.LeftButton)
    bench.click("cat", 120, 90)
    bench.wait(lambda: len(bench.dock.explorer.found) == 3)
    bench.idle()
    points = bench.dock.explorer.points
    assert np.allclose(points.face_color[:, 3], 0), "nothing covers the point"
    assert np.abs(np.asarray(points.text.translation)).max() > 0, "the words stand beside it"
    bench.dock.choose.arrange.setChecked(False)
    bench.idle()
    heat, picture = bench.viewer.layers["mirror · similarity"], bench.viewer.layers["mirror"]
    assert np.allclose(heat.data_to_world((-0.5, -0.5)), picture.data_to_world((-0.5, -0.5)))
    at = bench.dock.explorer.found[bench.key("mirror")][0]
    assert any(np.allclose(place, picture.data_to_world(at[::-1])) for place in points.data)
