"""The CSV files that napari saves for Points and Shapes layers.

Axis 0 is y and axis 1 is x, in indices of pixels, as here. Further columns are read by napari as features of points:
``name``, ``category``, ``object``, ``visibility``, ``confidence`` and ``object_confidence`` are written and read.
napari skips them in shapes.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.annotations.model import AnnotatedImage, AnnotatedObject, Annotations, Curve, Keypoint, Outline
from dift_edit.annotations.outlines import box_corners, outlines_of, rings
from dift_edit.annotations.pictures import Pictures, label_files
from dift_edit.atomic_files import read_regular, write_text
from dift_edit.errors import AnnotationError, OutputError
from dift_edit.geometry.coords import Points

__all__ = ["HOLDS", "read", "write"]

HOLDS = frozenset({"boxes", "outlines", "curves", "keypoints", "hidden", "confidence", "names", "ids"})
_CATEGORY = "object"
_ELLIPSE = 64
_POINTS, _SHAPES = ".points.csv", ".shapes.csv"
_MORE = ["category", "object", "confidence"]


def read(path: Path, pictures: Pictures) -> Annotations:
    """See `dift_edit.annotations.read_annotations`; a file, or a folder of NAME.points.csv and NAME.shapes.csv."""
    files = sorted(path.rglob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise AnnotationError(f"{path} holds no .csv files: give the folder of napari's files.")
    home = path if path.is_dir() else path.parent
    of_image: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for file in files:
        if file.name == "confidence.csv":
            continue
        stem = file.relative_to(home).as_posix()
        for suffix in (_POINTS, _SHAPES, ".csv"):
            stem = stem.removesuffix(suffix)
        things = of_image.setdefault(stem, {})
        for part in _parts(file):
            _add(things, part)
    images = []
    for stem, things in of_image.items():
        found = pictures.find_stem(stem)
        only = pictures.names() if len(of_image) == 1 and not found else []
        name = f"{stem}{found.suffix}" if found else only[0] if len(only) == 1 else stem
        if not pictures.wants(name):
            continue
        objects = [
            AnnotatedObject(category=category, id="" if id_.startswith("#") else id_, **parts)
            for (category, id_), parts in things.items()
        ]
        images.append(AnnotatedImage(path=name, size=pictures.size(name), objects=objects))
    return Annotations(images)


def _parts(file: Path) -> Iterator[dict[str, Any]]:
    """Shapes and points of a file: what, its rows (x, y), and its further columns."""
    reader = csv.DictReader(io.StringIO(read_regular(file, links=True).decode("utf-8-sig"), newline=""))
    columns = reader.fieldnames or []
    if not {"index", "axis-0", "axis-1"} <= set(columns):
        raise AnnotationError(f"{file} lacks the columns index, axis-0, axis-1: give a CSV file that napari wrote.")
    if "axis-2" in columns:
        raise AnnotationError(f"{file} has more than two axes: save the layer of one picture.")
    shapes: dict[int, dict[str, Any]] = {}
    for number, row in enumerate(reader):
        try:
            key = int(float(row["index"])) if "shape-type" in columns else number
            place = (float(row["axis-1"]), float(row["axis-0"]))
        except (TypeError, ValueError, OverflowError) as error:
            what = f"{file}, line {reader.line_num}"
            raise AnnotationError(f"{what}: index, axis-0 and axis-1 must be numbers.") from error
        shape = shapes.setdefault(key, {**row, "rows": [], "index": key, "file": f"{file}, line {reader.line_num}"})
        shape["rows"].append(place)
    yield from shapes.values()


def _add(things: dict[tuple[str, str], dict[str, Any]], part: dict[str, Any]) -> None:
    kind = part.get("shape-type") or "point"
    points = np.array(part["rows"], float)
    category = part.get("category") or _CATEGORY
    # Without names of objects, all points are one, and each shape is one.
    key = (category, part.get("object") or ("" if kind == "point" else f"#{part['index']}"))
    thing = things.setdefault(key, {"keypoints": [], "outlines": [], "curves": []})
    if kind == "point":
        visibility: Any = part.get("visibility") or "visible"
        name = part.get("name") or str(len(thing["keypoints"]) + 1)
        score = _score(part.get("confidence"), part["file"])
        x, y = points[0].tolist()
        whole = _score(part.get("object_confidence"), part["file"])
        if whole is not None:
            thing["confidence"] = whole
        thing["keypoints"].append(Keypoint(name, x, y, visibility, score))
        return
    score = _score(part.get("confidence"), part["file"])
    if score is not None:
        thing["confidence"] = score
    if kind == "ellipse":
        thing["outlines"].append(Outline(_ellipse(points, part["file"])))
    elif kind == "rectangle" and _upright(points):
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        if "box" in thing:
            raise AnnotationError(
                f"{part['file']}: the object {key[1]!r} has two boxes: give each an object of its own."
            )
        thing["box"] = (left, top, right, bottom)
    elif kind in ("polygon", "rectangle"):
        thing["outlines"].append(Outline(points))
    elif kind in ("path", "line"):
        closed = len(points) > 3 and bool((points[0] == points[-1]).all())
        thing["curves"].append(Curve(points[:-1] if closed else points, closed))
    else:
        raise AnnotationError(f"{part['file']}: napari has no shape {kind!r}: correct it.")


def _score(text: str | None, what: str) -> float | None:
    if not text or not text.strip() or text.strip().lower() == "nan":
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise AnnotationError(f"{what}: the confidence {text[:40]!r} must be a number or empty.") from error
    return value


def _ellipse(box: Points, what: str) -> Points:
    """Points of the ellipse in a box of four corners."""
    if len(box) != 4:
        raise AnnotationError(f"{what}: an ellipse needs the four corners of its box, but has {len(box)}.")
    angle = np.linspace(0, 2 * np.pi, _ELLIPSE, endpoint=False)[:, None]
    across, down = (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    points: Points = box.mean(axis=0) + np.cos(angle) * across + np.sin(angle) * down
    return points


def _upright(points: Points) -> bool:
    return len(points) == 4 and all(len(set(points[:, axis].tolist())) <= 2 for axis in (0, 1))


def write(annotations: Annotations, path: Path) -> None:
    """See `dift_edit.annotations.write_annotations`.

    NAME.points.csv and NAME.shapes.csv for each image in the folder `path`, or the one file `path` when it ends in
    ``.csv`` and there is one image with only points or only shapes. An image without any has no file.
    """
    single = path.suffix.lower() == ".csv"
    files: dict[Path, str] = {}
    for image, stem in zip(
        annotations.images, label_files([each.path for each in annotations.images], ""), strict=True
    ):
        made = {_POINTS: _points_text(image), _SHAPES: _shapes_text(image)}
        for suffix, text in made.items():
            if text:
                file = path if single else path / stem.with_name(stem.name + suffix)
                if file in files:
                    raise AnnotationError(
                        f"{file} would hold several images, or points and shapes, for which napari has files of "
                        "their own: give a folder, and images different names."
                    )
                files[file] = text
    if single and not files:
        raise AnnotationError(f"There are no points or shapes to write to {path}, and napari reads no empty file.")
    try:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, text)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error


def _points_text(image: AnnotatedImage) -> str:
    rows: list[list[Any]] = []
    for number, thing in enumerate(image.objects):
        name = thing.id or f"#{number}"
        whole = "" if thing.confidence is None else repr(thing.confidence)
        for k in thing.keypoints:
            if not k.missing:
                score = "" if k.confidence is None else repr(k.confidence)
                rows.append([len(rows), repr(k.y), repr(k.x), k.name, thing.category, name, k.visibility, score, whole])
    head = ["index", "axis-0", "axis-1", "name", "category", "object", "visibility", "confidence", "object_confidence"]
    return _table(head, rows)


def _shapes_text(image: AnnotatedImage) -> str:
    rows: list[list[Any]] = []
    index = 0
    for number, thing in enumerate(image.objects):
        shapes: list[tuple[str, Points]] = []
        if thing.box:
            shapes.append(("rectangle", box_corners(thing.box)))
        shapes += [("polygon", ring) for ring in rings(outlines_of(thing))]
        for curve in thing.curves:
            points = np.concatenate([curve.points, curve.points[:1]]) if curve.closed else curve.points
            shapes.append(("path", points))
        score = "" if thing.confidence is None else repr(thing.confidence)
        for kind, points in shapes:
            about = [thing.category, thing.id or f"#{number}", score]
            rows += [[index, kind, i, repr(y), repr(x), *about] for i, (x, y) in enumerate(points.tolist())]
            index += 1
    return _table(["index", "shape-type", "vertex-index", "axis-0", "axis-1", *_MORE], rows)


def _table(head: list[str], rows: list[list[Any]]) -> str:
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([head, *rows])
    return text.getvalue()
