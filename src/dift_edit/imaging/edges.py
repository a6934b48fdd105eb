"""Masks that end where the image has an edge."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.errors import GeometryError
from dift_edit.imaging.image import Image

__all__ = ["labels_at_edges", "mask_at_edges"]

Field = npt.NDArray[np.float32]

_REACH = 3.0
"""Cells round a pixel whose colours say where the edge is (as the next values: chosen on four clips of DAVIS)."""
_SURE = 0.95
"""A pixel with such a score keeps its class, whatever the colours are."""
_SLACK = 1e-5
"""Variance of a colour, in [0, 1], that is taken for noise (the filter's epsilon)."""
_TEXTURE = 1e-3
"""A window whose colours vary less than this has little to say."""
_FINENESS = 3
"""The filter's coefficients are found on a grid on which the radius of a window is about so many pixels."""


def labels_at_edges(scores: torch.Tensor, image: Image, *, reach: float = _REACH) -> npt.NDArray[np.int64]:
    """The winning class of every pixel, from scores of coarse cells and the image's own edges.

    The scores are enlarged and smoothed by a guided filter: within a small window they become the affine function of
    the colours that fits them best, so that they change where the colours do. What is sure stays as it was, and so does
    what lies where the image is plain.

    Parameters
    ----------
    scores : torch.Tensor
        (K, h, w) float: how much of each class is in a cell; the grid covers the image. They are taken to sum to 1.
    image : Image
        The image.
    reach : float
        Radius of the window in cells, above 0.

    Returns
    -------
    ndarray
        (H, W) numbers of the classes, 0 to K - 1; of equal ones the first.

    Raises
    ------
    GeometryError
        If the scores are not (K, h, w), or the reach is not above 0.

    References
    ----------
    He et al., Guided Image Filtering, ECCV 2010; He and Sun, Fast Guided Filter, arXiv 1505.00996.
    """
    if scores.ndim != 3 or not len(scores) or not reach > 0:
        raise GeometryError("Scores must have shape (K, h, w), and the reach must be above 0.")
    width, height = image.size
    guide = _Guide(image, reach * height / scores.shape[1])
    # The filter keeps sums, so the first class follows from the others. One at a time, to bound the memory.
    index = np.zeros((height, width), np.int64)
    best = np.full((height, width), -np.inf, np.float32)
    first = np.ones((height, width), np.float32)
    for number in range(1, len(scores)):
        score = scores[None, number : number + 1].float().cpu()
        fine = F.interpolate(score, size=(height, width), mode="bilinear")[0, 0].numpy()
        sharp = np.where(np.abs(fine - 0.5) > _SURE - 0.5, fine, guide.filtered(fine))
        first -= sharp
        index[sharp > best] = number
        best = np.maximum(best, sharp)
    index[first >= best] = 0
    return index


def mask_at_edges(mask: npt.ArrayLike, image: Image, *, error: float = 0.015) -> npt.NDArray[np.bool_]:
    """A mask that lies nearly right, as after it was carried over from another image, moved to the image's edges.

    Parameters
    ----------
    mask : array_like
        (H, W), true inside the object; of the image's size.
    image : Image
        The image.
    error : float
        How far the outline may be off, in longer sides of the mask's box.

    Returns
    -------
    ndarray
        (H, W) bool. An empty mask stays empty.

    Raises
    ------
    GeometryError
        If the mask does not have the image's size, or the error is not above 0.
    """
    whole = np.asarray(mask).astype(bool)
    if whole.shape != image.pixels.shape[:2] or not error > 0:
        raise GeometryError(
            f"A mask of shape {whole.shape} does not fit an image of {image.size[0]}×{image.size[1]} pixels, or the "
            "error is not above 0."
        )
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    if not len(rows):
        return whole
    cell = max(2.0, error * max(np.ptp(rows), np.ptp(columns)))
    room = round(8 * cell)
    window = (
        slice(max(rows[0] - room, 0), rows[-1] + 1 + room),
        slice(max(columns[0] - room, 0), columns[-1] + 1 + room),
    )
    part = cv2.GaussianBlur(whole[window].astype(np.float32), (0, 0), cell / 2)
    grid = (max(1, round(part.shape[0] / cell)), max(1, round(part.shape[1] / cell)))
    share = F.adaptive_avg_pool2d(torch.from_numpy(part)[None, None], grid)[0, 0]
    around = image.with_pixels(np.ascontiguousarray(image.pixels[window]), None)
    found = np.zeros_like(whole)
    found[window] = labels_at_edges(torch.stack([1 - share, share]), around) > 0
    return found


class _Guide:
    """A guided filter of one image; windows in which it is plain leave the values as they are."""

    def __init__(self, image: Image, radius: float) -> None:
        self._colors = image.pixels.astype(np.float32) / np.float32(image.full_scale)
        shrink = max(1.0, radius / _FINENESS)
        self._coarse = max(1, round(image.size[0] / shrink)), max(1, round(image.size[1] / shrink))
        self._window = 2 * max(1, round(radius / shrink)) + 1
        self._small = self._shrunk(self._colors)
        self._mean = self._averaged(self._small)
        squares = self._averaged(_outer(self._small, self._small).reshape(*self._small.shape[:2], 9))
        covariance = squares.reshape(*self._small.shape[:2], 3, 3) - _outer(self._mean, self._mean)
        variance = np.trace(covariance, axis1=2, axis2=3).clip(min=0)
        self._weight = (variance / (variance + _TEXTURE)).astype(np.float32)
        self._covariance = covariance + _SLACK * np.eye(3, dtype=np.float32)

    def filtered(self, values: Field) -> Field:
        """(H, W) values, as functions of the colours in each window."""
        small = self._shrunk(values)
        mean = self._averaged(small)
        common = self._averaged(self._small * small[..., None]) - self._mean * mean[..., None]
        slope = np.linalg.solve(self._covariance, common[..., None])[..., 0]
        offset = mean - (slope * self._mean).sum(2)
        slope, offset, weight = (
            self._enlarged(self._averaged(part))
            for part in (slope * self._weight[..., None], offset * self._weight, self._weight)
        )
        filtered: Field = (slope * self._colors).sum(2) + offset + (1 - weight) * values
        return filtered

    def _shrunk(self, values: Field) -> Field:
        return np.asarray(cv2.resize(values, self._coarse, interpolation=cv2.INTER_AREA), dtype=np.float32)

    def _enlarged(self, values: Field) -> Field:
        size = self._colors.shape[1], self._colors.shape[0]
        return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)

    def _averaged(self, values: Field) -> Field:
        border = cv2.BORDER_REFLECT
        return np.asarray(cv2.blur(values, (self._window, self._window), borderType=border), dtype=np.float32)


def _outer(first: Field, second: Field) -> npt.NDArray[Any]:
    return first[..., :, None] * second[..., None, :]
