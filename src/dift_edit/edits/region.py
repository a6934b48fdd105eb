"""A part of the source, with soft edges: where an adjustment, a redaction or an erasure acts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dift_edit.errors import EditError, GeometryError
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points, as_points
from dift_edit.geometry.quad import as_quad, box_quad
from dift_edit.imaging.image import Image
from dift_edit.rendering.warp import Warped, warp_layer
from dift_edit.types import MaskLike, PointsLike

__all__ = ["Region"]

Floats = npt.NDArray[np.float32]

_SUBROWS = 8
"""Rows in each pixel at which a polygon's coverage is computed (chosen)."""
_ROUNDING = 1e-5
"""What interpolation may take from a weight of 1: less than a step of 16 bits (chosen)."""
_MAX_SIDE = 20_000
"""Pixels: larger masks are refused, rather than a gigabyte taken (chosen)."""
_FARTHEST = 1e7
"""Pixels from the source's corner: no image reaches so far (chosen)."""


@dataclass(frozen=True, eq=False)
class Region:
    """A soft mask in the source frame.

    Attributes
    ----------
    weight : ndarray
        (h, w) float32 in [0, 1].
    origin : (x, y)
        The source pixel of the mask's first one; the mask may reach beyond the source.
    quad : ndarray
        (4, 2) corners in source pixels.
    everywhere : bool
        Whether it stands for the whole of every image, whatever the transform says.
    """

    weight: Floats
    origin: tuple[int, int]
    quad: Points
    everywhere: bool = False

    @classmethod
    def polygon(cls, points: PointsLike) -> "Region":
        """The inside of a polygon (N, 2) of source pixels, N ≥ 3 (even-odd rule), with antialiased edges.

        Raises
        ------
        EditError
            If it has fewer than three corners, covers no area or is not finite.
        """
        try:
            outline = as_points(points, "polygon")
        except GeometryError as error:
            raise EditError(str(error)) from error
        if len(outline) < 3:
            raise EditError(f"A polygon needs three corners or more, but has {len(outline)}.")
        wide, high = np.ptp(outline, axis=0)
        if max(wide, high) > _MAX_SIDE or np.abs(outline).max() > _FARTHEST:
            raise EditError(f"The region is {wide:.6g}×{high:.6g} pixels, or far away: give points inside the source.")
        low = np.floor(outline.min(axis=0)).astype(int) - 1
        width, height = (np.ceil(outline.max(axis=0)).astype(int) + 2 - low).tolist()
        weight = _filled(outline - low, width, height)
        if not weight.any():
            raise EditError("The polygon covers no area: give corners that are not on one line.")
        return cls._cut(weight, (int(low[0]), int(low[1])), as_quad(outline) if len(outline) == 4 else None)

    @classmethod
    def box(cls, x: float, y: float, width: float, height: float) -> "Region":
        """The upright box of `width` × `height` pixels whose first pixel is (x, y)."""
        _positive(width, height)
        return cls.polygon(box_quad((x, y, x + width, y + height)))

    @classmethod
    def ellipse(cls, x: float, y: float, width: float, height: float) -> "Region":
        """The ellipse inside that box: good for faces."""
        _positive(width, height)
        angle = np.linspace(0, 2 * np.pi, 128, endpoint=False)
        centre = np.array([x + (width - 1) / 2, y + (height - 1) / 2])
        return cls.polygon(centre + np.c_[np.cos(angle) * width / 2, np.sin(angle) * height / 2])

    @classmethod
    def mask(cls, mask: MaskLike, *, everywhere: bool = False) -> "Region":
        """A mask of the source's size: (H, W) bool, uint8, uint16 or float in [0, 1], or the alpha of an `Image`.

        Raises
        ------
        EditError
            If it is empty, not two-dimensional or out of range.
        """
        if isinstance(mask, Image):
            if mask.alpha is None:
                raise EditError(f"{mask.name} has no transparency to serve as a mask: give a mask array.")
            mask = mask.alpha
        array = np.asarray(mask)
        if array.ndim != 2 or array.dtype.kind not in "bufi":
            raise EditError(f"A mask must be (H, W), but has shape {array.shape} and type {array.dtype}.")
        full = np.iinfo(array.dtype).max if array.dtype in (np.uint8, np.uint16) else 1
        weight = array.astype(np.float32) / np.float32(full)
        if not (np.isfinite(weight).all() and weight.min(initial=0) >= 0 and weight.max(initial=0) <= 1):
            raise EditError("A mask must have values from 0 to 1 (or 0 to 255 as uint8).")
        if not weight.any():
            raise EditError("The mask is empty, so there is nothing to edit: mark some pixels.")
        if everywhere:
            return cls(weight, (0, 0), box_quad((0, 0, weight.shape[1], weight.shape[0])), True)
        return cls._cut(weight, (0, 0), None)

    @classmethod
    def _cut(cls, weight: Floats, origin: tuple[int, int], quad: Points | None) -> "Region":
        rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        left, top = origin[0] + box[0], origin[1] + box[1]
        inner = np.ascontiguousarray(weight[box[1] : box[3], box[0] : box[2]])
        place = box_quad((left, top, left + inner.shape[1], top + inner.shape[0]))
        return cls(inner, (left, top), place if quad is None else quad)

    def warped(self, transform: Transform, size: tuple[int, int]) -> Warped:
        """The mask (h, w, 1) where it lies on a target of `size` (W, H); well inside it is exactly 1."""
        if self.everywhere:
            return Warped(np.ones((size[1], size[0], 1), np.float32), (0, 0, *size))
        offset = np.array([(1, 0, self.origin[0]), (0, 1, self.origin[1]), (0, 0, 1)], dtype=np.float64)
        warped = warp_layer(self.weight[..., None], transform, size, matrix=offset)
        values = np.clip(warped.values, 0, 1)
        values[values > 1 - _ROUNDING] = 1  # else a trace of what is hidden would count
        return Warped(values, warped.box)


def _filled(outline: Points, width: int, height: int) -> Floats:
    """Coverage (height, width) of pixels: exact along x, at `_SUBROWS` rows in each pixel, by the even-odd rule."""
    start, end = outline, np.roll(outline, -1, axis=0)
    y = (np.arange(height * _SUBROWS) + 0.5) / _SUBROWS - 0.5
    crossed = (y[:, None] >= start[:, 1]) != (y[:, None] >= end[:, 1])
    row, edge = np.nonzero(crossed)
    share = (y[row] - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
    x = start[edge, 0] + share * (end[edge, 0] - start[edge, 0])
    order = np.lexsort((x, row))
    row, x = row[order] // _SUBROWS, np.clip(x[order], -0.5, width - 0.5)
    sign = np.tile([1.0, -1.0], len(x) // 2)  # in a row the outline goes in and out by turns
    pixel = np.floor(x + 0.5).astype(np.int64)
    part = pixel + 0.5 - x
    steps = np.zeros((height, width + 2))
    np.add.at(steps, (row, pixel), sign * part)
    np.add.at(steps, (row, pixel + 1), sign * (1 - part))
    coverage = np.cumsum(steps, axis=1)[:, :width] / _SUBROWS
    return np.asarray(np.where(coverage > 1e-3, np.minimum(coverage, 1), 0), dtype=np.float32)


def _positive(width: float, height: float) -> None:
    if not (np.isfinite([width, height]).all() and width > 0 and height > 0):
        raise EditError(f"A region of {width:g}×{height:g} covers no area: give a width and height above 0.")
