"""Annotations as the review page shows and corrects them: marks, each a few points of one part of one object."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from dift_edit.annotations import AnnotatedImage, AnnotatedObject, Curve, Keypoint, ObjectMask, Outline
from dift_edit.errors import AnnotationError
from dift_edit.geometry.coords import Points, inside

__all__ = ["Moved", "marks_of", "moved_parts"]

Moved = Mapping[str, Sequence[Sequence[float]]]
"""Key of a mark → its points; none where it is missing."""


def marks_of(objects: Sequence[AnnotatedObject]) -> list[dict[str, Any]]:
    """The marks of an image's objects.

    Parameters
    ----------
    objects : sequence of AnnotatedObject
        What was found.

    Returns
    -------
    list of dict
        ``key`` (unique in the image: number of the object, kind, number of the part), ``kind`` ("box", "outline",
        "curve", "mask" or "keypoint"), ``name``, ``points`` (pixels; of a box the corners top left and bottom right, of
        a missing keypoint none), ``closed``, ``confidence``. A mask has a mark for each of its rims, which cannot be
        moved.
    """
    several = len(objects) > 1
    return [
        {
            "key": f"{number}.{kind}.{part}", "kind": kind, "closed": closed, "confidence": sure,
            "name": name if name is not None else f"{thing.category} {number + 1}" if several else thing.category,
            "points": np.round(np.reshape(points, (-1, 2)), 2).tolist(),
        }
        for number, thing in enumerate(objects)
        for kind, part, points, closed, name, sure in _parts(thing)
    ]  # fmt: skip


def _parts(thing: AnnotatedObject) -> Iterator[tuple[str, int, Any, bool, str | None, float | None]]:
    """Kind, number, points, whether it is closed, its own name (None: the object's), and its confidence."""
    if thing.box is not None:
        yield "box", 0, thing.box, True, None, thing.confidence
    for part, outline in enumerate(thing.outlines):
        yield "outline", part, outline.points, True, None, thing.confidence
    for part, curve in enumerate(thing.curves):
        yield "curve", part, curve.points, curve.closed, curve.name or None, thing.confidence
    for part, rim in enumerate(_rims(thing.mask) if thing.mask else []):
        yield "mask", part, rim, True, "" if part else None, thing.confidence
    for part, keypoint in enumerate(thing.keypoints):
        place = [] if keypoint.missing else [(keypoint.x, keypoint.y)]
        yield "keypoint", part, place, False, keypoint.name, keypoint.confidence


def moved_parts(annotated: AnnotatedImage, moved: Moved) -> AnnotatedImage:
    """The annotations with what a reviewer moved; objects of which nothing is left are left out.

    A keypoint that was moved is sure: a person put it there.

    Raises
    ------
    AnnotationError
        If a key or its points are not those of a part that can be moved, or lie outside the image.
    """
    left = dict(moved)
    for key, points in left.items():
        places = np.reshape(np.asarray(points, dtype=np.float64), (-1, 2))
        if annotated.size is not None and not inside(places, annotated.size).all():
            raise AnnotationError(f"The part {key!r} was moved out of {annotated.path}: call it missing.")
    objects = [_moved(thing, f"{number}.", left) for number, thing in enumerate(annotated.objects)]
    if left:
        raise AnnotationError(f"There is no part {next(iter(left))!r} in {annotated.path} that could be moved.")
    return replace(annotated, objects=[thing for thing in objects if thing is not None])


def _moved(thing: AnnotatedObject, head: str, moved: dict[str, Any]) -> AnnotatedObject | None:
    def taken(kind: str, part: int) -> Points | None:
        points = moved.pop(f"{head}{kind}.{part}", None)
        return None if points is None else np.reshape(np.asarray(points, dtype=np.float64), (-1, 2))

    box, places = thing.box, taken("box", 0) if thing.box else None
    if places is not None:
        if len(places) not in (0, 2):
            raise AnnotationError(f"A box of {thing.category!r} has two corners, but {len(places)} were given.")
        box = (*places[0].tolist(), *places[1].tolist()) if len(places) else None
    outlines: list[Outline] = []
    for part, outline in enumerate(thing.outlines):
        places = taken("outline", part)
        if places is None or len(places):
            outlines.append(outline if places is None else replace(outline, points=places))
    curves: list[Curve] = []
    for part, curve in enumerate(thing.curves):
        places = taken("curve", part)
        if places is None or len(places):
            curves.append(curve if places is None else replace(curve, points=places))
    keypoints = [_placed(keypoint, taken("keypoint", part)) for part, keypoint in enumerate(thing.keypoints)]
    if not (box or outlines or curves or thing.mask or any(not keypoint.missing for keypoint in keypoints)):
        return None
    return replace(thing, box=box, outlines=outlines, curves=curves, keypoints=keypoints)


def _placed(keypoint: Keypoint, places: Points | None) -> Keypoint:
    if places is None:
        return keypoint
    if len(places) > 1:
        raise AnnotationError(f"The keypoint {keypoint.name!r} is one point, but {len(places)} were given.")
    if not len(places):
        return replace(keypoint, visibility="missing", confidence=1.0)
    seen = "visible" if keypoint.missing else keypoint.visibility
    x, y = places[0].tolist()
    return replace(keypoint, x=x, y=y, visibility=seen, confidence=1.0)


def _rims(mask: ObjectMask) -> list[Points]:
    """Outlines of a mask, of few points."""
    lines, _ = cv2.findContours(mask.pixels.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    rims = [cv2.approxPolyDP(line, 1.0, closed=True)[:, 0].astype(np.float64) for line in lines]
    return [rim + (mask.left, mask.top) for rim in rims if len(rim) > 2]
