"""The same place in every image, without a look at what it shows: for spots of a sensor, frames, dates and logos."""

import numpy as np

from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import inside
from dift_edit.geometry.quad import as_quad, bounds
from dift_edit.placement.placement import Placement
from dift_edit.settings import TransferSettings
from dift_edit.types import QuadLike

__all__ = ["fixed_placement"]


def fixed_placement(
    quad: QuadLike,
    source_size: tuple[int, int],
    target_size: tuple[int, int],
    settings: TransferSettings | None = None,
) -> Placement:
    """Where an edit lies when it lies at the same place in every image.

    Parameters
    ----------
    quad : array_like
        (4, 2) corners of the edit in source pixels.
    source_size, target_size : (W, H)
        In pixels.
    settings : TransferSettings, optional
        ``anchor``, ``anchor_size`` and ``anchor_margin``; the defaults when None.

    Returns
    -------
    Placement
        With the confidence 1, because there is nothing to doubt; with a reason where the place lies outside the target.

    Raises
    ------
    EditError
        If the quad is unusable.
    """
    settings = settings or TransferSettings()
    corners = as_quad(quad)
    source, target = np.asarray(source_size, dtype=np.float64), np.asarray(target_size, dtype=np.float64)
    if settings.anchor == "pixels":
        scale, shift = np.ones(2), np.zeros(2)
    elif settings.anchor == "relative":
        scale, shift = target / source, np.zeros(2)
    else:
        scale = np.full(2, 1.0 if settings.anchor_size == "pixels" else target.min() / source.min())
        low, high = (edge + 0.5 for edge in bounds(corners))  # from the outer edge of the first pixel
        ends = _ends(settings.anchor)
        room = [low, (source - high)]
        margin = [each if settings.anchor_margin < 0 else np.full(2, settings.anchor_margin) for each in room]
        at_low = scale * (margin[0] - low)
        at_high = target - scale * (margin[1] + high)
        middle = (target - scale * source) / 2
        shift = np.select([ends < 0, ends > 0], [at_low, at_high], middle)
        if settings.anchor_size == "pixels":
            shift = np.floor(shift)  # by whole pixels nothing is resampled
    # Pixel centres are whole numbers, so the outer corner lies at -0.5.
    matrix = np.array(
        [(scale[0], 0, shift[0] + (scale[0] - 1) / 2), (0, scale[1], shift[1] + (scale[1] - 1) / 2), (0, 0, 1)]
    )
    transform = MatrixTransform(matrix)
    placed = transform(corners)
    reason = "" if inside(placed.mean(axis=0), target_size).all() else "the place lies outside the image"
    return Placement(
        quad=placed, transform=transform, confidence=1.0, confidence_source="fixed", mirrored=False, reason=reason,
        engine="fixed",
    )  # fmt: skip


def _ends(anchor: str) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """(x, y) of an anchor: -1 for left or top, 1 for right or bottom, 0 for the middle."""
    words = anchor.split("-")
    return np.array([("right" in words) - ("left" in words), ("bottom" in words) - ("top" in words)])
