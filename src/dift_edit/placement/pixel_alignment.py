"""Dense alignment of pixels: whether a target shows the very surface that an edit lies on, and how it moved.

Features place an edit to a fraction of its size. From there the pixels themselves can tell more, if they show the
same surface: the target is warped into the source's frame, and optical flow in both directions says what is left
over. Where the two flows agree and the textures look alike, the flow is right to a fraction of a pixel; where another
individual is shown they hardly ever do, so the share of the texture that is found again tells the two cases apart.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.estimate import Correspondences
from dift_edit.imaging.image import Image
from dift_edit.imaging.texture import local_moments

__all__ = ["Alignment", "align", "grey_patch"]

RING = 0.3
"""Width of the ring round the edit that is aligned with it, in units of its longer side."""
RING_WEIGHT = 0.25
"""Of a pair in the ring; one in the edit weighs 1."""
_PASSES = ((160, 1.0, 1), (288, 0.7, 0))
"""Of each pass: longer side of the patch; how closely the flows agree, in its pixels; last octave of the flow."""
_FINEST, _LEAST_SIDE = 4.0, 64
"""Most cells of a patch to a pixel of the source, and what its longer side has all the same (chosen): more show nothing
that is not in fewer. The flows have to agree as closely, in pixels of the source."""
HOPELESS = 0.1
"""Share after the first pass below which there is no second one."""
_TEXTURE = 5.0
"""Standard deviation, in 8-bit grey levels, from which a neighbourhood counts as textured."""
_ALIKE = 0.7
"""Correlation from which two neighbourhoods look alike."""
_ACROSS = 28
"""Pairs across the patch."""

Array = npt.NDArray[np.float64]
Grey = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Alignment:
    """What of an edit's texture was found again in a target.

    Attributes
    ----------
    pairs : Correspondences
        A lattice of agreeing places, in pixels of the two pictures.
    share : float
        How much of the edit's texture agrees, 0 to 1; 0 where it has none.
    inside : int
        How many of the pairs lie in the edit's box.
    """

    pairs: Correspondences
    share: float
    inside: int


def align(source: Image, quad: Points, target: Image, start: Transform) -> Alignment:
    """Align a target to the surroundings of an edit.

    Parameters
    ----------
    source, target : Image
        The two pictures.
    quad : ndarray
        (4, 2) the edit's corners in source pixels.
    start : Transform
        Source pixels → target pixels, right to about a tenth of the edit's size.

    Returns
    -------
    Alignment

    References
    ----------
    Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016.
    """
    low, high = quad.min(0), quad.max(0)
    margin = RING * float((high - low).max())
    edges = np.maximum(low - margin, -0.5), np.minimum(high + margin, np.asarray(source.size) - 0.5)
    most = max(_LEAST_SIDE, math.ceil(_FINEST * float((edges[1] - edges[0]).max())))
    shift: Field | None = None
    for longest, closeness, octave in _PASSES:
        side = min(longest, most)
        grid = _grid(*edges, side)
        plain = start(grid.reshape(-1, 2)).reshape(grid.shape)
        moved = plain if shift is None else plain + cv2.resize(shift, grid.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        first, known = grey_patch(source, grid)
        second, seen = grey_patch(target, moved)
        found, agree, likeness, texture = _flow(first, second, moved, closeness * side / longest, octave)
        agree &= known & seen
        inner = ((grid >= low) & (grid <= high)).all(-1) & (texture > _TEXTURE) & known
        use = agree & (texture > _TEXTURE) & (likeness > _ALIKE)
        share = float((use & inner).sum() / max(inner.sum(), 1))
        if share < HOPELESS:
            break
        shift = _smooth((found - plain).astype(np.float32), agree & (likeness > 0.5), side / 24)
    step = max(1, int(max(grid.shape) / _ACROSS))
    sparse = (slice(step // 2, None, step),) * 2
    chosen = use[sparse]
    p, q = grid[sparse][chosen], found[sparse][chosen]
    within = ((p >= low) & (p <= high)).all(1)
    return Alignment(Correspondences(p, q, np.where(within, 1.0, RING_WEIGHT)), share, int(within.sum()))


def grey_patch(image: Image, positions: Points) -> tuple[Grey, Mask]:
    """The grey values of a picture at a lattice of positions, averaged over the lattice's steps.

    Parameters
    ----------
    image : Image
        The picture.
    positions : ndarray
        (h, w, 2) pixels of the picture.

    Returns
    -------
    ndarray
        (h, w) uint8, repeated beyond the picture's edge.
    ndarray
        (h, w) whether the position lies in the picture.
    """
    x, y = positions[..., 0], positions[..., 1]
    within = (x >= -0.5) & (y >= -0.5) & (x <= image.size[0] - 0.5) & (y <= image.size[1] - 0.5)
    step = _step(positions)
    shown = positions[within] if within.any() else positions.reshape(-1, 2)
    limits = np.asarray(image.size)
    low, high = (np.array([reduce(shown[:, k]) for k in (0, 1)]) for reduce in (np.min, np.max))
    left, top = np.clip(np.floor(low - 2 * step), 0, limits - 1).astype(int)
    right, bottom = np.clip(np.ceil(high + 2 * step) + 1, (left + 1, top + 1), limits).astype(int)
    pixels = image.pixels[top:bottom, left:right]
    size = tuple(max(1, round(edge / step)) for edge in (right - left, bottom - top)) if step > 1.25 else None
    grey = to_grey(pixels, image.full_scale, size)
    scale = np.array(grey.shape[::-1]) / (right - left, bottom - top)
    at = ((positions - (left, top) + 0.5) * scale - 0.5).astype(np.float32)
    patch = cv2.remap(grey, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(patch, dtype=np.uint8), within


def to_grey(pixels: npt.NDArray[np.generic], full_scale: float, size: tuple[int, ...] | None = None) -> Grey:
    """(H, W, 3) pixels as 8-bit grey, shrunk to (W, H) by averaging if a size is given."""
    pixels = np.ascontiguousarray(pixels)
    if size is not None:
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    if pixels.dtype != np.uint8:
        pixels = np.clip(pixels.astype(np.float32) * (255 / full_scale), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _grid(low: Points, high: Points, side: int) -> Points:
    """(h, w, 2) centres of cells that share out a box, `side` along its longer edge."""
    cells = np.maximum(np.round((high - low) * (side / (high - low).max())), 24).astype(int)
    x, y = (low[k] + (np.arange(cells[k]) + 0.5) / cells[k] * (high - low)[k] for k in (0, 1))
    grid: Points = np.stack(np.meshgrid(x, y), -1)
    return grid


def _step(positions: Points) -> float:
    """Distance of neighbours in a lattice, as the root of the area between them."""
    along, down = (np.median(np.diff(positions, axis=axis).reshape(-1, 2), axis=0) for axis in (1, 0))
    return float(max(np.sqrt(abs(along[0] * down[1] - along[1] * down[0])), 1e-6))


def _flow(
    first: Grey, second: Grey, positions: Points, closeness: float, octave: int
) -> tuple[Points, Mask, Field, Field]:
    """Where each pixel of the first patch lies in the target whose patch is the second; how far that can be trusted.

    Returns (h, w, 2) positions, whether the flows of both directions agree, how alike the neighbourhoods are (−1 to 1),
    and the texture of the first (standard deviation of its grey levels).
    """
    side = max(first.shape)
    one, two = (_even(patch, side / 12) for patch in (first, second))
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    flow.setFinestScale(octave)  # the next two are chosen: quicker than the preset
    flow.setPatchStride(4)
    flow.setGradientDescentIterations(12)
    ahead, back = flow.calc(one, two, None), flow.calc(two, one, None)
    y, x = np.mgrid[: first.shape[0], : first.shape[1]].astype(np.float32)
    to_x, to_y = x + ahead[..., 0], y + ahead[..., 1]
    returned = cv2.remap(back, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(1e3, 1e3))
    agree = np.linalg.norm(ahead + returned, axis=-1) < closeness
    seen = cv2.remap(second, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    found = cv2.remap(positions, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    likeness, texture = _likeness(first, seen, side / 24)
    return np.asarray(found, dtype=np.float64), agree, likeness, texture


def _even(patch: Grey, width: float) -> Grey:
    """A patch with its local brightness and contrast taken out."""
    grey = patch.astype(np.float32)
    rest = grey - _mean(grey, width)
    even: Grey = np.clip(128 + 48 * rest / (np.sqrt(np.maximum(_mean(rest * rest, width), 0)) + 6), 0, 255).astype(
        np.uint8
    )
    return even


def _likeness(first: Grey, second: npt.NDArray[np.generic], width: float) -> tuple[Field, Field]:
    """Local normalised correlation, and the local standard deviation of the first."""
    a, b = first.astype(np.float32), second.astype(np.float32)
    common, var_a, var_b = local_moments(a, b, _window(width), cv2.BORDER_REFLECT)
    likeness: Field = common / np.sqrt(np.maximum(var_a, 1) * np.maximum(var_b, 1))
    texture: Field = np.sqrt(np.maximum(var_a, 0))
    return likeness, texture


def _smooth(shift: Field, trusted: Mask, width: float) -> Field:
    """A field averaged over its trusted places."""
    weight = trusted.astype(np.float32) + 1e-3
    smooth: Field = _mean(shift * weight[..., None], width) / _mean(weight, width)[..., None]
    return smooth


def _window(width: float) -> int:
    """Side of the box whose average has a Gaussian's standard deviation."""
    return 2 * round(width * math.sqrt(3)) + 1


def _mean(values: Field, width: float) -> Field:
    """A box average with a Gaussian's standard deviation."""
    edge = _window(width)
    return np.asarray(cv2.blur(values, (edge, edge), borderType=cv2.BORDER_REFLECT), dtype=np.float32)
