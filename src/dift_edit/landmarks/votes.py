"""Where single points may lie in a view of the target, and what that says together with a prediction."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points, to_grid

__all__ = ["Voted", "Votes", "Weighed"]

ACROSS = 160
"""Cells along a view's longer side to which votes are interpolated (chosen): about 1 % of the extent."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Weighed:
    """Votes near predicted places.

    Attributes
    ----------
    mean : ndarray
        (N, 2) view pixels: where the votes near the prediction lie on average.
    variance : ndarray
        (N,) of each coordinate, in squared pixels.
    gain : ndarray
        (N,) logarithm of the votes near the prediction over those that would lie there by chance.
    """

    mean: Points
    variance: Array
    gain: Array


class Voted(Protocol):
    """Votes of points, however they are kept."""

    def near(self, places: Points, variance: Array) -> Weighed:
        """Weigh the votes with normal distributions round (N, 2) places with (N,) variances, in view pixels."""


@dataclass(frozen=True, eq=False)
class Votes:
    """Votes of points for the cells of a view.

    Attributes
    ----------
    share : ndarray
        (N, h, w) each with sum 1.
    size : (W, H)
        Of the view in pixels.
    """

    share: npt.NDArray[np.float32]
    size: tuple[int, int]

    @classmethod
    def of(cls, votes: torch.Tensor, size: tuple[int, int]) -> "Votes":
        """From (N, h, w) votes of `dift_edit.placement.votes`: their logarithms are interpolated to `ACROSS` cells."""
        height, width = votes.shape[1:]
        times = max(1, math.ceil(ACROSS / max(width, height)))
        log = votes.clamp_min(1e-9).log()[:, None]
        finer = F.interpolate(log, scale_factor=times, mode="bicubic", align_corners=False)[:, 0].flatten(1)
        share = torch.softmax(finer, 1).reshape(len(votes), times * height, times * width)
        return cls(share.numpy(), size)

    def _axes(self) -> tuple[Array, Array]:
        """(w,) and (h,) the middles of the cells in view pixels."""
        height, width = self.share.shape[1:]
        scale = np.array(self.size) / (width, height)
        return (np.arange(width) + 0.5) * scale[0] - 0.5, (np.arange(height) + 0.5) * scale[1] - 0.5

    def joined(self, other: "Votes", to_other: Transform, weight: float) -> "Votes":
        """With the votes of the same points in another picture, of which the logarithms count `weight`.

        `to_other` maps pixels of this view to those of the other picture.
        """
        x, y = self._axes()
        places = to_other(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
        there = other.log_at(np.broadcast_to(places, (len(self.share), *places.shape)))
        log = torch.from_numpy(self.share).clamp_min(1e-12).log().flatten(1)
        share = torch.softmax(log + weight * torch.from_numpy(there.astype(np.float32)), 1)
        return Votes(share.reshape(self.share.shape).numpy(), self.size)

    def log_at(self, places: npt.NDArray[np.float64]) -> Array:
        """(N, K) logarithms of the votes at (N, K, 2) places, bilinear between the cells."""
        grid = to_grid(places.reshape(-1, 2), self.size).view(len(places), 1, -1, 2)
        log = torch.from_numpy(self.share).clamp_min(1e-12).log()[:, None]
        found = F.grid_sample(log, grid, align_corners=False, padding_mode="border")[:, 0, 0]
        return found.numpy().astype(np.float64)

    def mean_distance(self, places: Points, most: float) -> Array:
        """(N,) mean distance of the votes from (N, 2) places, in view pixels; farther ones count as `most`."""
        x, y = self._axes()
        square = (x[None, None] - places[:, 0, None, None]) ** 2 + (y[None, :, None] - places[:, 1, None, None]) ** 2
        mean: Array = (self.share * np.minimum(np.sqrt(square), most)).sum((1, 2))
        return mean

    def near(self, places: Points, variance: Array) -> Weighed:
        """See `Voted`."""
        (x, y), (height, width) = self._axes(), self.share.shape[1:]
        cell = self.size[0] * self.size[1] / (width * height)
        across, down = (
            np.exp(-((axis - places[:, k, None]) ** 2) / (2 * variance[:, None])) for k, axis in enumerate((x, y))
        )
        weighed = self.share * down[:, :, None].astype(np.float32) * across[:, None].astype(np.float32)
        total = weighed.sum((1, 2)).astype(np.float64) + 1e-12
        rows, columns = weighed.sum(2) / total[:, None], weighed.sum(1) / total[:, None]
        mean = np.stack([columns @ x, rows @ y], 1)
        spread = (columns * (x - mean[:, :1]) ** 2).sum(1) + (rows * (y - mean[:, 1:]) ** 2).sum(1)
        chance = np.maximum(across.sum(1) * down.sum(1), 1.0) / (width * height)
        return Weighed(mean, spread / 2 + cell / 12, np.log(total / chance))
