"""Where each part of an edit and of its surroundings may lie in a target: the evidence that a placement is judged by.

A point of the source does not vote for its single best match. It spreads one vote over the whole target, in
proportion to how exclusively source point and target cell choose each other (a softmax over the target times a
softmax over the source). A placement's score is the sum of the votes that lie where it maps the points. Votes are
blurred by as much as parts of other individuals are displaced, and more for points far from the edit; those weigh
less. So a placement is judged by all matches at once, not by those that happen to win.

References
----------
Cho et al., Unsupervised Object Discovery and Localization in the Wild, CVPR 2015 (Hough matching: offsets are voted
for). Sun et al., LoFTR, CVPR 2021, equation 1 (the dual softmax). Felzenszwalb et al., Object Detection with
Discriminatively Trained Part-Based Models, PAMI 2010 (parts displaced from their anchors).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.errors import EditError, GeometryError
from dift_edit.features.base import FeatureMap
from dift_edit.features.threads import one_thread
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import Points, bilinear_rows, inside, to_grid
from dift_edit.geometry.quad import quad_extent

__all__ = ["Affinity", "Evidence", "foreground", "gather_evidence", "grid_points", "masked"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

TEMPERATURE = 0.04
"""Of both softmaxes over cosine similarities (chosen; ablation in docs/transfer_quality.md)."""
TOLERANCE = 0.06
"""Standard deviation of a part's displacement, in short sides of the target (chosen; ablation as above)."""
TOLERANCE_POWER = 0.5
"""Power of the scale, over the expected one, that it is multiplied with (measured on thirteen kinds of objects, see
docs/transfer_quality.md): with 0 displacements are compared in the target, which favours maps that draw the points
together, with 1 in the source, which favours the opposite."""
BLUR_SCALES = (1 / math.e, 1.0, math.e)
"""Scales, over the expected one, that the votes are blurred for; between them the support is interpolated (chosen)."""
EXPECTED = BLUR_SCALES.index(1.0)
"""Which of these is the expected one."""
TOLERANCE_GROWTH = 0.07
"""What is added to it per distance from the edit (chosen; ablation as above)."""
REACH = 0.4
"""Distance from the edit, in units of its size, at which a point weighs 1/e (chosen; ablation as above)."""
WIDE = 2.0
"""The same where the whole object is judged: for the mirror test and the confidence (chosen)."""
AGREEING = 0.25
"""Distance, in sizes of the placed edit, within which a point's most similar cell agrees with a placement (chosen)."""
RING = 0.5
"""Width of the finely sampled ring round the edit, in units of its longer side (chosen)."""
ACROSS, ACROSS_PICTURE = 8, 12
"""Points across the edit's and the image's longer side (chosen)."""
MAX_CELLS = 2400
"""Cells of a map; finer maps are averaged down to it for the votes (chosen, for memory and time)."""
SCREEN_CELLS = 700
"""The same where hypotheses are only sorted (chosen)."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Votes of source points for places in a target.

    Attributes
    ----------
    quad : ndarray
        (4, 2) the edit's corners in source pixels.
    points : ndarray
        (N, 2) source pixels: the edit, its surroundings and, coarsely, the whole picture.
    mass : ndarray
        (N,) what each point weighs wherever the edit is: the area that it stands for times its foreground.
    weights : ndarray
        (N,) with sum 1: the mass, falling off with the distance from the edit.
    distance : ndarray
        (N,) source pixels from the edit's box; 0 inside.
    votes : torch.Tensor
        (N, H, W) each with sum 1; none where the target is masked.
    field : torch.Tensor
        (N, S, H, W) votes blurred for each of `BLUR_SCALES`; 1 is a vote for a single cell, at that cell and the
        expected scale.
    source_size, target_size : (W, H)
        Of the pictures in pixels.
    expected_scale : float
        Scale at which both pictures would show the object equally large; of several views the geometric mean.
    """

    quad: Points
    points: Points
    mass: Array
    weights: Array
    distance: Array
    votes: torch.Tensor
    field: torch.Tensor
    source_size: tuple[int, int]
    target_size: tuple[int, int]
    expected_scale: float

    @property
    def extent(self) -> float:
        """Geometric mean of the sides of the edit's box, in source pixels."""
        return quad_extent(self.quad)

    def support(self, matrices: Array) -> torch.Tensor:
        """How strongly each point's vote supports affine maps.

        Parameters
        ----------
        matrices : ndarray
            (K, 2, 3) source pixels → target pixels.

        Returns
        -------
        torch.Tensor
            (N, K) the field where the maps put the points; outside the target at most its mean.
        """
        scale = 2 / np.asarray(self.target_size)[:, None]  # of pixels to the sampler's −1 … 1
        maps = np.asarray(matrices) * scale
        maps[:, :, 2:] += scale / 2 - 1
        points = np.column_stack([self.points, np.ones(len(self.points))])
        grid = torch.from_numpy((points @ maps.reshape(-1, 3).T).astype(np.float32)).view(len(points), -1, 2)
        found = self._at_levels(grid, self._levels(np.asarray(matrices)))
        within = (grid[..., 0].abs() <= 1) & (grid[..., 1].abs() <= 1)
        return torch.minimum(found, torch.where(within, torch.inf, self._mean))

    def _levels(self, matrices: Array) -> Array:
        """(K,) where between the levels of the field the scales of affine maps lie."""
        grown = np.sqrt(np.abs(np.linalg.det(matrices[:, :, :2]))) / self.expected_scale
        level: Array = np.interp(np.log(np.maximum(grown, 1e-9)), np.log(BLUR_SCALES), np.arange(len(BLUR_SCALES)))
        return level

    def _at_levels(self, grid: torch.Tensor, levels: Array) -> torch.Tensor:
        """(N, K) the field at places (N, K, 2), between two levels each."""
        found = torch.empty(grid.shape[:2])
        lower = np.minimum(levels.astype(np.int64), len(BLUR_SCALES) - 2)
        for level in np.unique(lower):
            chosen = np.flatnonzero(lower == level)
            share = torch.from_numpy((levels[chosen] - level).astype(np.float32))
            both = F.grid_sample(
                self.field[:, level : level + 2], grid[:, None, chosen], align_corners=False, padding_mode="border"
            )
            found[:, chosen] = torch.lerp(both[:, 0, 0], both[:, 1, 0], share)
        return found

    @property
    def chance(self) -> float:
        """Weighted mean support of a random place."""
        return float(self._mean[:, 0].numpy() @ self.weights)

    @cached_property
    def _mean(self) -> torch.Tensor:
        """(N, 1) of the field at the expected scale."""
        return self.field[:, EXPECTED].flatten(1).mean(1)[:, None]

    @property
    def spread(self) -> float:
        """Weighted mean entropy of the votes, less that of votes for all cells alike: 0 and below."""
        votes = self.votes.flatten(1)
        entropy = torch.special.entr(votes).sum(1).numpy().astype(np.float64)
        return float(entropy @ self.weights) - math.log(votes.shape[1])

    def score(self, matrices: Array) -> Array:
        """(K,) weighted mean support of affine maps (K, 2, 3), 0 to about 1."""
        weights = torch.as_tensor(self.weights, dtype=torch.float32)
        score: Array = (self.support(matrices) * weights[:, None]).sum(0).numpy().astype(np.float64)
        return score

    def within(self, reach: float | None = None) -> "Evidence":
        """The same votes, weighted by another reach (default: `REACH`)."""
        reach = REACH if reach is None else reach
        weights = self.mass * np.exp(-self.distance / (reach * self.extent))
        keep = np.flatnonzero(weights > 1e-4 * weights.max())
        return replace(
            self, points=self.points[keep], mass=self.mass[keep], weights=weights[keep] / weights[keep].sum(),
            distance=self.distance[keep], votes=self.votes[keep], field=self.field[keep],
        )  # fmt: skip

    def moved(self, to: MatrixTransform, quad: Points, weight: float) -> "Evidence":
        """The evidence of a further view in the frame of the source.

        Parameters
        ----------
        to : MatrixTransform
            Affine, from this picture's pixels to those of the source.
        quad : ndarray
            (4, 2) the edit's corners in source pixels.
        weight : float
            Of the view; the source weighs 1.
        """
        grow = to.enlargement
        return replace(
            self, quad=quad, points=to(self.points), mass=self.mass * weight * grow**2, distance=self.distance * grow,
            expected_scale=self.expected_scale / grow,
        )  # fmt: skip

    def joined(self, others: "Sequence[Evidence]", reach: float) -> "Evidence":
        """The votes of several views of the edit, added up; the others are `moved` to the frame of this one."""
        parts = [self, *others]
        scales, shares = zip(
            *((part.expected_scale, part.mass[part.distance == 0].sum() + 1e-9) for part in parts), strict=True
        )
        whole = replace(
            self,
            points=np.concatenate([part.points for part in parts]),
            mass=np.concatenate([part.mass for part in parts]),
            distance=np.concatenate([part.distance for part in parts]),
            votes=torch.cat([part.votes for part in parts]),
            field=torch.cat([part.field for part in parts]),
            expected_scale=math.exp(np.average(np.log(scales), weights=shares)),
        )
        return whole.within(reach)

    def nearest(self, place: Points, others: Points) -> "Evidence":
        """The votes for the cells that are nearer to one place in the target than to others.

        Parameters
        ----------
        place : ndarray
            (2,) target pixels.
        others : ndarray
            (N, 2).
        """
        height, width = self.votes.shape[1:]
        x, y = (
            (np.arange(edge) + 0.5) * (size / edge) - 0.5
            for edge, size in zip((width, height), self.target_size, strict=True)
        )
        cells = np.stack(np.meshgrid(x, y), -1)
        own = np.linalg.norm(cells - place, axis=-1)
        held = (np.linalg.norm(cells[:, :, None] - others, axis=-1) > own[:, :, None]).all(-1)
        votes = self.votes * torch.from_numpy(held).to(self.votes)
        votes = votes / votes.sum((1, 2), keepdim=True).clamp_min(1e-6)
        return replace(self, votes=votes, field=_field(votes, self.distance, min(self.source_size)))


