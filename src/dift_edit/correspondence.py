"""Weighted matches of an edit and its surroundings, for the estimation of its placement."""

import numpy as np
import torch
import torch.nn.functional as F

from dift_edit.coords import Points, inside, to_grid
from dift_edit.features.base import FeatureMap
from dift_edit.geometry.estimate import Correspondences

__all__ = ["correspond", "quad_grid"]


def quad_grid(quad: Points, size: tuple[int, int], *, ring: float, across: int) -> Points:
    """A regular grid of points over the bounding box of a quad and a ring of context round it.

    Parameters
    ----------
    quad : ndarray
        (4, 2) in pixels.
    size : (W, H)
        Size of the picture; points outside are left out.
    ring : float
        Width of the ring in units of the box's longer side.
    across : int
        Points across the longer side.

    Returns
    -------
    ndarray
        (N, 2).
    """
    low, high = quad.min(0), quad.max(0)
    longer = float((high - low).max())
    step, margin = longer / across, ring * longer
    x, y = (np.arange(low[k] - margin + step / 2, high[k] + margin, step) for k in (0, 1))
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    return points[inside(points, size)]


def correspond(
    source: FeatureMap, quad: Points, target: FeatureMap, *, ring: float = 0.5, across: int = 10
) -> Correspondences:
    """Match a grid over a quad of the source into the target.

    Each point's match is the soft-argmax (temperature 0.03, 5×5 cells) round the best cell of the target's unit
    features, upsampled twice. Its weight is the peak's height over the row's mean in standard deviations, less one,
    times how much the source point differs from the picture's border (foreground).

    Parameters
    ----------
    source, target : FeatureMap
        Features of the two pictures by the same featurizer.
    quad : ndarray
        (4, 2) in source pixels.
    ring, across : float, int
        See `quad_grid`.

    Returns
    -------
    Correspondences
    """
    points = quad_grid(quad, source.image_size, ring=ring, across=across)
    fine = F.interpolate(target.unit[None], scale_factor=2, mode="bilinear", align_corners=False)
    fine = F.normalize(fine, dim=1)[0]
    channels, height, width = fine.shape
    correlation = source.sample(points) @ fine.reshape(channels, -1)
    peak = correlation.max(1).values
    distinct = ((peak - correlation.mean(1)) / correlation.std(1).clamp_min(1e-6)).cpu().numpy().astype(np.float64)
    cells = _soft_argmax(correlation.reshape(-1, height, width)).cpu().numpy().astype(np.float64)
    scale = np.array([target.image_size[0] / width, target.image_size[1] / height])
    weights = np.clip(distinct - 1, 0.05, None) * _foreground(source, points)
    return Correspondences(points, (cells + 0.5) * scale - 0.5, weights)


def _soft_argmax(correlation: torch.Tensor, radius: int = 2, temperature: float = 0.03) -> torch.Tensor:
    """(N, 2) cell coordinates (x, y) of the softmax-weighted mean in a window round the maximum of (N, h, w)."""
    count, height, width = correlation.shape
    best = correlation.reshape(count, -1).argmax(1)
    offset = torch.arange(-radius, radius + 1, device=correlation.device)
    dy, dx = (grid.reshape(1, -1) for grid in torch.meshgrid(offset, offset, indexing="ij"))
    x, y = best[:, None] % width + dx, best[:, None] // width + dy
    valid = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows = torch.arange(count, device=correlation.device)[:, None]
    values = correlation[rows, y.clamp(0, height - 1), x.clamp(0, width - 1)].masked_fill(~valid, -torch.inf)
    share = F.softmax(values / temperature, 1)
    return torch.stack([(share * x).sum(1), (share * y).sum(1)], 1)


def _foreground(features: FeatureMap, points: Points) -> np.ndarray:
    """(N,) in [0.1, 1]: 1 − mean of the three highest cosines to border cells, stretched between the deciles."""
    unit = features.unit
    if min(unit.shape[1:]) < 4:
        return np.ones(len(points))
    border = torch.cat([unit[:, 0], unit[:, -1], unit[:, :, 0], unit[:, :, -1]], 1)
    likeness = (unit.flatten(1).T @ border).topk(3, 1).values.mean(1).reshape(unit.shape[1:])
    unlike = 1 - likeness[1:-1, 1:-1]
    low, high = torch.quantile(unlike.flatten(), torch.tensor([0.1, 0.9], device=unlike.device))
    stretched = F.pad(((unlike - low) / (high - low + 1e-6)).clamp(0, 1), (1, 1, 1, 1))
    grid = to_grid(points, features.image_size).to(unit.device)[None, None]
    at = F.grid_sample(stretched[None, None], grid, align_corners=False, padding_mode="border")[0, 0, 0]
    return at.cpu().numpy().astype(np.float64) * 0.9 + 0.1
