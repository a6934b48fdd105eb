"""LabelMe's JSON files, one for each image.

The corner of the first pixel lies at (0, 0), so half a pixel is taken off; a mask's corners are indices of pixels.
Shapes with one ``group_id`` are one object, whose points are its keypoints, named by their labels. Points without a
group are the keypoints of one object, unless two have the same label. Confidence stands in ``score``.
"""

import base64
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import PIL.Image

from dift_edit.annotations.model import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Attribute,
    Curve,
    Keypoint,
    ObjectMask,
    Outline,
    Visibility,
)
from dift_edit.annotations.outlines import LARGEST_MASK, rings
from dift_edit.annotations.pictures import Pictures, label_files, plain_name
from dift_edit.atomic_files import parse_object, read_regular, write_text
from dift_edit.errors import AnnotationError, OutputError, first_line
from dift_edit.geometry.coords import Points

__all__ = ["HOLDS", "read", "write"]

HOLDS = frozenset({
    "boxes", "outlines", "curves", "masks", "keypoints", "hidden", "confidence", "names", "ids", "attributes",
})  # fmt: skip
_NOBODY = "object"
"""Category of points that belong to no other shape."""
_CIRCLE = 64


def read(path: Path, pictures: Pictures) -> Annotations:
    """See `dift_edit.annotations.read_annotations`; `path` is a file or a folder of them."""
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files:
        raise AnnotationError(f"{path} holds no .json files: give the folder of LabelMe's files.")
    home = path if path.is_dir() else path.parent
    images = [_image(file, home, pictures) for file in files]
    return Annotations([image for image in images if image is not None])


def _image(file: Path, home: Path, pictures: Pictures) -> AnnotatedImage | None:
    data = parse_object(read_regular(file, links=True))
    if not isinstance(data.get("shapes"), list):
        raise AnnotationError(f"{file} is no file of LabelMe: it needs the list of shapes.")
    name = plain_name(data["imagePath"], file.relative_to(home).parent.as_posix())
    if not pictures.wants(name):
        return None
    stated = (data.get("imageWidth"), data.get("imageHeight"))
    known = None if None in stated else (int(stated[0]), int(stated[1]))  # type: ignore[arg-type]
    flags = {str(key): bool(value) for key, value in (data.get("flags") or {}).items()}
    try:
        objects = list(_objects(data["shapes"]))
    except AnnotationError as error:
        raise AnnotationError(f"{file}: {error}") from error
    return AnnotatedImage(path=name, size=pictures.size(name, known), objects=objects, attributes=flags)


def _objects(shapes: list[Mapping[str, Any]]) -> Iterator[AnnotatedObject]:
    """Objects in the order in which their first shape comes."""
    labels = [
        str(shape["label"]) for shape in shapes if shape["shape_type"] == "point" and shape.get("group_id") is None
    ]
    together = len(set(labels)) == len(labels)
    owner = {
        shape["group_id"]: str(shape["label"])
        for shape in reversed(shapes)
        if shape["shape_type"] != "point" and shape.get("group_id") is not None
    }
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for number, shape in enumerate(shapes):
        group, point = shape.get("group_id"), shape["shape_type"] == "point"
        key: Any = number
        if group is not None:
            key = (group, owner.get(group, str(shape.get("category", _NOBODY))) if point else str(shape["label"]))
        elif point and together:
            key = (str(shape.get("category", _NOBODY)),)
        groups.setdefault(key, []).append(shape)
    for key, members in groups.items():
        label = key[-1] if isinstance(key, tuple) else str(members[0]["label"])
        yield _object(members, str(label))


def _object(shapes: list[Mapping[str, Any]], category: str) -> AnnotatedObject:
    parts: dict[str, list[Any]] = {"boxes": [], "outlines": [], "curves": [], "masks": [], "keypoints": []}
    attributes: dict[str, Attribute] = {}
    confidence = None
    for shape in shapes:
        kind, part = _part(shape)
        parts[kind].append(part)
        if kind != "keypoints":
            attributes |= {str(key): bool(value) for key, value in (shape.get("flags") or {}).items()}
            if shape.get("description"):
                attributes["description"] = str(shape["description"])
            confidence = shape.get("score", confidence)
        else:
            confidence = shape.get("object_score", confidence)
    if len(parts["boxes"]) > 1 or len(parts["masks"]) > 1:
        raise AnnotationError(
            f"The group {shapes[0].get('group_id')} has two boxes or masks {category!r}: ungroup them."
        )
    group = shapes[0].get("group_id")
    return AnnotatedObject(
        category=category, box=next(iter(parts["boxes"]), None), outlines=parts["outlines"], curves=parts["curves"],
        mask=next(iter(parts["masks"]), None), keypoints=parts["keypoints"], confidence=confidence,
        attributes=attributes, id="" if group is None else str(int(group)),
    )  # fmt: skip


