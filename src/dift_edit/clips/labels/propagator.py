"""Soft labels from feature map to feature map."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

import torch

from dift_edit.errors import GeometryError
from dift_edit.features.base import FeatureMap
from dift_edit.settings import Settings, option

__all__ = ["LabelPropagator", "PropagationSettings"]

_TILE = 16
"""Side in cells of the tiles in which affinities are computed (chosen)."""


@dataclass(frozen=True, kw_only=True)
class PropagationSettings(Settings):
    """How labels are carried; the defaults are those of DIFT's DAVIS evaluation with Stable Diffusion.

    Attributes
    ----------
    protocol : str
        "released" reads and writes masks as the released evaluation does: the first mask is shrunk by nearest
        neighbour, each class of a result is stretched to [0, 1], and the winner is enlarged by nearest neighbour
        from the features' grid enlarged to the network's size. "corrected" shrinks by area and compares the
        classes' unstretched scores, enlarged bilinearly between pixel centres to the image's own size.

    """

    temperature: float = option(0.2, "of the affinities: weight = exp(cosine / temperature)", above=0)
    top_k: int = option(15, "number of cells whose labels are averaged", limits=(1, None))
    last_frames: int = option(28, "number of last frames that are looked at, besides the first", limits=(0, None))
    radius: int = option(
        15, "cells farther than this from a cell, in x or y, are not looked at; 0: no limit", limits=(0, None)
    )
    protocol: Literal["released", "corrected"] = option(
        "corrected", "as the released evaluation, or without its shortcuts"
    )


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

    def remember(self, features: FeatureMap, scores: torch.Tensor) -> None:
        """Take a frame whose soft labels (K, h, w) are known, as if they had just been found."""
        self._last.append((features.unit, scores.to(features.unit)))

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
