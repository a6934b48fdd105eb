"""Edit by example: what a person changed between a picture before and after."""

import itertools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dift_edit.edits.sticker import Sticker
from dift_edit.errors import EditError
from dift_edit.image import Image, as_image
from dift_edit.warp import premultiplied

__all__ = ["PaintLayer", "difference_matte", "edit_from_difference"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_REACH = 3
"""Pixels from the edge of a change inwards that may be mixtures of paint and picture."""


class PaintLayer(Sticker):
    """What was painted on the source, as a transparent canvas of its size."""

    def recipe(self) -> dict[str, Any]:
        """Plain data: ``{"type": "paint", "image": Image}``."""
        return {"type": "paint", "image": self.image}


def edit_from_difference(before: Any, after: Any, *, threshold: float | None = None) -> PaintLayer:
    """The edit that turns one picture into the other.

    Parameters
    ----------
    before, after : Image, path, PIL.Image.Image or array
        The source and the same picture after the edit, of the same size.
    threshold : float, optional
        Smallest change of a channel, in [0, 1], that counts; from the noise of the pair when None.

    Returns
    -------
    PaintLayer
        With the colours of `after` under a soft matte of what changed.

    Raises
    ------
    EditError
        If the sizes differ or nothing changed.
    """
    before, after = as_image(before), as_image(after)
    if before.size != after.size:
        raise EditError(
            f"{_called(after, 'The edited picture')} is {after.size[0]}×{after.size[1]} but "
            f"{_called(before, 'the source')} is {before.size[0]}×{before.size[1]}: "
            "save the edited picture in the source's size, without cropping."
        )
    colors, matte = difference_matte(before, after, threshold=threshold)
    if not matte.any():
        raise EditError(
            f"{_called(after, 'The edited picture')} shows no change against {_called(before, 'the source')}: "
            "give the picture before and after the edit."
        )
    full, kind = after.full_scale, after.pixels.dtype
    scaled = [values * full if full == 1 else np.rint(values * full) for values in (colors, matte)]
    return PaintLayer(Image(scaled[0].astype(kind), scaled[1].astype(kind), after.file))


def difference_matte(before: Image, after: Image, *, threshold: float | None = None) -> tuple[Floats, Floats]:
    """What was painted over a picture, and how opaque it is.

    Parameters
    ----------
    before, after : Image
        Of the same size.
    threshold : float, optional
        Smallest change that counts, in [0, 1].

    Returns
    -------
    colors : ndarray
        (H, W, 3) float32: the paint, without what shines through at its edge.
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
    below, seen = _opaque(before), _opaque(after)
    change = np.abs(seen - below).max(axis=2)
    if threshold is None:
        threshold = _noise_threshold(change)
    solid = _changed_area(change, threshold)
    if not solid.any():
        return seen, np.zeros(change.shape, np.float32)
    return _unmixed(below, seen, solid, max(1.5 * threshold, 0.05))


def _unmixed(below: Floats, seen: Floats, solid: Mask, tolerance: float) -> tuple[Floats, Floats]:
    """Paint and opacity, with the pixels near the edge explained as a mixture where a deeper neighbour can."""
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


def _noise_threshold(change: Floats) -> float:
    """A change that noise does not reach: writing a picture as JPEG again changes every pixel a little."""
    quiet = change[change < 0.1]
    noise = float(np.percentile(quiet, 90)) if quiet.size else 0.0
    return min(max(2.5 * noise, 0.02), 0.12)


def _changed_area(change: Floats, threshold: float) -> Mask:
    """Where something was painted: specks are dropped and holes filled, because a person paints areas."""
    smooth = cv2.GaussianBlur(change, (0, 0), 0.8)
    strong = (np.maximum(change, smooth) > threshold) & (smooth > 0.5 * threshold)
    labels, count = ndimage.label(ndimage.binary_closing(strong, iterations=2))
    areas = np.bincount(labels.ravel())
    weight = np.bincount(labels.ravel(), weights=smooth.ravel())
    weight[0] = 0
    peak = ndimage.maximum(smooth, labels, np.arange(count + 1))
    kept = (areas >= 4) & (weight >= 0.003 * weight.max()) & (peak >= min(3 * threshold, 0.5 * peak.max()))
    kept[0] = False
    return np.asarray(ndimage.binary_fill_holes(kept[labels]) > 0)


def _opaque(image: Image) -> Floats:
    values = premultiplied(image)
    return values[..., :3] + (1 - values[..., 3:])


def _called(image: Image, otherwise: str) -> str:
    return image.name if image.file else otherwise
