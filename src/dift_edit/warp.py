"""Warping: an edit's pixels resampled into the part of a target that they reach.

A `Transform` maps source points to target points; sampling goes backward, through its inverse, with pixel centres
at integers. What lies outside the layer is transparent, what falls outside the target is cut off, and where the
layer shrinks it is low-passed first. Only the touched box of the target is ever computed, in strips of rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dift_edit.coords import Points
from dift_edit.errors import GeometryError
from dift_edit.geometry.base import Matrix, Transform
from dift_edit.image import Image

__all__ = [
    "RESAMPLINGS",
    "Box",
    "Warped",
    "corners",
    "premultiplied",
    "quad_matrix",
    "target_box",
    "warp_image",
    "warp_layer",
]

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in whole pixels, half open."""
Floats = npt.NDArray[np.float32]

RESAMPLINGS = ("bilinear", "bicubic", "nearest")
_STRIP = 1 << 20
"""Target pixels computed at once."""
_DENSE = 1 << 19
"""More target pixels than this get their positions from a coarser lattice, for transforms that are no matrix."""
_PAD = 2


@dataclass(frozen=True, eq=False)
class Warped:
    """Values in a box of a target; outside the box they are zero.

    Attributes
    ----------
    values : ndarray
        (h, w, C) float32.
    box : (left, top, right, bottom)
        Where they lie, in target pixels.
    """

    values: Floats
    box: Box

    @property
    def empty(self) -> bool:
        """Whether nothing of the layer is in the target."""
        return 0 in self.values.shape[:2]

    def within(self, box: Box) -> Floats:
        """The values in another box (h, w, C), zero where they are not known."""
        left, top, right, bottom = box
        values = np.zeros((bottom - top, right - left, self.values.shape[2]), np.float32)
        x0, y0, x1, y1 = (
            max(left, self.box[0]), max(top, self.box[1]), min(right, self.box[2]), min(bottom, self.box[3])
        )  # fmt: skip
        if x0 < x1 and y0 < y1:
            own = self.values[y0 - self.box[1] : y1 - self.box[1], x0 - self.box[0] : x1 - self.box[0]]
            values[y0 - top : y1 - top, x0 - left : x1 - left] = own
        return values


def corners(box: tuple[float, float, float, float]) -> Points:
    """The quad round the pixels of a half-open box (left, top, right, bottom): its outer corners, from top left."""
    left, top, right, bottom = np.asarray(box, dtype=np.float64) - 0.5
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def quad_matrix(from_quad: Points, to_quad: Points) -> Matrix:
    """The homography (3, 3) that maps four corners to four corners, none three of them on a line."""
    rows = []
    for (x, y), (u, v) in zip(from_quad, to_quad, strict=True):
        rows.append((x, y, 1, 0, 0, 0, -u * x, -u * y, u))
        rows.append((0, 0, 0, x, y, 1, -v * x, -v * y, v))
    system = np.array(rows, dtype=np.float64)
    matrix: Matrix = np.append(np.linalg.solve(system[:, :8], system[:, 8]), 1.0).reshape(3, 3)
    return matrix


def warp_image(
    image: Image,
    transform: Transform,
    size: tuple[int, int],
    *,
    resampling: str = "bilinear",
) -> Image:
    """A picture as it lies on a target: transparent round it.

    Parameters
    ----------
    image : Image
        In the source frame.
    transform : Transform
        Source to target.
    size : (W, H)
        Size of the target in pixels.
    resampling : {"bilinear", "bicubic", "nearest"}
        How values between pixels are found.

    Returns
    -------
    Image
        RGBA of the target's size and the picture's type.
    """
    warped = warp_layer(premultiplied(image), transform, size, resampling=resampling)
    full = np.zeros((size[1], size[0], 4), np.float32)
    left, top, right, bottom = warped.box
    alpha = warped.values[..., 3:]
    straight = np.divide(warped.values[..., :3], alpha, out=np.zeros_like(warped.values[..., :3]), where=alpha > 0)
    full[top:bottom, left:right] = np.concatenate([straight, alpha], axis=2)
    scaled = np.clip(full, 0, 1) * image.full_scale
    if image.full_scale != 1:
        scaled = np.round(scaled)
    typed = scaled.astype(image.pixels.dtype)
    return Image(np.ascontiguousarray(typed[..., :3]), np.ascontiguousarray(typed[..., 3]))


