import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dift_edit.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Curve,
    read_annotations,
    write_annotations,
)
from dift_edit.edits import Keypoints, LabelLayer, Polygon
from dift_edit.edits.labels import clip_polygon
from dift_edit.errors import EditError
from dift_edit.imaging.files import as_image
from transforms import Dense, similarity
from trials import trials

SQUARE = np.array([(10.0, 10), (30, 10), (30, 30), (10, 30)])


def area(points):
    x, y = points[:, 0], points[:, 1]
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def layer():
    label_map = np.zeros((50, 60), np.uint16)
    label_map[12:28, 12:28], label_map[30:40, 5:15] = 3, 500
    return LabelLayer(
        polygons=[Polygon(SQUARE, "cat", "1")],
        keypoints=[Keypoints(np.array([(12.0, 12), (28, 20), (0, 0)]), ("nose", "ear", "tail"), [2, 1, 0], "cat", "1")],
        label_map=label_map,
    )


@given(scale=st.floats(0.3, 3), degrees=st.floats(-180, 180), x=st.floats(-60, 120), y=st.floats(-60, 120))
@trials(40)
def test_clipping_gives_the_area_inside(scale, degrees, x, y):
    from dift_edit.edits import Region

    outline = similarity(scale, degrees, x, y)(SQUARE)
    cut = clip_polygon(outline, (80, 70))
    region = Region.polygon(outline)
    left, top = region.origin
    canvas, edge = np.zeros((700, 700)), 300  # room for the farthest outline
    height, width = region.weight.shape
    canvas[top + edge : top + edge + height, left + edge : left + edge + width] = region.weight
    inside = canvas[edge : edge + 70, edge : edge + 80].sum()
    assert abs((area(cut) if len(cut) else 0) - inside) < 0.02 * inside + 2
    if len(cut):
        assert cut.min() >= -0.5001 and (cut <= np.array([79.5001, 69.5001])).all()


@pytest.mark.parametrize("dense", [False, True])
def test_annotations_are_carried_by_the_transform(dense):
    transform = similarity(1.5, 20, 15, 3)
    carried = layer().carry(Dense(transform) if dense else transform, (100, 90))
    assert abs(area(carried.polygons[0].points) - 1.5**2 * 400) < 5 and carried.polygons[0].label == "cat"
    assert np.allclose(carried.keypoints[0].points[:2], transform(layer().keypoints[0].points[:2]))
    assert list(carried.keypoints[0].visible) == [2, 1, 0]
    assert carried.label_map.shape == (90, 100) and carried.label_map.dtype == np.uint16
    for value, count in ((3, 256), (500, 100)):
        assert abs((carried.label_map == value).sum() - 1.5**2 * count) < 30
    assert set(np.unique(carried.label_map)) == {0, 3, 500}
    assert np.array_equal(layer().carry(similarity(), (60, 50)).label_map, layer().label_map)


def test_what_leaves_the_picture_is_dropped():
    assert layer().carry(similarity(x=500), (100, 90)) is None
    part = layer().carry(similarity(x=-20), (60, 50))
    assert part.polygons[0].points[:, 0].min() >= -0.5
    assert list(part.keypoints[0].visible) == [0, 1, 0]


def test_annotations_are_drawn():
    target = as_image(np.full((50, 60, 3), 200, np.uint8))
    drawn = layer().apply(target, similarity()).pixels
    assert (drawn[20, 20] != 200).any() and (drawn[45, 55] == 200).all()


def test_annotations_there_and_back(tmp_path):
    carried = layer().carry(similarity(x=5), (60, 50))
    images = [layer().annotated("a.jpg", (60, 50)), carried.annotated("b.jpg", (60, 50))]
    write_annotations(Annotations(images), tmp_path / "c.json")
    image = read_annotations(tmp_path / "c.json").image("b.jpg")
    assert [thing.category for thing in image.objects] == ["cat", "3", "500"]
    assert (image.objects[2].mask.in_image((60, 50)) == (carried.label_map == 500)).all()
    back = LabelLayer.from_annotations(image)
    assert np.allclose(back.polygons[0].points, SQUARE + (5, 0)) and back.polygons[0].label == "cat"
    assert [polygon.label for polygon in back.polygons] == ["cat", "3", "500"] and area(back.polygons[2].points) == 100
    assert np.allclose(back.keypoints[0].points[:2], [(17, 12), (33, 20)])
    assert back.keypoints[0].names == ("nose", "ear", "tail") and list(back.keypoints[0].visible) == [2, 1, 0]
    boxed = AnnotatedImage(path="a.jpg", objects=[AnnotatedObject(category="cat", box=(-0.5, -0.5, 3.5, 1.5))])
    corners = LabelLayer.from_annotations(boxed).polygons[0].points
    assert np.allclose(corners, [(-0.5, -0.5), (3.5, -0.5), (3.5, 1.5), (-0.5, 1.5)])


def test_bad_annotations_are_named():
    curve = AnnotatedImage(path="a.jpg", objects=[AnnotatedObject(category="vein", curves=[Curve(SQUARE)])])
    cases = [
        (LabelLayer, "no annotations"),
        (lambda: LabelLayer(label_map=np.zeros((3, 3), int)), "no annotations"),
        (lambda: LabelLayer(label_map=np.ones((3, 3))), "whole numbers"),
        (lambda: Polygon(SQUARE[:2]), "3 or more"),
        (lambda: Polygon([(0, 0), (1, np.nan), (2, 2)]), "finite"),
        (lambda: Keypoints(SQUARE, ("a",)), "one for each"),
        (lambda: LabelLayer.from_annotations(curve), "no inside"),
        (lambda: LabelLayer.from_annotations(AnnotatedImage(path="a.jpg")), "no annotations"),
    ]
    for call, words in cases:
        with pytest.raises(EditError, match=words):
            call()
