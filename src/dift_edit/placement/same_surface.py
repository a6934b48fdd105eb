"""Pixel-exact matches where source and target show one and the same surface (a photograph of it, another frame).

Features of a network are coarse: they say what belongs together to about a tenth of a cell at best. Where the very
same surface is seen again, its texture says it to a fraction of a pixel, and no two different objects share theirs. So
the pixels are aligned from the place that the features found; where that fails, keypoints are tried, which need no
start. Both are used only when enough of the texture agrees.
"""

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.features.threads import one_thread
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.estimate import Correspondences
from dift_edit.geometry.quad import quad_folds, signed_area
from dift_edit.imaging.image import Image
from dift_edit.imaging.texture import ratio_matches
from dift_edit.placement.pixel_alignment import align, to_grey
from dift_edit.placement.votes import Mask, masked

__all__ = ["Surface", "match_surface"]

SHARE = 0.25
"""Of the edit's texture that has to be found again. Where another individual is shown it is below 0.1."""
_SOURCE_SIDE, _TARGET_SIDE = 480, 480
_RING = 0.3
_LEAST = 12
_MANY = 25
"""Keypoints inside the edit that are believed without an aligned texture."""
_COVER = 0.35
"""Share of the edit's width and of its height that the agreeing places span at least."""

Keypoints = tuple[Points, npt.NDArray[np.float32]]
"""Places (N, 2) in pixels and descriptors (N, 128)."""
_of_sources: WeakKeyDictionary[Image, tuple[bytes, Keypoints | None]] = WeakKeyDictionary()
"""Keypoints round the edit on each source: it is the same for all targets."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Agreeing places of one surface seen twice.

    Attributes
    ----------
    pairs : Correspondences
        In pixels of the two pictures; places round the edit weigh less than those on it.
    share : float
        How much of the edit's texture was found again by alignment; 0 when only keypoints agree.
    trust : float
        How far the place of the edit on the first picture is trusted, 0 to 1.
    """

    pairs: Correspondences
    share: float
    trust: float = 1.0

    def seen_from(self, to_source: MatrixTransform, trust: float) -> "Surface":
        """The same places of the second picture, with those of the first moved by a map to the source."""
        return replace(self, pairs=replace(self.pairs, source=to_source(self.pairs.source)), trust=trust)


@one_thread()
def match_surface(
    source: Image,
    quad: Points,
    target: Image,
    near: MatrixTransform | None = None,
    *,
    keypoints: bool = True,
    source_mask: Mask | None = None,
    target_mask: Mask | None = None,
) -> Surface | None:
    """Look for the source's texture round an edit in a target.

    Parameters
    ----------
    source, target : Image
        The two pictures.
    quad : ndarray
        (4, 2) the edit's corners in source pixels.
    near : MatrixTransform, optional
        Where features place the edit; the pixels are aligned from there.
    keypoints : bool
        Whether to look for keypoints, anywhere in the target, when that does not succeed.
    source_mask, target_mask : ndarray, optional
        (H, W) bool: where each picture may be used.

    Returns
    -------
    Surface or None
        None when the target does not show that very surface.

    References
    ----------
    Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004 (keypoints, ratio test).
    """

    def allowed(pairs: Correspondences) -> Correspondences:
        held = np.ones(len(pairs.source), dtype=bool)
        if source_mask is not None:
            held &= masked(source_mask, pairs.source, source.size) > 0
        if target_mask is not None:
            held &= masked(target_mask, pairs.target, target.size) > 0
        return Correspondences(pairs.source[held], pairs.target[held], pairs.weights[held])

    def aligned(start: MatrixTransform) -> Surface | None:
        found = align(source, quad, target, start)
        pairs = allowed(found.pairs)
        return Surface(pairs, found.share) if found.share >= SHARE and _covers(pairs, quad) else None

    surface = None if near is None else aligned(near)
    if surface is not None or not keypoints:
        return surface
    agreed = _agreeing_keypoints(source, quad, target)
    if agreed is None:
        return None
    homography, pairs, inside = agreed
    surface = aligned(homography)
    if surface is None and inside >= _MANY:
        pairs = allowed(pairs)
        surface = Surface(pairs, 0.0) if _covers(pairs, quad) else None
    return surface


