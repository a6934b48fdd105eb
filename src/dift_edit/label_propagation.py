"""Labels and keypoints of a sequence's first frame, carried to its other frames by feature affinity.

The method is the one of the DIFT paper (and of the video evaluations before it): every cell of a new frame takes the
mean of the labels of the most similar cells near it in the first frame and in the last few frames, weighted with
exp(cosine / temperature). Memory is bounded: only the last frames are kept, and affinities are computed tile by tile.

References
----------
Jabri et al., Space-Time Correspondence as a Contrastive Random Walk, NeurIPS 2020, section 3.4.
Tang et al., Emergent Correspondence from Image Diffusion, NeurIPS 2023, section 5.3.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.coords import Points, as_points, rescale_points
from dift_edit.errors import GeometryError
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.settings import option

__all__ = [
    "LabelPropagator",
    "PropagatedLabels",
    "PropagationSettings",
    "propagate_keypoints",
    "propagate_labels",
]

PROTOCOLS = ("released", "corrected")
Labels = npt.NDArray[np.integer[Any]]
_TILE = 16
"""Side in cells of the tiles in which affinities are computed."""


@dataclass(frozen=True, kw_only=True)
class PropagationSettings:
    """How labels are carried; the defaults are those of DIFT's DAVIS evaluation with Stable Diffusion.

    Attributes
    ----------
    protocol : str
        "released" reads and writes masks as the released evaluation does: the first mask is shrunk by nearest
        neighbour, each class of a result is stretched to [0, 1], and the winner is enlarged by nearest neighbour
        from the features' grid enlarged to the network's size. "corrected" shrinks by area and compares the
        classes' unstretched scores, enlarged bilinearly between pixel centres to the picture's own size.

    Raises
    ------
    GeometryError
        If a value is not one of its choices or out of its range.
    """

    temperature: float = option(0.2, "of the affinities: weight = exp(cosine / temperature)")
    top_k: int = option(15, "number of cells whose labels are averaged")
    last_frames: int = option(28, "number of last frames that are looked at, besides the first")
    radius: int = option(15, "cells farther than this from a cell, in x or y, are not looked at; 0: no limit")
    protocol: str = option("corrected", "as the released evaluation, or without its shortcuts", choices=PROTOCOLS)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise GeometryError(f"The protocol is {self.protocol!r}: use one of {', '.join(PROTOCOLS)}.")
        if not self.temperature > 0 or self.top_k < 1 or self.last_frames < 0 or self.radius < 0:
            raise GeometryError(
                "Label propagation needs a temperature above 0, top_k of at least 1, "
                "and last_frames and radius not below 0."
            )


@dataclass(frozen=True, eq=False)
class PropagatedLabels:
    """The labels of one frame.

    Attributes
    ----------
    labels : ndarray
        (H, W) with the first frame's values and type; every pixel has the label that won.
    scores : torch.Tensor
        (K, h, w) float32 in [0, 1] on the features' grid: how much of each class was found at a cell.
    classes : tuple of int
        The K values of the labels, in the scores' order; the smallest one is first.
    """

    labels: Labels
    scores: torch.Tensor
    classes: tuple[int, ...]


class LabelPropagator:
    """Carries soft labels from map to map; keeps the first map and the last ones.

    Parameters
    ----------
    features : FeatureMap
        Of the first frame.
    scores : torch.Tensor
        (K, h, w) soft labels of the first frame on the features' grid.
    settings : PropagationSettings, optional
        How labels are carried.

    Raises
    ------
    GeometryError
        If the scores are not on the features' grid.
    """

    def __init__(self, features: FeatureMap, scores: torch.Tensor, settings: PropagationSettings | None = None) -> None:
        if scores.shape[1:] != features.data.shape[1:]:
            raise GeometryError(
                f"Labels on a grid of {tuple(scores.shape[1:])} cells do not fit features of "
                f"{tuple(features.data.shape[1:])}: bring them to the features' grid."
            )
        self.settings = settings or PropagationSettings()
        self._fingerprint = features.fingerprint
        self._first = (features.unit, scores.to(features.unit))
        self._last: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=self.settings.last_frames)

    def __call__(self, features: FeatureMap) -> torch.Tensor:
        """Soft labels of the next frame.

        Parameters
        ----------
        features : FeatureMap
            Of that frame, on the same grid.

        Returns
        -------
        torch.Tensor
            (K, h, w).

        Raises
        ------
        GeometryError
            If the frame has another size or its features come from another featurizer.
        """
        unit = features.unit
        if unit.shape != self._first[0].shape or features.fingerprint != self._fingerprint:
            raise GeometryError(
                f"The frames of a sequence must have one size and one featurizer: the first has features of shape "
                f"{tuple(self._first[0].shape)}, a later one {tuple(unit.shape)}."
            )
        context = [self._first, *self._last]
        keys = torch.stack([key for key, _ in context], 1)
        values = torch.stack([value for _, value in context], 1)
        scores = torch.empty_like(self._first[1])
        height, width = unit.shape[1:]
        for top in range(0, height, _TILE):
            for left in range(0, width, _TILE):
                area = slice(top, top + _TILE), slice(left, left + _TILE)
                scores[:, area[0], area[1]] = self._tile(unit, keys, values, (top, left))
        self._last.append((unit, scores))
        return scores

    def _tile(
        self, unit: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, corner: tuple[int, int]
    ) -> torch.Tensor:
        """(K, th, tw) labels of the tile at (top, left) from (C, F, h, w) keys and (K, F, h, w) values."""
        settings = self.settings
        spans = []
        for start, cells in zip(corner, unit.shape[1:], strict=True):
            stop = min(start + _TILE, cells)
            radius = settings.radius or cells
            spans.append((start, stop, max(start - radius, 0), min(stop + radius, cells), radius))
        (top, bottom, above, below, reach_y), (left, right, before, after, reach_x) = spans
        query = unit[:, top:bottom, left:right].flatten(1).T
        near = keys[:, :, above:below, before:after].flatten(1)
        device = unit.device
        y, x = torch.arange(above, below, device=device), torch.arange(before, after, device=device)
        in_y = (y - torch.arange(top, bottom, device=device)[:, None]).abs() <= reach_y
        in_x = (x - torch.arange(left, right, device=device)[:, None]).abs() <= reach_x
        inside = (in_y[:, None, :, None] & in_x[None, :, None, :]).reshape(len(query), 1, -1)
        cosine = (query @ near).reshape(len(query), keys.shape[1], -1).masked_fill(~inside, -torch.inf).flatten(1)
        # The released code multiplies exp() by the mask, so that zeros can enter the top k: they weigh nothing there,
        # as minus infinity does here. Values that equal the k-th are kept by both.
        best = cosine.topk(min(settings.top_k, cosine.shape[1])).values
        least = best[:, -1:]
        weight = torch.exp((cosine - best[:, :1]) / settings.temperature) * (cosine >= least)
        weight = weight / weight.sum(1, keepdim=True)
        found = values[:, :, above:below, before:after].flatten(1) @ weight.T
        return found.reshape(-1, bottom - top, right - left)


def propagate_labels(
    frames: Iterable[Any],
    labels: Any,
    *,
    featurizer: Featurizer | None = None,
    settings: PropagationSettings | None = None,
    seed: int = 0,
    **options: Any,
) -> Iterator[PropagatedLabels]:
    """Carry the labels of a sequence's first frame to all its frames.

    Parameters
    ----------
    frames : iterable
        The frames in order: `FeatureMap`, or with a `featurizer` pictures, paths or arrays. It is read one at a time.
    labels : array_like
        (H, W) integers or bool of the first frame, at the picture's size; 0 is usually the background.
    featurizer : Featurizer, optional
        Needed where frames are not feature maps.
    settings : PropagationSettings, optional
        How labels are carried.
    seed : int
        Of the features, where they are made here.
    **options
        Fields of `PropagationSettings`, over `settings`.

    Yields
    ------
    PropagatedLabels
        One for every frame; the first has the labels as they were given.

    Raises
    ------
    GeometryError
        If the labels do not have the first frame's size or are no integers, or the frames' sizes differ.
    """
    settings = replace(settings or PropagationSettings(), **options)
    propagator = None
    given, classes = _check_labels(labels)
    for features in _maps(frames, featurizer, seed):
        if propagator is None:
            if given.shape != features.image_size[::-1]:
                raise GeometryError(
                    f"The labels are {given.shape[1]}×{given.shape[0]} pixels, but the first frame is "
                    f"{features.image_size[0]}×{features.image_size[1]}: give labels of the frame's size."
                )
            scores = _shrink(given, classes, features, settings.protocol)
            propagator = LabelPropagator(features, scores, settings)
            yield PropagatedLabels(given, scores, classes)
        else:
            scores = propagator(features)
            winner = _enlarge(scores, features.image_size, settings.protocol)
            yield PropagatedLabels(np.asarray(classes, dtype=given.dtype)[winner], scores, classes)


def propagate_keypoints(
    frames: Iterable[Any],
    points: Any,
    *,
    featurizer: Featurizer | None = None,
    settings: PropagationSettings | None = None,
    sigma: float = 1.0,
    peak_cells: int = 5,
    seed: int = 0,
    **options: Any,
) -> Iterator[Points]:
    """Carry keypoints of a sequence's first frame to all its frames, each as a soft label of Gaussian shape.

    Parameters
    ----------
    frames : iterable
        As for `propagate_labels`.
    points : array_like
        (N, 2) in pixels of the first frame.
    featurizer : Featurizer, optional
        Needed where frames are not feature maps.
    settings : PropagationSettings, optional
        How labels are carried.
    sigma : float
        Of the Gaussians, in cells.
    peak_cells : int
        A keypoint of a frame is the mean of so many cells with its highest scores, weighted with them.
    seed : int
        Of the features, where they are made here.
    **options
        Fields of `PropagationSettings`, over `settings`.

    Yields
    ------
    ndarray
        (N, 2) in pixels for every frame; the first are the points as they were given.

    Raises
    ------
    GeometryError
        If points are not finite, or the frames' sizes differ.
    """
    settings = replace(settings or PropagationSettings(), **options)
    given = as_points(points)
    if not sigma > 0 or peak_cells < 1:
        raise GeometryError("Keypoints need a sigma above 0 and at least one peak cell.")
    propagator = None
    for features in _maps(frames, featurizer, seed):
        if propagator is None:
            propagator = LabelPropagator(features, _gaussians(given, features, sigma), settings)
            yield given
        else:
            yield _peaks(propagator(features), features, peak_cells)


def _maps(frames: Iterable[Any], featurizer: Featurizer | None, seed: int) -> Iterator[FeatureMap]:
    for frame in frames:
        if isinstance(frame, FeatureMap):
            yield frame
        elif featurizer is not None:
            yield featurizer(frame, seed=seed)
        else:
            raise GeometryError(
                "Propagation through pictures needs a featurizer: pass featurizer=load_featurizer('mini'), or pass "
                "feature maps."
            )


def _check_labels(labels: Any) -> tuple[Labels, tuple[int, ...]]:
    array = np.asarray(labels)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer) or not array.size:
        raise GeometryError(
            f"Labels must be whole numbers of shape (H, W), but are {array.dtype} of shape {array.shape}."
        )
    return array, tuple(int(value) for value in np.unique(array))


def _shrink(labels: Labels, classes: tuple[int, ...], features: FeatureMap, protocol: str) -> torch.Tensor:
    """(K, h, w) shares of the classes in each cell, or, as released, the class at each cell's centre."""
    width, height = features.grid_size
    if protocol == "released":
        # Pillow's nearest neighbour takes the pixel at the cell's centre.
        rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.int64)
        columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.int64)
        small = labels[np.ix_(rows, columns)]
        one_hot = np.stack([small == value for value in classes]).astype(np.float32)
        return torch.from_numpy(one_hot)
    full = torch.from_numpy(np.stack([labels == value for value in classes]).astype(np.float32))
    return F.adaptive_avg_pool2d(full[None], (height, width))[0]


