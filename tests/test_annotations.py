"""Annotations in each format: there and back, read by others' libraries, and refused in a sentence when damaged."""

import contextlib
import csv
import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

from dift_edit.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Category,
    Curve,
    Keypoint,
    ObjectMask,
    Outline,
    annotation_format,
    read_annotations,
    read_landmark_pairs,
    write_annotations,
    write_landmark_pairs,
)
from dift_edit.annotations.model import mirror_pairs
from dift_edit.annotations.outlines import joined_ring, rings, trace_mask
from dift_edit.annotations.pictures import label_files
from dift_edit.cli import main
from dift_edit.errors import AnnotationError
from dift_edit.settings import ANNOTATION_FORMATS
from trials import trials

SIZE = (64, 48)
SQUARE = np.array([(10.0, 10), (30, 10), (30, 30), (10, 30)])
RING = Outline(SQUARE, (np.array([(15.0, 15), (20, 15), (20, 20)]),))
BLOB = np.zeros((48, 64), bool)
BLOB[5:20, 8:30], BLOB[9:12, 12:20], BLOB[25:30, 8:12] = True, False, True
NAMES = ("left_eye", "right_eye", "nose")


def eyes(*, hidden=False, scored=False, shift=0.0):
    """Three keypoints, the second of which is missing."""
    return [
        Keypoint("left_eye", 12.25 + shift, 8, "hidden" if hidden else "visible", 0.75 if scored else None),
        Keypoint("right_eye", 0, 0, "missing"),
        Keypoint("nose", 20, 10.5, "visible", 0.5 if scored else None),
    ]


def pictures(folder, *names, size=SIZE):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in names:
        place = folder / "images" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", size).save(place)
    return folder / "images"


def there_and_back(annotations, folder, format_, name):
    images = pictures(folder, *(image.path for image in annotations.images))
    lost = write_annotations(annotations, folder / name, format=format_)
    return read_annotations(folder / name, format=format_, images=images), lost


def close(first, second, room=1e-5):
    return len(first) == len(second) and np.allclose(np.asarray(first), np.asarray(second), atol=room)


def same_keypoint(a, b, scores=True):
    place = (a.missing and b.missing) or close((a.x, a.y), (b.x, b.y))
    return a.name == b.name and a.visibility == b.visibility and place and (not scores or a.confidence == b.confidence)


def same(a, b, *, without=()):
    """Whether two objects are the same, up to rounding."""
    assert a.category == b.category
    assert "ids" in without or a.id == b.id
    assert a.confidence == b.confidence
    assert "attributes" in without or a.attributes == b.attributes
    if "box" not in without:
        assert (a.box is None) == (b.box is None) and (a.box is None or close(a.box, b.box))
    assert len(a.outlines) == len(b.outlines)
    assert all(close(x, y.points) and not y.holes for x, y in zip(rings(a.outlines), b.outlines, strict=True))
    assert len(a.curves) == len(b.curves)
    assert all(close(x.points, y.points) and x.closed == y.closed for x, y in zip(a.curves, b.curves, strict=True))
    assert (a.mask is None) == (b.mask is None)
    assert a.mask is None or (a.mask.in_image(SIZE) == b.mask.in_image(SIZE)).all()
    assert len(a.keypoints) == len(b.keypoints)
    assert all(same_keypoint(x, y) for x, y in zip(a.keypoints, b.keypoints, strict=True)), (a.keypoints, b.keypoints)


def one(*objects, categories=(), path="a.png"):
    return Annotations([AnnotatedImage(path=path, size=SIZE, objects=objects)], categories)


CAT = Category(name="cat", keypoints=NAMES, skeleton=[(0, 2)], id=3, parent="animal")
WHOLE = AnnotatedObject(
    category="cat", box=(9.5, 5, 31, 30.5), outlines=[Outline(SQUARE)], keypoints=eyes(hidden=True, scored=True),
    confidence=0.9, attributes={"tame": True}, id="7",
)  # fmt: skip
MASKED = AnnotatedObject(category="blob", mask=ObjectMask.of(BLOB), confidence=0.25, id="8")
LINES = AnnotatedObject(
    category="vein", curves=[Curve(SQUARE[:3]), Curve(SQUARE, closed=True)], outlines=[Outline(SQUARE + 3)], id="9"
)  # fmt: skip


def test_coco_holds_all_but_curves(tmp_path):
    given_ = one(WHOLE, MASKED, LINES, categories=[CAT])
    back, lost = there_and_back(given_, tmp_path, None, "c.json")
    assert lost == ["2 curves"]
    assert back.categories[0] == CAT and [c.name for c in back.categories] == ["cat", "blob", "vein"]
    for a, b in zip(given_.images[0].objects, back.images[0].objects, strict=True):
        same(replace(a, curves=()), b, without={"box"} if a.box is None else ())
    data = json.loads((tmp_path / "c.json").read_text())
    first = data["annotations"][0]
    assert first["bbox"] == [10, 5.5, 21.5, 25.5] and first["segmentation"][0][:4] == [10.5, 10.5, 30.5, 10.5]
    assert first["keypoints"] == [12.25, 8, 1, 0, 0, 0, 20, 10.5, 2] and first["num_keypoints"] == 2
    assert data["categories"][0]["skeleton"] == [[1, 3]] and data["annotations"][1]["area"] == BLOB.sum()
    both = one(replace(MASKED, outlines=[Outline(SQUARE), Outline(SQUARE + 3)]))
    back, lost = there_and_back(both, tmp_path, None, "both.json")
    assert (
        lost == ["2 outlines beside a mask"]
        and back.images[0].objects[0].mask
        and not back.images[0].objects[0].outlines
    )


