"""Annotated objects on a target: every part follows the deformation of the landmarks."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dift_edit.annotations.model import AnnotatedObject, Box, Category, Curve, Keypoint, ObjectMask, Outline
from dift_edit.edits.labels import clip_polygon
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points, inside
from dift_edit.geometry.quad import signed_area
from dift_edit.imaging.edges import mask_at_edges
from dift_edit.imaging.image import Image
from dift_edit.rendering.warp import warp_layer

__all__ = ["carry_object", "landmarks_of", "outline_points"]

LEAST_SEEN = 0.2
"""Share of an object's box that has to be in the target for the object to count as there (chosen)."""
OFF_EDGE = 0.03
"""How far a carried mask may be off the object's edge, in longer sides of its box (chosen: half of it does less on both
clips of docs/landmarks.md)."""
_ROUND = 32
"""Points of the ellipse in a box that are carried with it (chosen)."""


def landmarks_of(thing: AnnotatedObject) -> Points:
    """(N, 2) points of an object that are looked for one by one: its keypoints and the ends of its open curves."""
    points = [(keypoint.x, keypoint.y) for keypoint in thing.keypoints if not keypoint.missing]
    points += [tuple(end) for curve in thing.curves if not curve.closed for end in curve.points[[0, -1]].tolist()]
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def outline_points(thing: AnnotatedObject) -> Points:
    """(N, 2) points that an object's other parts reach to: they decide how much of the source is looked at."""
    parts = [curve.points for curve in thing.curves] + [outline.points for outline in thing.outlines]
    parts += [_ellipse(box) for box in (thing.box, thing.mask and thing.mask.box) if box]
    return np.concatenate([np.zeros((0, 2)), *parts])


def carry_object(
    thing: AnnotatedObject,
    category: Category,
    *,
    transform: Transform,
    points: Points,
    point_confidence: npt.NDArray[np.float64],
    confidence: float,
    least: float,
    target: Image,
    source_size: tuple[int, int],
    swap_sides: bool = False,
) -> AnnotatedObject | None:
    """An object of the source on a target.

    Parameters
    ----------
    thing : AnnotatedObject
        In source pixels.
    category : Category
        Its category, which names keypoints that a mirror exchanges.
    transform : Transform
        Source pixels to target pixels: the landmarks' deformation.
    points, point_confidence : ndarray
        (N, 2) and (N,) of `landmarks_of` the object, in target pixels.
    confidence : float
        Of the object.
    least : float
        Keypoints of lower confidence are missing.
    target : Image
        The target: masks end at its edges.
    source_size : (W, H)
        Of the source.
    swap_sides : bool
        Whether to exchange the names of left and right keypoints.

    Returns
    -------
    AnnotatedObject or None
        None when it is not in the target.
    """
    size = target.size
    seen = [keypoint for keypoint in thing.keypoints if not keypoint.missing]
    found = dict(zip((keypoint.name for keypoint in seen), zip(points, point_confidence, strict=False), strict=False))
    keypoints = [_carried(keypoint, found, least, size) for keypoint in thing.keypoints]
    if swap_sides and keypoints:
        keypoints = _swapped(keypoints, category)
    ends = iter(points[len(seen) :])
    curves = [_curve(curve, transform, ends) for curve in thing.curves]
    box = None if thing.box is None else _box(thing.box, transform, size)
    outlines = [cut for outline in thing.outlines if (cut := _outline(outline, transform, size))]
    mask = None if thing.mask is None else _mask(thing.mask, transform, target, source_size)
    curves = [curve for curve in curves if inside(curve.points, size).any()]
    if not (box or outlines or curves or mask or any(not keypoint.missing for keypoint in keypoints)):
        return None
    return replace(
        thing, box=box, outlines=outlines, curves=curves, mask=mask, keypoints=keypoints,
        confidence=round(float(confidence), 4),
    )  # fmt: skip


def _carried(
    keypoint: Keypoint, found: dict[str, tuple[Points, float]], least: float, size: tuple[int, int]
) -> Keypoint:
    if keypoint.missing:
        return keypoint
    place, sure = found[keypoint.name]
    sure = round(float(sure), 4)
    if sure < least or not inside(place, size).all():
        return Keypoint(keypoint.name, math.nan, math.nan, "missing", sure)
    x, y = np.round(place, 3).tolist()
    return Keypoint(keypoint.name, x, y, keypoint.visibility, sure)


def _swapped(keypoints: list[Keypoint], category: Category) -> list[Keypoint]:
    return [replace(keypoints[other], name=keypoints[k].name) for k, other in enumerate(category.mirrored)]


def _curve(curve: Curve, transform: Transform, ends: Iterable[Points]) -> Curve:
    """The curve, with the ends of an open one at their landmarks; all its points in order."""
    moved = transform(curve.points)
    if not curve.closed:
        first, last = next(iter(ends)), next(iter(ends))
        share = np.linspace(0, 1, len(moved))[:, None]
        moved = moved + (1 - share) * (first - moved[0]) + share * (last - moved[-1])
    return replace(curve, points=np.round(moved, 3))


def _ellipse(box: Box) -> Points:
    """Points of the ellipse that touches a box's edges: the box round a turned object is not that of its corners."""
    left, top, right, bottom = box
    turn = np.arange(_ROUND) * (2 * np.pi / _ROUND)
    points: Points = np.stack(
        [(left + right + (right - left) * np.cos(turn)) / 2, (top + bottom + (bottom - top) * np.sin(turn)) / 2], 1
    )
    return points


def _box(box: Box, transform: Transform, size: tuple[int, int]) -> Box | None:
    moved = transform(_ellipse(box))
    low, high = moved.min(0), moved.max(0)
    area = float(np.prod(high - low))
    low, high = np.clip(low, -0.5, np.array(size) - 0.5), np.clip(high, -0.5, np.array(size) - 0.5)
    if not float(np.prod(high - low)) > LEAST_SEEN * area:
        return None
    left, top, right, bottom = np.round([*low, *high], 3).tolist()
    return (left, top, right, bottom)


def _outline(outline: Outline, transform: Transform, size: tuple[int, int]) -> Outline | None:
    whole = transform(outline.points)
    cut = clip_polygon(whole, size)
    if len(cut) < 3 or abs(signed_area(cut)) < LEAST_SEEN * abs(signed_area(whole)):
        return None
    holes = [clip_polygon(transform(hole), size) for hole in outline.holes]
    return Outline(np.round(cut, 3), tuple(np.round(hole, 3) for hole in holes if len(hole) >= 3))


def _mask(mask: ObjectMask, transform: Transform, target: Image, source_size: tuple[int, int]) -> ObjectMask | None:
    layer = mask.in_image(source_size).astype(np.float32)[..., None]
    warped = warp_layer(layer, transform, target.size)
    pixels = warped.values[..., 0] >= 0.5
    if not pixels.any():
        return None
    carried = ObjectMask(warped.box[0], warped.box[1], pixels)
    if OFF_EDGE * max(carried.pixels.shape) < 2:  # pixels; nothing to gain
        return carried
    whole = mask_at_edges(carried.in_image(target.size), target, error=OFF_EDGE)
    return ObjectMask.of(whole) if whole.any() else carried
