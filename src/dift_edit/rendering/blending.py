"""Blends that hide a seam: Laplacian pyramids and the gradient domain.

Arrays are float32, images (h, w, C), masks (h, w). Nothing here knows about files, edits or transforms.
"""

import cv2
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import splu

__all__ = ["extend_colors", "gradient_blend", "laplacian_blend", "solve_poisson"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_DIRECT = 20_000
"""Unknowns up to which the equations are solved directly; larger systems start from one of half the size (chosen)."""
_SWEEPS = 24
"""Relaxation steps on each level of such a pyramid (chosen)."""


def extend_colors(premultiplied: Floats) -> Floats:
    """Straight colours everywhere, extended smoothly into what is transparent.

    Parameters
    ----------
    premultiplied : ndarray
        (h, w, C + 1): colour times alpha, alpha.

    Returns
    -------
    ndarray
        (h, w, C).

    References
    ----------
    Gortler et al., "The Lumigraph", 1996, section 3.4 (push-pull).
    """
    levels = [np.ascontiguousarray(premultiplied, dtype=np.float32)]
    while max(levels[-1].shape[:2]) > 1:
        height, width = levels[-1].shape[:2]
        levels.append(_resized(levels[-1], ((width + 1) // 2, (height + 1) // 2), cv2.INTER_AREA))
    filled: Floats = (levels[-1] / np.maximum(levels[-1][..., -1:], 1e-6)).astype(np.float32)
    for level in reversed(levels[:-1]):
        filled = _resized(filled, (level.shape[1], level.shape[0]), cv2.INTER_LINEAR)
        cover = np.clip(level[..., -1:] * 4, 0, 1)  # a quarter of a cell is enough to know its colour
        own = level / np.maximum(level[..., -1:], 1e-6)
        filled = (own * cover + filled * (1 - cover)).astype(np.float32)
    return filled[..., :-1]


def _resized(values: Floats, size: tuple[int, int], interpolation: int) -> Floats:
    return np.asarray(cv2.resize(values, size, interpolation=interpolation)).reshape(size[1], size[0], -1)


def laplacian_blend(base: Floats, layer: Floats, mask: Floats, levels: int) -> tuple[Floats, Floats]:
    """Two images joined band by band: coarse structure over a wide seam, fine detail over a narrow one.

    Parameters
    ----------
    base, layer : ndarray
        (h, w, C).
    mask : ndarray
        (h, w) in [0, 1], 1 where the layer is wanted.
    levels : int
        Number of times the images are halved.

    Returns
    -------
    blended : ndarray
        (h, w, C).
    reach : ndarray
        (h, w) in [0, 1]: how far the layer reaches; outside it the base should be kept as it is.

    References
    ----------
    Burt and Adelson, "A Multiresolution Spline With Application to Image Mosaics", 1983.
    """
    masks, bases, layers = [mask[..., None]], [base], [layer]
    for _ in range(levels):
        if min(mask.shape) >> len(masks) < 2:
            break
        for pyramid in (masks, bases, layers):
            pyramid.append(_down(pyramid[-1]))
    blended, reach = bases[-1] + masks[-1] * (layers[-1] - bases[-1]), masks[-1]
    for fine, below, above in zip(masks[-2::-1], bases[-2::-1], layers[-2::-1], strict=True):
        band = below - _up(_down(below), below)
        band += fine * (above - _up(_down(above), above) - band)
        blended, reach = _up(blended, below) + band, _up(reach, below)
    return blended, np.maximum(np.clip(reach[..., 0], 0, 1), mask)


def _down(values: Floats) -> Floats:
    return np.asarray(cv2.pyrDown(values)).reshape((values.shape[0] + 1) // 2, (values.shape[1] + 1) // 2, -1)


def _up(values: Floats, like: Floats) -> Floats:
    size = (like.shape[1], like.shape[0])
    return np.asarray(cv2.pyrUp(values, dstsize=size)).reshape(*like.shape[:2], -1)


def gradient_blend(base: Floats, layer: Floats, inside: Mask, *, mixed: bool = False) -> Floats:
    """The layer's detail inside a region, with the base's colours at its border.

    Parameters
    ----------
    base, layer : ndarray
        (h, w, C); the layer's colours must reach a pixel beyond the region.
    inside : ndarray
        (h, w) bool: the region. Where it meets the image's border, that border is free.
    mixed : bool
        Take the stronger of both gradients, so that texture of the base shows through.

    Returns
    -------
    ndarray
        (h, w, C), equal to the base outside the region.

    References
    ----------
    Pérez, Gangnet and Blake, "Poisson Image Editing", 2003, equations 7 (as a membrane, 8) and 12.
    """
    if inside.all() or not inside.any():
        return layer.copy() if inside.all() else base.copy()
    known = (~inside).astype(np.float32)
    weight = np.asarray(cv2.GaussianBlur(known, (0, 0), 1.0))[..., None]
    step = np.asarray(cv2.GaussianBlur((base - layer) * known[..., None], (0, 0), 1.0)) / np.maximum(weight, 1e-3)
    source = _mixed_source(base, layer) if mixed else None
    membrane = solve_poisson(np.where(inside[..., None], 0, step).astype(np.float32), inside, source)
    return np.where(inside[..., None], layer + membrane, base)


def _mixed_source(base: Floats, layer: Floats) -> Floats:
    """Divergence of the stronger gradients, less that of the layer's own."""
    source = np.zeros_like(base)
    for axis in (0, 1):
        theirs, own = np.diff(base, axis=axis), np.diff(layer, axis=axis)
        stronger = (theirs**2).sum(axis=2, keepdims=True) > (own**2).sum(axis=2, keepdims=True)
        extra = np.where(stronger, theirs - own, 0)
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        source[tuple(before)] += extra
        source[tuple(after)] -= extra
    return source


def solve_poisson(values: Floats, inside: Mask, source: Floats | None = None) -> Floats:
    """Solve the discrete Poisson equation: the four neighbours' mean minus the pixel is a quarter of `source`.

    Parameters
    ----------
    values : ndarray
        (h, w, C): given outside the region; ignored inside.
    inside : ndarray
        (h, w) bool: the unknown pixels, at least one pixel must be given.
    source : ndarray, optional
        (h, w, C) Laplacian wanted inside; zero when None.

    Returns
    -------
    ndarray
        (h, w, C).

    References
    ----------
    Bornemann and Deuflhard, "The cascadic multigrid method for elliptic problems", 1996.
    """
    if int(inside.sum()) <= _DIRECT or min(inside.shape) < 4:
        return _solved(values, inside, source)
    coarse_values, coarse_inside = _coarse(values, inside)
    coarse_source = None if source is None else 4 * _pooled(np.where(inside[..., None], source, 0))
    if coarse_inside.all():
        return _solved(values, inside, source)
    coarse = solve_poisson(coarse_values, coarse_inside, coarse_source)
    height, width = inside.shape
    even = _resized(coarse, (coarse.shape[1] * 2, coarse.shape[0] * 2), cv2.INTER_LINEAR)
    guess = np.where(inside[..., None], even[:height, :width], values)
    return _relaxed(guess, inside, source, _SWEEPS)


def _pooled(values: Floats) -> Floats:
    height, width = values.shape[:2]
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    cells = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, -1)
    return np.asarray(cells.mean(axis=(1, 3)), dtype=np.float32)


def _coarse(values: Floats, inside: Mask) -> tuple[Floats, Mask]:
    """Cells of 2×2: unknown only when all four are, else the mean of what is given."""
    known = (~inside).astype(np.float32)[..., None]
    share = _pooled(known)
    mean = _pooled(values * known) / np.maximum(share, 1e-6)
    return mean.astype(np.float32), np.asarray(share[..., 0] == 0)


def _solved(values: Floats, inside: Mask, source: Floats | None) -> Floats:
    number = np.full(inside.shape, -1, np.int64)
    count = int(inside.sum())
    if count == 0:
        return values
    number[inside] = np.arange(count)
    right = np.zeros((count, values.shape[2])) if source is None else -source[inside].astype(np.float64)
    degree = np.zeros(count)
    rows, columns = [], []
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        own, other = [slice(None)] * 2, [slice(None)] * 2
        own[axis] = slice(None, -1) if step == 1 else slice(1, None)
        other[axis] = slice(1, None) if step == 1 else slice(None, -1)
        here, there = number[tuple(own)], number[tuple(other)]
        pair = here >= 0
        np.add.at(degree, here[pair], 1)
        both = pair & (there >= 0)
        rows.append(here[both])
        columns.append(there[both])
        edge = pair & (there < 0)
        np.add.at(right, here[edge], values[tuple(other)][edge])
    row, column = np.concatenate(rows), np.concatenate(columns)
    data = np.concatenate([degree, -np.ones(len(row))])
    index = (np.concatenate([np.arange(count), row]), np.concatenate([np.arange(count), column]))
    system = sparse.csc_array((data, index), shape=(count, count))
    result = values.copy()
    result[inside] = splu(system).solve(right)
    return result


def _relaxed(guess: Floats, inside: Mask, source: Floats | None, sweeps: int) -> Floats:
    """Jacobi sweeps; beyond the picture's border lies a copy of its edge (no flow)."""
    kernel = np.array([(0, 0.25, 0), (0.25, 0, 0.25), (0, 0.25, 0)], np.float32)
    values = np.ascontiguousarray(guess, dtype=np.float32)
    inner = np.ascontiguousarray(np.broadcast_to(inside[..., None], values.shape))
    for _ in range(sweeps):
        mean = np.asarray(cv2.filter2D(values, -1, kernel, borderType=cv2.BORDER_REPLICATE)).reshape(values.shape)
        if source is not None:
            mean -= 0.25 * source
        np.copyto(values, mean, where=inner)
    return values
