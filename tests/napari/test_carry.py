"""Annotations that go along: where they lie, what is saved of them, how sure they are, and undo."""

import csv

import numpy as np
import pytest
from qtpy.QtCore import Qt

from dift_edit.annotations import read_annotations, read_landmark_pairs
from dift_edit.errors import DiftEditError
from napari_dift_edit.carry import carry_landmarks, carry_layer, pin_layers

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
    """The cat and its shifted picture side by side, with three named landmarks on the cat."""
    bench = open_bench({name: pictures[name] for name in ("cat", "dark", "coffee")}, arrange=True)
    bench.editor.choose_settings(mirror="never")
    bench.viewer.add_points(
        [(80.0, 90.0), (110, 200), (170, 130)], name="marks", affine=bench.viewer.layers["cat"].affine,
        face_color="red", size=7, features={"name": ["left_eye", "right_eye", "nose"]},
        text={"string": "{name}", "color": "yellow"},
    )  # fmt: skip
    return bench


SHIFT = np.array([12, -18])
"""(row, column) by which the dark cat is moved."""


@pytest.mark.slow
def test_landmarks_are_carried_corrected_and_exported(marked, tmp_path):
    """Without an edit: in pixels of their picture, with a confidence; a correction takes the others along."""
    bench = marked
    marks = bench.viewer.layers["marks"]
    assert _carry(bench, carry_landmarks, marks) == 2
    dark, coffee = bench.viewer.layers["dark · marks"], bench.viewer.layers["coffee · marks"]
    assert np.abs(dark.data - marks.data - SHIFT).max() < 3, "data are pixels of the picture"
    assert np.allclose(_pixels(bench, "dark", dark), dark.data, atol=1e-6), "and lie on it"
    assert list(dark.text.values) == ["left_eye", "right_eye", "nose"] and np.allclose(dark.face_color[0], (1, 0, 0, 1))
    assert np.allclose(dark.size, 7)
    sure = dark.features["confidence"].to_numpy()
    assert ((sure > 0.8) & (sure <= 1)).all() and (coffee.features["confidence"] < 0.8).all()

    # the least sure first: by key, and in the list
    unsure = bench.dock.unsure.points()
    assert len(unsure) == 3 and "press U" in bench.dock.results.reason.text()
    assert [value for value, *_ in unsure] == sorted(value for value, *_ in unsure)
    bench.press("U")
    index = unsure[0][2]
    assert bench.viewer.layers.selection.active is coffee and coffee.selected_data == {index}
    listed = bench.dock.landmarks
    listed.open_list()
    assert listed.model.rowCount() == 3 and listed.model.index(0, 0).data() == "coffee"
    assert listed.model.index(0, 1).data() == marks.features["name"][index]
    last = listed.table.visualRect(listed.model.index(2, 0)).center()
    bench.qtbot.mouseClick(listed.table.viewport(), Qt.MouseButton.LeftButton, pos=last)
    index = unsure[2][2]
    assert coffee.selected_data == {index}
    column, row = coffee.data[index][::-1]
    bench.idle()
    assert bench.canvas.rect().contains(bench.spot("coffee", column, row)), "it is on the canvas"

    # dragged to where it belongs: sure now, and the others of that picture are fitted to it
    others = [number for number in range(3) if number != index]
    before, colour = coffee.data.copy(), coffee.border_color[index].copy()
    bench.drag("coffee", (column, row), (column + 30, row - 20))
    bench.idle()
    assert bench.viewer.layers["coffee · marks"] is coffee, "the layer that is worked in stays"
    assert np.abs(coffee.data[index] - (row - 20, column + 30)).max() < 3
    assert coffee.features["confidence"][index] == 1 and not np.allclose(coffee.border_color[index], colour)
    assert np.abs(coffee.data[others] - before[others]).max() > 1
    assert listed.model.rowCount() == sum(coffee.features["confidence"] < 0.8)
    moved = coffee.data.copy()
    bench.press("Z", CTRL)
    bench.idle()
    assert np.allclose(coffee.data, before)
    bench.press("Z", CTRL | Qt.KeyboardModifier.ShiftModifier)
    bench.idle()
    assert np.allclose(coffee.data, moved)
    listed.close()

    # all pictures in one file, and pairs for programs that register pictures
    keeper = bench.dock.keeper
    for name, format_ in (("a.json", ""), ("a.tps", ""), ("yolo", "yolo"), ("labelme", "labelme"), ("csv", "napari")):
        assert keeper.export_annotations(tmp_path / name, format_) == 3
        bench.wait(lambda: bench.editor.job is None)
    found = {image.path: image.objects for image in read_annotations(tmp_path / "a.json").images}
    assert set(found) == {"cat.png", "dark.png", "coffee.png"}
    (face,) = found["coffee.png"]
    assert [point.name for point in face.keypoints] == ["left_eye", "right_eye", "nose"]
    seen = [number for number, point in enumerate(face.keypoints) if not point.missing]
    assert index in seen and np.allclose(
        [(face.keypoints[k].y, face.keypoints[k].x) for k in seen], moved[seen], atol=0.01
    )
    assert face.keypoints[index].confidence == 1
    assert (tmp_path / "yolo" / "data.yaml").is_file() and len(list((tmp_path / "labelme").rglob("*.json"))) == 3
    for format_, name in (("bigwarp", "dark.csv"), ("elastix", "dark.txt")):
        assert keeper.export_pairs(tmp_path / format_, format_) == 2
        bench.wait(lambda: bench.editor.job is None)
        moving, fixed = read_landmark_pairs(tmp_path / format_ / name)
        assert np.allclose(moving, dark.data[:, ::-1]) and np.allclose(fixed, [(90, 80), (200, 110), (130, 170)])

    bench.viewer.layers["marks"].selected_data = {0}
    bench.viewer.layers["marks"].remove_selected()
    assert keeper.export_pairs(tmp_path / "later", "bigwarp") == 2
    bench.wait(lambda: bench.editor.job is None)
    pairs = (tmp_path / "later" / "dark.csv").read_text()
    assert pairs == (tmp_path / "bigwarp" / "dark.csv").read_text() and "right_eye" in pairs, "each keeps its partner"

    # what napari saves of it is in pixels, and it follows its picture
    dark.save(str(tmp_path / "marks.csv"))
    with (tmp_path / "marks.csv").open() as file:
        saved = np.array([(float(row["axis-0"]), float(row["axis-1"])) for row in csv.DictReader(file)])
    assert np.allclose(saved, dark.data)
    bench.dock.choose.arrange.setChecked(False)
    bench.idle()
    assert np.allclose(_pixels(bench, "dark", dark), saved, atol=1e-6)
    bench.viewer.layers.remove("dark · marks")
    assert [each.name for each in bench.editor.session.carried] == ["coffee · marks"]
    for _ in range(3):
        bench.editor.undo()
    bench.idle()
    assert not bench.editor.session.carried and not any("· marks" in layer.name for layer in bench.viewer.layers)


