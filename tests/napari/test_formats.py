"""Annotations opened and saved from napari's own menus."""

import numpy as np
import PIL.Image
import pytest

from dift_edit.annotations import read_annotations

SQUARE = np.array([(10.0, 12), (10, 40), (30, 40), (30, 12)])
"""Corners (row, column)."""


def annotated_viewer(make_napari_viewer, folder):
    PIL.Image.new("RGB", (64, 48)).save(folder / "cat.png")
    viewer = make_napari_viewer()
    viewer.open(folder / "cat.png", plugin="napari")
    features = {"name": ["left_eye", "nose"], "confidence": [0.75, np.nan]}
    viewer.add_points([(5.0, 7.25), (9, 11)], features=features, name="face")
    viewer.add_shapes([SQUARE, SQUARE + 2, SQUARE[:3]], shape_type=["rectangle", "polygon", "path"], name="part")
    labels = np.zeros((48, 64), np.uint8)
    labels[3:9, 4:20] = 5
    viewer.add_labels(labels, name="blob")
    return viewer, labels


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.json", "a.xml", "a.tps"])
def test_layers_are_saved_and_opened_again(make_napari_viewer, tmp_path, name):
    viewer, labels = annotated_viewer(make_napari_viewer, tmp_path)
    assert viewer.layers.save(str(tmp_path / name), plugin="dift-edit") == [str(tmp_path / name)]
    (image,) = read_annotations(tmp_path / name).images
    assert image.path == "cat.png" and image.size == (64, 48)
    points = next(thing for thing in image.objects if thing.keypoints)
    assert [(k.x, k.y, k.confidence) for k in points.keypoints] == [(7.25, 5, 0.75), (11, 9, None)]
    if name != "a.tps":
        assert {"face", "part", "blob"} == {thing.category for thing in image.objects}
        box = next(thing.box for thing in image.objects if thing.category == "part")
        assert box == (12, 10, 40, 30) and points.keypoints[0].name == "left_eye"
    before = len(viewer.layers)
    opened = viewer.open(tmp_path / name, plugin="dift-edit")
    assert len(opened) == (2 if name == "a.tps" else 3) and len(viewer.layers) == before + len(opened)
    assert opened[-1].name == "cat points" and opened[-1].data.tolist() == [[5, 7.25], [9, 11]]
    assert opened[-1].features["confidence"][0] == 0.75
    if name != "a.tps":
        assert np.array_equal(opened[0].data > 0, labels > 0)


def test_pixels_of_a_scaled_picture_are_meant(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((48, 64)), name="slide", scale=(0.5, 0.5), translate=(10, 20))
    viewer.add_points([(11.0, 23.0)], name="spot")
    viewer.layers.save(str(tmp_path / "a.json"), plugin="dift-edit")
    (image,) = read_annotations(tmp_path / "a.json").images
    (point,) = image.objects[0].keypoints
    assert (point.x, point.y) == (6, 2) and image.path == "slide"


def test_a_file_of_other_images_is_a_sentence(make_napari_viewer, tmp_path):
    from dift_edit.errors import DiftEditError
    from napari_dift_edit.formats import read_layers, reader_of

    viewer, _ = annotated_viewer(make_napari_viewer, tmp_path)
    viewer.layers.save(str(tmp_path / "a.json"), plugin="dift-edit")
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "b.json").write_text(text.replace('"images": [', '"images": [{"id": 9, "file_name": "b.png"},'))
    viewer.layers.clear()
    with pytest.raises(DiftEditError, match="annotates 2 images"):
        read_layers(str(tmp_path / "b.json"))
    assert reader_of(str(tmp_path / "cat.png")) is None
    (tmp_path / "c.json").write_text("{}")
    assert reader_of(str(tmp_path / "c.json")) is None
