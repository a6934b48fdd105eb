import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dift_edit.edits import (
    Keypoints,
    LabelLayer,
    Polygon,
    labels_from_coco,
    labels_to_coco,
    read_napari_csv,
    write_napari_csv,
)
from dift_edit.edits.labels import clip_polygon
from dift_edit.errors import EditError
from dift_edit.imaging.files import as_image
from transforms import Dense, similarity

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
@settings(max_examples=40, deadline=None)
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


def test_coco_there_and_back(tmp_path):
    only = LabelLayer(polygons=layer().polygons, keypoints=layer().keypoints)
    coco = labels_to_coco({"a.jpg": (only, (60, 50)), "b.jpg": (only.carry(similarity(x=5), (60, 50)), (60, 50))})
    first = coco["annotations"][0]
    assert first["segmentation"] == [[10.5, 10.5, 30.5, 10.5, 30.5, 30.5, 10.5, 30.5]]
    assert first["bbox"] == [10.5, 10.5, 20, 20] and first["area"] == 400 and first["num_keypoints"] == 2
    assert [a["id"] for a in coco["annotations"]] == [1, 2] and len(coco["categories"]) == 1
    (tmp_path / "c.json").write_text(json.dumps(coco))
    back = labels_from_coco(tmp_path / "c.json", "b.jpg")
    assert np.allclose(back.polygons[0].points, SQUARE + (5, 0)) and back.polygons[0].label == "cat"
    assert np.allclose(back.keypoints[0].points[:2], [(17, 12), (33, 20)])
    assert back.keypoints[0].names == ("nose", "ear", "tail") and list(back.keypoints[0].visible) == [2, 1, 0]
    boxed = {
        "images": [{"id": 7}],
        "categories": [],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 4, 2]}],
    }
    assert np.allclose(labels_from_coco(boxed).polygons[0].points, [(-0.5, -0.5), (3.5, -0.5), (3.5, 1.5), (-0.5, 1.5)])


def test_napari_shapes_there_and_back(tmp_path):
    write_napari_csv(layer(), tmp_path / "s.csv")
    rows = (tmp_path / "s.csv").read_text().splitlines()
    assert rows[0] == "index,shape-type,vertex-index,axis-0,axis-1" and rows[2] == "0,polygon,1,10.0,30.0"
    assert np.array_equal(read_napari_csv(tmp_path / "s.csv", "cat").polygons[0].points, SQUARE)
    (tmp_path / "p.csv").write_text("index,axis-0,axis-1\n0,3,4\n1,5,6\n")
    assert np.array_equal(read_napari_csv(tmp_path / "p.csv").keypoints[0].points, [(4, 3), (6, 5)])
    (tmp_path / "e.csv").write_text(
        rows[0] + "\n" + "".join(f"0,ellipse,{i},{y},{x}\n" for i, (x, y) in enumerate(SQUARE))
    )
    ellipse = read_napari_csv(tmp_path / "e.csv").polygons[0].points
    assert abs(area(ellipse) - np.pi * 100) < 2


def test_napari_itself_reads_and_writes_these_files(tmp_path):
    reader = pytest.importorskip("napari_builtins.io._read")
    write_napari_csv(layer(), tmp_path / "s.csv")
    data, _meta, kind = reader.csv_to_layer_data(str(tmp_path / "s.csv"))
    assert kind == "shapes" and np.array_equal(data[0], SQUARE[:, ::-1])
    writer = pytest.importorskip("napari_builtins.io._write")
    writer.napari_write_shapes(str(tmp_path / "n.csv"), [SQUARE[:, ::-1]], {"shape_type": ["polygon"]})
    assert np.array_equal(read_napari_csv(tmp_path / "n.csv").polygons[0].points, SQUARE)


def test_bad_annotations_are_named(tmp_path):
    (tmp_path / "t.json").write_text("{}")
    (tmp_path / "n.json").write_text("nope")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "y.csv").write_text("index,axis-0,axis-1\n0,zero,4\n")
    (tmp_path / "l.csv").write_text("index,shape-type,vertex-index,axis-0,axis-1\n0,path,0,1,2\n0,path,1,5,2\n")
    rle = {"images": [{"id": 1}], "categories": [], "annotations": [
        {"id": 9, "image_id": 1, "category_id": 1, "segmentation": {"counts": "x", "size": [1, 1]}}]}  # fmt: skip
    cases = [
        (LabelLayer, "no annotations"),
        (lambda: LabelLayer(label_map=np.zeros((3, 3), int)), "no annotations"),
        (lambda: LabelLayer(label_map=np.ones((3, 3))), "whole numbers"),
        (lambda: Polygon(SQUARE[:2]), "3 or more"),
        (lambda: Polygon([(0, 0), (1, np.nan), (2, 2)]), "finite"),
        (lambda: Keypoints(SQUARE, ("a",)), "one for each"),
        (lambda: labels_from_coco(tmp_path / "t.json"), "not a COCO"),
        (lambda: labels_from_coco(tmp_path / "n.json"), "JSON"),
        (lambda: labels_from_coco(tmp_path / "no.json"), "does not exist"),
        (lambda: labels_from_coco(rle), "run-length"),
        (lambda: labels_from_coco({"images": [], "annotations": [], "categories": []}, "a.jpg"), "a.jpg"),
        (lambda: read_napari_csv(tmp_path / "x.csv"), "columns"),
        (lambda: read_napari_csv(tmp_path / "y.csv"), "line 2"),
        (lambda: read_napari_csv(tmp_path / "l.csv"), "path has no inside"),
    ]
    for call, words in cases:
        with pytest.raises(EditError, match=words):
            call()