@pytest.mark.slow
def test_shapes_labels_and_pairs_of_points(marked, sticker):
    """Shapes and labels go by the landmark engine; two layers of points are pins."""
    bench = marked
    cat, coffee = bench.viewer.layers["cat"], bench.viewer.layers["coffee"]
    bench.use(sticker)
    places = np.array([(60.0, 60), (66, 150), (120, 100)])
    theirs = bench.viewer.add_points(places, name="theirs", affine=coffee.affine)
    less = bench.viewer.add_points(places[:2], name="less", affine=coffee.affine)
    marks, key = bench.viewer.layers["marks"], bench.key("coffee")
    with pytest.raises(DiftEditError, match="pins are pairs"):
        pin_layers(bench.editor, bench.dock.scene, key, marks, less)
    pin_layers(bench.editor, bench.dock.scene, key, marks, theirs)
    bench.idle()
    pins = bench.editor.session.pins[key]
    assert np.allclose([pin.target[::-1] for pin in pins], places)
    assert np.allclose([pin.source for pin in pins], [(90, 80), (200, 110), (130, 170)])
    assert bench.result("coffee").status == "applied", "three pins say where it lies"
    bench.press("Z", CTRL)
    assert not bench.editor.session.pins.get(key)

    box, path = np.array([(70.0, 70), (70, 120), (100, 120), (100, 70)]), np.array([(60.0, 60), (90, 150), (120, 240)])
    bench.viewer.add_shapes([box, path], shape_type=["rectangle", "path"], name="parts", affine=cat.affine)
    spots = np.zeros(cat.data.shape[:2], np.uint16)
    spots[70:100, 70:120], spots[95:125, 180:225] = 300, 7
    bench.viewer.add_labels(spots, name="eyes", affine=cat.affine)
    bench.viewer.layers.remove(coffee)
    bench.idle()
    assert _carry(bench, carry_landmarks, bench.viewer.layers["parts"]) == 1
    shapes = bench.viewer.layers["dark · parts"]
    assert list(shapes.shape_type) == ["rectangle", "path"] and (shapes.features["confidence"] > 0.5).all()
    assert np.abs(shapes.data[0].mean(0) - box.mean(0) - SHIFT).max() < 4
    assert np.abs(shapes.data[1] - path - SHIFT).max() < 6, "its ends are landmarks, and its order is kept"
    assert _carry(bench, carry_landmarks, bench.viewer.layers["eyes"]) == 1
    labels = bench.viewer.layers["dark · eyes"]
    truth = np.roll(spots, SHIFT, (0, 1))
    assert labels.data.dtype == np.uint16 and set(np.unique(labels.data)) == {0, 7, 300}
    corner = np.round(bench.viewer.layers["dark"].world_to_data(labels.data_to_world((0, 0)))).astype(int)
    part = truth[corner[0] : corner[0] + labels.data.shape[0], corner[1] : corner[1] + labels.data.shape[1]]
    for value in (7, 300):
        shared = ((labels.data == value) & (part == value)).sum() / ((labels.data == value) | (part == value)).sum()
        assert shared > 0.7, value


@pytest.mark.slow
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
