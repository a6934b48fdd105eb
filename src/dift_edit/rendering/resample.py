"""Sampling a layer at the positions that target pixels have in it, low-passed where it shrinks."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.geometry.base import Matrix, Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import apply_homography

__all__ = ["Box", "Level", "Sampler", "in_threads", "low_passed", "sample"]

Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in whole pixels, half open."""

_STRIP = 1 << 20
"""Target pixels computed at once (chosen)."""
_DENSE = 1 << 19
"""More target pixels than this get positions from a coarser lattice, for transforms that are no matrix (chosen)."""
_PAD = 2
"""Transparent pixels on each side: bicubic sampling (Keys, 1981) reaches two pixels."""


Item = TypeVar("Item")


def in_threads(work: Callable[[Item], None], items: Iterable[Item]) -> None:
    """Do some work on each item, on as many threads as torch has: strips of a picture do not depend on each other."""
    count = torch.get_num_threads()
    if count == 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(work, items):
            pass


class Sampler:
    """Where each target pixel lies in the layer."""

    def __init__(
        self, transform: Transform, to_source: Matrix, total: Matrix | None, layer_size: tuple[int, int]
    ) -> None:
        self.layer_size = layer_size
        self._from_source = np.asarray(np.linalg.inv(to_source), dtype=np.float64)
        self._matrix: Matrix | None = None
        if total is None:
            self._backward = transform.inverse()
        else:
            inverse = np.asarray(np.linalg.inv(total), dtype=np.float64)
            centre = total @ np.array([(layer_size[0] - 1) / 2, (layer_size[1] - 1) / 2, 1.0])
            # points beyond the horizon get a negative depth
            self._matrix = inverse * np.sign(centre[2] or 1.0) * np.sign((inverse @ centre)[2] or 1.0)

    def __call__(self, points: Points) -> Points:
        """Layer positions (N, 2) of target points; NaN where there is none."""
        if self._matrix is None:
            return apply_homography(self._from_source, np.asarray(self._backward(points), dtype=np.float64))
        mapped = points @ self._matrix[:, :2].T + self._matrix[:, 2]
        depth = np.where(mapped[:, 2] > 0, mapped[:, 2], np.nan)
        positions: Points = mapped[:, :2] / depth[:, None]
        return positions

    def strips(self, box: Box) -> Iterator[tuple[slice, Callable[[], Floats]]]:
        """Row slices of the box, each with what gives its layer positions (rows, w, 2)."""
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        lattice = self._lattice(box) if self._matrix is None and width * height > _DENSE else None
        rows = max(1, _STRIP // width)
        for start in range(0, height, rows):
            part = slice(start, min(start + rows, height))
            xs, ys = np.arange(left, right), np.arange(top + part.start, top + part.stop)
            yield part, partial(self._positions, xs, ys, lattice)

    def _positions(
        self, xs: npt.NDArray[np.int64], ys: npt.NDArray[np.int64], lattice: tuple[Points, Points, Points] | None
    ) -> Floats:
        """Layer positions (rows, w, 2) of a grid of target pixels."""
        if self._matrix is not None:
            across, down = self._matrix[:, :1] * xs, self._matrix[:, 1:2] * ys + self._matrix[:, 2:]
            mapped = np.empty((len(ys), len(xs), 2), np.float32)
            if np.abs(self._matrix[2, :2]).max() == 0:
                across, down = across / self._matrix[2, 2], down / self._matrix[2, 2]
                for axis in (0, 1):
                    np.add(down[axis][:, None], across[axis], out=mapped[..., axis], casting="same_kind")
                return mapped
            depth = down[2][:, None] + across[2]
            depth[depth <= 0] = np.nan
            for axis in (0, 1):
                np.divide(down[axis][:, None] + across[axis], depth, out=mapped[..., axis], casting="same_kind")
            return mapped
        if lattice is None:
            points = np.stack([a.ravel() for a in np.meshgrid(xs, ys)], axis=1).astype(np.float64)
            return self(points).reshape(len(ys), len(xs), 2).astype(np.float32)
        positions = _between(*lattice, xs, ys)
        rows, columns = np.nonzero(~np.isfinite(positions).all(axis=2))
        if len(rows):
            positions[rows, columns] = self(np.stack([xs[columns], ys[rows]], axis=1).astype(np.float64))
        return positions

    def _lattice(self, box: Box) -> tuple[Points, Points, Points]:
        left, top, right, bottom = box
        step = np.ceil(np.sqrt((right - left) * (bottom - top) / _DENSE))
        xs = np.append(np.arange(left, right - 1, step), right - 1.0)
        ys = np.append(np.arange(top, bottom - 1, step), bottom - 1.0)
        grid = np.stack([a.ravel() for a in np.meshgrid(xs, ys)], axis=1)
        return xs, ys, self(grid).reshape(len(ys), len(xs), 2)


def _between(
    nodes_x: Points, nodes_y: Points, lattice: Points, xs: npt.NDArray[np.int64], ys: npt.NDArray[np.int64]
) -> Floats:
    """Bilinear interpolation of a lattice (rows, columns, 2) on a grid of pixels."""
    column = np.clip(np.searchsorted(nodes_x, xs, side="right") - 1, 0, len(nodes_x) - 2)
    row = np.clip(np.searchsorted(nodes_y, ys, side="right") - 1, 0, len(nodes_y) - 2)
    u = ((xs - nodes_x[column]) / (nodes_x[column + 1] - nodes_x[column])).astype(np.float32)[:, None]
    v = ((ys - nodes_y[row]) / (nodes_y[row + 1] - nodes_y[row]))[:, None, None]
    bands = (lattice[row] * (1 - v) + lattice[row + 1] * v).astype(np.float32)
    between: Floats = bands[:, column]
    between += u * (bands[:, column + 1] - between)
    return between


class Level:
    """A layer shrunk by (across, down) with a low-pass filter, and a transparent border."""

    def __init__(self, layer: Floats, across: float, down: float) -> None:
        height, width, _ = layer.shape
        tensor = torch.from_numpy(np.ascontiguousarray(layer.transpose(2, 0, 1)))[None]
        size = (max(1, round(height / down)), max(1, round(width / across)))
        if size != (height, width):
            tensor = F.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
        self.tensor = F.pad(tensor, (_PAD, _PAD, _PAD, _PAD))
        self.scale = np.array([size[1] / width, size[0] / height], np.float32)

    def sample(self, positions: Floats, resampling: str) -> Floats:
        """Values (h, w, C) at positions (h, w, 2) in pixels of the unshrunk layer; zero outside and where NaN."""
        from kornia.geometry.transform import remap

        size = torch.tensor([self.tensor.shape[3] - 1.0, self.tensor.shape[2] - 1.0])
        scale = torch.from_numpy(self.scale)
        grid = torch.from_numpy(positions) * (2 * scale / size)
        grid += (scale - 1 + 2 * _PAD) / size - 1
        x, y = grid.nan_to_num_(nan=-3.0).clamp_(-3, 3)[None].unbind(dim=-1)  # -3 is well outside, so transparent
        # align_corners=None or False would be wrong by up to a pixel
        found = remap(self.tensor, x, y, mode=resampling, align_corners=True, normalized_coordinates=True)
        if resampling == "bicubic":  # it can overshoot
            found = found.clamp_(0, 1)
        values: Floats = found[0].permute(1, 2, 0).numpy()
        return values


def low_passed(layer: Floats, sampler: Sampler, box: Box) -> list[Level]:
    """Low-passed copies for the range of shrinking in the box, weakest first."""
    steps = _shrinking(sampler, box)
    if len(steps) == 0:
        return [Level(layer, 1, 1)]
    low, high = np.maximum(np.percentile(steps, (2, 98), axis=0), 1)
    ratio = float((high / low).max())
    if ratio < 1.4:
        middle = np.maximum(np.median(steps, axis=0), 1)
        return [Level(layer, *middle)]
    count = int(np.ceil(np.log(ratio) / np.log(1.6))) + 1
    return [Level(layer, *(low * (high / low) ** t)) for t in np.linspace(0, 1, count)]


def _shrinking(sampler: Sampler, box: Box) -> Points:
    """(N, 2): layer pixels across and down per target pixel, at points spread over the box."""
    left, top, right, bottom = box
    x, y = np.meshgrid(np.linspace(left, right - 1, 17), np.linspace(top, bottom - 1, 17))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    along = (sampler(points + (0.5, 0)) - sampler(points - (0.5, 0))) ** 2
    down = (sampler(points + (0, 0.5)) - sampler(points - (0, 0.5))) ** 2
    positions = sampler(points)
    with np.errstate(invalid="ignore"):
        within = ((positions > -1) & (positions < np.array(sampler.layer_size))).all(axis=1)
    steps: Points = np.sqrt(along + down)
    return steps[within & np.isfinite(steps).all(axis=1)]


def sample(levels: list[Level], positions: Floats, resampling: str) -> Floats:
    """Values (h, w, C) at positions (h, w, 2), between the two levels that fit how much the layer shrinks there."""
    if len(levels) == 1:
        return levels[0].sample(positions, resampling)
    grow = [level.scale.prod() ** -0.5 for level in levels]
    area = np.abs(
        _slope(positions[..., 0], 1) * _slope(positions[..., 1], 0)
        - _slope(positions[..., 0], 0) * _slope(positions[..., 1], 1)
    )
    wanted = np.interp(np.log(np.maximum(np.nan_to_num(area, nan=1.0), 1e-6)) / 2, np.log(grow), np.arange(len(levels)))
    values = np.zeros((*positions.shape[:2], levels[0].tensor.shape[1]), np.float32)
    for number, level in enumerate(levels):
        weight = np.clip(1 - np.abs(wanted - number), 0, 1)[..., None].astype(np.float32)
        if weight.any():
            values += weight * level.sample(positions, resampling)
    return values


def _slope(values: Floats, axis: int) -> Floats:
    slope: Floats = np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.ones_like(values)
    return slope