def test_coco_is_read_by_pycocotools(tmp_path):
    api = pytest.importorskip("pycocotools.coco")
    holed = AnnotatedObject(category="ring", outlines=[RING])
    write_annotations(one(WHOLE, MASKED, holed, categories=[CAT]), tmp_path / "c.json")
    coco = api.COCO(str(tmp_path / "c.json"))
    made = coco.loadAnns(coco.getAnnIds())
    assert (coco.annToMask(made[1]) == BLOB).all()
    assert coco.annToMask(made[0]).sum() == 400 == made[0]["area"]
    assert abs(coco.annToMask(made[2]).sum() - made[2]["area"]) < 8 and made[2]["area"] == 400 - 12.5
    encoded = pytest.importorskip("pycocotools.mask").encode(np.asfortranarray(BLOB.astype(np.uint8)))
    assert made[1]["segmentation"]["counts"] == encoded["counts"].decode()


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_those_of_pycocotools(tmp_path, seed):
    mask = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(seed)
    pixels = random.random((48, 64)) < random.uniform(0.001, 0.999)
    pixels[20:] = seed % 2  # long runs, whose differences have several digits
    write_annotations(one(AnnotatedObject(category="a", mask=ObjectMask.of(pixels))), tmp_path / "c.json")
    counts = json.loads((tmp_path / "c.json").read_text())["annotations"][0]["segmentation"]["counts"]
    assert counts == mask.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"].decode()
    back = read_annotations(tmp_path / "c.json").images[0].objects[0]
    assert (back.mask.in_image(SIZE) == pixels).all()


def test_coco_reads_uncompressed_runs_and_keeps_ids_of_carried_objects(tmp_path):
    coco = {
        "images": [{"id": 5, "file_name": "a.png", "width": 3, "height": 2, "license": 1}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 2, "image_id": 5, "category_id": 1, "iscrowd": 1,
                         "segmentation": {"size": [2, 3], "counts": [1, 2, 3]}}],
    }  # fmt: skip
    (tmp_path / "u.json").write_text(json.dumps(coco))
    read = read_annotations(tmp_path / "u.json")
    assert read.images[0].objects[0].mask.in_image((3, 2)).tolist() == [[False, True, False], [True, False, False]]
    assert read.images[0].objects[0].attributes == {"iscrowd": True} and read.images[0].attributes["license"] == 1
    thing = replace(WHOLE, attributes={})
    twice = Annotations([AnnotatedImage(path=name, size=SIZE, objects=[thing]) for name in ("a.png", "b.png")], [CAT])
    back, _ = there_and_back(twice, tmp_path, None, "t.json")
    assert [image.objects[0].id for image in back.images] == ["7", "7"]


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("yolo-detect", {"box": (9.5, 5, 31, 30.5), "confidence": 0.5}),
        ("yolo-segment", {"outlines": [Outline(SQUARE[:3] + 0.3)]}),
        ("yolo-obb", {"outlines": [Outline(SQUARE + 0.3)]}),
        ("yolo-pose", {"box": (9, 5, 31, 30), "keypoints": eyes(hidden=True, scored=True)}),
        ("yolo", {"box": (9, 5, 31, 30), "keypoints": eyes(hidden=True, scored=True)}),
    ],
)  # fmt: skip
def test_yolo_there_and_back(tmp_path, task, parts):
    given_ = one(
        AnnotatedObject(category="cat", **parts), categories=[replace(CAT, skeleton=(), parent="")], path="deep/a.png"
    )
    back, found = there_and_back(given_, tmp_path, task, "out")
    assert found == [] and back.images[0].path == "deep/a.png"
    same(given_.images[0].objects[0], back.images[0].objects[0])
    assert back.categories[0].name == "cat" and back.categories[0].id == 0, "classes count from 0"
    if "pose" in task:
        assert back.categories[0] == replace(given_.categories[0], id=0) and back.categories[0].mirrored == (1, 0, 2)


@pytest.mark.parametrize(
    ("ids", "classes"), [((1, 2), [0, 1]), ((1, 0), [1, 0]), ((0, 7), [0, 1]), ((None, 1), [0, 1])]
)
def test_yolo_counts_classes_from_0_without_a_gap(tmp_path, ids, classes):
    things = [AnnotatedObject(category=name, box=(1, 1, 9, 9)) for name in ("cat", "dog")]
    kinds = [Category(name=name, id=id_) for name, id_ in zip(("cat", "dog"), ids, strict=True)]
    write_annotations(one(*things, categories=kinds), tmp_path, format="yolo-detect")
    lines = (tmp_path / "labels" / "a.txt").read_text().splitlines()
    assert [int(line.split()[0]) for line in lines] == classes
    assert yaml.safe_load((tmp_path / "data.yaml").read_text())["names"] == dict(
        zip(classes, ("cat", "dog"), strict=True)
    )


@pytest.mark.parametrize(
    ("format_", "folder", "suffix"),
    [("yolo", "labels", ".txt"), ("labelme", "", ".json"), ("napari", "", ".shapes.csv")],
)
def test_images_that_differ_in_their_ending_have_files_of_their_own(tmp_path, format_, folder, suffix):
    names = ["b/x.jpg", "b/x.png", "b/X.bmp", "y.png"]
    whole = Annotations([
        AnnotatedImage(path=name, size=SIZE, objects=[AnnotatedObject(category="c", box=(i, i, 9 + i, 9 + i))])
        for i, name in enumerate(names)
    ])  # fmt: skip
    back, lost = there_and_back(whole, tmp_path, format_, "out")
    written = {
        path.relative_to(tmp_path / "out" / folder).as_posix() for path in (tmp_path / "out").rglob(f"*{suffix}")
    }
    assert written == {f"{stem}{suffix}" for stem in [*names[:3], "y"]}
    places = {image.path: image.objects[0].box[0] for image in back.images}
    assert places == pytest.approx({name: i for i, name in enumerate(names)}, abs=1e-5)
    assert bool(lost) == (format_ == "yolo") and all("differ only in the ending" in text for text in lost)
    third = [str(file) for file in label_files(["x.jpg", "x.png", "x.png.jpg"], suffix)]
    assert third == [f"x.jpg{suffix}", f"x.png{suffix}", f"x.png.jpg{suffix}"]
    with pytest.raises(AnnotationError, match="would share"):
        write_annotations(Annotations([replace(whole.images[0], path=p) for p in ("a.png", "./a.png")]), tmp_path / "o",
                          format=format_)  # fmt: skip


