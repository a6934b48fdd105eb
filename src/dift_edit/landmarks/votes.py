"""Where single points may lie in a view of the target, and what that says together with a prediction."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dift_edit.geometry.coords import Points, rescale_points

__all__ = ["Votes", "Weighed"]

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
        """From (N, h, w) votes of `dift_edit.placement.votes`."""
        return cls(votes.numpy().astype(np.float32), size)

    def near(self, places: Points, variance: Array) -> Weighed:
        """Weigh the votes with normal distributions round (N, 2) places with (N,) variances, in view pixels."""
        count, height, width = self.share.shape
        cells = rescale_points(
            np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2), (width, height), self.size
        )
        x, y = cells[:width, 0], cells[::width, 1]
        side = (x[1] - x[0], y[1] - y[0]) if min(width, height) > 1 else (1.0, 1.0)
        across, down = (
            np.exp(-((axis - places[:, k, None]) ** 2) / (2 * variance[:, None])) for k, axis in enumerate((x, y))
        )
        weighed = self.share * down[:, :, None].astype(np.float32) * across[:, None].astype(np.float32)
        total = weighed.sum((1, 2)).astype(np.float64) + 1e-12
        rows, columns = weighed.sum(2) / total[:, None], weighed.sum(1) / total[:, None]
        mean = np.stack([columns @ x, rows @ y], 1)
        spread = (columns * (x - mean[:, :1]) ** 2).sum(1) + (rows * (y - mean[:, 1:]) ** 2).sum(1)
        chance = np.maximum(across.sum(1) * down.sum(1), 1.0) / (width * height)
        return Weighed(mean, spread / 2 + side[0] * side[1] / 12, np.log(total / chance))
