"""Correspondence between two feature maps: points, mutual nearest neighbours, dense fields, soft-argmax, round trips.

All of it works at the pictures' full resolution in bounded memory, because features are never upsampled
(`dift_edit.nearest`). Points are (x, y) in pixels of the pictures as displayed.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.special import expit

from dift_edit.consensus import SIGMA, Consensus, consensus
from dift_edit.coords import Points, as_points, rescale_points, to_grid
from dift_edit.errors import GeometryError
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.nearest import BUDGET, METRICS, FullResolutionSearch
from dift_edit.settings import option

__all__ = [
    "DenseMatches",
    "MatchSettings",
    "MutualMatches",
    "PointMatcher",
    "PointMatches",
    "cycle_error",
    "match_dense",
    "match_mutual",
    "match_points",
    "similarity_map",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    """How features are compared.

    The defaults suit dift-edit. Two published protocols: SPair-71k scoring of DIFT is ``features="raw"`` (interpolate,
    then normalise); the DIFT edit-propagation notebook is ``metric="l2", align_corners=True``.

    Raises
    ------
    GeometryError
        If a value is not one of its choices or out of its range.
    """

    metric: str = option("cosine", "how features are compared", choices=METRICS)
    features: str = option("unit", "interpolate features of unit norm, or raw ones", choices=("unit", "raw"))
    align_corners: bool = option(False, "let the corner cells' centres be the corner pixels' centres")
    consensus: float | None = option(
        None,
        "width in short sides of the neighbourhood whose matches have to agree; 0 takes each point by itself "
        "(default: 0.08, and 0 for the published protocols, where another setting differs from its default)",
    )
    soft_argmax: bool = option(False, "average the places around the best one, weighted with their similarity")
    temperature: float = option(0.03, "of the soft-argmax's weights")
    window: int = option(2, "radius in cells of the soft-argmax")

    def __post_init__(self) -> None:
        for name, choices in (("metric", METRICS), ("features", ("unit", "raw"))):
            if getattr(self, name) not in choices:
                raise GeometryError(f"The setting {name} is {getattr(self, name)!r}: use one of {', '.join(choices)}.")
        if self.consensus is not None and not 0 <= self.consensus <= 1:
            raise GeometryError(f"The setting consensus is {self.consensus}: use a number from 0 to 1.")
        if self.temperature <= 0 or self.window < 1:
            raise GeometryError("A soft-argmax needs a temperature above 0 and a window of at least 1 cell.")

    @property
    def neighbourhood(self) -> float:
        """The width that `consensus` stands for."""
        if self.consensus is not None:
            return self.consensus
        plain = self.metric == "cosine" and self.features == "unit" and not (self.align_corners or self.soft_argmax)
        return SIGMA if plain else 0.0


@dataclass(frozen=True, eq=False)
class PointMatches:
    """Where points of one picture lie in another.

    Attributes
    ----------
    points : ndarray
        (N, 2) in pixels of the target.
    similarity : ndarray
        (N,) cosine of the features, at most 1; for the metric "l2", ``1 - d²/2``.
    confidence : ndarray
        (N,) estimated probability that the point is right within a tenth of the object's size, see `docs/matching.md`.
    cycle_error : ndarray
        (N,) distance in source pixels between a point and the match of its match.
    """

    points: Array
    similarity: Array
    confidence: Array
    cycle_error: Array

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, eq=False)
class MutualMatches:
    """Pairs of points that are each other's nearest neighbour.

    Attributes
    ----------
    source_index, target_index : ndarray
        (M,) int64 into the two lists of points.
    source_points, target_points : ndarray
        (M, 2) in pixels.
    similarity : ndarray
        (M,).
    """

    source_index: npt.NDArray[np.int64]
    target_index: npt.NDArray[np.int64]
    source_points: Array
    target_points: Array
    similarity: Array

    def __len__(self) -> int:
        return len(self.source_index)


@dataclass(frozen=True, eq=False)
class DenseMatches:
    """Where a regular lattice of points of one picture lies in another.

    Attributes
    ----------
    source_points, points : ndarray
        (h, w, 2) in pixels of the source and of the target.
    similarity : ndarray
        (h, w).
    """

    source_points: Array
    points: Array
    similarity: Array


def match_points(
    source: Any,
    target: Any,
    points: Any,
    *,
    featurizer: Featurizer | None = None,
    settings: MatchSettings | None = None,
    seed: int = 0,
    **options: Any,
) -> PointMatches:
    """Match points of one picture to another.

    Parameters
    ----------
    source, target : FeatureMap, or Image, path or array
        The pictures; with a `featurizer`, maps are made here.
    points : array_like
        (N, 2) in pixels of the source.
    featurizer : Featurizer, optional
        Needed where `source` or `target` is not a `FeatureMap` yet.
    settings : MatchSettings, optional
        How to compare.
    seed : int
        Of the features, where they are made here.
    **options
        Fields of `MatchSettings`, over `settings`.

    Returns
    -------
    PointMatches

    Raises
    ------
    GeometryError
        If points are not finite or not in the source, or the maps come from different featurizers.
    """
    settings = replace(settings or MatchSettings(), **options)
    return PointMatcher(*_two_maps(source, target, featurizer, seed), settings)(points)


class PointMatcher:
    """Match points of one picture to another, again and again: what does not depend on them is computed only once.

    Parameters
    ----------
    source, target : FeatureMap
        Features of the two pictures.
    settings : MatchSettings, optional
        How to compare.

    Raises
    ------
    GeometryError
        If the maps come from different featurizers.
    """

    def __init__(self, source: FeatureMap, target: FeatureMap, settings: MatchSettings | None = None) -> None:
        _check_comparable(source, target)
        self.source = source
        self.target = target
        self.settings = settings or MatchSettings()

    @cached_property
    def _consensus(self) -> Consensus:
        return consensus(self.source, self.target, sigma=self.settings.neighbourhood)

    def __call__(self, points: Any) -> PointMatches:
        """Match (N, 2) points in pixels of the source.

        Raises
        ------
        GeometryError
            If points are not finite or not in the source.
        """
        source, target, settings = self.source, self.target, self.settings
        array = as_points(points)
        _check_inside(array, source)
        if settings.neighbourhood > 0 and len(array):
            return _match_by_consensus(source, target, array, self._consensus)
        matched, similarity = _nearest(source, target, array, settings)
        back, _ = _nearest(target, source, matched, replace(settings, soft_argmax=False))
        error = np.linalg.norm(back - array, axis=1)
        confidence = _confidence(match_signs(source, target, array, matched, error), _ALONE)
        return PointMatches(matched, similarity, confidence, error)


def cycle_error(source: FeatureMap, target: FeatureMap, points: Any, *, settings: MatchSettings | None = None) -> Array:
    """Distance between points and their round trip: to the target, and from there back.

    Parameters
    ----------
    source, target : FeatureMap
        The two pictures' features.
    points : array_like
        (N, 2) pixels of the source.
    settings : MatchSettings, optional
        Metric and estimator.

    Returns
    -------
    ndarray
        (N,) in pixels of the source.

    Raises
    ------
    GeometryError
        As `match_points`.
    """
    settings = settings or MatchSettings()
    _check_comparable(source, target)
    array = as_points(points)
    _check_inside(array, source)
    there, _ = _nearest(source, target, array, settings)
    back, _ = _nearest(target, source, there, settings)
    error: Array = np.linalg.norm(back - array, axis=1)
    return error


def match_dense(
    source: FeatureMap,
    target: FeatureMap,
    *,
    step: float | None = None,
    settings: MatchSettings | None = None,
    **options: Any,
) -> DenseMatches:
    """Match a regular lattice of points.

    Parameters
    ----------
    source, target : FeatureMap
        The pictures' features.
    step : float, optional
        Distance of the lattice's points in source pixels; the centres of the source's cells by default.
    settings : MatchSettings, optional
        How to compare.
    **options
        Fields of `MatchSettings`, over `settings`.

    Returns
    -------
    DenseMatches

    Raises
    ------
    GeometryError
        If `step` is not positive or the maps come from different featurizers.
    """
    settings = replace(settings or MatchSettings(), **options)
    _check_comparable(source, target)
    if step is not None and not step > 0:
        raise GeometryError(f"The step of a dense match is {step}: use a positive number of pixels.")
    width, height = source.grid_size
    if step is not None:
        width, height = (max(1, round(edge / step)) for edge in source.image_size)
    lattice = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2)
    points = rescale_points(lattice, (width, height), source.image_size)
    matched, similarity = _nearest(source, target, points, settings)
    shape = (height, width, 2)
    return DenseMatches(points.reshape(shape), matched.reshape(shape), similarity.reshape(height, width))


def match_mutual(
    source: FeatureMap,
    target: FeatureMap,
    source_points: Any = None,
    target_points: Any = None,
    *,
    settings: MatchSettings | None = None,
) -> MutualMatches:
    """Mutual nearest neighbours between two sets of points (say, detected keypoints).

    Parameters
    ----------
    source, target : FeatureMap
        The pictures' features.
    source_points, target_points : array_like, optional
        (N, 2) and (M, 2) in pixels; the centres of the cells by default.
    settings : MatchSettings, optional
        How to compare; the soft-argmax does not apply.

    Returns
    -------
    MutualMatches
        In the order of the source points.

    Raises
    ------
    GeometryError
        If points are not finite or the maps come from different featurizers.
    """
    settings = settings or MatchSettings()
    _check_comparable(source, target)
    points_a, points_b = (
        _cell_centres(features) if points is None else as_points(points)
        for features, points in ((source, source_points), (target, target_points))
    )
    if not len(points_a) or not len(points_b):
        none = np.zeros(0, dtype=np.int64)
        return MutualMatches(none, none, np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    queries, keys = _sample(source, points_a, settings), _sample(target, points_b, settings)
    forward, backward, best = _nearest_both_ways(queries, keys.to(queries.device), settings.metric)
    index = np.flatnonzero(backward[forward] == np.arange(len(points_a)))
    partner = forward[index]
    return MutualMatches(index, partner, points_a[index], points_b[partner], best[index])


def similarity_map(source: FeatureMap, point: Any, target: FeatureMap) -> torch.Tensor:
    """Cosine of one point's feature with every cell of a target.

    Parameters
    ----------
    source : FeatureMap
        Features of the picture with the point.
    point : array_like
        (x, y) in pixels of the source.
    target : FeatureMap
        Features of the other picture.

    Returns
    -------
    torch.Tensor
        (h, w) in [-1, 1] on the target's grid.

    Raises
    ------
    GeometryError
        As `match_points`.
    """
    _check_comparable(source, target)
    array = as_points(point)
    _check_inside(array, source)
    query = source.sample(array[:1])[0].to(target.unit.device)
    return torch.einsum("c,chw->hw", query, target.unit)


def _match_by_consensus(source: FeatureMap, target: FeatureMap, points: Points, scores: Consensus) -> PointMatches:
    """Matches that their neighbours support (`dift_edit.consensus`)."""
    matched, distinct = scores.match(points)
    back, _ = scores.reversed.match(matched)
    error = np.linalg.norm(back - points, axis=1)
    signs = match_signs(source, target, points, matched, error, distinct)
    similarity = _cosines(source, target, points, matched)
    return PointMatches(matched, similarity, _confidence(signs, _TOGETHER), error)


def _two_maps(source: Any, target: Any, featurizer: Featurizer | None, seed: int) -> tuple[FeatureMap, FeatureMap]:
    maps = []
    for picture in (source, target):
        if not isinstance(picture, FeatureMap) and featurizer is None:
            raise GeometryError(
                "Matching pictures needs a featurizer: pass featurizer=load_featurizer('mini'), or pass feature maps."
            )
        maps.append(
            picture if featurizer is None or isinstance(picture, FeatureMap) else featurizer(picture, seed=seed)
        )
    _check_comparable(maps[0], maps[1])
    return maps[0], maps[1]


def _check_comparable(source: FeatureMap, target: FeatureMap) -> None:
    if source.data.shape[0] != target.data.shape[0] or (
        source.fingerprint and target.fingerprint and source.fingerprint != target.fingerprint
    ):
        raise GeometryError(
            "The two feature maps come from different featurizers or settings: make both with the same one."
        )


def _check_inside(points: Points, features: FeatureMap) -> None:
    outside = ((points < -0.5) | (points > np.asarray(features.image_size) - 0.5)).any(1)
    if outside.any():
        bad = int(np.flatnonzero(outside)[0])
        raise GeometryError(
            f"Point number {bad}, {tuple(points[bad].tolist())}, lies outside the picture of size "
            f"{features.image_size[0]}×{features.image_size[1]}: give points in its pixels."
        )


def _cell_centres(features: FeatureMap) -> Points:
    width, height = features.grid_size
    cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2)
    return rescale_points(cells, features.grid_size, features.image_size)


def _interpolated(features: FeatureMap, settings: MatchSettings) -> torch.Tensor:
    """The features between whose cells interpolation runs."""
    return features.unit if settings.features == "unit" else features.data.float()


def _sample(features: FeatureMap, points: Points, settings: MatchSettings) -> torch.Tensor:
    """(N, C) features at points; of unit norm for the cosine, as interpolated for the metric "l2"."""
    data = _interpolated(features, settings)
    if settings.align_corners:
        edges = np.maximum(np.asarray(features.image_size, dtype=np.float64) - 1, 1)
        grid = torch.from_numpy((points / edges * 2 - 1).astype(np.float32))
    else:
        grid = to_grid(points, features.image_size)
    sampled = F.grid_sample(
        data[None], grid.to(data.device)[None, None], align_corners=settings.align_corners, padding_mode="border"
    )[0, :, 0].T
    return F.normalize(sampled, dim=1) if settings.metric == "cosine" else sampled


def _nearest(source: FeatureMap, target: FeatureMap, points: Points, settings: MatchSettings) -> tuple[Array, Array]:
    """(N, 2) places in the target and their (N,) similarity."""
    data = _interpolated(target, settings)
    queries = _sample(source, points, settings).to(data.device)
    search = FullResolutionSearch(data, target.image_size, metric=settings.metric, align_corners=settings.align_corners)
    places, similarity = search(queries)
    if settings.soft_argmax:
        places = _soft_argmax(queries, target, places, settings)
    return places, similarity


def _soft_argmax(queries: torch.Tensor, target: FeatureMap, places: Points, settings: MatchSettings) -> Array:
    """Places averaged over the cells within the window around `places`, weighted by softmax(cosine / temperature)."""
    width, height = target.grid_size
    centre = np.round(rescale_points(places, target.image_size, target.grid_size)).astype(np.int64)
    reach = np.arange(-settings.window, settings.window + 1)
    offsets = np.stack(np.meshgrid(reach, reach), -1).reshape(-1, 2)
    moved = np.empty_like(places)
    chunk = max(1, BUDGET // (len(offsets) * target.data.shape[0]))
    unit = target.unit.flatten(1)
    for start in range(0, len(places), chunk):
        part = slice(start, start + chunk)
        cells = centre[part, None] + offsets
        there = ((cells >= 0) & (cells < (width, height))).all(2)
        flat = np.clip(cells[..., 1], 0, height - 1) * width + np.clip(cells[..., 0], 0, width - 1)
        around = unit[:, torch.from_numpy(flat).to(unit.device)]
        cosine = torch.einsum("nc,cnk->nk", F.normalize(queries[part], dim=1), around)
        cosine = cosine.masked_fill(~torch.from_numpy(there).to(unit.device), -torch.inf)
        weight = torch.softmax(cosine / settings.temperature, 1).cpu().numpy().astype(np.float64)
        moved[part] = np.einsum("nk,nkd->nd", weight, cells)
    return rescale_points(moved, target.grid_size, target.image_size)


def _nearest_both_ways(
    queries: torch.Tensor, keys: torch.Tensor, metric: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    """Nearest key of each query, nearest query of each key, and the queries' best similarity; in slices."""
    chunk = max(1, BUDGET // len(keys))
    half_squares = keys.square().sum(1) / 2
    forward, best = [], []
    key_best = keys.new_full((len(keys),), -torch.inf)
    backward = torch.zeros(len(keys), dtype=torch.long, device=keys.device)
    for start in range(0, len(queries), chunk):
        part = queries[start : start + chunk]
        scores = part @ keys.T
        if metric == "l2":
            scores = 1 - half_squares + scores - part.square().sum(1, keepdim=True) / 2
        value, index = scores.max(1)
        forward.append(index)
        best.append(value)
        top, row = scores.max(0)
        better = top > key_best
        key_best = torch.where(better, top, key_best)
        backward = torch.where(better, row + start, backward)
    similarity = torch.cat(best).cpu().numpy().astype(np.float64)
    return torch.cat(forward).cpu().numpy(), backward.cpu().numpy(), similarity


_ALONE = ((-2.87, 1.50, -0.96), (-4.81, 17.8))
_TOGETHER = ((-2.49, 0.91, -0.65), (-3.7, 16.1))
"""Weights, constant first: of a match that is taken by itself, and of one that its neighbours support. Fitted to
1,000 keypoint matches of PF-WILLOW and 1,000 on pictures of other things, with mini."""


def match_signs(
    source: FeatureMap, target: FeatureMap, points: Points, matched: Points, error: Array, distinct: Array | None = None
) -> Array:
    """What tells right matches from wrong ones (`benchmarks/match_confidence.py` fits their weights).

    Parameters
    ----------
    source, target : FeatureMap
        The two pictures.
    points, matched : ndarray
        (N, 2) in pixels of the source, and what they were matched to in the target.
    error : ndarray
        (N,) round trips in pixels of the source.
    distinct : ndarray, optional
        (N,) how far the best score lies above the mean, in standard deviations; of the cosines, if not given.

    Returns
    -------
    ndarray
        (N, 3): how distinct the best score is; ``log(1 + e / 0.03)`` of the round trip e in short sides of the
        source; and the likeness, 1 where the match looks the same and 0 where it is no more alike than the point is
        to its own picture on average.
    """
    queries = source.sample(points).to(target.unit.device)
    if distinct is None:
        parts, cells = [], target.unit.flatten(1)
        for part in torch.split(queries, max(1, BUDGET // cells.shape[1])):
            row = part @ cells
            parts.append((row.amax(1) - row.mean(1)) / row.std(1, correction=0).clamp(min=1e-6))
        distinct = torch.cat(parts).cpu().numpy().astype(np.float64)
    own = (queries @ source.unit.flatten(1).mean(1).to(queries.device)).cpu().numpy().astype(np.float64)
    likeness = (_cosines(source, target, points, matched) - own) / np.maximum(1 - own, 1e-6)
    signs: Array = np.stack([distinct, np.log1p(error / (0.03 * min(source.image_size))), likeness], axis=1)
    return signs


def _confidence(signs: Array, weights: tuple[tuple[float, ...], tuple[float, ...]]) -> Array:
    """Estimated probability that a match is right within a tenth of the object's size.

    The product of two: that the place shows the same kind of thing at all, and that the match is right where it does.
    """
    place, kind = map(np.asarray, weights)
    return np.asarray(expit(place[0] + signs[:, :2] @ place[1:]) * expit(kind[0] + signs[:, 2] * kind[1]))


def _cosines(source: FeatureMap, target: FeatureMap, points: Points, matched: Points) -> Array:
    first = source.sample(points)
    return (first * target.sample(matched).to(first.device)).sum(1).cpu().numpy().astype(np.float64)
