"""Exact nearest-neighbour search at full resolution, without upsampling the features.

A feature map of stride s, upsampled bilinearly to the picture's pixels, would take s² times its memory. But the
interpolation is linear, so the dot product of a query with an upsampled feature is the interpolated dot product of
the four cells around the pixel, and the norm of the upsampled feature follows from the 4 × 4 Gram matrix of these
cells. Moreover no pixel between four cells can be better than a bound made of the same numbers (below), so that
only the few cells that may hold the best pixel are looked into. N queries cost N·h·w·C + N·h·w, and a few MB.

Bounds: let v = Σ wᵢ tᵢ be an upsampled feature (wᵢ ≥ 0, Σ wᵢ = 1), dᵢ = ⟨q, tᵢ⟩, and m the mean of the four tᵢ.
Cosine: |v| ≥ ⟨v, m⟩/|m|, hence ⟨q, v⟩/|v| ≤ max dᵢ·|m|/⟨tᵢ, m⟩ if all ⟨tᵢ, m⟩ > 0. Euclidean: |v|² ≥ 2⟨v, m⟩ − |m|²,
hence 2⟨q, v⟩ − |v|² ≤ max 2(dᵢ − ⟨tᵢ, m⟩) + |m|².
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.errors import GeometryError

__all__ = ["METRICS", "FullResolutionSearch"]

METRICS = ("cosine", "l2")
BUDGET = 1 << 22
"""Most numbers in one temporary array (16 MiB of float32)."""
GPU_BUDGET = 1 << 25
"""The same on a GPU: many small steps take it longer than few large ones (128 MiB)."""
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(down, right) of the four cells around a pixel."""


@dataclass(frozen=True)
class _Axis:
    """The pixels of one axis, sorted by the cell at or before them.

    Attributes
    ----------
    pixel : torch.Tensor
        (cells, longest) the pixels that lie between a cell's centre and the next one's. Pixels beyond the outermost
        centres all have the border's value: only the first of them is listed.
    fraction : torch.Tensor
        (cells, longest) float32 position between the two centres, 0 to 1.
    valid : torch.Tensor
        (cells, longest) bool: a pixel is there.
    """

    pixel: torch.Tensor
    fraction: torch.Tensor
    valid: torch.Tensor

    @classmethod
    def make(cls, pixels: int, cells: int, align_corners: bool, device: torch.device) -> "_Axis":
        index = np.arange(pixels)
        scale = (cells - 1) / max(pixels - 1, 1) if align_corners else cells / pixels
        place = index * scale if align_corners else (index + 0.5) * scale - 0.5
        keep = ((place > 0) | (index == 0)) & ((place < cells - 1) | (index == np.searchsorted(place, cells - 1)))
        index, place = index[keep], np.clip(place[keep], 0, cells - 1)
        cell = np.floor(place).astype(np.int64)
        count = np.bincount(cell, minlength=cells)
        start = np.cumsum(count) - count
        slots = np.arange(max(int(count.max()), 1))
        chosen = np.minimum(start[:, None] + slots, len(index) - 1)
        arrays = index[chosen], (place - cell)[chosen].astype(np.float32), slots < count[:, None]
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


