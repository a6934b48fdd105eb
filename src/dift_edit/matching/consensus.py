"""Neighbourhood consensus: a match counts for more when the matches around it agree.

The correlation of all cells of one map with all cells of another is a 4-D tensor C[y, x, v, u]. A right match has
neighbours that moved alike, so C is smoothed along the diagonals (y + d, v + d) and (x + d, u + d) after matches that
are not mutual have been damped. Objects of other size are met by comparing with resized targets. Nothing is learned.

References
----------
Rocco et al., Neighbourhood Consensus Networks, NeurIPS 2018: the soft mutual filter (equation 4) and the idea; here
its learned 4-D convolutions are replaced by one fixed Gaussian. Cho et al., Unsupervised Object Discovery and
Localization in the Wild, CVPR 2015 (probabilistic Hough matching) has the same aim.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.features.base import FeatureMap
from dift_edit.geometry.coords import Points, bilinear_rows, rescale_points
from dift_edit.matching.search import BUDGET

__all__ = ["Consensus", "consensus"]

SIGMA = 0.08
"""Width of the neighbourhood in short sides of the source."""
SCALES = (1.0,)
"""Sizes of the object in the target, relative to that in the source (both in short sides), that are tried by default.

Measured on 100 PF-WILLOW pairs with dift-mini: (0.6, 1.0, 1.6) gives PCK@0.1 64.5 instead of 64.4, in five times
the time; it pays where objects differ in size (a drawn cat of the samples: 77 instead of 70 % within 0.15 of the edit).
"""
MAX_SHORT_SIDE = 40
"""Cells of the short side; finer maps are averaged down, so that the tensor stays in some tens of MB."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Consensus:
    """Scores of all cells of one map against all cells of another.

    Attributes
    ----------
    scores : torch.Tensor
        (h, w, H, W) float32, not negative.
    source_size, target_size : (W, H)
        Sizes of the two pictures in pixels.
    """

    scores: torch.Tensor
    source_size: tuple[int, int]
    target_size: tuple[int, int]

    @cached_property
    def reversed(self) -> "Consensus":
        """The same scores, from the target to the source."""
        return Consensus(self.scores.permute(2, 3, 0, 1).contiguous(), self.target_size, self.source_size)

    def rows(self, points: Points) -> torch.Tensor:
        """(N, H, W) scores of points of the source (pixels), bilinear between its cells."""
        height, width = self.scores.shape[:2]
        table = self.scores.flatten(2).flatten(0, 1)
        rows = bilinear_rows(table, points, self.source_size, (width, height))
        return rows.reshape(-1, *self.scores.shape[2:])

    def match(self, points: Points) -> tuple[Array, Array]:
        """Matches of points.

        Parameters
        ----------
        points : ndarray
            (N, 2) in pixels of the source.

        Returns
        -------
        ndarray
            (N, 2) in pixels of the target: the best cell, refined between cells.
        ndarray
            (N,) distinctness: the peak's height over the row's mean, in the row's standard deviations.
        """
        count = max(1, BUDGET // self.scores[0, 0].numel())
        parts = [self._match(points[start : start + count]) for start in range(0, max(len(points), 1), count)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _match(self, points: Points) -> tuple[Array, Array]:
        rows = self.rows(points)
        _, height, width = rows.shape
        flat = rows.flatten(1)
        peak = flat.amax(1)
        distinct = (peak - flat.mean(1)) / flat.std(1).clamp_min(1e-9)
        cells = _peak(rows).cpu().numpy().astype(np.float64)
        matched = rescale_points(cells, (width, height), self.target_size)
        return matched, distinct.cpu().numpy().astype(np.float64)


def consensus(
    source: FeatureMap, target: FeatureMap, *, sigma: float = SIGMA, scales: Sequence[float] = SCALES
) -> Consensus:
    """Compare two maps with neighbourhood consensus.

    Parameters
    ----------
    source, target : FeatureMap
        Features of two pictures by the same featurizer.
    sigma : float
        Standard deviation of the neighbourhood in short sides of the source.
    scales : sequence of float
        Relative sizes of the object in the target that are tried; the best score counts.

    Returns
    -------
    Consensus
        Computed on grids of at most `MAX_SHORT_SIDE` cells across: some 10 MB for maps of 36×48 cells.
    """
    first, second = _reduced(source.unit), _reduced(target.unit)
    height, width = second.shape[1:]
    # Cells of the two grids have to be of one size, measured in short sides, for a diagonal to be "moved alike".
    ratio = min(first.shape[1:]) / min(height, width)
    best: torch.Tensor | None = None
    for scale in scales:
        size = [max(4, round(edge * ratio / scale)) for edge in (height, width)]
        resized = second if size == [height, width] else _resize(second, size)
        scores = _smooth(_mutual(_correlate(first, resized)), sigma * min(first.shape[1:]))
        if size != [height, width]:
            flat = scores.flatten(0, 1)[None]
            scores = F.interpolate(flat, size=(height, width), mode="bilinear", align_corners=False)[0]
            scores = scores.reshape(*first.shape[1:], height, width)
        best = scores if best is None else torch.maximum(best, scores)
    assert best is not None, "at least one scale is needed"
    return Consensus(best, source.image_size, target.image_size)


def _reduced(unit: torch.Tensor) -> torch.Tensor:
    short = min(unit.shape[1:])
    if short <= MAX_SHORT_SIDE:
        return unit
    height, width = (max(1, round(edge * MAX_SHORT_SIDE / short)) for edge in unit.shape[1:])
    return F.normalize(F.adaptive_avg_pool2d(unit[None], (height, width))[0], dim=0)


def _resize(unit: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    resized = F.interpolate(unit[None], size=tuple(size), mode="bilinear", antialias=True, align_corners=False)
    return F.normalize(resized[0], dim=0)


def _correlate(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(h, w, H, W) cosines."""
    return (first.flatten(1).T @ second.flatten(1)).reshape(*first.shape[1:], *second.shape[1:])


def _mutual(correlation: torch.Tensor) -> torch.Tensor:
    """Damp matches that are not each other's best (Rocco et al., equation 4)."""
    matrix = correlation.clamp_min(0).flatten(2).flatten(0, 1)
    forward = matrix / matrix.amax(1, keepdim=True).clamp_min(1e-9)
    backward = matrix / matrix.amax(0, keepdim=True).clamp_min(1e-9)
    return (matrix * forward * backward).reshape(correlation.shape)


def _smooth(scores: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian mean along both diagonals; `sigma` in cells."""
    if sigma <= 0:
        return scores
    radius = max(1, math.ceil(2 * sigma))
    for first, second in ((0, 2), (1, 3)):
        rows, columns = scores.shape[first], scores.shape[second]
        total = torch.zeros_like(scores)
        weight = torch.zeros(rows, columns, device=scores.device)
        for shift in range(-min(radius, rows - 1, columns - 1), min(radius, rows - 1, columns - 1) + 1):
            gain = math.exp(-(shift**2) / (2 * sigma**2))
            y, v = max(0, -shift), max(0, -shift)
            lengths = (rows - abs(shift), columns - abs(shift))
            part = scores.narrow(first, y + shift, lengths[0]).narrow(second, v + shift, lengths[1])
            total.narrow(first, y, lengths[0]).narrow(second, v, lengths[1]).add_(part, alpha=gain)
            weight.narrow(0, y, lengths[0]).narrow(1, v, lengths[1]).add_(gain)
        shape = [1] * 4
        shape[first], shape[second] = rows, columns
        scores = total / weight.reshape(shape)
    return scores


def _peak(rows: torch.Tensor) -> torch.Tensor:
    """(N, 2) cell coordinates (x, y) of the maximum of (N, H, W), refined by a parabola through its neighbours."""
    count, height, width = rows.shape
    best = rows.flatten(1).argmax(1)
    index = torch.arange(count, device=rows.device)
    x, y = best % width, torch.div(best, width, rounding_mode="floor")
    centre = rows[index, y, x]
    refined = []
    for place, edge, before, after in (
        (x, width, rows[index, y, (x - 1).clamp_min(0)], rows[index, y, (x + 1).clamp_max(width - 1)]),
        (y, height, rows[index, (y - 1).clamp_min(0), x], rows[index, (y + 1).clamp_max(height - 1), x]),
    ):
        bend = before - 2 * centre + after
        shift = torch.where(bend < -1e-9, (before - after) / (2 * bend.clamp_max(-1e-9)), torch.zeros_like(bend))
        inner = (place > 0) & (place < edge - 1)
        refined.append(place + torch.where(inner, shift.clamp(-0.5, 0.5), torch.zeros_like(shift)))
    return torch.stack(refined, 1)