def _covers(pairs: Correspondences, quad: Points) -> bool:
    """Whether pairs on the edit are enough, and span enough of it."""
    low, high = quad.min(0), quad.max(0)
    inside = ((pairs.source >= low) & (pairs.source <= high)).all(1)
    if inside.sum() < _LEAST:
        return False
    return bool((np.ptp(pairs.source[inside], axis=0) >= _COVER * (high - low)).all())


def _agreeing_keypoints(
    source: Image, quad: Points, target: Image
) -> tuple[MatrixTransform, Correspondences, int] | None:
    """The homography that most keypoints agree with, these keypoints, and how many of them lie on the edit."""
    first = _around(source, quad)
    second = None if first is None else _keypoints(target.pixels, target.full_scale, _TARGET_SIDE)
    if first is None or second is None:
        return None
    index = ratio_matches(first[1], second[1])
    if len(index) < _LEAST:
        return None
    p, q = first[0][index[:, 0]], second[0][index[:, 1]]
    return _agreement(p, q, quad.min(0), quad.max(0), 0.015 * min(target.size))


def _around(source: Image, quad: Points) -> Keypoints | None:
    """Keypoints of the source on the edit and round it."""
    known = _of_sources.get(source)
    if known is not None and known[0] == quad.tobytes():
        return known[1]
    low, high = quad.min(0), quad.max(0)
    margin = _RING * float((high - low).max())
    limits = np.asarray(source.size)
    left, top = np.clip(np.floor(low - margin), 0, limits - 2).astype(int)
    right, bottom = np.clip(np.ceil(high + margin) + 1, (left + 2, top + 2), limits).astype(int)
    found = _keypoints(source.pixels[top:bottom, left:right], source.full_scale, _SOURCE_SIDE)
    found = None if found is None else (found[0] + (left, top), found[1])
    _of_sources[source] = quad.tobytes(), found
    return found


def _agreement(
    p: Points, q: Points, low: Points, high: Points, tolerance: float
) -> tuple[MatrixTransform, Correspondences, int] | None:
    cv2.setRNGSeed(0)
    matrix, agree = cv2.findHomography(p, q, cv2.RANSAC, max(3.0, tolerance), maxIters=2000)
    if matrix is None or agree is None:
        return None
    held = agree[:, 0] > 0
    inside = held & ((p >= low) & (p <= high)).all(1)
    if inside.sum() < _LEAST or held.mean() < 0.2 or len(np.unique(np.round(q[inside]), axis=0)) < _LEAST:
        return None
    transform = MatrixTransform(np.asarray(matrix, dtype=np.float64))
    corners = transform(np.array([low, (high[0], low[1]), high, (low[0], high[1])]))
    if quad_folds(corners) or signed_area(corners) < 0:
        return None
    return transform, Correspondences(p[held], q[held], np.ones(int(held.sum()))), int(inside.sum())


def _keypoints(pixels: npt.NDArray[np.generic], full_scale: float, side: int) -> Keypoints | None:
    """Keypoints in pixels of the picture given, and their descriptors; the picture is shrunk to a longer side first."""
    height, width = pixels.shape[:2]
    shrink = min(1.0, side / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = to_grey(pixels, full_scale, size if shrink < 1 else None)
    found, descriptors = cv2.SIFT_create(nfeatures=1200).detectAndCompute(small, None)  # type: ignore[attr-defined]
    if descriptors is None or len(found) < _LEAST:
        return None
    at = np.array([keypoint.pt for keypoint in found], dtype=np.float64)
    points: Points = (at + 0.5) * (width / size[0], height / size[1]) - 0.5
    return points, np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9)).astype(np.float32)
