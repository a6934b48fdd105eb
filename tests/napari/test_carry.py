"""Annotations that go along: where they lie, what is saved of them, how sure they are, and undo."""

import csv

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_dift_edit.carry import carry_landmarks, carry_layer

CTRL = Qt.KeyboardModifier.ControlModifier


def _carry(bench, carry, layer):
    count = carry(bench.editor, bench.dock.scene, layer)
    bench.wait(lambda: bench.editor.job is None and bench.dock.scene.settled)
    return count


def _pixels(bench, picture, layer):
    """The (row, column) of a carried layer's points in the pixels of its picture."""
    picture = bench.viewer.layers[picture]
    return np.array([picture.world_to_data(layer.data_to_world(point)) for point in layer.data])


@pytest.fixture
def marked(open_bench, pictures):
    """The cat and its shifted picture side by side, with two named landmarks on the cat."""
    bench = open_bench({name: pictures[name] for name in ("cat", "dark", "coffee")}, arrange=True)
    bench.viewer.add_points(
        [(80.0, 90.0), (110, 200)], name="marks", affine=bench.viewer.layers["cat"].affine, face_color="red", size=7,
        features={"part": ["left eye", "right eye"]}, text={"string": "{part}", "color": "yellow"},
    )  # fmt: skip
    return bench


def test_landmarks_need_no_edit_and_lie_in_pixels(marked, tmp_path):
    bench = marked
    assert _carry(bench, carry_landmarks, bench.viewer.layers["marks"]) == 2
    dark = bench.viewer.layers["dark · marks"]
    assert np.abs(dark.data - [(92, 72), (122, 182)]).max() < 8, "data are pixels of the picture"
    assert np.allclose(_pixels(bench, "dark", dark), dark.data, atol=1e-6), "and lie on it"
    assert list(dark.text.values) == ["left eye", "right eye"] and np.allclose(dark.face_color[0], (1, 0, 0, 1))
    assert np.allclose(dark.size, 7)
    assert ((dark.features["confidence"] >= 0) & (dark.features["confidence"] <= 1)).all()

    # what napari saves of it is in pixels, and it follows its picture
    dark.save(str(tmp_path / "marks.csv"))
    with (tmp_path / "marks.csv").open() as file:
        saved = np.array([(float(row["axis-0"]), float(row["axis-1"])) for row in csv.DictReader(file)])
    assert np.allclose(saved, dark.data)
    before = dark.data.copy()
    bench.dock.choose.arrange.setChecked(False)
    bench.qtbot.wait(50)
    assert np.allclose(dark.data, before) and np.allclose(_pixels(bench, "dark", dark), before, atol=1e-6)

    # one step, and back again
    bench.press("Z", CTRL)
    bench.idle()
    assert not any("· marks" in layer.name for layer in bench.viewer.layers) and not bench.editor.session.carried
    bench.press("Z", CTRL | Qt.KeyboardModifier.ShiftModifier)
    bench.idle()
    assert np.allclose(bench.viewer.layers["dark · marks"].data, before)
    bench.viewer.layers.remove("dark · marks")
    assert [each.name for each in bench.editor.session.carried] == ["coffee · marks"]


def test_unsure_landmarks_are_found_and_a_dragged_one_is_sure(marked):
    bench = marked
    _carry(bench, carry_landmarks, bench.viewer.layers["marks"])
    unsure = bench.dock.unsure.points()
    assert unsure and all(value < 0.8 for value, *_ in unsure) and "press U" in bench.dock.results.reason.text()
    assert [value for value, *_ in unsure] == sorted(value for value, *_ in unsure)
    bench.press("U")
    _, _, layer, index = unsure[0]
    assert bench.viewer.layers.selection.active is layer and layer.selected_data == {index}
    name = layer.name.split(" · ")[0]
    column, row = layer.data[index][::-1]
    bench.qtbot.wait(100)
    assert bench.canvas.rect().contains(bench.spot(name, column, row)), "it is on the canvas"
    colour = layer.border_color[index].copy()
    bench.drag(name, (column, row), (column + 6, row + 4))
    assert np.abs(layer.data[index] - (row + 4, column + 6)).max() < 2
    assert layer.features["confidence"][index] == 1 and not np.allclose(layer.border_color[index], colour)
    assert len(bench.dock.unsure.points()) == len(unsure) - 1


def test_carried_layers_lie_above_the_result(marked, sticker):
    bench = marked
    bench.use(sticker)
    bench.propagate()
    result = bench.result("dark")
    _carry(bench, carry_layer, bench.viewer.layers["marks"])
    names = [layer.name for layer in bench.viewer.layers]
    assert names.index("dark") < names.index("dark · edited") < names.index("dark · marks")
    bench.press("Z", CTRL)
    bench.idle()
    assert bench.result("dark") is result, "undo takes the carrying back, not the propagation"
    assert "dark · marks" not in bench.viewer.layers
