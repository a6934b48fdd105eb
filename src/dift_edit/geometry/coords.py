"""The one home of coordinate frames.

Points are (x, y) in pixels of the image as displayed, with pixel *centres* at integers: the pixel in the
top-left corner covers [-0.5, 0.5] × [-0.5, 0.5]. A grid that covers the same image with other cell sizes has
its own pixel frame; `rescale_points` maps between the two, and `to_grid` gives the normalised coordinates of
``torch.nn.functional.grid_sample(..., align_corners=False)``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dift_edit.errors import GeometryError
from dift_edit.types import PointLike, PointsLike

if TYPE_CHECKING:
    import torch

__all__ = ["Points", "as_points", "bilinear_rows", "inside", "rescale_points", "to_grid"]

Points = npt.NDArray[np.float64]
Size = tuple[int, int]


def as_points(points: PointsLike | PointLike, what: str = "points") -> Points:
    """Check and convert points.

    Parameters
    ----------
    points : array_like
        (N, 2) of (x, y); one point (2,) is taken as (1, 2).
    what : str
        How an error names them.

    Returns
    -------
    ndarray
        (N, 2) float64, finite.

    Raises
    ------
    GeometryError
        If the shape is not (N, 2) or a value is not a finite number.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"The {what} must be pairs of numbers (x, y), but got {points!r}.") from error
    if array.shape == (2,):
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 2:
        raise GeometryError(f"The {what} must have shape (N, 2) as (x, y), but have shape {array.shape}.")
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(1))[0])
        raise GeometryError(f"The {what} must be finite, but number {bad} is {tuple(array[bad].tolist())}.")
    return array


def rescale_points(points: PointsLike, from_size: Sequence[int], to_size: Sequence[int]) -> Points:
    """Map points between two pixel grids that cover the same area: ``(p + 0.5) * scale - 0.5``.

    Parameters
    ----------
    points : array_like
        (N, 2) in pixels of a grid of `from_size`.
    from_size, to_size : (W, H)
        Sizes of the two grids.

    Returns
    -------
    ndarray
        (N, 2) float64 in pixels of a grid of `to_size`.
    """
    scale = np.asarray(to_size, dtype=np.float64) / np.asarray(from_size, dtype=np.float64)
    rescaled: Points = (as_points(points) + 0.5) * scale - 0.5
    return rescaled


def to_grid(points: PointsLike, size: Sequence[int]) -> "torch.Tensor":
    """Pixel coordinates as normalised coordinates in [-1, 1] for ``grid_sample(align_corners=False)``.

    Parameters
    ----------
    points : array_like
        (N, 2) in pixels of an image of `size`.
    size : (W, H)
        Size of that image.

    Returns
    -------
    torch.Tensor
        (N, 2) float32; -1 and 1 are the outer edges of the border pixels.
    """
    import torch  # takes seconds, and the command line needs this module before it knows what to do

    grid = (as_points(points) + 0.5) / np.asarray(size, dtype=np.float64) * 2 - 1
    return torch.from_numpy(grid.astype(np.float32))


def inside(points: PointsLike, size: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which points lie in the area covered by an image's pixels.

    Parameters
    ----------
    points : array_like
        (N, 2) in pixels.
    size : (W, H)
        Size of the image.

    Returns
    -------
    ndarray
        (N,) bool.
    """
    array = as_points(points)
    covered = (array >= -0.5) & (array <= np.asarray(size) - 0.5)
    return np.logical_and(covered[:, 0], covered[:, 1])


def bilinear_rows(table: "torch.Tensor", points: Points, size: Size, cells: Size) -> "torch.Tensor":
    """Rows of a table over an image's cells, bilinear between the cells.

    Parameters
    ----------
    table : torch.Tensor
        (h·w, D) float, one row per cell.
    points : ndarray
        (N, 2) pixels of the image; beyond the outer cells' centres the outer cells count.
    size : (W, H)
        The image's size in pixels.
    cells : (w, h)
        Its number of cells.

    Returns
    -------
    torch.Tensor
        (N, D), of the table's type and on its device.
    """
    import torch

    at = np.clip(rescale_points(points, size, cells), 0, np.array(cells) - 1.0)
    low = np.minimum(at.astype(np.int64), np.maximum(np.array(cells) - 2, 0))
    high = np.minimum(low + 1, np.array(cells) - 1)
    share = at - low
    (x0, y0), (x1, y1), (u, v) = low.T, high.T, share.T
    index = np.stack([y0, y0, y1, y1], 1) * cells[0] + np.stack([x0, x1, x0, x1], 1)
    weights = np.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], 1)
    return torch.nn.functional.embedding_bag(
        torch.from_numpy(index).to(table.device),
        table.contiguous(),
        per_sample_weights=torch.from_numpy(weights).to(table),
        mode="sum",
    )
