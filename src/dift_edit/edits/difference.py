"""Where two versions of a picture differ, and what was painted there."""

import io
import itertools

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
from scipy import ndimage

from dift_edit.imaging.image import Image
from dift_edit.rendering.warp import premultiplied

__all__ = ["changed_area", "noise_threshold", "opaque", "saved_again", "unmixed"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_LEAST_PEAK = 0.03
"""Change that an edit reaches somewhere, when noise cancels: eight of 255 steps are seen as a change (chosen)."""
_REACH = 3
"""Pixels from the edge of a change inwards that may be mixtures of paint and picture (chosen)."""


def opaque(image: Image) -> Floats:
    """(H, W, 3) sRGB in [0, 1], over white."""
    values = premultiplied(image)
    return values[..., :3] + (1 - values[..., 3:])


_QUALITIES = (98, 95, 92, 90, 88, 85, 80, 75, 70, 60, 50, 40, 30)
"""JPEG qualities that are tried as those of a re-save (chosen)."""
_TILE, _TILES = 128, 3
"""Pixels of a tile, and tiles along each side, in which they are tried (chosen)."""


def saved_again(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """The image before an edit, with the losses of the file that the edited one was saved to.

    Parameters
    ----------
    before, after : ndarray
        (H, W, 3) sRGB in [0, 1].

    Returns
    -------
    below : ndarray
        (H, W, 3): `before`, written as the JPEG that comes closest to `after` where nothing was changed; `before`
        itself where the images agree better without (a lossless file).
    loss : ndarray
        (H, W) what is still not known of the file's losses: the change that the format made at each place, in the
        share in which it is not foretold (another program's JPEG), and beside edges of the edit, which ring.

    Notes
    -----
    The quality is found on a few tiles, aligned with JPEG's blocks, by the quarter of the pixels that differ least:
    those were hardly edited.
    """
    height, width = before.shape[:2]
    size = min(_TILE, height // 16 * 16, width // 16 * 16)
    if size < 16:
        return before, np.zeros((height, width), np.float32)
    rows, columns = (
        sorted({int(start) // 16 * 16 for start in np.linspace(0, length - size, _TILES)}) for length in (height, width)
    )
    tiles = [(slice(y, y + size), slice(x, x + size)) for y in rows for x in columns]
    first = np.concatenate([before[tile] for tile in tiles])
    second = np.concatenate([after[tile] for tile in tiles])

    def apart(other: Floats) -> float:
        difference = np.asarray(cv2.blur(np.abs(other - second).mean(axis=2), (8, 8)))
        return float(np.mean(np.sort(difference.ravel())[: difference.size // 4]))

    choices = [(quality, sampling) for quality in _QUALITIES for sampling in (0, 2)]
    best, (quality, sampling) = min((apart(_as_jpeg(first, *choice)), choice) for choice in choices)
    without = apart(first)
    if best >= 0.8 * without:
        return before, np.zeros((height, width), np.float32)
    below = _as_jpeg(before, quality, sampling)
    loss = np.asarray(cv2.GaussianBlur(np.abs(below - before).max(axis=2), (0, 0), 4.0))
    change = np.asarray(cv2.GaussianBlur(np.abs(after - below).max(axis=2), (0, 0), 1.0))
    ringing = 0.008 * (100 - quality) * np.asarray(cv2.dilate(change, np.ones((17, 17), np.uint8)))  # in 8 × 8 blocks
    return below, np.asarray(3 * best / without * loss + ringing, dtype=np.float32)


def _as_jpeg(picture: Floats, quality: int, sampling: int) -> Floats:
    buffer = io.BytesIO()
    eight = np.rint(picture * 255).astype(np.uint8)
    PIL.Image.fromarray(eight).save(buffer, "JPEG", quality=quality, subsampling=sampling)
    return np.asarray(PIL.Image.open(buffer), dtype=np.float32) / np.float32(255)


def noise_threshold(before: Floats, after: Floats) -> float:
    """A change that noise does not reach: writing a picture as JPEG again changes every pixel a little."""
    difference = (after - before).mean(axis=2)
    rough = np.abs(difference - np.asarray(cv2.GaussianBlur(difference, (0, 0), 2.0)))
    rough = rough[rough < 0.05]
    noise = float(np.percentile(rough, 75)) if rough.size else 0.0  # a quarter of the picture may be edited
    return min(max(5.7 * noise, 0.02), 0.12)


def changed_area(before: Floats, after: Floats, threshold: float, loss: Floats | None = None) -> Mask:
    """Where something was changed: specks are dropped and holes filled, because a person edits areas.

    Parameters
    ----------
    before, after : ndarray
        (H, W, 3) sRGB in [0, 1].
    threshold : float
        Smallest change of a channel that counts.
    loss : ndarray, optional
        (H, W) how much the file's format may have changed each place: only more than that counts there.

    Returns
    -------
    ndarray
        (H, W) bool.
    """
    change = np.abs(after - before).max(axis=2)
    if loss is not None:
        change = np.maximum(change - loss, 0)
    smooth = np.asarray(cv2.GaussianBlur(change, (0, 0), 0.8))
    strong = (np.maximum(change, smooth) > threshold) & (smooth > 0.5 * threshold)
    labels, count = ndimage.label(ndimage.binary_closing(np.pad(strong, 2), iterations=2)[2:-2, 2:-2])
    areas = np.bincount(labels.ravel())
    weight = np.bincount(labels.ravel(), weights=smooth.ravel())
    weight[0] = 0
    coherent = np.abs(np.asarray(cv2.GaussianBlur(after - before, (0, 0), 1.5))).max(axis=2)  # noise cancels in it
    peak = ndimage.maximum(coherent, labels, np.arange(count + 1))
    kept = (areas >= 4) & (weight >= 0.003 * weight.max()) & (peak >= min(1.5 * threshold, 0.5 * peak.max()))
    kept &= peak >= _LEAST_PEAK
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