def test_yolo_joins_parts_and_outlines_of_masks(tmp_path):
    back, lost = there_and_back(one(MASKED), tmp_path, "yolo-segment", "out")
    assert lost == ["1 masks", "1 ids"]
    (outline,) = back.images[0].objects[0].outlines
    assert (filled(outline.points) == BLOB).all() and back.images[0].objects[0].confidence == 0.25


def filled(ring, size=SIZE):
    """Pixels whose centre lies in a ring (even-odd rule)."""
    y, x = np.mgrid[: size[1], : size[0]]
    inside = np.zeros((size[1], size[0]), bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def test_yolo_is_read_by_supervision(tmp_path):
    supervision = pytest.importorskip("supervision")
    box = AnnotatedObject(category="cat", box=(9.5, 5.5, 31.5, 30.5))
    images = pictures(tmp_path, "a.png")
    write_annotations(one(box), tmp_path, format="yolo-detect")
    read = supervision.DetectionDataset.from_yolo(str(images), str(tmp_path / "labels"), str(tmp_path / "data.yaml"))
    ((_, _, detections),) = list(read)
    assert np.allclose(detections.xyxy[0], (10, 6, 32, 31)) and read.classes == ["cat"]
    supervised = supervision.DetectionDataset.from_coco
    write_annotations(one(box), tmp_path / "c.json")
    ((_, _, detections),) = list(supervised(str(images), str(tmp_path / "c.json")))
    assert np.allclose(detections.xyxy[0], (10, 6, 32, 31))


def test_yolo_predictions_have_a_last_column_of_confidence(tmp_path):
    pictures(tmp_path, "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5 0.875\n0 0.1 0.1 0.5 0.1 0.5 0.5 0.25\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    first, second = read_annotations(tmp_path).images[0].objects
    assert first.confidence == 0.875 and first.box == (15.5, 11.5, 47.5, 35.5)
    assert second.confidence == 0.25 and len(second.outlines[0].points) == 3


def test_yolo_with_several_kinds_of_animals_pads_keypoints(tmp_path):
    bird = AnnotatedObject(category="bird", box=(1, 1, 9, 9), keypoints=[Keypoint("beak", 3, 3)])
    box = AnnotatedObject(category="tree", box=(1, 1, 9, 9))
    cat = AnnotatedObject(category="cat", box=(9, 5, 31, 30), keypoints=eyes())
    back, _ = there_and_back(one(bird, cat, box), tmp_path, "yolo-pose", "out")
    for a, b in zip((bird, cat, box), back.images[0].objects, strict=True):
        same(a, b)


def test_labelme_holds_all(tmp_path):
    given_ = one(replace(WHOLE, keypoints=[k for k in WHOLE.keypoints if not k.missing]), MASKED, LINES, path="b/a.png")
    back, lost = there_and_back(given_, tmp_path, "labelme", "out")
    assert lost == [] and back.images[0].path == "b/a.png" and (tmp_path / "out" / "b" / "a.json").is_file()
    for a, b in zip(given_.images[0].objects, back.images[0].objects, strict=True):
        same(a, b)


def test_labelme_points_without_a_group(tmp_path):
    point = lambda label, x: {"label": label, "points": [[x, 4.5]], "shape_type": "point", "flags": {}}  # noqa: E731
    data = {"imagePath": "..\\photos\\a.png", "imageWidth": 64, "imageHeight": 48, "shapes": []}
    data["shapes"] = [point("1", 3.5), point("2", 5.5)]
    (tmp_path / "a.json").write_text(json.dumps(data))
    (thing,) = read_annotations(tmp_path / "a.json").images[0].objects
    assert thing.keypoints == (Keypoint("1", 3, 4), Keypoint("2", 5, 4)) and thing.category == "object"
    data["shapes"] = [point("cell", 3.5), point("cell", 5.5)]
    (tmp_path / "a.json").write_text(json.dumps(data))
    read = read_annotations(tmp_path)
    assert [thing.category for thing in read.images[0].objects] == ["cell", "cell"] and read.images[0].path == "a.png"


def test_labelme_reads_the_files(tmp_path):
    label_file = pytest.importorskip("labelme._label_file")
    images = pictures(tmp_path, "a.png")
    write_annotations(one(WHOLE, MASKED, LINES), images, format="labelme")
    read = label_file.read_label_file(filename=str(images / "a.json"))
    kinds = [shape["shape_type"] for shape in read.shapes]
    assert kinds == ["rectangle", "polygon", "point", "point", "mask", "polygon", "linestrip", "linestrip"]
    mask = read.shapes[4]
    (x1, y1), (x2, y2) = mask["points"]
    assert (mask["mask"] == BLOB[y1 : y2 + 1, x1 : x2 + 1]).all() and read.shapes[1]["points"][0] == [10.5, 10.5]
    assert read.shapes[0]["other_data"] == {"score": 0.9}


def test_cvat_holds_all(tmp_path):
    numbered = AnnotatedObject(category="fly", keypoints=[Keypoint(str(i), i, 2 * i) for i in (1, 2, 3)], id="a name")
    cat = replace(WHOLE, attributes={"tame": "true", "occluded": True, "z_order": 2})
    given_ = one(cat, MASKED, LINES, numbered, categories=[Category(name="cat", keypoints=NAMES)], path="b/a.png")
    back, lost = there_and_back(given_, tmp_path, None, "annotations.xml")
    assert lost == []
    for a, b in zip(given_.images[0].objects, back.images[0].objects, strict=True):
        same(a, b)
    root = ET.parse(tmp_path / "annotations.xml").getroot()
    assert [shape.tag for shape in root.find("image")] == [
        "box", "polygon", "skeleton", "mask", "polygon", "polyline", "polyline", "points",
    ]  # fmt: skip
    assert root.find("image/polygon").attrib["points"].startswith("10.5,10.5;30.5,10.5")
    types = {label.findtext("name"): label.findtext("type") for label in root.iter("label")}
    assert types == {"cat": "skeleton", "blob": "any", "vein": "any", "fly": "any", **dict.fromkeys(NAMES, "points")}


def test_cvat_is_read_by_datumaro(tmp_path):
    datumaro = pytest.importorskip("datumaro.plugins.data_formats.cvat.base")
    pictures(tmp_path, "a.png")
    plain = replace(WHOLE, keypoints=())
    write_annotations(one(plain, MASKED, LINES), tmp_path / "annotations.xml")
    ((item),) = list(datumaro.CvatBase(str(tmp_path / "annotations.xml")))
    box, polygon, mask, other, path, ring = item.annotations
    assert box.get_bbox() == [10, 5.5, 21.5, 25.5] and box.group == polygon.group == 7
    assert polygon.points[:4] == [10.5, 10.5, 30.5, 10.5] and other.group == path.group == ring.group == 9
    assert (np.asarray(mask.image) == BLOB).all() and box.attributes["confidence"] == "0.9"


def test_cvat_turned_boxes_and_ellipses_become_outlines(tmp_path):
    text = (
        '<annotations><image id="0" name="a.png" width="64" height="48">'
        '<box label="a" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"/>'
        '<ellipse label="a" cx="20" cy="20" rx="8" ry="4"/><tag label="b"/></image></annotations>'
    )
    (tmp_path / "t.xml").write_text(text)
    box, ellipse = read_annotations(tmp_path / "t.xml").images[0].objects
    assert np.allclose(sorted(box.outlines[0].points.tolist()), [(14.5, 4.5), (14.5, 24.5), (24.5, 4.5), (24.5, 24.5)])
    assert np.allclose(ellipse.extent(), (11.5, 15.5, 27.5, 23.5))


def test_tps_counts_from_the_lower_edge(tmp_path):
    pictures(tmp_path, "a.png")
    (tmp_path / "f.TPS").write_text(
        "LM=3\n10.5 47.5\n-1.0 -1.0\nNA NA\nCURVES=1\nPOINTS=2\n1 2\n3 4\nIMAGE=C:\\photos\\a.png\nID=s1\nSCALE=0.01\n"
        "LM=1\n0.5 0.5\nIMAGE=a.png\nID=s2\n"
    )
    first, second = read_annotations(tmp_path / "f.TPS").images[0].objects
    assert (first.keypoints[0].x, first.keypoints[0].y) == (10, 0) and [k.missing for k in first.keypoints[1:]] == [
        1,
        1,
    ]
    assert first.curves[0].points.tolist() == [[0.5, 45.5], [2.5, 43.5]]
    assert first.attributes == {"scale": 0.01} and (second.id, second.keypoints[0].y) == ("s2", 47)


def test_tps_there_and_back(tmp_path):
    points = [Keypoint("1", 3.25, 4, confidence=0.5), Keypoint("2", 0, 0, "missing"), Keypoint("3", 30, 40)]
    thing = replace(
        LINES, category="specimen", keypoints=points, confidence=0.75, attributes={"scale": 0.125, "comment": "wet"}
    )
    given_ = one(thing, replace(thing, id="10"))
    back, lost = there_and_back(given_, tmp_path, None, "f.tps")
    assert lost == []
    for a, b in zip(given_.images[0].objects, back.images[0].objects, strict=True):
        same(a, b)
    rows = list(csv.reader((tmp_path / "f.confidence.csv").read_text().splitlines()))
    assert rows[1] == ["a.png", "0", "9", "specimen", "", "0.75"] and rows[2][4:] == ["1", "0.5"]
    write_annotations(one(replace(thing, confidence=None, keypoints=points[1:])), tmp_path / "f.tps")
    assert not (tmp_path / "f.confidence.csv").exists()
    pictures(tmp_path, "a.png")
    lost = write_annotations(one(WHOLE), tmp_path / "g.tps")
    (named,) = read_annotations(tmp_path / "g.tps").images[0].objects
    assert [k.confidence for k in named.keypoints] == [0.75, None, 0.5] and named.confidence == 0.9
    assert lost == [
        "1 boxes", "1 hidden keypoints (written as visible)", "3 names of keypoints (their order is kept)",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "h5"])
@pytest.mark.parametrize("path", ["labeled-data/clip/img1.png", "a.png"])
@pytest.mark.parametrize("ids", [("",), ("left mouse", "right mouse")])
def test_deeplabcut_there_and_back(tmp_path, suffix, path, ids):
    if suffix == "h5":
        pytest.importorskip("tables")
    things = [
        AnnotatedObject(category="animal", keypoints=eyes(shift=i, scored=True), id=name, confidence=0.5)
        for i, name in enumerate(ids)
    ]
    images = [AnnotatedImage(path=path, size=SIZE, objects=things), AnnotatedImage(path=path[:-5] + "0.png", size=SIZE)]
    name = f"CollectedData_me.{suffix}"
    back, lost = there_and_back(Annotations(images), tmp_path, None, name)
    assert lost == [] and [image.path for image in back.images] == [image.path for image in images]
    assert len(back.images[0].objects) == len(ids) and not back.images[1].objects
    for a, b in zip(things, back.images[0].objects, strict=True):
        same(a, b)
    pd = pytest.importorskip("pandas")
    levels = list(range(3 if ids == ("",) else 4))
    index = [0, 1, 2] if path.count("/") == 2 else [0]
    frame = (
        pd.read_hdf(tmp_path / name) if suffix == "h5" else pd.read_csv(tmp_path / name, header=levels, index_col=index)
    )
    heads = ["scorer", "individuals", "bodyparts", "coords"] if len(levels) == 4 else ["scorer", "bodyparts", "coords"]
    assert list(frame.columns.names) == heads and frame.index.nlevels == len(index)
    part = frame["me"] if ids == ("",) else frame["me"][ids[0]]
    assert part["left_eye"]["x"].iloc[0] == 12.25 and np.isnan(part["right_eye"].iloc[0]).all()


def test_deeplabcut_predictions_have_a_likelihood(tmp_path):
    (tmp_path / "p.csv").write_text("scorer,n,n,n\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\na.png,3,4,0.25\n")
    (thing,) = read_annotations(tmp_path / "p.csv").images[0].objects
    assert thing.keypoints == (Keypoint("nose", 3, 4, confidence=0.25),)


def test_napari_there_and_back(tmp_path):
    thing = replace(WHOLE, attributes={}, keypoints=[k for k in WHOLE.keypoints if not k.missing])
    given_ = one(thing, LINES, replace(LINES, id=""), replace(LINES, id=""))
    back, lost = there_and_back(given_, tmp_path, "napari", "out")
    assert lost == [] and {p.name for p in (tmp_path / "out").iterdir()} == {"a.points.csv", "a.shapes.csv"}
    things = {thing.id + str(i): thing for i, thing in enumerate(back.images[0].objects)}
    for a, b in zip(given_.images[0].objects, sorted(things.values(), key=lambda t: t.id or "~"), strict=True):
        same(a, b)


def test_napari_itself_reads_and_writes_the_files(tmp_path):
    reader = pytest.importorskip("napari_builtins.io._read")
    writer = pytest.importorskip("napari_builtins.io._write")
    write_annotations(one(AnnotatedObject(category="a", outlines=[Outline(SQUARE)])), tmp_path / "s.csv")
    data, meta, kind = reader.csv_to_layer_data(str(tmp_path / "s.csv"))
    assert kind == "shapes" and meta["shape_type"] == ["polygon"] and np.array_equal(data[0], SQUARE[:, ::-1])
    write_annotations(one(AnnotatedObject(category="a", keypoints=eyes(scored=True))), tmp_path / "p.csv")
    data, meta, kind = reader.csv_to_layer_data(str(tmp_path / "p.csv"))
    assert kind == "points" and data.tolist() == [[8, 12.25], [10.5, 20]]
    assert list(meta["properties"]["confidence"]) == [0.75, 0.5] and meta["properties"]["name"][0] == "left_eye"
    shapes = [SQUARE[:, ::-1], SQUARE[:, ::-1], SQUARE[:2, ::-1]]
    writer.napari_write_shapes(str(tmp_path / "n.csv"), shapes, {"shape_type": ["rectangle", "ellipse", "line"]})
    box, ellipse, line = read_annotations(tmp_path / "n.csv").images[0].objects
    assert box.box == (10, 10, 30, 30) and np.allclose(ellipse.extent(), (10, 10, 30, 30))
    assert np.array_equal(line.curves[0].points, SQUARE[:2])
    writer.napari_write_points(str(tmp_path / "m.csv"), SQUARE[:, ::-1], {})
    (thing,) = read_annotations(tmp_path / "m.csv").images[0].objects
    assert [(k.name, k.x, k.y) for k in thing.keypoints][1] == ("2", 30, 10)


numbers = st.floats(0, 60, allow_nan=False).map(lambda v: round(v, 4))
points_of = lambda least: st.lists(st.tuples(numbers, numbers), min_size=least, max_size=6, unique=True)  # noqa: E731
words = st.text("abz09 ü.-_é", min_size=1, max_size=8).map(str.strip).filter(lambda w: w and not w.startswith("#"))
score = st.none() | st.floats(0, 1).map(lambda v: round(v, 4))


@st.composite
def annotated(draw, *, names=words, category=words, kinds=("box", "outlines", "curves", "mask", "keypoints")):
    """Annotations of one image, of such kinds, each object with an id of its own."""
    keypoints = draw(st.lists(names, min_size=2, max_size=4, unique=True)) if "keypoints" in kinds else []
    label, objects = draw(category), []
    for number in range(draw(st.integers(1, 3))):
        parts = {}
        if "box" in kinds and draw(st.booleans()):
            (a, b), (c, d) = draw(points_of(2).map(lambda p: p[:2]))
            parts["box"] = (min(a, c), min(b, d), max(a, c), max(b, d))
        if "outlines" in kinds:
            parts["outlines"] = [Outline(np.array(p)) for p in draw(st.lists(points_of(3), max_size=2))]
        if "curves" in kinds:
            drawn = draw(st.lists(st.tuples(points_of(3), st.booleans()), max_size=2))
            parts["curves"] = [Curve(np.array(p), closed) for p, closed in drawn]
        if "mask" in kinds and draw(st.booleans()):
            bits = draw(st.lists(st.booleans(), min_size=12, max_size=12))
            if any(bits):
                parts["mask"] = ObjectMask(draw(st.integers(0, 30)), draw(st.integers(0, 30)), np.reshape(bits, (3, 4)))
        if "keypoints" in kinds:
            seen = [draw(st.sampled_from(["visible", "hidden", "missing"])) for _ in keypoints]
            parts["keypoints"] = [Keypoint(n, *draw(st.tuples(numbers, numbers)), s, draw(score))
                                  for n, s in zip(keypoints, seen, strict=True)]  # fmt: skip
        if any(parts.values()):
            objects.append(AnnotatedObject(category=label, confidence=draw(score), id=str(number + 1), **parts))
    assume(objects)
    return one(*objects, categories=[Category(name=label, keypoints=keypoints)])


def shown(keypoint):
    """As a format keeps it that knows no hidden points."""
    return replace(keypoint, confidence=None) if keypoint.missing else replace(keypoint, visibility="visible")


def without_missing(thing):
    """As a format keeps it that leaves missing points out, so that their order is not known."""
    shown_ = [keypoint for keypoint in thing.keypoints if not keypoint.missing]
    return replace(thing, keypoints=sorted(shown_, key=lambda keypoint: keypoint.name))


ROUND_TRIPS = {
    "coco": ("a.json", {"kinds": ("box", "outlines", "keypoints")}),
    "coco-masks": ("a.json", {"kinds": ("box", "mask", "keypoints")}),
    "labelme": ("out", {"kinds": ("box", "outlines", "curves", "mask")}),
    "cvat": ("a.xml", {}),
    "tps": ("a.tps", {"kinds": ("curves", "outlines"), "category": st.just("specimen")}),
    "deeplabcut": ("CollectedData_a.csv", {"kinds": ("keypoints",), "category": st.just("animal")}),
    "napari": ("out", {"kinds": ("box", "outlines", "curves")}),
    "napari-points": ("out", {"kinds": ("keypoints",)}),
}


@pytest.mark.parametrize("format_", ROUND_TRIPS)
@trials(25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_nothing_is_lost_that_the_format_holds(tmp_path_factory, format_, data):
    name, kinds = ROUND_TRIPS[format_]
    annotations = data.draw(annotated(**kinds))
    folder = tmp_path_factory.mktemp(format_)
    if format_ == "napari-points":
        assume(any(thing.extent() for thing in annotations.images[0].objects))
    if format_ == "deeplabcut":  # has no hidden points, and animals without any point do not exist in it
        (image,) = annotations.images
        objects = [replace(t, keypoints=[shown(k) for k in t.keypoints]) for t in image.objects if t.extent()]
        annotations = Annotations([replace(image, objects=objects)], annotations.categories)
        assume(annotations.images[0].objects)
    back, lost = there_and_back(annotations, folder, format_.partition("-")[0], name)
    assert lost == []
    boxed = {"box"} if format_.startswith("coco") else set()
    objects, found = annotations.images[0].objects, back.images[0].objects
    if format_ == "napari-points":  # has no missing points
        objects, found = [without_missing(t) for t in objects if t.extent()], [without_missing(t) for t in found]
    for a, b in zip(objects, found, strict=True):
        same(a, b, without=boxed if a.box is None else ())


@trials(60)
@given(bits=st.lists(st.booleans(), min_size=48, max_size=48))
def test_traced_masks_fill_to_the_same_mask(bits):
    mask = np.reshape(bits, (6, 8))
    assume(mask.any())
    outlines = trace_mask(ObjectMask(3, 2, mask))
    whole = ObjectMask(3, 2, mask).in_image((12, 10))
    assert (sum(filled(ring, (12, 10)).astype(int) for ring in rings(outlines)) == whole).all()
    assert (filled(joined_ring(outlines), (12, 10)) == whole).all()


def test_left_and_right_are_found_in_names():
    names = [
        "left_eye",
        "right_eye",
        "nose",
        "eyeL",
        "eyeR",
        "LEye",
        "REye",
        "l_leg",
        "r_leg",
        "tail.L",
        "tail.R",
        "lip",
        "rip",
    ]
    pairs = {names[i]: names[j] for i, j in enumerate(mirror_pairs(names)) if i < j}
    assert pairs == {"left_eye": "right_eye", "eyeL": "eyeR", "LEye": "REye", "l_leg": "r_leg", "tail.L": "tail.R"}


@pytest.mark.parametrize("format_", ["coco", "cvat", "tps", "deeplabcut", "labelme", "yolo", "napari"])
def test_only_the_images_given_are_read(tmp_path, format_):
    images = pictures(tmp_path, "a.png", "b.png", "c.png")
    name = {"coco": "a.json", "cvat": "a.xml", "tps": "a.tps", "deeplabcut": "a.csv"}.get(format_, "out")
    thing = AnnotatedObject(category="fly", keypoints=eyes())
    both = Annotations([AnnotatedImage(path=path, size=SIZE, objects=[thing]) for path in ("a.png", "b.png")])
    write_annotations(both, tmp_path / name, format=format_)
    assert [image.path for image in read_annotations(tmp_path / name, images=[images / "b.png"]).images] == ["b.png"]
    with pytest.raises(AnnotationError, match=r"no annotations of c\.png"):
        read_annotations(tmp_path / name, images=images / "c.png")


def test_formats_are_told_from_names_and_content(tmp_path):
    for name, format_ in {"a.json": "coco", "a.xml": "cvat", "a.TPS": "tps", "CollectedData_x.csv": "deeplabcut",
                          "x.h5": "deeplabcut", "a.csv": "napari", "data.yaml": "yolo"}.items():  # fmt: skip
        assert annotation_format(tmp_path / name) == format_
    for format_ in ANNOTATION_FORMATS:
        folder = tmp_path / format_
        name = {"coco": "a.json", "cvat": "a.xml", "tps": "a.tps", "deeplabcut": "a.csv"}.get(format_, "out")
        back, _ = there_and_back(one(WHOLE), folder, format_, name)
        assert annotation_format(folder / name) == format_.partition("-")[0] and len(back.images[0].objects) == 1
    with pytest.raises(AnnotationError, match="say which it is"):
        annotation_format(tmp_path / "a.txt")


def coco(**changes):
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "cat", "keypoints": ["nose"]}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], **changes}],
    }
    return json.dumps(data)