def _enlarge(scores: torch.Tensor, size: tuple[int, int], protocol: str) -> npt.NDArray[np.int64]:
    """(H, W) index of the winning class."""
    width, height = size
    if protocol == "released":
        low, high = scores.amin((1, 2), keepdim=True), scores.amax((1, 2), keepdim=True)
        stretched = torch.where(high > 0, (scores - low) / (high - low).clamp(min=1e-12), scores)
        factor = max(1, round(height / scores.shape[1]))
        fine = F.interpolate(stretched[None], scale_factor=factor, mode="bilinear", align_corners=False)[0]
        winner = fine.argmax(0).cpu().numpy()
        rows = ((np.arange(height) + 0.5) * winner.shape[0] / height).astype(np.int64)
        columns = ((np.arange(width) + 0.5) * winner.shape[1] / width).astype(np.int64)
        picked: npt.NDArray[np.int64] = winner[np.ix_(rows, columns)]
        return picked
    # One class at a time, so that memory does not grow with the number of classes.
    best = torch.full((height, width), -1.0, device=scores.device)
    index = torch.zeros((height, width), dtype=torch.long, device=scores.device)
    for number, score in enumerate(scores):
        fine = F.interpolate(score[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
        index[fine > best] = number
        best = torch.maximum(best, fine)
    result: npt.NDArray[np.int64] = index.cpu().numpy()
    return result


def _gaussians(points: Points, features: FeatureMap, sigma: float) -> torch.Tensor:
    """(N, h, w) with the value 1 at the cell position of each point."""
    width, height = features.grid_size
    cells = rescale_points(points, features.image_size, features.grid_size)
    across = np.exp(-((np.arange(width) - cells[:, :1]) ** 2) / (2 * sigma**2))
    down = np.exp(-((np.arange(height) - cells[:, 1:]) ** 2) / (2 * sigma**2))
    return torch.from_numpy((down[:, :, None] * across[:, None]).astype(np.float32))


def _peaks(scores: torch.Tensor, features: FeatureMap, count: int) -> Points:
    """(N, 2) pixels: the weighted mean of the best cells of each of (N, h, w)."""
    width = scores.shape[2]
    best = scores.flatten(1).topk(min(count, scores[0].numel()))
    weight = best.values.cpu().numpy().astype(np.float64)
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-30)
    index = best.indices.cpu().numpy()
    cells = np.stack([(weight * (index % width)).sum(1), (weight * (index // width)).sum(1)], 1)
    return rescale_points(cells, features.grid_size, features.image_size)
