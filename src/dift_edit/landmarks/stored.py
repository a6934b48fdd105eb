"""Annotated objects as plain data, with everything that they hold: what a batch keeps of each target."""

import json
from typing import Any

import numpy as np

from dift_edit.annotations.model import AnnotatedImage, AnnotatedObject, Curve, Keypoint, ObjectMask, Outline
from dift_edit.annotations.outlines import decoded_runs, runs_of
from dift_edit.errors import AnnotationError

__all__ = ["annotated_from_bytes", "annotated_to_bytes", "object_from_dict", "object_to_dict"]


def object_to_dict(thing: AnnotatedObject) -> dict[str, Any]:
    """An object as numbers, strings, lists and dicts; masks as lengths of runs, row by row."""
    mask = thing.mask
    return {
        "category": thing.category,
        "id": thing.id,
        "confidence": thing.confidence,
        "box": None if thing.box is None else list(thing.box),
        "outlines": [[part.tolist() for part in (each.points, *each.holes)] for each in thing.outlines],
        "curves": [{"name": c.name, "closed": c.closed, "points": c.points.tolist()} for c in thing.curves],
        "mask": mask and {
            "left": mask.left, "top": mask.top, "shape": list(mask.pixels.shape), "runs": runs_of(mask.pixels.ravel()),
        },
        "keypoints": [
            [k.name, None if k.missing else k.x, None if k.missing else k.y, k.visibility, k.confidence]
            for k in thing.keypoints
        ],
        "attributes": dict(thing.attributes),
    }  # fmt: skip


def object_from_dict(plain: dict[str, Any]) -> AnnotatedObject:
    """The object of which `object_to_dict` gave the plain data."""
    mask = plain["mask"]
    if mask is not None:
        height, width = mask["shape"]
        pixels = decoded_runs(mask["runs"], height * width).reshape(height, width)
        mask = ObjectMask(mask["left"], mask["top"], pixels)
    return AnnotatedObject(
        category=plain["category"],
        id=plain["id"],
        confidence=plain["confidence"],
        box=None if plain["box"] is None else tuple(plain["box"]),
        outlines=[Outline(np.array(outer), tuple(map(np.array, holes))) for outer, *holes in plain["outlines"]],
        curves=[Curve(np.array(c["points"]), c["closed"], c["name"]) for c in plain["curves"]],
        mask=mask,
        keypoints=[Keypoint(name, x or 0.0, y or 0.0, seen, sure) for name, x, y, seen, sure in plain["keypoints"]],
        attributes=plain["attributes"],
    )


def annotated_to_bytes(annotated: AnnotatedImage) -> bytes:
    """The file of one target: its annotations with everything that they hold."""
    plain = {"size": annotated.size, "objects": [object_to_dict(thing) for thing in annotated.objects]}
    return json.dumps(plain, indent=1, allow_nan=False).encode() + b"\n"


def annotated_from_bytes(data: bytes, path: str) -> AnnotatedImage:
    """What `annotated_to_bytes` gave, of an image at a path.

    Raises
    ------
    AnnotationError
        If the file was damaged.
    """
    try:
        plain = json.loads(data)
        width, height = plain["size"]
        objects = [object_from_dict(thing) for thing in plain["objects"]]
        return AnnotatedImage(path=path, size=(width, height), objects=objects)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise AnnotationError(f"The stored annotations of {path} are damaged: run the job again.") from error
