"""COCO's JSON: boxes, polygons, run-length masks and keypoints.

Boxes and polygons have the corner of the first pixel at (0, 0), so half a pixel is taken off; keypoints are indices of
pixels, as here. Confidence stands in ``score`` (as in COCO's results) and ``keypoint_scores``.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.annotations.model import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Box,
    Category,
    Keypoint,
    ObjectMask,
    Outline,
    Visibility,
)
from dift_edit.annotations.outlines import decoded_runs, object_area, rings, runs_of
from dift_edit.annotations.pictures import Pictures
from dift_edit.atomic_files import parse_object, read_regular, write_text
from dift_edit.errors import AnnotationError

__all__ = ["HOLDS", "read", "write"]

HOLDS = frozenset({
    "boxes", "outlines", "masks", "one area", "keypoints", "hidden", "confidence", "names", "ids", "attributes",
})  # fmt: skip
"""An object has "one area": a mask, or outlines."""

_SEEN: tuple[Visibility, ...] = ("missing", "hidden", "visible")
_IMAGE_KEYS = ("file_name", "width", "height")
_OBJECT_KEYS = (
    "id", "image_id", "category_id", "bbox", "segmentation", "area", "keypoints", "num_keypoints", "score",
    "keypoint_scores", "track_id", "attributes",
)  # fmt: skip


def read(path: Path, pictures: Pictures) -> Annotations:
    """See `dift_edit.annotations.read_annotations`."""
    data = parse_object(read_regular(path, links=True))
    lists = ("images", "annotations", "categories")
    if not all(isinstance(data.get(key), list) for key in lists):
        raise AnnotationError(f"{path} is not a COCO data set: it needs the lists {', '.join(lists)}.")
    categories = {each["id"]: _category(each) for each in data["categories"]}
    objects: dict[Any, list[AnnotatedObject]] = {each["id"]: [] for each in data["images"]}
    wanted = [each for each in data["images"] if pictures.wants(str(each["file_name"]))]
    records = {each["id"]: _image(each, pictures) for each in wanted}
    for number, each in enumerate(data["annotations"]):
        what = f"{path}, annotation {each.get('id', number)}"
        if each["category_id"] not in categories:
            raise AnnotationError(f"{what} has the category {each['category_id']!r}, which is not in the file: add it.")
        if each["image_id"] not in objects:
            raise AnnotationError(f"{what} lies in the image {each['image_id']!r}, which is not in the file: add it.")
        if each["image_id"] not in records:
            continue
        size = records[each["image_id"]].size
        objects[each["image_id"]].append(_object(each, categories[each["category_id"]], size, what))
    images = [
        AnnotatedImage(path=record.path, size=record.size, objects=objects[key], attributes=record.attributes)
        for key, record in records.items()
    ]
    return Annotations(images, list(categories.values()))


def _category(data: Mapping[str, Any]) -> Category:
    bones = [(int(a) - 1, int(b) - 1) for a, b in data.get("skeleton") or ()]
    names = [str(name) for name in data.get("keypoints") or ()]
    return Category(
        name=str(data["name"]), keypoints=names, skeleton=bones, id=int(data["id"]),
        parent=str(data.get("supercategory", "")),
    )  # fmt: skip


def _image(data: Mapping[str, Any], pictures: Pictures) -> AnnotatedImage:
    name = str(data["file_name"])
    stated = (int(data["width"]), int(data["height"])) if "width" in data and "height" in data else None
    return AnnotatedImage(path=name, size=pictures.size(name, stated), attributes=_plain(data, _IMAGE_KEYS))


def _object(data: Mapping[str, Any], category: Category, size: tuple[int, int] | None, what: str) -> AnnotatedObject:
    segments = data.get("segmentation") or []
    mask, outlines = None, []
    if isinstance(segments, Mapping):
        mask = _mask(segments, size, what)
    else:
        outlines = [Outline(np.reshape(np.asarray(segment, float), (-1, 2)) - 0.5) for segment in segments]
    box: Box | None = None
    if data.get("bbox"):
        x, y, width, height = map(float, data["bbox"])
        box = (x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5)
    rows = np.reshape(np.asarray(data.get("keypoints") or [], float), (-1, 3))
    if len(rows) not in (0, len(category.keypoints)):
        raise AnnotationError(
            f"{what} has {len(rows)} keypoints, but its category {category.name!r} names {len(category.keypoints)}."
        )
    scores = data.get("keypoint_scores") or [None] * len(rows)
    keypoints = [
        Keypoint(name, x, y, _SEEN[int(seen)] if 0 <= seen <= 2 else "visible", score)
        for name, (x, y, seen), score in zip(
            category.keypoints if len(rows) else (), rows.tolist(), scores, strict=True
        )
    ]
    attributes = {**_plain(data, (*_OBJECT_KEYS, "iscrowd")), **_plain(data.get("attributes") or {}, ())}
    if data.get("iscrowd"):
        attributes["iscrowd"] = True
    return AnnotatedObject(
        category=category.name, box=box, outlines=outlines, mask=mask, keypoints=keypoints,
        confidence=data.get("score"), attributes=attributes, id=str(data.get("track_id", data.get("id", ""))),
    )  # fmt: skip


def _plain(data: Mapping[str, Any], without: Iterable[str]) -> dict[str, str | int | float | bool]:
    return {
        str(key): value
        for key, value in data.items()
        if key not in without
        and isinstance(value, str | int | float | bool)
        and not (isinstance(value, float) and not math.isfinite(value))
    }


def _mask(data: Mapping[str, Any], size: tuple[int, int] | None, what: str) -> ObjectMask | None:
    height, width = map(int, data["size"])
    if size not in (None, (width, height)):
        raise AnnotationError(f"{what} has a mask of {width} × {height} pixels, but its image {size}: correct it.")
    counts = data["counts"]
    runs = _runs_of_text(counts) if isinstance(counts, str) else counts
    pixels = decoded_runs(runs, width * height).reshape(width, height).T
    return ObjectMask.of(pixels) if pixels.any() else None


def _runs_of_text(text: str) -> list[int]:
    """Run lengths of pycocotools' text: signed numbers, 5 bits a character; from the third on differences."""
    runs: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("the run lengths of a mask are no compressed counts")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _text_of_runs(runs: list[int]) -> str:
    characters = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            characters.append(chr(48 + bits + (32 if more else 0)))
            if not more:
                break
    return "".join(characters)


