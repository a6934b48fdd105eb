"""Annotations in and out of files: COCO's JSON, and the CSV that napari writes for shapes and points."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.atomic_files import parse_json, write_text
from dift_edit.edits.labels import Keypoints, LabelLayer, Polygon
from dift_edit.errors import EditError, first_line
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import signed_area

__all__ = ["labels_from_coco", "labels_to_coco", "read_napari_csv", "write_napari_csv"]

_HEAD = ["index", "shape-type", "vertex-index", "axis-0", "axis-1"]


def labels_from_coco(coco: Any, image: str | int | None = None) -> LabelLayer:
    """The annotations of one image of a COCO data set.

    Parameters
    ----------
    coco : path or dict
        The data set, with ``images``, ``annotations``, ``categories``.
    image : str or int, optional
        File name or id of the image; may be left out when there is only one.

    Returns
    -------
    LabelLayer
        Polygons (``segmentation`` lists, or the ``bbox`` where there are none) and keypoints. COCO's polygons and
        boxes have the corner of the first pixel at 0, so half a pixel is taken off; its keypoints are pixel indices,
        as here.

    Raises
    ------
    EditError
        If it is no COCO data set, the image is not in it, has no annotations, or a run-length mask.
    """
    data, name = _coco(coco)
    try:
        return _from_coco(data, name, image)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = first_line(error)
        raise EditError(f"{name} is damaged ({reason}): give COCO annotations as its format page has them.") from error


def _from_coco(data: dict[str, Any], name: str, image: str | int | None) -> LabelLayer:
    record = _coco_image(data["images"], image, name)
    categories = {category["id"]: category for category in data["categories"]}
    polygons, keypoints = [], []
    for annotation in data["annotations"]:
        if annotation["image_id"] != record["id"]:
            continue
        category = categories.get(annotation["category_id"], {})
        label, group = str(category.get("name", annotation["category_id"])), str(annotation.get("id", ""))
        segments = annotation.get("segmentation") or []
        if isinstance(segments, Mapping):
            raise EditError(f"{name}: annotation {group} is a run-length mask; convert it to polygons first.")
        if not segments and "keypoints" not in annotation and annotation.get("bbox"):
            x, y, width, height = annotation["bbox"]
            segments = [[x, y, x + width, y, x + width, y + height, x, y + height]]
        polygons += [Polygon(np.reshape(segment, (-1, 2)) - 0.5, label, group) for segment in segments]
        if annotation.get("keypoints"):
            rows = np.reshape(np.asarray(annotation["keypoints"], dtype=float), (-1, 3))
            if not (np.abs(rows) < 1e9).all():
                raise EditError(f"{name}: annotation {group} has keypoints that are not finite; correct them.")
            names = tuple(category.get("keypoints", ()))
            keypoints.append(Keypoints(rows[:, :2], names, rows[:, 2].astype(int), label, group))
    if not polygons and not keypoints:
        raise EditError(
            f"{name} has no annotations of {record.get('file_name', record['id'])}: choose another picture."
        )
    return LabelLayer(polygons=polygons, keypoints=keypoints)


def labels_to_coco(layers: Mapping[str, tuple[LabelLayer, tuple[int, int]]]) -> dict[str, Any]:
    """A COCO data set.

    Parameters
    ----------
    layers : mapping
        File name → annotations and size (W, H) of that image.

    Returns
    -------
    dict
        Ready for ``json.dump``; parts with the same ``group`` are one annotation.
    """
    categories: dict[str, dict[str, Any]] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (file_name, (layer, size)) in enumerate(layers.items(), start=1):
        images.append({"id": image_id, "file_name": file_name, "width": size[0], "height": size[1]})
        things: dict[tuple[str, str], dict[str, Any]] = {}
        parts: list[Polygon | Keypoints] = [*layer.polygons, *layer.keypoints]
        for number, part in enumerate(parts):
            category = categories.setdefault(part.label, {"id": len(categories) + 1, "name": part.label or "object"})
            key = (part.label, part.group or f"#{number}")
            thing = things.setdefault(key, _thing(len(annotations) + len(things) + 1, image_id, category["id"]))
            if isinstance(part, Polygon):
                thing["segmentation"].append([round(float(v), 3) for v in (part.points + 0.5).ravel()])
            else:
                _add_keypoints(thing, category, part)
        for thing in things.values():
            _measure(thing)
            annotations.append(thing)
    return {"images": images, "annotations": annotations, "categories": list(categories.values())}


def _thing(number: int, image: int, category: int) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "iscrowd": 0, "segmentation": []}


def _add_keypoints(thing: dict[str, Any], category: dict[str, Any], part: Keypoints) -> None:
    shown = np.where(part.visible[:, None] > 0, part.points, 0)
    rows = np.c_[np.round(shown, 3), part.visible]
    thing["keypoints"] = [float(v) if i % 3 < 2 else int(v) for i, v in enumerate(rows.ravel())]
    thing["num_keypoints"] = int((part.visible > 0).sum())
    category.setdefault("keypoints", list(part.names) or [str(i) for i in range(len(part.points))])


def _measure(thing: dict[str, Any]) -> None:
    """``bbox`` and ``area``, of the polygons or else of the keypoints."""
    outlines = [np.reshape(segment, (-1, 2)) for segment in thing["segmentation"]]
    if outlines:
        thing["area"] = round(float(sum(abs(signed_area(outline)) for outline in outlines)), 3)
        points = np.concatenate(outlines)
    else:
        rows = np.reshape(thing["keypoints"], (-1, 3))
        points = rows[rows[:, 2] > 0, :2]
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    thing["bbox"] = [round(float(v), 3) for v in (left, top, right - left, bottom - top)]
    thing.setdefault("area", round(float((right - left) * (bottom - top)), 3))


def _coco(coco: Any) -> tuple[dict[str, Any], str]:
    name = "The data set"
    if isinstance(coco, str | Path):
        name = str(coco)
        try:
            coco = parse_json(Path(coco).read_text("utf-8"))
        except FileNotFoundError as error:
            raise EditError(f"{name} does not exist: check the path of the annotations.") from error
        except (OSError, ValueError) as error:
            raise EditError(f"{name} is not a JSON file that can be read: give COCO annotations.") from error
    lists = ("images", "annotations", "categories")
    if not isinstance(coco, Mapping) or not all(isinstance(coco.get(key), list) for key in lists):
        raise EditError(f"{name} is not a COCO data set: it needs the lists {', '.join(lists)}.")
    return dict(coco), name


def _coco_image(images: Iterable[Mapping[str, Any]], image: str | int | None, name: str) -> Mapping[str, Any]:
    records = list(images)
    if image is None and len(records) == 1:
        return records[0]
    for record in records:
        file_name = str(record.get("file_name", ""))
        if image is not None and (record["id"] == image or str(image) in (file_name, Path(file_name).name)):
            return record
    raise EditError(f"{name} has {len(records)} pictures, but not {image!r}: give the file name or id of one of them.")


def read_napari_csv(path: Path | str, label: str = "") -> LabelLayer:
    """Shapes or points that napari saved.

    Parameters
    ----------
    path : path
        CSV with the columns index, shape-type, vertex-index, axis-0 (row), axis-1 (column); or, for points, index,
        axis-0, axis-1. Polygons, rectangles and ellipses (by their box) become polygons.
    label : str
        Given to all.

    Returns
    -------
    LabelLayer

    Raises
    ------
    EditError
        If it is missing or not such a file; the message names the line.
    """
    try:
        text = Path(path).read_text("utf-8")
    except FileNotFoundError as error:
        raise EditError(f"{path} does not exist: check the path of the annotations.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise EditError(f"{path} cannot be read as text: give a CSV file that napari wrote.") from error
    try:
        return _from_csv(csv.DictReader(io.StringIO(text, newline="")), path, label)
    except csv.Error as error:
        raise EditError(f"{path} is damaged ({error}): give a CSV file that napari wrote.") from error


def _from_csv(reader: "csv.DictReader[str]", path: Path | str, label: str) -> LabelLayer:
    columns = reader.fieldnames or []
    if not {"index", "axis-0", "axis-1"} <= set(columns):
        raise EditError(f"{path} lacks the columns index, axis-0, axis-1: give a CSV file that napari wrote.")
    if "axis-2" in columns:
        raise EditError(f"{path} has more than two axes: save the shapes of one picture.")
    shapes: dict[str, list[tuple[float, float]]] = {}
    kinds: dict[str, str] = {}
    for row in reader:
        try:
            key = str(int(float(row["index"])))
            shapes.setdefault(key, []).append((float(row["axis-1"]), float(row["axis-0"])))
        except (TypeError, ValueError, OverflowError) as error:
            raise EditError(f"{path}, line {reader.line_num}: index, axis-0 and axis-1 must be numbers.") from error
        kinds[key] = row.get("shape-type") or "point"
    polygons = []
    for key, points in shapes.items():
        if kinds[key] == "ellipse":
            polygons.append(Polygon(_ellipse(np.array(points)), label, key))
        elif kinds[key] in ("polygon", "rectangle"):
            polygons.append(Polygon(np.array(points), label, key))
        elif kinds[key] != "point":
            raise EditError(
                f"{path}: a {kinds[key]} has no inside; only polygons, rectangles and ellipses are carried."
            )
    spots = [points[0] for key, points in shapes.items() if kinds[key] == "point"]
    keypoints = [Keypoints(np.array(spots), label=label)] if spots else []
    return LabelLayer(polygons=polygons, keypoints=keypoints)


def _ellipse(box: Points) -> Points:
    """64 points of the ellipse in a box of four corners."""
    if len(box) != 4:
        raise EditError(f"An ellipse needs the four corners of its box, but has {len(box)}.")
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    across, down = (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    points: Points = box.mean(axis=0) + np.cos(angle) * across + np.sin(angle) * down
    return points


def write_napari_csv(layer: LabelLayer, path: Path | str) -> None:
    """Write the polygons as a CSV that napari opens as a shapes layer.

    Raises
    ------
    EditError
        If there are no polygons.
    OutputError
        If the file cannot be written.
    """
    if not layer.polygons:
        raise EditError("There are no polygons to write as napari shapes.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEAD)
    for index, polygon in enumerate(layer.polygons):
        for vertex, (x, y) in enumerate(polygon.points):
            writer.writerow([index, "polygon", vertex, repr(float(y)), repr(float(x))])
    write_text(path, text.getvalue())
