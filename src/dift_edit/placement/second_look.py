"""A second look at a placement: both pictures are cut round the first answer, and the edit is placed again.

The cuts show the edit and its surroundings at the network's own size, and at about the same size in both, so that the
features are finer than those of the whole pictures and compare things of equal size. Where both looks agree, their mean
is the placement; elsewhere the surer one is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from dift_edit.errors import EditError, GeometryError
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import quad_iou
from dift_edit.imaging.image import Image
from dift_edit.placement.similarities import Poses, sample_poses
from dift_edit.placement.votes import WIDE, Affinity, Mask, gather_evidence

__all__ = ["Box", "Closer", "SecondLook", "closer_features", "look_again"]

SURROUNDINGS = 0.75
"""What the cut of the source shows on each side of the edit, in units of its longer side (chosen)."""
ROOM = 1.25
"""How much larger the cut of the target is than the first answer asks for: it may be off (chosen)."""
WHOLE = 0.9
"""Share of a picture's sides from which on a cut is no closer; where one of them is not, there is no second look: it
would gain a third of what the others do (measured, see docs/transfer_quality.md)."""
LEAST = 16
"""Least side of a cut in pixels (chosen)."""
AGREED = 0.3
"""Overlap (IoU) from which on two looks are taken for the same place (chosen)."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are the first ones outside."""
Closer = Callable[[Box, Box, bool], tuple[FeatureMap, FeatureMap]]
"""Features of a cut of the source and of a cut of the target, or of the mirrored target where the last one is true."""

_cuts: WeakKeyDictionary[FeatureMap, dict[Box, FeatureMap]] = WeakKeyDictionary()
"""Features of cuts of sources: they are the same for all targets."""


@dataclass(frozen=True, eq=False)
class SecondLook:
    """What a second look found.

    Attributes
    ----------
    placed : MatrixTransform
        The similarity, from pixels of the source to pixels of the target.
    overlap : float
        Expected overlap with the right place, see `Poses.expected`.
    rank : float
        As `ConfidenceFeatures.rank`, in the cuts.
    """

    placed: MatrixTransform
    overlap: float
    rank: float

    def merged(self, first: Poses) -> MatrixTransform:
        """The mean of two looks that agree, about the edit's centre; else the one of greater expected overlap."""
        near, quad = first.placement, first.quad
        if quad_iou(near(quad), self.placed(quad)) <= AGREED:
            return self.placed if self.overlap > first.expected[1] else near
        a, again = (complex(one.matrix[0, 0], one.matrix[1, 0]) for one in (near, self.placed))
        middle = complex(*quad.mean(0))
        at = complex(*((near(quad).mean(0) + self.placed(quad).mean(0)) / 2))
        mean = a * np.sqrt(again / a)
        shift = at - mean * middle
        return MatrixTransform(
            np.array([[mean.real, -mean.imag, shift.real], [mean.imag, mean.real, shift.imag], [0, 0, 1]])
        )


def closer_features(
    featurizer: Featurizer, source: Image, features: FeatureMap, target: Image, *, seed: int = 0
) -> Closer:
    """What gives the features of cuts.

    Parameters
    ----------
    featurizer : Featurizer
        Gives the features.
    source, target : Image
        The pictures.
    features : FeatureMap
        Of the source; its cuts are kept as long as these.
    seed : int
        Of the features.

    Returns
    -------
    callable
        See `Closer`.
    """

    def cuts(near: Box, far: Box, mirrored: bool) -> tuple[FeatureMap, FeatureMap]:
        kept = _cuts.setdefault(features, {})
        if near not in kept:
            kept[near] = featurizer(source.crop(near), seed=seed)
        picture = target.mirrored() if mirrored else target
        return kept[near], featurizer(picture.crop(far), seed=seed)

    return cuts


def look_again(
    closer: Closer,
    quad: Points,
    first: MatrixTransform,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    *,
    mirrored: bool = False,
    source_mask: Mask | None = None,
    target_mask: Mask | None = None,
    seed: int = 0,
) -> SecondLook | None:
    """Place an edit again in cuts of both pictures.

    Parameters
    ----------
    closer : callable
        Gives the features of the cuts.
    quad : ndarray
        (4, 2) the edit's corners in source pixels.
    first : MatrixTransform
        The similarity that was found in the whole pictures.
    sizes : ((W, H), (W, H))
        Of source and target in pixels.
    mirrored : bool
        Whether target pixels are those of its mirror image.
    source_mask, target_mask : ndarray, optional
        (H, W) bool: where the source may be used, and where in the target matches may lie.
    seed : int
        Of the samples.

    Returns
    -------
    SecondLook or None
        None where a cut would be the picture again or is too small, or nothing of it lies within the masks.
    """
    scale = first.enlargement
    low, high = quad.min(0), quad.max(0)
    half = float((high - low).max()) * (0.5 + SURROUNDINGS)
    near = _box((low + high) / 2, half, sizes[0])
    far = _box(first(quad).mean(0), half * scale * ROOM, sizes[1])
    if near is None or far is None or any(_share(*pair) >= WHOLE for pair in zip((near, far), sizes, strict=True)):
        return None
    known, seen = closer(near, far, mirrored)
    corner, there = np.array(near[:2], dtype=np.float64), np.array(far[:2], dtype=np.float64)
    affinity = Affinity.of(known, seen)
    try:
        wide = gather_evidence(
            known, quad - corner, seen, source_mask=_cut(source_mask, near), target_mask=_cut(target_mask, far),
            reach=WIDE, affinity=affinity,
        )  # fmt: skip
    except (EditError, GeometryError):  # nothing is left within a mask
        return None
    evidence = replace(wide, expected_scale=scale).within()
    poses = sample_poses(evidence, seed=seed)
    matrix = poses.placement.matrix.copy()
    rank = affinity.agreement(evidence, poses.placement)[1]
    matrix[:2, 2] += there - matrix[:2, :2] @ corner
    return SecondLook(MatrixTransform(matrix), poses.expected[1], rank)


def _box(middle: Points, half: float, size: tuple[int, int]) -> Box | None:
    """A square round a point, clipped to a picture; None where too little of it is left."""
    left, top = (max(0, math.floor(value - half)) for value in middle)
    right, bottom = (min(edge, math.ceil(value + half)) for value, edge in zip(middle, size, strict=True))
    return (left, top, right, bottom) if min(right - left, bottom - top) >= LEAST else None


def _share(box: Box, size: tuple[int, int]) -> float:
    """Square root of the share of a picture that a box covers."""
    return math.sqrt((box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1]))


def _cut(mask: Mask | None, box: Box) -> Mask | None:
    return None if mask is None else mask[box[1] : box[3], box[0] : box[2]]