def write(annotations: Annotations, path: Path) -> None:
    """See `dift_edit.annotations.write_annotations`."""
    numbers = _numbers([category.id for category in annotations.categories])
    image_numbers = _numbers([image.attributes.get("id") for image in annotations.images])
    ids = [thing.id for image in annotations.images for thing in image.objects]
    kept = _numbers([int(id_) if id_.isascii() and id_.isdigit() else None for id_ in ids])
    number_of = {category.name: number for category, number in zip(annotations.categories, numbers, strict=True)}
    images: list[dict[str, Any]] = []
    things: list[dict[str, Any]] = []
    for image_number, image in zip(image_numbers, annotations.images, strict=True):
        size = {} if image.size is None else {"width": image.size[0], "height": image.size[1]}
        images.append({**image.attributes, "id": image_number, "file_name": image.path, **size})
        for thing in image.objects:
            made = _thing(thing, image.size, image.path)
            made |= {"id": kept[len(things)], "image_id": image_number, "category_id": number_of[thing.category]}
            if thing.id and thing.id != str(made["id"]):
                made["track_id"] = thing.id
            things.append(made)
    categories = [_category_record(each, number_of[each.name]) for each in annotations.categories]
    data = {"images": images, "annotations": things, "categories": categories}
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def _numbers(wanted: list[Any]) -> list[int]:
    """The numbers themselves, and free ones for None; 1, 2, 3… for all where one is no number or comes twice."""
    given = [each for each in wanted if each is not None]
    if len(set(given)) < len(given) or not all(isinstance(each, int) and each >= 0 for each in given):
        return list(range(1, len(wanted) + 1))
    taken = set(given)
    free = (number for number in itertools.count(1) if number not in taken)
    return [next(free) if each is None else each for each in wanted]


def _category_record(category: Category, number: int) -> dict[str, Any]:
    record: dict[str, Any] = {"id": number, "name": category.name, "supercategory": category.parent}
    if category.keypoints:
        record["keypoints"] = list(category.keypoints)
        record["skeleton"] = [[a + 1, b + 1] for a, b in category.skeleton]
    return record


def _thing(thing: AnnotatedObject, size: tuple[int, int] | None, name: str) -> dict[str, Any]:
    attributes = {key: value for key, value in thing.attributes.items() if key != "iscrowd"}
    made: dict[str, Any] = {"iscrowd": int(bool(thing.attributes.get("iscrowd"))), "segmentation": []}
    if thing.mask:
        if size is None:
            raise AnnotationError(f"The size of {name} is not known, so its masks cannot be written: give the image.")
        pixels = thing.mask.in_image(size)
        made["segmentation"] = {"size": [size[1], size[0]], "counts": _text_of_runs(runs_of(pixels.T.ravel()))}
    elif thing.outlines:
        made["segmentation"] = [_rounded((ring + 0.5).ravel()) for ring in rings(thing.outlines)]
    box = thing.box or thing.extent()
    if box is not None:
        made["bbox"] = _rounded((box[0] + 0.5, box[1] + 0.5, box[2] - box[0], box[3] - box[1]))
    made["area"] = round(object_area(thing), 6)
    if thing.keypoints:
        rows = [(0, 0, 0) if k.missing else (k.x, k.y, _SEEN.index(k.visibility)) for k in thing.keypoints]
        made["keypoints"] = [value for x, y, seen in rows for value in (*_rounded((x, y)), seen)]
        made["num_keypoints"] = sum(not k.missing for k in thing.keypoints)
        if any(k.confidence is not None for k in thing.keypoints):
            made["keypoint_scores"] = [k.confidence for k in thing.keypoints]
    if thing.confidence is not None:
        made["score"] = thing.confidence
    if attributes:
        made["attributes"] = attributes
    return made


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 6) for value in values]
