"""Correspondence between two feature maps: points, mutual nearest neighbours, dense fields, soft-argmax, round trips.

Single points and lattices are matched by neighbourhood consensus (`dift_edit.matching.consensus`) on a grid of at most
40 cells across, with sub-cell refinement. Without it (``consensus=0``) the search is exact at the images' full
resolution, in bounded memory, because features are never upsampled (`dift_edit.matching.search`). `match_mutual` always
compares each point by itself. Points are (x, y) in pixels of the images as displayed.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.special import expit

from dift_edit.errors import GeometryError, SettingsError
from dift_edit.features.base import FeatureMap, Featurizer, check_comparable
from dift_edit.geometry.coords import Points, as_points, rescale_points, to_grid
from dift_edit.matching.consensus import SIGMA, Consensus, consensus
from dift_edit.matching.search import BUDGET, METRICS, FullResolutionSearch
from dift_edit.settings import Settings, option, override
from dift_edit.types import ImageLike, PointLike, PointsLike

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
class MatchSettings(Settings):
    """How features are compared.

    The defaults suit dift-edit. Two published protocols: SPair-71k scoring of DIFT is ``features="raw"`` (interpolate,
    then normalise); the DIFT edit-propagation notebook is ``metric="l2", align_corners=True``.

    Raises
    ------
    SettingsError
        If a value is not one of its choices or out of its range, or if `consensus` is asked for together with a setting
        that it cannot follow (another metric, raw features, aligned corners, the soft-argmax).
    """

    metric: str = option("cosine", "how features are compared", choices=METRICS)
    features: str = option("unit", "interpolate features of unit norm, or raw ones", choices=("unit", "raw"))
    align_corners: bool = option(False, "place the corner cells' centres on the corner pixels' centres")
    consensus: float | None = option(
        None,
        "width in short sides of the neighbourhood whose matches have to agree; 0 takes each point by itself "
        "(default: 0.08, and 0 for the published protocols, where another setting differs from its default)",
        limits=(0, 1),
    )
    soft_argmax: bool = option(False, "average the places around the best one, weighted by their similarity")
    temperature: float = option(0.03, "of the soft-argmax's weights", above=0)
    window: int = option(2, "radius in cells of the soft-argmax", limits=(1, None))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.consensus and self._alone:
            raise SettingsError(
                f"The setting consensus={self.consensus:g} cannot be combined with {self._alone}: set consensus to 0 "
                "or leave the other setting at its default."
            )

    @property
    def _alone(self) -> str:
        """The first setting that only a match of each point by itself can follow; empty when there is none."""
        for name, default in (("metric", "cosine"), ("features", "unit"), ("align_corners", False)):
            if getattr(self, name) != default:
                return f"{name}={getattr(self, name)!r}"
        return "soft_argmax=True" if self.soft_argmax else ""

    @property
    def neighbourhood(self) -> float:
        """The width that `consensus` stands for."""
        if self.consensus is not None:
            return self.consensus
        return 0.0 if self._alone else SIGMA


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
    source: FeatureMap | ImageLike,
    points: PointsLike,
    target: FeatureMap | ImageLike,
    *,
    featurizer: Featurizer | None = None,
    settings: MatchSettings | None = None,
    seed: int = 0,
    metric: Literal["cosine", "l2"] | None = None,
    features: Literal["unit", "raw"] | None = None,
    align_corners: bool | None = None,
    consensus: float | None = None,
    soft_argmax: bool | None = None,
    temperature: float | None = None,
    window: int | None = None,
) -> PointMatches:
    """Match points of one image to another.

    Parameters
    ----------
    source : FeatureMap, or Image, path or array
        The image with the points; with a `featurizer`, maps are made here.
    points : array_like
        (N, 2) in pixels of the source.
    target : FeatureMap, or Image, path or array
        The image in which they are looked for.
    featurizer : Featurizer, optional
        Needed where `source` or `target` is not a `FeatureMap` yet.
    settings : MatchSettings, optional
        How to compare.
    seed : int
        Random seed of the features, where they are made here.
    metric, features, align_corners, consensus, soft_argmax, temperature, window : optional
        Fields of `MatchSettings`; each takes precedence over `settings`.

    Returns
    -------
    PointMatches

    Raises
    ------
    GeometryError
        If points are not finite or not in the source, or the maps come from different featurizers.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> featurizer = de.load_featurizer("lite")
    >>> eyes = [(341, 233), (629, 273)]
    >>> matches = de.match_points(FOLDER / "cat.jpg", eyes, FOLDER / "kitten.jpg", featurizer=featurizer)
    >>> matches.points.shape, bool((matches.confidence > 0.5).all())
    ((2, 2), True)
    """
    settings = override(
        settings or MatchSettings(), metric=metric, features=features, align_corners=align_corners,
        consensus=consensus, soft_argmax=soft_argmax, temperature=temperature, window=window,
    )  # fmt: skip
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
        check_comparable(source, target)
        self.source = source
        self.target = target
        self.settings = settings or MatchSettings()

    @cached_property
    def _consensus(self) -> Consensus:
        return consensus(self.source, self.target, sigma=self.settings.neighbourhood)

    def __call__(self, points: PointsLike) -> PointMatches:
        """Match (N, 2) points in pixels of the source.

        Raises
        ------
        GeometryError
            If points are not finite or not in the source.
        """
        array = as_points(points)
        _check_inside(array, self.source)
        matched, similarity, distinct = self._there(array)
        error = np.linalg.norm(self._back(matched) - array, axis=1)
        signs = match_signs(self.source, self.target, array, matched, error, distinct)
        confidence = _confidence(signs, _ALONE if distinct is None else _TOGETHER)
        return PointMatches(matched, similarity, confidence, error)

    def _there(self, points: Points) -> tuple[Array, Array, Array | None]:
        """(N, 2) places in the target, their (N,) similarity and, with consensus, their (N,) distinctness."""
        if self.settings.neighbourhood > 0 and len(points):
            matched, distinct = self._consensus.match(points)
            return matched, _cosines(self.source, self.target, points, matched), distinct
        return *_nearest(self.source, self.target, points, self.settings), None

    def _back(self, matched: Points) -> Array:
        """(N, 2) places in the source of places in the target."""
        if self.settings.neighbourhood > 0 and len(matched):
            return self._consensus.reversed.match(matched)[0]
        return _nearest(self.target, self.source, matched, replace(self.settings, soft_argmax=False))[0]


def cycle_error(
    source: FeatureMap, points: PointsLike, target: FeatureMap, *, settings: MatchSettings | None = None
) -> Array:
    """Distance between points and their round trip: to the target, and from there back.

    Parameters
    ----------
    source : FeatureMap
        Features of the image with the points.
    points : array_like
        (N, 2) in pixels of the source.
    target : FeatureMap
        Features of the other image.
    settings : MatchSettings, optional
        How to compare, as for `match_points`.

    Returns
    -------
    ndarray
        (N,) in pixels of the source: the `PointMatches.cycle_error` of `match_points`.

    Raises
    ------
    GeometryError
        As `match_points`.
    """
    return PointMatcher(source, target, settings)(points).cycle_error


def match_dense(
    source: FeatureMap,
    target: FeatureMap,
    *,
    step: float | None = None,
    settings: MatchSettings | None = None,
) -> DenseMatches:
    """Match a regular lattice of points, each to the place that `match_points` gives it.

    Parameters
    ----------
    source, target : FeatureMap
        The images' features.
    step : float, optional
        Distance of the lattice's points in source pixels; the centres of the source's cells by default.
    settings : MatchSettings, optional
        How to compare.

    Returns
    -------
    DenseMatches

    Raises
    ------
    GeometryError
        If `step` is not positive or the maps come from different featurizers.
    """
    matcher = PointMatcher(source, target, settings)
    if step is not None and not step > 0:
        raise GeometryError(f"The step of a dense match is {step}: use a positive number of pixels.")
    width, height = source.grid_size
    if step is not None:
        width, height = (max(1, round(edge / step)) for edge in source.image_size)
    lattice = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2)
    points = rescale_points(lattice, (width, height), source.image_size)
    matched, similarity, _ = matcher._there(points)
    shape = (height, width, 2)
    return DenseMatches(points.reshape(shape), matched.reshape(shape), similarity.reshape(height, width))


def match_mutual(
    source: FeatureMap,
    target: FeatureMap,
    source_points: PointsLike | None = None,
    target_points: PointsLike | None = None,
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
        How to compare. Points are compared one by one: ``consensus`` counts as 0 unless it is set.

    Returns
    -------
    MutualMatches
        In the order of the source points.

    Raises
    ------
    GeometryError
        If points are not finite, the maps come from different featurizers, or the settings ask for consensus or for
        the soft-argmax.
    """
    settings = settings or MatchSettings()
    if settings.consensus or settings.soft_argmax:
        asked = "soft_argmax=True" if settings.soft_argmax else f"consensus={settings.consensus:g}"
        raise GeometryError(
            f"Mutual neighbours are looked for among the points given, one by one, which {asked} cannot do: leave that "
            "setting at its default, or use match_points."
        )
    check_comparable(source, target)
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


def similarity_map(source: FeatureMap, point: PointLike, target: FeatureMap) -> torch.Tensor:
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
    check_comparable(source, target)
    array = as_points(point)
    _check_inside(array, source)
    query = source.sample(array[:1])[0].to(target.unit.device)
    return torch.einsum("c,chw->hw", query, target.unit)


def _two_maps(
    source: FeatureMap | ImageLike, target: FeatureMap | ImageLike, featurizer: Featurizer | None, seed: int
) -> tuple[FeatureMap, FeatureMap]:
    maps: list[FeatureMap] = []
    for picture in (source, target):
        if isinstance(picture, FeatureMap):
            maps.append(picture)
        elif featurizer is not None:
            maps.append(featurizer(picture, seed=seed))
        else:
            raise GeometryError(
                "Matching images needs a featurizer: pass featurizer=load_featurizer('mini'), or pass feature maps."
            )
    check_comparable(maps[0], maps[1])
    return maps[0], maps[1]


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