@dataclass(frozen=True, eq=False)
class Affinity:
    """Cosine similarities of all cells of two pictures, over `TEMPERATURE`.

    Attributes
    ----------
    table : torch.Tensor
        (h·w, H·W), on the device of the target's features: it is large, and what is taken from it is not.
    source_cells, target_cells : (w, h)
        Cells across and down.
    """

    table: torch.Tensor
    source_cells: tuple[int, int]
    target_cells: tuple[int, int]

    @classmethod
    def of(
        cls, source: FeatureMap, target: FeatureMap, cells: int = MAX_CELLS, source_cells: int | None = None
    ) -> "Affinity":
        """Of two pictures; maps of more cells are averaged down, that of the source also to another number."""
        near, far = _coarse(source, source_cells or cells), _coarse(target, cells)
        near = near.to(far.device)
        table = (near.flatten(1) / TEMPERATURE).T @ far.flatten(1)
        return cls(table, (near.shape[2], near.shape[1]), (far.shape[2], far.shape[1]))

    def reversed(self) -> "Affinity":
        """With source and target exchanged."""
        return Affinity(self.table.T, self.target_cells, self.source_cells)

    def agreement(self, evidence: Evidence, placed: MatrixTransform) -> tuple[float, float]:
        """How far the best places of an edit's own points, each by itself, agree with where a map puts them.

        Parameters
        ----------
        evidence : Evidence
            Of the edit; cells without any vote are left out.
        placed : MatrixTransform
            Source pixels → target pixels.

        Returns
        -------
        float
            Share of the points whose most similar cell lies within `AGREEING` sizes of the placed edit.
        float
            Mean share of the target's cells that are less similar than the mapped place.
        """
        own = np.flatnonzero(evidence.distance == 0)
        own = own if len(own) else np.arange(len(evidence.points))
        points, size, (width, height) = evidence.points[own], np.asarray(evidence.target_size), self.target_cells
        rows = bilinear_rows(self.table, points, evidence.source_size, self.source_cells).cpu()
        mapped = placed(points)
        grid = to_grid(mapped, evidence.target_size)[:, None, None].to(rows)
        there = F.grid_sample(rows.view(-1, 1, height, width), grid, align_corners=False, padding_mode="border")
        held = torch.nonzero(evidence.votes.sum(0).flatten())[:, 0]
        rows = rows[:, held]
        cell = held[rows.argmax(1)].numpy()
        best = (np.stack([cell % width, cell // width], 1) + 0.5) * size / (width, height) - 0.5
        near = np.linalg.norm(best - mapped, axis=1) < AGREEING * quad_extent(placed(evidence.quad))
        rank = (rows < there.view(-1, 1)).double().mean(1).numpy()
        mass = evidence.mass[own] / evidence.mass[own].sum()
        return float(near @ mass), float(rank @ mass)

    def votes(self, points: Points, size: tuple[int, int]) -> torch.Tensor:
        """(N, H, W) for points of a source of a size: the softmax over the target times that over the source.

        On the CPU, whatever the device of the features.
        """
        rows = bilinear_rows(self.table, points, size, self.source_cells)
        width, height = self.target_cells
        return torch.softmax(2 * rows - torch.logsumexp(self.table, 0), 1).reshape(-1, height, width).cpu()


@one_thread()
def gather_evidence(
    source: FeatureMap,
    quad: Points,
    target: FeatureMap,
    *,
    source_mask: Mask | None = None,
    target_mask: Mask | None = None,
    reach: float = REACH,
    affinity: Affinity | None = None,
    every: int = 1,
) -> Evidence:
    """Collect the votes for an edit.

    Parameters
    ----------
    source, target : FeatureMap
        Features of the two pictures by the same featurizer.
    quad : ndarray
        (4, 2) the edit's corners in source pixels.
    source_mask, target_mask : ndarray, optional
        (H, W) bool of the pictures' sizes: where the source may be used; where in the target matches may lie.
    reach : float
        How far points outside the edit count, see `REACH`.
    affinity : Affinity, optional
        Of the two pictures, if it is known already.
    every : int
        Only each so manieth point is taken, and stands for the others.

    Returns
    -------
    Evidence

    Raises
    ------
    EditError
        If the source mask leaves nothing.
    GeometryError
        If the target mask leaves nothing.
    """
    points, share = _points(quad, source.image_size)
    points, share = points[::every], share[::every] * every
    low, high = quad.min(0), quad.max(0)
    extent = float(np.sqrt(np.prod(high - low)))
    distance = np.linalg.norm(np.maximum(np.maximum(low - points, points - high), 0), axis=1)
    mass = share * foreground(source, points)
    if source_mask is not None:
        mass = mass * masked(source_mask, points, source.image_size)
    weights = mass * np.exp(-distance / (reach * extent))
    keep = weights > 1e-4 * weights.max(initial=0)
    if not weights[keep].sum() > 0:
        raise EditError("The source mask leaves nothing of the edit's surroundings: enlarge it.")
    points, mass, distance = points[keep], mass[keep], distance[keep]
    weights = weights[keep] / weights[keep].sum()
    votes = (affinity or Affinity.of(source, target)).votes(points, source.image_size)
    if target_mask is not None:
        votes = votes * _mask_cells(target_mask, votes.shape[-2:]).to(votes)
        left = votes.sum((1, 2), keepdim=True)
        if not left.sum() > 0:
            raise GeometryError("The target mask leaves no place for the edit: enlarge it.")
        votes = votes / left.clamp_min(1e-6)
    field = _field(votes, distance, min(source.image_size))
    scale = min(target.image_size) / min(source.image_size)
    return Evidence(quad, points, mass, weights, distance, votes, field, source.image_size, target.image_size, scale)


def grid_points(quad: Points, size: tuple[int, int], *, ring: float, across: int) -> Points:
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


_stretched: WeakKeyDictionary[FeatureMap, torch.Tensor | None] = WeakKeyDictionary()
"""How unlike the border each cell is: a source's is the same for all targets."""


def foreground(features: FeatureMap, points: Points) -> Array:
    """(N,) in [0.1, 1]: 1 − mean of the three highest cosines to border cells, stretched between the deciles."""
    if features not in _stretched:
        _stretched[features] = _unlike_border(coarse(features))
    stretched = _stretched[features]
    if stretched is None:
        return np.ones(len(points))
    grid = to_grid(points, features.image_size)[None, None]
    found = F.grid_sample(stretched[None, None], grid, align_corners=False, padding_mode="border")[0, 0, 0]
    weight: Array = found.numpy().astype(np.float64) * 0.9 + 0.1
    return weight


def _unlike_border(unit: torch.Tensor) -> torch.Tensor | None:
    """(h, w) in [0, 1] for unit features (C, h, w); None where they are too few to tell."""
    if min(unit.shape[1:]) < 4:
        return None
    border = torch.cat([unit[:, 0], unit[:, -1], unit[:, :, 0], unit[:, :, -1]], 1)
    likeness = (border.T @ unit.flatten(1)).topk(3, 0).values.mean(0).reshape(unit.shape[1:])
    unlike = 1 - likeness[1:-1, 1:-1]
    low, high = torch.quantile(unlike.flatten(), torch.tensor([0.1, 0.9]))
    return F.pad(((unlike - low) / (high - low + 1e-6)).clamp(0, 1), (1, 1, 1, 1))


def masked(mask: Any, points: Points, size: tuple[int, int]) -> Array:
    """(N,) 1 where a mask of a picture holds, else 0.

    Raises
    ------
    GeometryError
        If the mask has not the picture's size.
    """
    array = np.asarray(mask)
    if array.shape != (size[1], size[0]):
        raise GeometryError(
            f"A mask must have its picture's size, {size[0]}×{size[1]}, but is an array of {array.shape}."
        )
    x, y = np.clip(np.round(points), 0, np.asarray(size) - 1).astype(np.int64).T
    held: Array = array[y, x].astype(bool).astype(np.float64)
    return held


_averaged: WeakKeyDictionary[FeatureMap, dict[int, torch.Tensor]] = WeakKeyDictionary()
"""Maps averaged down to a number of cells: a source's are the same for all targets, a target's for all turns."""


def coarse(features: FeatureMap, cells: int = MAX_CELLS) -> torch.Tensor:
    """(C, h, w) unit features on the CPU, averaged down to at most so many cells."""
    return _coarse(features, cells).cpu()


def _coarse(features: FeatureMap, cells: int) -> torch.Tensor:
    """The same on the features' own device."""
    unit = features.unit
    shrink = math.sqrt(cells / (unit.shape[1] * unit.shape[2]))
    if shrink >= 1:
        return unit
    known = _averaged.setdefault(features, {})
    if cells not in known:
        size = [max(1, round(edge * shrink)) for edge in unit.shape[1:]]
        known[cells] = F.normalize(F.interpolate(unit[None], size=size, mode="area"), dim=1)[0]
    return known[cells]


def _points(quad: Points, size: tuple[int, int]) -> tuple[Points, Array]:
    """The points, and the area in source pixels that each stands for."""
    low, high = quad.min(0), quad.max(0)
    longer = float((high - low).max())
    fine = grid_points(quad, size, ring=RING, across=ACROSS)
    whole = np.array([(0, 0), (size[0] - 1, 0), (size[0] - 1, size[1] - 1), (0, size[1] - 1)], dtype=np.float64)
    wide = grid_points(whole, size, ring=0, across=ACROSS_PICTURE)
    margin = RING * longer
    wide = wide[((wide < low - margin) | (wide > high + margin)).any(1)]
    areas = np.concatenate([
        np.full(len(fine), (longer / ACROSS) ** 2), np.full(len(wide), (max(size) / ACROSS_PICTURE) ** 2),
    ])  # fmt: skip
    return np.concatenate([fine, wide]), areas


def _mask_cells(mask: Mask, shape: tuple[int, ...]) -> torch.Tensor:
    """(H, W) share of each cell that the mask covers."""
    return F.interpolate(torch.from_numpy(np.asarray(mask, dtype=np.float32))[None, None], size=shape, mode="area")[
        0, 0
    ]


def _field(votes: torch.Tensor, distance: Array, short_side: int) -> torch.Tensor:
    """(N, S, H, W) votes blurred by as much as parts at a distance from the edit, in source pixels, are displaced.

    A constant makes the mean the same at all scales: wider blurs collect more votes by chance.
    """
    tolerances = min(votes.shape[-2:]) * (TOLERANCE + TOLERANCE_GROWTH * distance / short_side)
    field = torch.stack([_blurred(votes, tolerances * scale**TOLERANCE_POWER) for scale in BLUR_SCALES], 1)
    mean = field.mean((2, 3), keepdim=True)
    return field + (mean[:, EXPECTED : EXPECTED + 1] - mean)


def _blurred(votes: torch.Tensor, sigma: Array) -> torch.Tensor:
    """Votes blurred by (N,) cells, rounded to half octaves; a vote for a single cell gives 1 there."""
    field = torch.empty_like(votes)
    steps = np.round(np.log2(sigma) * 2) / 2
    for step in np.unique(steps):
        rows = np.flatnonzero(steps == step)
        down, across = (_bell(edge, float(2**step)).to(votes) for edge in votes.shape[1:])
        field[rows] = down @ (votes[rows] @ across)
    return field


def _bell(edge: int, sigma: float) -> torch.Tensor:
    """(edge, edge) Gaussian of the distance of two cells, cut off at 2.5 σ; its matrix product blurs a row of cells."""
    cell = torch.arange(edge)
    distance = (cell[:, None] - cell).abs()
    return torch.exp(-(distance**2) / (2 * sigma**2)) * (distance <= max(1, math.ceil(2.5 * sigma)))