def premultiplied(image: Image) -> Floats:
    """(H, W, 4) float32 in [0, 1]: colour times alpha, alpha."""
    pixels = image.pixels.astype(np.float32) / image.full_scale
    if image.alpha is None:
        return np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=2)
    alpha = image.alpha.astype(np.float32)[..., None] / image.full_scale
    return np.concatenate([pixels * alpha, alpha], axis=2)


def warp_layer(
    layer: Floats,
    transform: Transform,
    size: tuple[int, int],
    *,
    matrix: npt.ArrayLike | None = None,
    resampling: str = "bilinear",
) -> Warped:
    """Resample a layer into a target.

    Parameters
    ----------
    layer : ndarray
        (H, W, C) float32; colours premultiplied with alpha, so that transparent pixels have no colour. In [0, 1] for
        "bicubic".
    transform : Transform
        Source pixels to target pixels.
    size : (W, H)
        Size of the target in pixels.
    matrix : (3, 3), optional
        Layer pixels to source pixels, when the layer is not in the source's own frame.
    resampling : {"bilinear", "bicubic", "nearest"}
        Where the layer shrinks it is low-passed first, except for "nearest".

    Returns
    -------
    Warped
        Only the box that the layer reaches.

    Raises
    ------
    GeometryError
        If the transform cannot be inverted or is not finite.

    References
    ----------
    Porter and Duff, "Compositing Digital Images", 1984 (why premultiplied); Williams, "Pyramidal Parametrics",
    1983 (blending between low-passed levels).
    """
    to_source = np.eye(3) if matrix is None else np.asarray(matrix, dtype=np.float64)
    layer_size = (layer.shape[1], layer.shape[0])
    box = target_box(transform, corners((0, 0, *layer_size)), size, matrix=to_source)
    left, top, right, bottom = box
    shape = (bottom - top, right - left, layer.shape[2])
    if 0 in shape:
        return Warped(np.zeros(shape, np.float32), box)
    total = _total(transform, to_source)
    shift = None if total is None else _whole_shift(total)
    if shift is not None:
        moved = Warped(layer, (shift[0], shift[1], shift[0] + layer_size[0], shift[1] + layer_size[1]))
        return Warped(moved.within(box), box)
    sampler = _Sampler(transform, to_source, total, layer_size)
    levels = _levels(layer, sampler, box) if resampling != "nearest" else [_Level(layer, 1, 1)]
    values = np.empty(shape, np.float32)
    for rows, positions in sampler.strips(box):
        values[rows] = _sample(levels, positions, resampling)
    return Warped(values, box)