class FullResolutionSearch:
    """The best pixel of a picture for each query, as if the picture's features were upsampled to all its pixels.

    Parameters
    ----------
    data : torch.Tensor
        (C, h, w) features of the picture, as they shall be interpolated.
    size : (W, H)
        The picture's size in pixels.
    metric : str
        "cosine": of the query and the interpolated feature. "l2": the squared distance d² of the two as they are,
        given as the similarity ``1 - d²/2``, which is the cosine where both have norm 1.
    align_corners : bool
        False: the grid covers the picture's area (everything in dift-edit). True: the outermost cells' centres are
        the corner pixels' centres, as in the released DIFT notebook.

    Raises
    ------
    GeometryError
        If the metric is unknown.
    """

    def __init__(
        self, data: torch.Tensor, size: Sequence[int], *, metric: str = "cosine", align_corners: bool = False
    ) -> None:
        if metric not in METRICS:
            raise GeometryError(f"The metric is {metric!r}: use one of {', '.join(METRICS)}.")
        self.metric = metric
        self.size = (int(size[0]), int(size[1]))
        channels, height, width = data.shape
        self.shape = (height, width)
        self._budget = BUDGET if data.device.type == "cpu" else GPU_BUDGET
        self._cells = data.detach().float().reshape(channels, -1)
        self._across = _Axis.make(self.size[0], width, align_corners, data.device)
        self._down = _Axis.make(self.size[1], height, align_corners, data.device)
        self._empty = ~torch.outer(self._down.valid.any(1), self._across.valid.any(1)).ravel()
        self._neighbours = torch.stack(
            self._corners(torch.arange(height * width, dtype=torch.float64).reshape(1, height, width))
        )[:, 0].to(data.device, torch.long)
        self._gram = self._corner_gram(data.detach().float())
        self._factor, self._offset = self._bound_terms()

    def _corners(self, maps: torch.Tensor) -> list[torch.Tensor]:
        """(n, h·w) values of the four cells around the pixels of each cell of (n, h, w); the last ones repeat."""
        height, width = self.shape
        padded = F.pad(maps[None], (0, 1, 0, 1), mode="replicate")[0]
        return [padded[:, down : down + height, right : right + width].flatten(1) for down, right in CORNERS]

    def _corner_gram(self, data: torch.Tensor) -> torch.Tensor:
        """(4, 4, h·w) dot products of the four cells with one another, summed over slices of channels."""
        gram = data.new_zeros(4, 4, data[0].numel())
        for part in torch.split(data, max(1, self._budget // data[0].numel())):
            corners = self._corners(part)
            gram[0, 0] += torch.linalg.vecdot(corners[0], corners[0], dim=0)
            for i, j in ((0, 1), (0, 2), (0, 3), (1, 2)):
                gram[i, j] += torch.linalg.vecdot(corners[i], corners[j], dim=0)
        square, beside, below = (self._corners(gram[i, j].reshape(1, *self.shape)) for i, j in ((0, 0), (0, 1), (0, 2)))
        for corner in range(1, 4):
            gram[corner, corner] = square[corner][0]
        gram[1, 3], gram[2, 3] = below[1][0], beside[2][0]
        for i in range(4):
            for j in range(i):
                gram[i, j] = gram[j, i]
        return gram

    def _bound_terms(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(4, h, w) a and b, such that no pixel of a cell is better than max aᵢ·dᵢ + bᵢ over its four corners."""
        to_mean = self._gram.mean(1)
        mean_square = to_mean.mean(0)
        if self.metric == "cosine":
            factor, offset = mean_square.clamp(min=0).sqrt() / to_mean, torch.zeros_like(to_mean)
            loose = (to_mean <= 1e-6 * mean_square.clamp(min=1e-30)).any(0)
            factor[:, loose], offset[:, loose] = 0, torch.inf
        else:
            factor, offset = torch.full_like(to_mean, 2.0), mean_square - 2 * to_mean
        factor[:, self._empty], offset[:, self._empty] = 0, -torch.inf
        return factor.reshape(4, *self.shape), offset.reshape(4, *self.shape)

    def _bounds(self, dots: torch.Tensor) -> torch.Tensor:
        """(n, h·w) no pixel of the cell is better than this, from (n, h·w) dot products."""
        height, width = self.shape
        padded = F.pad(dots.reshape(1, -1, height, width), (0, 1, 0, 1), mode="replicate")[0]
        bound: torch.Tensor | None = None
        for (down, right), factor, offset in zip(CORNERS, self._factor, self._offset, strict=True):
            corner = padded[:, down : down + height, right : right + width]
            value = torch.addcmul(offset, corner, factor)
            bound = value if bound is None else torch.maximum(bound, value, out=bound)
        assert bound is not None
        return bound.flatten(1)

    def _inside(self, dots: torch.Tensor, query: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Best value and pixel among the pixels of a cell, for P pairs of query and cell.

        Returns
        -------
        value : torch.Tensor
            (P,) the metric's value.
        pixel : torch.Tensor
            (P,) its pixel as a slot ``row * columns + column`` of the cell.
        """
        column, row = cell % self.shape[1], torch.div(cell, self.shape[1], rounding_mode="floor")
        right = self._across.fraction[column]
        down = self._down.fraction[row][:, :, None]
        corner = [dots[query, self._neighbours[i][cell]][:, None] for i in range(4)]
        upper, lower = (corner[i] + right * (corner[i + 1] - corner[i]) for i in (0, 2))
        dot = upper[:, None] + down * (lower - upper)[:, None]
        gram = self._gram[:, :, cell][..., None]
        left = 1 - right

        def product(i: int, j: int) -> torch.Tensor:
            cross = gram[i, j + 1] + gram[i + 1, j]
            return left * left * gram[i, j] + left * right * cross + right * right * gram[i + 1, j + 1]

        above, below, mixed = product(0, 0), product(2, 2), product(0, 2)
        square = above[:, None] + down * (2 * (mixed - above)[:, None] + down * (above + below - 2 * mixed)[:, None])
        cosine = self.metric == "cosine"
        value = dot * square.clamp(min=1e-24).rsqrt() if cosine else 2 * dot - square
        valid = self._down.valid[row][:, :, None] & self._across.valid[column][:, None]
        best = value.masked_fill(~valid, -torch.inf).flatten(1).max(1)
        return best.values, best.indices

    def __call__(self, queries: torch.Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The best pixel of each query; any of them where several are equal up to rounding (beyond the border cells).

        Parameters
        ----------
        queries : torch.Tensor
            (N, C) features.

        Returns
        -------
        points : ndarray
            (N, 2) float64, whole pixels (x, y).
        similarity : ndarray
            (N,) float64.
        """
        # Smaller slices than memory allows: they stay in the processor's cache.
        chunk = max(1, self._budget // 4 // self._cells.shape[1])
        parts = torch.split(queries.to(self._cells), chunk) if len(queries) else ()
        found = [self._search(part) for part in parts]
        points = np.concatenate([np.zeros((0, 2)), *(points for points, _ in found)])
        return points, np.concatenate([np.zeros(0), *(value for _, value in found)])

    def _search(self, queries: torch.Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        square = queries.square().sum(1)
        if self.metric == "cosine":
            queries = F.normalize(queries, dim=1)
        dots = queries @ self._cells
        bounds = self._bounds(dots)
        everyone = torch.arange(len(queries), device=dots.device)
        likely = bounds.argmax(1)
        value, pixel = self._evaluate(dots, everyone, likely)
        slack = 1e-5 * (1 + value.abs())
        bounds[everyone, likely] = -torch.inf
        query, cell = torch.nonzero(bounds >= (value - slack)[:, None], as_tuple=True)
        more_value, more_pixel = self._evaluate(dots, query, cell)
        query, value, pixel = (
            torch.cat(pair) for pair in ((everyone, query), (value, more_value), (pixel, more_pixel))
        )
        order = np.lexsort((pixel.cpu().numpy(), -value.cpu().numpy(), query.cpu().numpy()))
        first = order[np.searchsorted(query.cpu().numpy()[order], np.arange(len(queries)))]
        best, where = value.cpu().numpy()[first].astype(np.float64), pixel.cpu().numpy()[first]
        if self.metric == "l2":
            best = 1 - (square.cpu().numpy() - best) / 2
        return np.stack([where % self.size[0], where // self.size[0]], 1).astype(np.float64), best

    def _evaluate(
        self, dots: torch.Tensor, query: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Best value and flat pixel index of pairs of query and cell, a bounded number at a time."""
        rows, columns = self._down.fraction.shape[1], self._across.fraction.shape[1]
        chunk = max(1, self._budget // (rows * columns))
        values, slots = [], []
        for part_query, part_cell in zip(torch.split(query, chunk), torch.split(cell, chunk), strict=True):
            value, slot = self._inside(dots, part_query, part_cell)
            values.append(value)
            slots.append(slot)
        slot = torch.cat(slots)
        column, row = cell % self.shape[1], torch.div(cell, self.shape[1], rounding_mode="floor")
        x = self._across.pixel[column, slot % columns]
        y = self._down.pixel[row, torch.div(slot, columns, rounding_mode="floor")]
        return torch.cat(values), y * self.size[0] + x
