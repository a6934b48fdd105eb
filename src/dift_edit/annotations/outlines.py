"""Masks, outlines and run lengths into each other."""

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.annotations.model import AnnotatedObject, Box, ObjectMask, Outline
from dift_edit.errors import AnnotationError
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import signed_area

__all__ = ["box_corners", "decoded_runs", "joined_ring", "object_area", "outlines_of", "rings", "runs_of", "trace_mask"]

LARGEST_MASK = 200_000_000
"""Pixels; run lengths of larger masks are refused (as images are)."""


def trace_mask(mask: ObjectMask) -> list[Outline]:
    """The outlines of a mask along the edges of its pixels: filling them gives the mask again.

    Returns
    -------
    list of Outline
        One for each part that hangs together over edges of pixels, with its holes.
    """
    padded = np.pad(mask.pixels, 1)
    _, labels = cv2.connectedComponents(padded.astype(np.uint8), connectivity=4)
    part_of: dict[tuple[Corner, Corner], int] = {}
    onward: dict[Corner, list[Corner]] = {}
    for neighbour, start, end in _SIDES:
        free = padded & ~np.roll(padded, (-neighbour[0], -neighbour[1]), (0, 1))
        for y, x in np.argwhere(free).tolist():
            a, b = (x + start[0], y + start[1]), (x + end[0], y + end[1])
            part_of[a, b] = int(labels[y, x])
            onward.setdefault(a, []).append(b)
    parts: dict[int, list[Points]] = {}
    left = dict(part_of)
    while left:
        first, part = next(iter(left.items()))
        ring, edge = [], first
        while edge in left:
            del left[edge]
            following = _following(edge, onward[edge[1]])
            if _cross(edge, following):
                ring.append(edge[1])
            edge = following
        parts.setdefault(part, []).append(np.array(ring, float) + (mask.left - 1.5, mask.top - 1.5))
    outlines = []
    for loops in parts.values():
        loops.sort(key=lambda loop: -abs(float(signed_area(loop))))
        outlines.append(Outline(loops[0], tuple(loops[1:])))
    return outlines


Corner: TypeAlias = tuple[int, int]

_SIDES = (
    ((-1, 0), (0, 0), (1, 0)),
    ((0, 1), (1, 0), (1, 1)),
    ((1, 0), (1, 1), (0, 1)),
    ((0, -1), (0, 1), (0, 0)),
)
"""Of each side of a pixel: (row, column) of the neighbour, and its ends (x, y), with the pixel on the right."""


def _following(edge: tuple[Corner, Corner], choices: list[Corner]) -> tuple[Corner, Corner]:
    """The next edge: where two pixels touch at a corner, the way turns right and so stays with the same one."""
    edges = [(edge[1], choice) for choice in choices]
    return max(edges, key=lambda onward: _cross(edge, onward))


def _cross(edge: tuple[Corner, Corner], onward: tuple[Corner, Corner]) -> int:
    (ax, ay), (bx, by) = edge
    (_, _), (cx, cy) = onward
    return (bx - ax) * (cy - by) - (by - ay) * (cx - bx)


def box_corners(box: Box) -> Points:
    """(4, 2) corners of a box, from the top left one clockwise."""
    left, top, right, bottom = box
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)


def outlines_of(thing: AnnotatedObject) -> list[Outline]:
    """Its outlines; those of its mask when it has none."""
    return list(thing.outlines) or (trace_mask(thing.mask) if thing.mask else [])


def rings(outlines: Sequence[Outline]) -> list[Points]:
    """Outlines as rings without holes: each hole is joined to its outline by a cut of no width."""
    found = []
    for outline in outlines:
        ring = outline.points
        turn = np.sign(signed_area(ring))
        for hole in outline.holes:
            ring = _joined(ring, hole if np.sign(signed_area(hole)) != turn else hole[::-1])
        found.append(ring)
    return found


def joined_ring(outlines: Sequence[Outline]) -> Points:
    """All outlines of an object as one ring: the parts are joined by cuts of no width."""
    first, *others = rings(outlines)
    turn = np.sign(signed_area(first))
    for ring in others:
        first = _joined(first, ring if np.sign(signed_area(ring)) == turn else ring[::-1])
    return first


def _joined(ring: Points, other: Points) -> Points:
    """Two rings as one, there and back between their nearest corners."""
    gaps = ((ring[:, None] - other[None]) ** 2).sum(axis=2)
    i, j = np.unravel_index(int(gaps.argmin()), gaps.shape)
    return np.concatenate([ring[: i + 1], other[j:], other[: j + 1], ring[i:]])


def object_area(thing: AnnotatedObject) -> float:
    """Pixels that it covers: of its mask, or else its outlines, or else its box."""
    if thing.mask:
        return float(thing.mask.pixels.sum())
    if thing.outlines:
        outer = sum(abs(float(signed_area(outline.points))) for outline in thing.outlines)
        return outer - sum(abs(float(signed_area(hole))) for outline in thing.outlines for hole in outline.holes)
    left, top, right, bottom = thing.extent() or (0.0, 0.0, 0.0, 0.0)
    return (right - left) * (bottom - top)


def runs_of(values: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs in a row of booleans, beginning with those that are false (perhaps 0 of them)."""
    changes = np.flatnonzero(np.diff(values)) + 1
    ends = [0, *changes.tolist(), len(values)]
    runs = np.diff(ends).tolist()
    return [0, *runs] if len(values) and values[0] else runs


def decoded_runs(runs: Sequence[int], count: int) -> npt.NDArray[np.bool_]:
    """The booleans of which `runs_of` gave the runs.

    Raises
    ------
    AnnotationError
        If the runs do not add up to `count`, or that is more than a mask may have.
    """
    lengths = np.asarray(runs, dtype=np.int64)
    if not 0 < count <= LARGEST_MASK or lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != count:
        raise AnnotationError(f"Run lengths of a mask do not add up to its {count} pixels: correct them.")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
