"""Warping: an edit's pixels resampled into the part of a target that they reach.

A `Transform` maps source points to target points; sampling goes backward, through its inverse, with pixel centres
at integers. What lies outside the layer is transparent, what falls outside the target is cut off, and where the
layer shrinks it is low-passed first. Only the touched box of the target is ever computed, in strips of rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from dift_edit.errors import GeometryError
from dift_edit.geometry.base import Matrix, Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import apply_homography, bounds, box_quad, quad_lattice
from dift_edit.imaging.image import Image
from dift_edit.rendering.resample import Box, Level, Sampler, in_threads, low_passed, sample
from dift_edit.types import Resampling

__all__ = [
    "RESAMPLINGS",
    "Box",
    "Warped",
    "premultiplied",
    "target_box",
    "warp_image",
    "warp_layer",
]

Floats = npt.NDArray[np.float32]

RESAMPLINGS = get_args(Resampling)


@dataclass(frozen=True, eq=False)
class Warped:
    """Values in a box of a target; outside the box they are zero.

    Attributes
    ----------
    values : ndarray
        (h, w, C) float32.
    box : (left, top, right, bottom)
        Where they lie, in target pixels.
    """

    values: Floats
    box: Box

    @property
    def empty(self) -> bool:
        """Whether nothing of the layer is in the target."""
        return 0 in self.values.shape[:2]

    def within(self, box: Box) -> Floats:
        """The values in another box (h, w, C), zero where they are not known."""
        left, top, right, bottom = box
        values = np.zeros((bottom - top, right - left, self.values.shape[2]), np.float32)
        x0, y0, x1, y1 = (
            max(left, self.box[0]), max(top, self.box[1]), min(right, self.box[2]), min(bottom, self.box[3])
        )  # fmt: skip
        if x0 < x1 and y0 < y1:
            own = self.values[y0 - self.box[1] : y1 - self.box[1], x0 - self.box[0] : x1 - self.box[0]]
            values[y0 - top : y1 - top, x0 - left : x1 - left] = own
        return values


def warp_image(
    image: Image,
    transform: Transform,
    size: tuple[int, int],
    *,
    resampling: str = "bilinear",
) -> Image:
    """An image as it lies on a target: transparent round it.

    Parameters
    ----------
    image : Image
        In the source frame.
    transform : Transform
        Source to target.
    size : (W, H)
        Size of the target in pixels.
    resampling : {"bilinear", "bicubic", "nearest"}
        How values between pixels are found.

    Returns
    -------
    Image
        RGBA of the target's size and the image's type.
    """
    warped = warp_layer(premultiplied(image), transform, size, resampling=resampling)
    full = np.zeros((size[1], size[0], 4), np.float32)
    left, top, right, bottom = warped.box
    alpha = warped.values[..., 3:]
    straight = np.divide(warped.values[..., :3], alpha, out=np.zeros_like(warped.values[..., :3]), where=alpha > 0)
    full[top:bottom, left:right] = np.concatenate([straight, alpha], axis=2)
    scaled = np.clip(full, 0, 1) * image.full_scale
    if image.full_scale != 1:
        scaled = np.round(scaled)
    typed = scaled.astype(image.pixels.dtype)
    return Image(np.ascontiguousarray(typed[..., :3]), np.ascontiguousarray(typed[..., 3]))


def premultiplied(image: Image) -> Floats:
    """(H, W, 4) float32 in [0, 1]: colour times alpha, alpha."""
    pixels = image.pixels.astype(np.float32) / image.full_scale
    if image.alpha is None:
        return np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=2)
    alpha = image.alpha.astype(np.float32)[..., None] / image.full_scale
    return np.concatenate([pixels * alpha, alpha], axis=2)


def warp_layer(
    layer: Floats,
    transform: Transform,
    size: tuple[int, int],
    *,
    matrix: npt.ArrayLike | None = None,
    resampling: str = "bilinear",
) -> Warped:
    """Resample a layer into a target.

    Parameters
    ----------
    layer : ndarray
        (H, W, C) float32; colours premultiplied with alpha, so that transparent pixels have no colour. In [0, 1] for
        "bicubic".
    transform : Transform
        Source pixels to target pixels.
    size : (W, H)
        Size of the target in pixels.
    matrix : (3, 3), optional
        Layer pixels to source pixels, when the layer is not in the source's own frame.
    resampling : {"bilinear", "bicubic", "nearest"}
        Where the layer shrinks it is low-passed first, except for "nearest".

    Returns
    -------
    Warped
        Only the box that the layer reaches.

    Raises
    ------
    GeometryError
        If the transform cannot be inverted or is not finite.

    References
    ----------
    Porter and Duff, "Compositing Digital Images", 1984 (why premultiplied); Williams, "Pyramidal Parametrics",
    1983 (blending between low-passed levels).
    """
    to_source = np.eye(3) if matrix is None else np.asarray(matrix, dtype=np.float64)
    layer_size = (layer.shape[1], layer.shape[0])
    faded = box_quad((-0.5, -0.5, layer_size[0] + 0.5, layer_size[1] + 0.5))  # where bilinear values reach zero
    box = target_box(transform, faded, size, matrix=to_source)
    left, top, right, bottom = box
    shape = (bottom - top, right - left, layer.shape[2])
    if 0 in shape:
        return Warped(np.zeros(shape, np.float32), box)
    total = _total(transform, to_source)
    shift = None if total is None else _whole_shift(total)
    if shift is not None:
        moved = Warped(layer, (shift[0], shift[1], shift[0] + layer_size[0], shift[1] + layer_size[1]))
        return Warped(moved.within(box), box)
    sampler = Sampler(transform, to_source, total, layer_size)
    levels = low_passed(layer, sampler, box) if resampling != "nearest" else [Level(layer, 1, 1)]
    values = np.empty(shape, np.float32)

    def fill(strip: tuple[slice, Callable[[], Floats]]) -> None:
        rows, positions = strip
        values[rows] = sample(levels, positions(), resampling)

    in_threads(fill, sampler.strips(box))
    return Warped(values, box)


def target_box(
    transform: Transform,
    quad: Points,
    size: tuple[int, int],
    *,
    matrix: npt.ArrayLike | None = None,
    margin: int = 1,
) -> Box:
    """The box of target pixels that a quad reaches.

    Parameters
    ----------
    transform : Transform
        Source to target.
    quad : ndarray
        (4, 2) corners.
    size : (W, H)
        Size of the target; the box is cut to it.
    matrix : (3, 3), optional
        From the quad's frame to the source's.
    margin : int
        Pixels added on each side before cutting.

    Returns
    -------
    (left, top, right, bottom)
        Half open; with no area when the quad is outside the target.
    """
    to_source = np.eye(3) if matrix is None else np.asarray(matrix, dtype=np.float64)
    points = quad_lattice(quad, across=33)
    total = _total(transform, to_source)
    if total is not None:
        depth = np.c_[points, np.ones(len(points))] @ total[2]
        if depth.min() <= 0 <= depth.max():  # the quad reaches the horizon: it may be anywhere
            return 0, 0, *size
        mapped = apply_homography(total, points)
    else:
        mapped = np.asarray(transform(apply_homography(to_source, points)))
        mapped = mapped[np.isfinite(mapped).all(axis=1)]
        if len(mapped) == 0:
            raise GeometryError("The transform gives no finite point for the edit: choose another engine.")
    least, greatest = bounds(mapped)
    low = np.clip(np.floor(least + 0.5) - margin, 0, size).astype(int)
    high = np.clip(np.ceil(greatest + 0.5) + margin, low, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _total(transform: Transform, to_source: Matrix) -> Matrix | None:
    """Layer to target as one matrix, where it is one."""
    if transform.matrix is None:
        return None
    total: Matrix = np.asarray(transform.matrix, dtype=np.float64) @ to_source
    if not np.isfinite(total).all() or abs(np.linalg.det(total)) < 1e-12 * max(1e-12, np.abs(total).max()) ** 3:
        raise GeometryError(
            "The transform cannot be inverted (its matrix is degenerate): choose another engine or other points."
        )
    return total


def _whole_shift(total: Matrix) -> tuple[int, int] | None:
    """(x, y) when the matrix moves by whole pixels: then pixels can be copied, exactly."""
    matrix = total / total[2, 2] if total[2, 2] else total
    shift = np.round(matrix[:2, 2])
    exact = np.eye(3)
    exact[:2, 2] = shift
    return (int(shift[0]), int(shift[1])) if np.abs(matrix - exact).max() < 1e-9 else None