def _part(shape: Mapping[str, Any]) -> tuple[str, Any]:
    kind = shape["shape_type"]
    points = np.reshape(np.asarray(shape["points"], float), (-1, 2))
    if kind == "mask":
        return "masks", _mask(shape, points)
    points = points - 0.5
    needed = {"point": 1, "rectangle": 2, "circle": 2, "line": 2, "polygon": 3, "oriented_rectangle": 4}.get(kind, 2)
    exactly = kind in ("point", "rectangle", "circle", "line", "oriented_rectangle")
    if len(points) < needed or (exactly and len(points) > needed):
        raise AnnotationError(f"The {kind} {shape['label']!r} has {len(points)} points, but needs {needed}.")
    if kind == "point":
        flags = shape.get("flags") or {}
        seen: Visibility = "hidden" if flags.get("hidden") else "visible"
        x, y = points[0].tolist()
        return "keypoints", Keypoint(str(shape["label"]), x, y, seen, shape.get("score"))
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return "boxes", (left, top, right, bottom)
    if kind == "circle":
        turn = np.linspace(0, 2 * np.pi, _CIRCLE, endpoint=False)
        radius = float(np.linalg.norm(points[1] - points[0]))
        return "outlines", Outline(points[0] + radius * np.c_[np.cos(turn), np.sin(turn)])
    if kind in ("polygon", "oriented_rectangle"):
        return "outlines", Outline(points)
    if kind in ("line", "linestrip"):
        closed = len(points) > 3 and bool((points[0] == points[-1]).all())
        return "curves", Curve(points[:-1] if closed else points, closed, str(shape.get("curve", "")))
    raise AnnotationError(f"A shape is a {kind!r}, which is not one of LabelMe's that can be carried: remove it.")


def _mask(shape: Mapping[str, Any], corners: Points) -> ObjectMask:
    (left, top), _ = corners.tolist()
    try:
        data = io.BytesIO(base64.b64decode(str(shape["mask"]), validate=True))
        with PIL.Image.open(data, formats=["PNG"]) as opened:
            if opened.width * opened.height > LARGEST_MASK:
                raise ValueError(f"it has {opened.width} × {opened.height} pixels")
            pixels = np.asarray(opened)
    except Exception as error:  # whatever a decoder may meet in a damaged file
        raise AnnotationError(
            f"The mask {shape['label']!r} cannot be read ({first_line(error)}): remove it."
        ) from error
    return ObjectMask(round(left), round(top), (np.atleast_3d(pixels) != 0).max(axis=2))


def write(annotations: Annotations, path: Path) -> None:
    """See `dift_edit.annotations.write_annotations`; one file ``NAME.json`` for each image in the folder `path`.

    When `path` ends in ``.json``, it is the file of the only image.
    """
    single = path.suffix.lower() == ".json"
    if single and len(annotations.images) != 1:
        raise AnnotationError(f"{path} is one file, but LabelMe has one for each of {len(annotations.images)} images.")
    files = [path] if single else [path / f for f in label_files([each.path for each in annotations.images], ".json")]
    texts = [_text(image) for image in annotations.images]
    try:
        for file, text in zip(files, texts, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, text)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error


def _text(image: AnnotatedImage) -> str:
    used = {int(thing.id) for thing in image.objects if thing.id.isascii() and thing.id.isdigit()}
    free = (number for number in range(1, len(used) + len(image.objects) + 2) if number not in used)
    shapes: list[dict[str, Any]] = []
    for thing in image.objects:
        parts = len(thing.outlines) + len(thing.curves) + len(thing.keypoints) + bool(thing.box) + bool(thing.mask)
        group = int(thing.id) if thing.id.isascii() and thing.id.isdigit() else next(free) if parts > 1 else None
        shapes += [{**shape, "group_id": group} for shape in _shapes(thing)]
    data = {
        "version": "5.5.0",
        "flags": {key: value for key, value in image.attributes.items() if isinstance(value, bool)},
        "shapes": shapes,
        "imagePath": PurePosixPath(image.path).name,
        "imageData": None,
        "imageHeight": image.size and image.size[1],
        "imageWidth": image.size and image.size[0],
    }
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _shapes(thing: AnnotatedObject) -> Iterator[dict[str, Any]]:
    score = {} if thing.confidence is None else {"score": thing.confidence}
    about: dict[str, Any] = {
        "label": thing.category,
        "description": str(thing.attributes.get("description", "")),
        "flags": {key: value for key, value in thing.attributes.items() if isinstance(value, bool)},
        "mask": None,
        **score,
    }
    if thing.box:
        yield {**about, "shape_type": "rectangle", "points": _listed(np.reshape(thing.box, (2, 2)) + 0.5)}
    for ring in rings(thing.outlines):
        yield {**about, "shape_type": "polygon", "points": _listed(ring + 0.5)}
    for curve in thing.curves:
        points = np.concatenate([curve.points, curve.points[:1]]) if curve.closed else curve.points
        name = {"curve": curve.name} if curve.name else {}
        yield {**about, **name, "shape_type": "linestrip", "points": _listed(points + 0.5)}
    if thing.mask:
        height, width = thing.mask.pixels.shape
        left, top = thing.mask.left, thing.mask.top
        corners = [[left, top], [left + width - 1, top + height - 1]]
        yield {**about, "shape_type": "mask", "points": corners, "mask": _png(thing.mask)}
    alone = not (thing.box or thing.outlines or thing.curves or thing.mask)
    for keypoint in thing.keypoints:
        if not keypoint.missing:
            yield {
                "label": keypoint.name,
                "shape_type": "point",
                "points": _listed(np.array([(keypoint.x + 0.5, keypoint.y + 0.5)])),
                "description": "",
                "flags": {"hidden": True} if keypoint.visibility == "hidden" else {},
                "mask": None,
                **({} if keypoint.confidence is None else {"score": keypoint.confidence}),
                **({"category": thing.category} if alone else {}),
                **({"object_score": thing.confidence} if alone and score else {}),
            }


def _listed(points: Points) -> list[list[float]]:
    return [[round(value, 6) for value in point] for point in points.tolist()]


def _png(mask: ObjectMask) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(mask.pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
