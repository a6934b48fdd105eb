"""Where two versions of a picture differ, and what was painted there."""

import itertools

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dift_edit.imaging.image import Image
from dift_edit.rendering.warp import premultiplied

__all__ = ["changed_area", "noise_threshold", "opaque", "unmixed"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_REACH = 3
"""Pixels from the edge of a change inwards that may be mixtures of paint and picture."""


def opaque(image: Image) -> Floats:
    """(H, W, 3) sRGB in [0, 1], over white."""
    values = premultiplied(image)
    return values[..., :3] + (1 - values[..., 3:])


def noise_threshold(before: Floats, after: Floats) -> float:
    """A change that noise does not reach: writing a picture as JPEG again changes every pixel a little."""
    difference = (after - before).mean(axis=2)
    rough = np.abs(difference - np.asarray(cv2.GaussianBlur(difference, (0, 0), 2.0)))
    rough = rough[rough < 0.05]
    noise = float(np.percentile(rough, 90)) if rough.size else 0.0
    return min(max(4 * noise, 0.02), 0.12)


def changed_area(before: Floats, after: Floats, threshold: float) -> Mask:
    """Where something was changed: specks are dropped and holes filled, because a person edits areas.

    Parameters
    ----------
    before, after : ndarray
        (H, W, 3) sRGB in [0, 1].
    threshold : float
        Smallest change of a channel that counts.

    Returns
    -------
    ndarray
        (H, W) bool.
    """
    change = np.abs(after - before).max(axis=2)
    smooth = np.asarray(cv2.GaussianBlur(change, (0, 0), 0.8))
    strong = (np.maximum(change, smooth) > threshold) & (smooth > 0.5 * threshold)
    labels, count = ndimage.label(ndimage.binary_closing(np.pad(strong, 2), iterations=2)[2:-2, 2:-2])
    areas = np.bincount(labels.ravel())
    weight = np.bincount(labels.ravel(), weights=smooth.ravel())
    weight[0] = 0
    coherent = np.abs(np.asarray(cv2.GaussianBlur(after - before, (0, 0), 1.5))).max(axis=2)  # noise cancels in it
    peak = ndimage.maximum(coherent, labels, np.arange(count + 1))
    kept = (areas >= 4) & (weight >= 0.003 * weight.max()) & (peak >= min(1.5 * threshold, 0.5 * peak.max()))
    kept[0] = False
    return np.asarray(ndimage.binary_fill_holes(kept[labels]) > 0)


def unmixed(below: Floats, seen: Floats, solid: Mask, tolerance: float) -> tuple[Floats, Floats]:
    """Paint and its opacity, without what shines through at its edge.

    Parameters
    ----------
    below, seen : ndarray
        (H, W, 3) sRGB in [0, 1] before and after.
    solid : ndarray
        (H, W) bool: where something was painted.
    tolerance : float
        How far a mixture may be from what is seen.

    Returns
    -------
    colors : ndarray
        (H, W, 3) float32.
    alpha : ndarray
        (H, W) float32 in [0, 1].

    Notes
    -----
    Inside a changed area the paint is what is seen. Near its edge, after = α·paint + (1 − α)·before is tried with the
    paint of every deeper neighbour; α follows by projection on the line between the two colours, and the neighbour
    that leaves the smallest rest is taken. A pixel that none explains is paint itself (a drawn outline).

    References
    ----------
    Smith and Blinn, "Blue Screen Matting", 1996 (the compositing equation solved for α with the background known).
    """
    depth = ndimage.distance_transform_edt(np.pad(solid, _REACH + 1))
    inner = slice(_REACH + 1, -_REACH - 1)
    colors, alpha = seen.copy(), solid.astype(np.float32)
    rows, columns = np.nonzero(ndimage.binary_dilation(solid) & (depth[inner, inner] <= _REACH + 0.5))
    own_depth = depth[rows + _REACH + 1, columns + _REACH + 1]
    base, own = below[rows, columns], seen[rows, columns]
    best = np.where(own_depth > 0, tolerance, np.inf)  # alone it is paint; outside the area it must be a mixture
    opacity, paint = np.where(own_depth > 0, 1.0, 0.0).astype(np.float32), own.copy()
    for dy, dx in itertools.product(range(-_REACH, _REACH + 1), repeat=2):
        deeper = depth[rows + dy + _REACH + 1, columns + dx + _REACH + 1] > own_depth
        y, x = np.clip(rows + dy, 0, len(seen) - 1), np.clip(columns + dx, 0, seen.shape[1] - 1)
        span = seen[y, x] - base
        share = np.clip(((own - base) * span).sum(axis=1) / np.maximum((span**2).sum(axis=1), 1e-9), 0, 1)
        rest = np.linalg.norm(own - base - share[:, None] * span, axis=1) + 0.002 * np.hypot(dy, dx)
        better = deeper & (rest < best) & (np.linalg.norm(span, axis=1) > 2 * tolerance)
        best = np.where(better, rest, best)
        opacity = np.where(better, share, opacity)
        paint = np.where(better[:, None], seen[y, x], paint)
    alpha[rows, columns] = np.clip((opacity - 0.06) / 0.9, 0, 1)
    colors[rows, columns] = np.where((opacity > 0.95)[:, None], own, paint)
    return colors, alpha