def target_box(
    transform: Transform,
    quad: Points,
    size: tuple[int, int],
    *,
    matrix: npt.ArrayLike | None = None,
    margin: int = 1,
) -> Box:
    """The box of target pixels that a quad reaches.

    Parameters
    ----------
    transform : Transform
        Source to target.
    quad : ndarray
        (4, 2) corners.
    size : (W, H)
        Size of the target; the box is cut to it.
    matrix : (3, 3), optional
        From the quad's frame to the source's.
    margin : int
        Pixels added on each side before cutting.

    Returns
    -------
    (left, top, right, bottom)
        Half open; with no area when the quad is outside the target.
    """
    to_source = np.eye(3) if matrix is None else np.asarray(matrix, dtype=np.float64)
    steps = np.linspace(0, 1, 33)
    u, v = (a.ravel()[:, None] for a in np.meshgrid(steps, steps))
    points = (1 - v) * ((1 - u) * quad[0] + u * quad[1]) + v * ((1 - u) * quad[3] + u * quad[2])
    total = _total(transform, to_source)
    if total is not None:
        depth = np.c_[points, np.ones(len(points))] @ total[2]
        if depth.min() <= 0 <= depth.max():  # the quad reaches the horizon: it may be anywhere
            return 0, 0, *size
        mapped = _project(total, points)
    else:
        mapped = np.asarray(transform(_project(to_source, points)))
        mapped = mapped[np.isfinite(mapped).all(axis=1)]
        if len(mapped) == 0:
            raise GeometryError("The transform gives no finite point for the edit: choose another engine.")
    low = np.clip(np.floor(mapped.min(axis=0) + 0.5) - margin, 0, size).astype(int)
    high = np.clip(np.ceil(mapped.max(axis=0) + 0.5) + margin, low, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _total(transform: Transform, to_source: Matrix) -> Matrix | None:
    """Layer to target as one matrix, where it is one."""
    if transform.matrix is None:
        return None
    total: Matrix = np.asarray(transform.matrix, dtype=np.float64) @ to_source
    if not np.isfinite(total).all() or abs(np.linalg.det(total)) < 1e-12 * max(1e-12, np.abs(total).max()) ** 3:
        raise GeometryError(
            "The transform cannot be inverted (its matrix is degenerate): choose another engine or other points."
        )
    return total


def _project(matrix: Matrix, points: Points) -> Points:
    mapped = np.c_[points, np.ones(len(points))] @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        projected: Points = mapped[:, :2] / mapped[:, 2:]
    return projected


def _whole_shift(total: Matrix) -> tuple[int, int] | None:
    """(x, y) when the matrix moves by whole pixels: then pixels can be copied, exactly."""
    matrix = total / total[2, 2] if total[2, 2] else total
    shift = np.round(matrix[:2, 2])
    exact = np.eye(3)
    exact[:2, 2] = shift
    return (int(shift[0]), int(shift[1])) if np.abs(matrix - exact).max() < 1e-9 else None


class _Sampler:
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
            return _project(self._from_source, np.asarray(self._backward(points), dtype=np.float64))
        mapped = points @ self._matrix[:, :2].T + self._matrix[:, 2]
        depth = np.where(mapped[:, 2] > 0, mapped[:, 2], np.nan)
        positions: Points = mapped[:, :2] / depth[:, None]
        return positions

    def strips(self, box: Box) -> Iterator[tuple[slice, Floats]]:
        """Row slices of the box with their layer positions (rows, w, 2)."""
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        lattice = self._lattice(box) if self._matrix is None and width * height > _DENSE else None
        rows = max(1, _STRIP // width)
        for start in range(0, height, rows):
            part = slice(start, min(start + rows, height))
            xs, ys = np.arange(left, right), np.arange(top + part.start, top + part.stop)
            yield part, self._positions(xs, ys, lattice)

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
        points = np.stack([a.ravel() for a in np.meshgrid(xs, ys)], axis=1).astype(np.float64)
        positions = self(points) if lattice is None else _between(*lattice, points)
        unknown = ~np.isfinite(positions).all(axis=1)
        if lattice is not None and unknown.any():
            positions[unknown] = self(points[unknown])
        return positions.reshape(len(ys), len(xs), 2).astype(np.float32)

    def _lattice(self, box: Box) -> tuple[Points, Points, Points]:
        left, top, right, bottom = box
        step = np.ceil(np.sqrt((right - left) * (bottom - top) / _DENSE))
        xs = np.append(np.arange(left, right - 1, step), right - 1.0)
        ys = np.append(np.arange(top, bottom - 1, step), bottom - 1.0)
        grid = np.stack([a.ravel() for a in np.meshgrid(xs, ys)], axis=1)
        return xs, ys, self(grid).reshape(len(ys), len(xs), 2)


def _between(xs: Points, ys: Points, lattice: Points, points: Points) -> Points:
    """Bilinear interpolation on a lattice."""
    column = np.clip(np.searchsorted(xs, points[:, 0], side="right") - 1, 0, len(xs) - 2)
    row = np.clip(np.searchsorted(ys, points[:, 1], side="right") - 1, 0, len(ys) - 2)
    u = ((points[:, 0] - xs[column]) / (xs[column + 1] - xs[column]))[:, None]
    v = ((points[:, 1] - ys[row]) / (ys[row + 1] - ys[row]))[:, None]
    upper = lattice[row, column] * (1 - u) + lattice[row, column + 1] * u
    lower = lattice[row + 1, column] * (1 - u) + lattice[row + 1, column + 1] * u
    between: Points = upper * (1 - v) + lower * v
    return between


class _Level:
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


def _levels(layer: Floats, sampler: _Sampler, box: Box) -> list[_Level]:
    """Low-passed copies for the range of shrinking in the box, weakest first."""
    steps = _shrinking(sampler, box)
    if len(steps) == 0:
        return [_Level(layer, 1, 1)]
    low, high = np.maximum(np.percentile(steps, (2, 98), axis=0), 1)
    ratio = float((high / low).max())
    if ratio < 1.4:
        middle = np.maximum(np.median(steps, axis=0), 1)
        return [_Level(layer, *middle)]
    count = int(np.ceil(np.log(ratio) / np.log(1.6))) + 1
    return [_Level(layer, *(low * (high / low) ** t)) for t in np.linspace(0, 1, count)]


def _shrinking(sampler: _Sampler, box: Box) -> Points:
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


def _sample(levels: list[_Level], positions: Floats, resampling: str) -> Floats:
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