def xml(shape, size='width="64" height="48"', before=""):
    labels = "<meta><task><labels><label><name>cat</name></label></labels></task></meta>"
    return f'{before}<annotations>{labels}<image id="0" name="a.png" {size}>{shape}</image></annotations>'


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
LABELME = '{{"imagePath": "a.png", "imageWidth": 64, "imageHeight": 48, "shapes": [{}]}}'
SHAPE = '{{"label": "a", "shape_type": "{}", "points": {}}}'
DLC = "scorer,me,me\nbodyparts,nose,nose\ncoords,x,y\n"
YAML = "train: images\nnames: [cat]\n"

MALFORMED = {
    "wrong size": (
        "a.json",
        coco().replace('"width": 64', '"width": 63'),
        "64 × 48 pixels, but was annotated at 63 × 48",
    ),
    "turned": ("a.json", coco().replace('"width": 64, "height": 48', '"width": 48, "height": 64'), "EXIF"),
    "no picture": ("a.json", coco().replace("a.png", "b.png"), "b.png is not among the images"),
    "unknown category": ("a.json", coco(category_id=9), "category 9"),
    "unknown image": ("a.json", coco(image_id=9), "image 9"),
    "nan": ("a.json", coco(bbox=[1, 1, float("nan"), 5]), "finite"),
    "infinite": ("a.json", coco(segmentation=[[1, 1, 2, 2, float("inf"), 3]]), "finite"),
    "negative width": ("a.json", coco(bbox=[1, 1, -5, 5]), "width -5"),
    "no keypoints": ("a.json", coco(keypoints=[]).replace('"bbox": [1, 1, 5, 5],', ""), "no box, outline"),
    "wrong keypoints": ("a.json", coco(keypoints=[1, 2, 2, 3, 4, 2]), "2 keypoints, but its category"),
    "huge": ("a.json", coco(bbox=[1, 1, 1e300, 5]), "beyond"),
    "huge mask": ("a.json", coco(segmentation={"size": [48, 64], "counts": [10**30]}), "damaged"),
    "other mask": ("a.json", coco(segmentation={"size": [10**9, 10**9], "counts": [0, 10**18]}), "mask of 1000000000"),
    "confidence": ("a.json", coco(score=7), "from 0 to 1"),
    "broken json": ("a.json", coco()[:60], "damaged"),
    "deep json": ("a.json", '{"images": ' + "[" * 100_000 + "]" * 100_000 + "}", "damaged"),
    "no coco": ("a.json", "{}", "not a COCO"),
    "broken xml": ("a.xml", xml("<box")[:60], "no XML"),
    "xml encoding": ("a.xml", "<?xml version='1.0' encoding='tf-8'?><annotations/>", "unknown encoding"),
    "bomb": ("a.xml", xml("<tag label='cat'>&b;</tag>", before=BOMB), "document type"),
    "deep xml": ("a.xml", "<a>" * 50_000, "no XML"),
    "other xml": ("a.xml", "<svg/>", "'svg'"),
    "xml label": ("a.xml", xml('<box label="dog" xtl="1" ytl="1" xbr="2" ybr="2"/>'), "'dog'"),
    "xml width": ("a.xml", xml('<box label="cat" xtl="9" ytl="1" xbr="2" ybr="2"/>'), "width -7"),
    "xml nan": ("a.xml", xml('<points label="cat" points="nan,1"/>'), "finite"),
    "xml size": ("a.xml", xml("", 'width="1e9" height="48"'), "damaged"),
    "xml mask": ("a.xml", xml('<mask label="cat" rle="5" left="0" top="0" width="999999" height="999999"/>'), "add up"),
    "xml cuboid": ("a.xml", xml('<cuboid label="cat"/>'), "cuboid"),
    "labelme kind": ("l.json", LABELME.format(SHAPE.format("blob", "[[1, 2], [3, 4]]")), "'blob'"),
    "labelme points": ("l.json", LABELME.format(SHAPE.format("polygon", "[[1, 2]]")), "needs 3"),
    "labelme empty": ("l.json", LABELME.format(SHAPE.format("point", "[]")), "needs 1"),
    "labelme mask": (
        "l.json",
        LABELME.format(SHAPE.format("mask", '[[1, 2], [3, 4]], "mask": "!"')),
        "mask 'a' cannot be read",
    ),
    "tps count": ("a.tps", "LM=99999999999999999999\n", "number of points"),
    "tps short": ("a.tps", "LM=3\n1 2\nIMAGE=a.png\n", "ends before"),
    "tps words": ("a.tps", "LM=1\none two\nIMAGE=a.png\n", "must be a number"),
    "tps infinite": ("a.tps", "LM=1\n1e999 2\nIMAGE=a.png\n", "finite"),
    "tps no image": ("a.tps", "LM=1\n1 2\nIMAGE=b.png\n", "b.png"),
    "tps unnamed": ("a.tps", "LM=1\n1 2\n", "without IMAGE"),
    "tps empty": ("a.tps", "", "no specimen"),
    "tps none": ("a.tps", "LM=0\nIMAGE=a.png\n", "no box, outline"),
    "tps 3d": ("a.tps", "LM3=1\n1 2 3\n", "two dimensions"),
    "dlc head": ("d.csv", "scorer,me\n1,2\n", "bodyparts, coords"),
    "dlc width": ("d.csv", DLC + "a.png,1\n", "line 4 has 2 columns"),
    "dlc word": ("d.csv", DLC + "a.png,1,two\n", "'two'"),
    "dlc infinite": ("d.csv", DLC + "a.png,1,inf\n", "finite"),
    "dlc h5": ("d.h5", "no HDF5", "no HDF5"),
    "napari axes": ("n.csv", "index,axis-0,axis-1,axis-2\n0,1,2,3\n", "two axes"),
    "napari nan": ("n.csv", "index,axis-0,axis-1\n0,nan,2\n", "finite"),
    "napari word": ("n.csv", "index,axis-0,axis-1\n0,one,2\n", "line 2"),
    "napari columns": ("n.csv", "a,b\n1,2\n", "columns"),
    "napari kind": ("n.csv", "index,shape-type,vertex-index,axis-0,axis-1\n0,blob,0,1,2\n", "'blob'"),
    "napari long": ("n.csv", 'index,axis-0,axis-1\n0,1,"' + "x" * 200_000 + '"\n', "field larger"),
    "yaml": ("data.yaml", "names: [", "no YAML"),
    "yaml names": ("data.yaml", "train: images\n", "names of the classes"),
    "yaml bomb": ("data.yaml", "a: &a [x]\nb: [*a, *a]\nnames: [cat]\n", "aliases"),
    "yaml deep": ("data.yaml", "names: " + "[" * 50_000, "too deep"),
    "yaml shape": ("data.yaml", YAML + "kpt_shape: [99999999999, 3]\n", "kpt_shape"),
    "no labels": ("data.yaml", YAML, "no label files"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_a_sentence(tmp_path, case):
    name, text, words_ = MALFORMED[case]
    images = pictures(tmp_path, "a.png")
    (tmp_path / name).write_text(text)
    with pytest.raises(AnnotationError, match=words_) as caught:
        read_annotations(tmp_path / name, images=images)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    refused_by_command(tmp_path, images, tmp_path / name)


def refused_by_command(folder, images, labels):
    """``dift-edit annotate`` says one sentence, and ends before it writes anything."""
    target = folder / "target.png"
    PIL.Image.new("RGB", (64, 48)).save(target)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = main(["annotate", str(images / "a.png"), str(labels), str(target), "-o", str(folder / "out")])
    assert status in (1, 2) and not (folder / "out").exists()
    (line,) = said.getvalue().strip().splitlines()
    assert line.endswith(".") and "Traceback" not in line


@pytest.mark.parametrize(
    ("row", "words_"),
    [
        ("7 .5 .5 .5 .5", "class 7"),
        ("nan .5 .5 .5 .5", "must be numbers"),
        ("0 .5 nan .5 .5", "finite"),
        ("0 .5 .5 -.5 .5", "width -32"),
        ("0 .5 .5", "2 values"),
        ("zero", "must be numbers"),
        ("0 1e300 .5 .5 .5", "beyond"),
        ("0 1e308 .5 .5 .5", "finite"),
        ("0 1e308 .5 .5 .5 .3 .4", "finite"),
    ],
)
def test_malformed_yolo_rows_are_a_sentence(tmp_path, row, words_):
    pictures(tmp_path, "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(row)
    (tmp_path / "data.yaml").write_text(YAML)
    with pytest.raises(AnnotationError, match=words_) as caught:
        read_annotations(tmp_path / "data.yaml")
    assert "\n" not in str(caught.value)
    refused_by_command(tmp_path, tmp_path, tmp_path / "data.yaml")


def test_malformed_confidence_beside_is_a_sentence(tmp_path):
    pictures(tmp_path, "a.png")
    (tmp_path / "a.tps").write_text("LM=1\n1 2\nIMAGE=a.png\n")
    for text in ("a,b\n", "image,object,id,category,keypoint,confidence\na.png,x,,,,0.5\n"):
        (tmp_path / "a.confidence.csv").write_text(text)
        with pytest.raises(AnnotationError, match=r"a\.confidence\.csv"):
            read_annotations(tmp_path / "a.tps")


def test_an_hdf5_file_with_pickles_runs_nothing(tmp_path):
    """pandas' own reader would unpickle a table of mixed values."""
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("tables")
    columns = pd.MultiIndex.from_tuples([("me", "nose", "x"), ("me", "nose", "y")])
    frame = pd.DataFrame([[Path("x"), {}]], ["a.png"], columns, dtype=object)
    with pytest.warns(pd.errors.PerformanceWarning):
        frame.to_hdf(tmp_path / "CollectedData_me.h5", key="df_with_missing", mode="w")
    with pytest.raises(AnnotationError, match=r"does not fit|damaged|no table"):
        read_annotations(tmp_path / "CollectedData_me.h5")


@pytest.mark.parametrize("format_", ["labelme", "yolo", "napari"])
@pytest.mark.parametrize("name", ["../a.png", "b/../../a.png", "..\\a.png", "C:\\a.png", ""])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, format_, name):
    with pytest.raises(AnnotationError, match="leads out of the folder"):
        write_annotations(one(WHOLE, path=name), tmp_path / "out", format=format_)
    assert not (tmp_path / "a.json").exists()


def test_objects_that_cannot_be_are_refused():
    with pytest.raises(AnnotationError, match="more than once"):
        AnnotatedObject(category="a", keypoints=[Keypoint("n", 1, 2), Keypoint("n", 1, 2)])
    with pytest.raises(AnnotationError, match="must be one of"):
        Keypoint("n", 1, 2, "seen")
    with pytest.raises(AnnotationError, match="annotated twice"):
        Annotations([AnnotatedImage(path="a.png"), AnnotatedImage(path="a.png")])
    with pytest.raises(AnnotationError, match="no keypoint 'ear'"):
        one(AnnotatedObject(category="cat", keypoints=[Keypoint("ear", 1, 2)]), categories=[CAT])
    with pytest.raises(AnnotationError, match="control character"):
        AnnotatedObject(category="a\0", box=(0, 0, 1, 1))


@pytest.mark.parametrize("format_", ["bigwarp", "elastix"])
def test_landmark_pairs_there_and_back(tmp_path, format_):
    name = "landmarks.csv" if format_ == "bigwarp" else "pairs.txt"
    files = write_landmark_pairs(tmp_path / name, SQUARE + 0.125, SQUARE * 2, format=format_)
    moving, fixed = read_landmark_pairs(files[0])
    assert np.array_equal(moving, SQUARE + 0.125) and np.array_equal(fixed, SQUARE * 2)
    first = files[0].read_text().splitlines()
    if format_ == "bigwarp":
        assert first[0] == '"Pt-0","true","10.125","10.125","20.0","20.0"'
    else:
        assert first[:3] == ["point", "4", "10.125 10.125"] and files[1].name == "pairs.fixed.txt"
    with pytest.raises(AnnotationError, match="give pairs"):
        write_landmark_pairs(tmp_path / name, SQUARE, SQUARE[:2], format=format_)
    files[0].write_text("nonsense")
    with pytest.raises(AnnotationError, match=r"point set|landmarks"):
        read_landmark_pairs(files[0])
