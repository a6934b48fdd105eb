"""Between pixels and the features' grid: masks and keypoints as soft labels, and back."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.errors import GeometryError
from dift_edit.features.base import FeatureMap
from dift_edit.geometry.coords import Points, rescale_points

__all__ = ["Labels", "check_labels", "enlarge", "gaussians", "peaks", "sharpness", "shrink"]

Labels = npt.NDArray[np.integer[Any]]


def check_labels(labels: Any) -> tuple[Labels, tuple[int, ...]]:
    """Labels as whole numbers, and which there are.

    Raises
    ------
    GeometryError
        If they are no (H, W) whole numbers.
    """
    array = np.asarray(labels)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer) or not array.size:
        raise GeometryError(
            f"Labels must be whole numbers of shape (H, W), but are {array.dtype} of shape {array.shape}."
        )
    return array, tuple(int(value) for value in np.unique(array))


def shrink(labels: Labels, classes: tuple[int, ...], features: FeatureMap, protocol: str) -> torch.Tensor:
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


def enlarge(scores: torch.Tensor, size: tuple[int, int], protocol: str) -> npt.NDArray[np.int64]:
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


def sharpness(scores: torch.Tensor) -> float:
    """How sharply the least sharp class stands out, 0 to 1: the soft intersection over union of scores and winners.

    On clips of DAVIS it follows the true intersection over union (docs/sequences.md). The first class does not count,
    and a class that wins nowhere has 0.
    """
    won = F.one_hot(scores.argmax(0), len(scores)).permute(2, 0, 1).to(scores)[1:]
    if not len(won):
        return 1.0
    common, either = torch.minimum(scores[1:], won).sum((1, 2)), torch.maximum(scores[1:], won).sum((1, 2))
    return float((common / either.clamp_min(1e-12)).min())


def gaussians(points: Points, features: FeatureMap, sigma: float) -> torch.Tensor:
    """(N, h, w) with the value 1 at the cell position of each point."""
    width, height = features.grid_size
    cells = rescale_points(points, features.image_size, features.grid_size)
    across = np.exp(-((np.arange(width) - cells[:, :1]) ** 2) / (2 * sigma**2))
    down = np.exp(-((np.arange(height) - cells[:, 1:]) ** 2) / (2 * sigma**2))
    return torch.from_numpy((down[:, :, None] * across[:, None]).astype(np.float32))


def peaks(scores: torch.Tensor, size: tuple[int, int], count: int) -> Points:
    """(N, 2) pixels: the weighted mean of the best cells of each of (N, h, w)."""
    height, width = scores.shape[1:]
    best = scores.flatten(1).topk(min(count, scores[0].numel()))
    weight = best.values.cpu().numpy().astype(np.float64)
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-30)
    index = best.indices.cpu().numpy()
    cells = np.stack([(weight * (index % width)).sum(1), (weight * (index // width)).sum(1)], 1)
    return rescale_points(cells, (width, height), size)
