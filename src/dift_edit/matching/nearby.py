"""Labels of the most similar cells within a radius: affinities of cells farther apart are never computed."""

import torch
import torch.nn.functional as F

from dift_edit.errors import GeometryError

__all__ = ["average_nearby"]

_TILE = 8
"""Side in cells of the tiles whose affinities are computed together: larger ones look at more cells that are too far,
smaller ones make the matrix products thin (chosen)."""


def average_nearby(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    radius: int = 0,
    top_k: int = 15,
    temperature: float = 0.2,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of the values of the most similar cells near each cell, weighted with exp(cosine / temperature).

    Parameters
    ----------
    queries : torch.Tensor
        (h, w, C) unit features.
    keys : torch.Tensor
        (F, kh, kw, C) unit features of F maps.
    values : torch.Tensor
        (F, kh, kw, K) what their cells have.
    radius : int
        Cells farther than this in x or y are not looked at; 0: no limit. With a radius, all grids must be equal.
    top_k : int
        Number of cells whose values are averaged. Of equal ones at the end of the list, only so many count.
    temperature : float
        Of the weights.

    Returns
    -------
    means : torch.Tensor
        (h, w, K).
    likeness : torch.Tensor
        (h, w) cosine of the most similar cell.

    Raises
    ------
    GeometryError
        If there is a radius and the grids differ.
    """
    height, width = queries.shape[:2]
    if radius and keys.shape[1:3] != queries.shape[:2]:
        raise GeometryError(
            f"A radius needs grids of one size, but they have {width}×{height} and {keys.shape[2]}×{keys.shape[1]} "
            "cells: make both images one size, or look everywhere (radius 0)."
        )
    means = values.new_empty((height, width, values.shape[3]))
    likeness = queries.new_empty((height, width))
    for top in range(0, height, _TILE):
        rows = slice(top, min(top + _TILE, height))
        for left in range(0, width, _TILE):
            columns = slice(left, min(left + _TILE, width))
            window = _window(rows, radius, keys.shape[1]), _window(columns, radius, keys.shape[2])
            far = _too_far(rows, columns, window, radius, queries.device) if radius else None
            found = _average(
                queries[rows, columns].flatten(0, 1),
                keys[:, window[0], window[1]].flatten(1, 2),
                values[:, window[0], window[1]].flatten(1, 2),
                far,
                top_k,
                temperature,
            )
            means[rows, columns] = found[0].reshape(*means[rows, columns].shape)
            likeness[rows, columns] = found[1].reshape(likeness[rows, columns].shape)
    return means, likeness


def _window(span: slice, radius: int, cells: int) -> slice:
    return slice(max(span.start - radius, 0), min(span.stop + radius, cells)) if radius else slice(0, cells)


def _too_far(
    rows: slice, columns: slice, window: tuple[slice, slice], radius: int, device: torch.device
) -> torch.Tensor:
    """(n, m) of a tile's cells and its window's: whether they lie farther apart than the radius."""
    away = []
    for span, around in zip((rows, columns), window, strict=True):
        here = torch.arange(span.start, span.stop, device=device)
        there = torch.arange(around.start, around.stop, device=device)
        away.append((here[:, None] - there).abs() > radius)
    return (away[0][:, None, :, None] | away[1][None, :, None, :]).reshape(len(away[0]) * len(away[1]), -1)


def _average(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    far: torch.Tensor | None,
    top_k: int,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, K) means and (n,) greatest cosines, from (n, C) queries, (F, m, C) keys and (F, m, K) values."""
    maps, places = keys.shape[:2]
    cosine = (queries @ keys.flatten(0, 1).T).reshape(len(queries), maps, places)
    # The strongest cells lie at the places whose best map is strongest: only these are sorted.
    best = cosine.amax(1)
    if far is not None:
        best = best.masked_fill(far, -torch.inf)
    place = best.topk(min(top_k, places))
    outside = place.values.isneginf()[:, None]
    strong = cosine.gather(2, place.indices[:, None].expand(-1, maps, -1)).masked_fill(outside, -torch.inf).flatten(1)
    chosen = strong.topk(min(top_k, strong.shape[1]))
    weight = F.softmax(chosen.values / temperature, 1)
    count = place.indices.shape[1]
    where = chosen.indices // count * places + place.indices.gather(1, chosen.indices % count)
    picked = values.flatten(0, 1)[where]
    return (weight[..., None] * picked).sum(1), chosen.values[:, 0]
