"""Pixel-exact matches where source and target show one and the same surface (a photograph of it, another frame).

Features of a network are coarse: they say what belongs together to about a tenth of a cell at best. Where the very
same surface is seen again, keypoints of its texture say it to a fraction of a pixel, and no two different objects
share them. So they are tried, and used only when enough of them agree with each other.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.coords import Points
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.estimate import Correspondences
from dift_edit.image import Image

__all__ = ["Surface", "match_surface"]

_SOURCE_SIDE, _TARGET_SIDE = 480, 720
_RING = 0.3
_RATIO = 0.8
_LEAST = 12
_COVER = 0.35
"""Share of the edit's width and of its height that the agreeing keypoints span at least."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Agreeing keypoints of one surface seen twice.

    Attributes
    ----------
    pairs : Correspondences
        In pixels of the two pictures, weighted 1.
    homography : MatrixTransform
        Which they agree with, to a few pixels.
    inside : int
        How many lie in the edit's box.
    """

    pairs: Correspondences
    homography: MatrixTransform
    inside: int


def match_surface(source: Image, quad: Points, target: Image) -> Surface | None:
    """Look for the source's texture round an edit in a target.

    Parameters
    ----------
    source, target : Image
        The two pictures.
    quad : ndarray
        (4, 2) the edit's corners in source pixels.

    Returns
    -------
    Surface or None
        None when the target does not show that very surface.

    References
    ----------
    Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004 (keypoints, ratio test).
    """
    low, high = quad.min(0), quad.max(0)
    margin = _RING * float((high - low).max())
    limits = np.asarray(source.size)
    left, top = np.clip(np.floor(low - margin), 0, limits - 2).astype(int)
    right, bottom = np.clip(np.ceil(high + margin) + 1, (left + 2, top + 2), limits).astype(int)
    first = _keypoints(_grey(source)[top:bottom, left:right], _SOURCE_SIDE)
    second = _keypoints(_grey(target), _TARGET_SIDE)
    if first is None or second is None:
        return None
    nearest = cv2.BFMatcher(cv2.NORM_L2).knnMatch(first[1], second[1], k=2)
    good = [(m[0].queryIdx, m[0].trainIdx) for m in nearest if len(m) == 2 and m[0].distance < _RATIO * m[1].distance]
    if len(good) < _LEAST:
        return None
    index = np.array(good)
    p, q = first[0][index[:, 0]] + (left, top), second[0][index[:, 1]]
    return _agreement(p, q, low, high, 0.015 * min(target.size))


def _agreement(p: Points, q: Points, low: Points, high: Points, tolerance: float) -> Surface | None:
    cv2.setRNGSeed(0)
    matrix, agree = cv2.findHomography(p, q, cv2.RANSAC, max(3.0, tolerance), maxIters=2000)
    if matrix is None or agree is None:
        return None
    held = agree[:, 0] > 0
    inside = held & ((p >= low) & (p <= high)).all(1)
    if inside.sum() < _LEAST or held.mean() < 0.2:
        return None
    spans = np.ptp(p[inside], axis=0) / (high - low)
    if spans.min() < _COVER or len(np.unique(np.round(q[inside]), axis=0)) < _LEAST:
        return None
    transform = MatrixTransform(np.asarray(matrix, dtype=np.float64))
    corners = transform(np.array([low, (high[0], low[1]), high, (low[0], high[1])]))
    edges = np.roll(corners, -1, 0) - corners
    following = np.roll(edges, -1, 0)
    if not (edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0] > 0).all():
        return None
    return Surface(Correspondences(p[held], q[held], np.ones(int(held.sum()))), transform, int(inside.sum()))


def _grey(image: Image) -> npt.NDArray[np.uint8]:
    pixels = image.pixels
    if pixels.dtype != np.uint8:
        pixels = np.clip(pixels / image.full_scale * 255, 0, 255).astype(np.uint8)
    grey: npt.NDArray[np.uint8] = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.uint8)
    return grey


def _keypoints(grey: npt.NDArray[np.uint8], side: int) -> tuple[Points, npt.NDArray[np.float32]] | None:
    """Keypoints in pixels of the picture given, and their descriptors; the picture is shrunk to a longer side first."""
    height, width = grey.shape
    shrink = min(1.0, side / max(grey.shape))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if shrink < 1 else grey
    found, descriptors = cv2.SIFT_create(nfeatures=1200).detectAndCompute(small, None)  # type: ignore[attr-defined]
    if descriptors is None or len(found) < _LEAST:
        return None
    at = np.array([keypoint.pt for keypoint in found], dtype=np.float64)
    points: Points = (at + 0.5) * (width / size[0], height / size[1]) - 0.5
    return points, np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-9)).astype(np.float32)
