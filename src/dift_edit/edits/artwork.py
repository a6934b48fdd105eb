"""Which parts of a sticker hold text: on a mirrored target they are not mirrored with the object."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import signed_area

__all__ = ["Part", "artwork_parts", "is_mirrored", "kept_upright"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_LONGEST = 512
"""Pixels of the longer side at which text is looked for (chosen)."""
_REACH = 0.04
"""Parts closer than twice this share of the longer side belong together, as the letters of a word do (chosen)."""
_ANGLES = (0, 30, -30, 60, -60, 90)
"""Degrees by which writing may be turned (chosen)."""
_LEAST_LETTERS = 3
"""Fewer parts in a row are no word (chosen)."""
_TWO_TONES = 0.7
"""Share of the colours' variance that ink and ground explain in print; less in photographs (chosen)."""
_SYMMETRIC = 0.75
"""Overlap of the letters with their own mirror image from which mirroring them changes nothing ("AHA"; chosen)."""


@dataclass(frozen=True, eq=False)
class Part:
    """A piece of artwork that lies apart from the others.

    Attributes
    ----------
    box : (left, top, right, bottom)
        Its half-open pixel box.
    mask : ndarray
        (h, w) bool inside the box: the part's pixels.
    text : bool
        Whether it holds text-like detail that reads wrongly in a mirror.
    """

    box: tuple[int, int, int, int]
    mask: Mask
    text: bool


def is_mirrored(transform: Transform, quad: Points) -> bool:
    """Whether a map turns the (4, 2) corners of an edit the other way round, as a mirror does."""
    return signed_area(transform(quad)) * signed_area(quad) < 0


def artwork_parts(layer: Floats) -> list[Part]:
    """The parts of an image with transparency.

    Parameters
    ----------
    layer : ndarray
        (h, w, 4) float32 premultiplied sRGB, in [0, 1].

    Returns
    -------
    list of Part
    """
    seen = layer[..., 3] > 0
    scale = min(1.0, _LONGEST / max(seen.shape))
    size = (max(1, round(seen.shape[1] * scale)), max(1, round(seen.shape[0] * scale)))
    small = np.asarray(cv2.resize(layer, size, interpolation=cv2.INTER_AREA))
    reach = max(2, round(_REACH * max(size)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    grown = cv2.dilate(np.pad((small[..., 3] > 0).astype(np.uint8), reach), disc)
    _, labels = cv2.connectedComponents(grown)
    wide = np.asarray(
        cv2.resize(
            np.ascontiguousarray(labels[reach:-reach, reach:-reach]).astype(np.float32), seen.shape[::-1],
            interpolation=cv2.INTER_NEAREST,
        )
    ).astype(np.int32) * seen  # fmt: skip
    parts, windows = [], ndimage.find_objects(wide)
    for number in np.unique(wide[seen]):
        if number == 0:
            continue
        rows, columns = window = windows[number - 1]
        mask = wide[window] == number
        box = (columns.start, rows.start, columns.stop, rows.stop)
        parts.append(Part(box, mask, _holds_text(layer[window] * mask[..., None])))
    return parts


def kept_upright(layer: Floats, parts: list[Part]) -> Floats:
    """A layer with parts of it mirrored in their own boxes, so that a mirrored placement shows them as they were."""
    made = layer.copy()
    for part in parts:
        made[_window(part)] *= ~part.mask[..., None]
    for part in parts:
        turned = (layer[_window(part)] * part.mask[..., None])[:, ::-1]
        below = made[_window(part)]
        made[_window(part)] = turned + below * (1 - turned[..., 3:])
    return made


def _window(part: Part) -> tuple[slice, slice]:
    left, top, right, bottom = part.box
    return slice(top, bottom), slice(left, right)


def _holds_text(layer: Floats) -> bool:
    """Whether a row of letters can be seen, in any of a few directions, that is not its own mirror image.

    Notes
    -----
    Letters are taken for what they are in nearly every script and typeface: at least three separate shapes side by
    side, of like height and stroke width, with strokes thin against the height (Epshtein, Ofek and Wexler, "Detecting
    Text in Natural Scenes with Stroke Width Transform", CVPR 2010, group letter candidates by the same properties).
    """
    scale = min(_LONGEST / max(layer.shape[:2]), 4.0)
    size = (max(8, round(layer.shape[1] * scale)), max(8, round(layer.shape[0] * scale)))
    small = np.asarray(cv2.resize(layer, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    for mask, tone in _shapes(small):
        rows = [_row_of_letters(_rotated(mask, angle), _rotated(tone, angle)) for angle in _ANGLES]
        letters, overlap = max(rows, key=lambda row: row[0])  # where equal, the first: the least turned
        if letters and overlap < _SYMMETRIC:
            return True
    return False


def _shapes(layer: Floats) -> list[tuple[Floats, Floats]]:
    """What may be letters: the opaque part itself, and what is darker or lighter in it; with the tones (0: none)."""
    opaque = layer[..., 3] > 0.5
    masks = [(opaque.astype(np.float32), np.zeros(opaque.shape, np.float32))]
    if opaque.sum() >= 16:
        colors = layer[opaque][:, :3] / layer[opaque][:, 3:]
        centred = colors - colors.mean(0)
        axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        along = centred @ axis
        span = float(np.ptp(along))
        if span > 0.1:
            level = np.uint8(np.clip((along - along.min()) / span * 254, 0, 254)) + np.uint8(1)
            cut, _ = cv2.threshold(level.reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
            tone = np.zeros(opaque.shape, np.float32)
            tone[opaque] = level
            masks += [((tone > cut).astype(np.float32), tone), ((opaque & (tone <= cut)).astype(np.float32), tone)]
    return masks


def _separation(values: npt.NDArray[np.floating], above: Mask) -> float:
    """Share of the variance that two classes explain (Otsu's criterion), 0 to 1."""
    share = float(above.mean())
    if not 0 < share < 1:
        return 0.0
    between = share * (1 - share) * (float(values[above].mean()) - float(values[~above].mean())) ** 2
    return between / max(float(values.var()), 1e-12)


def _rotated(values: Floats, angle: float) -> Floats:
    if angle == 0:
        return values
    height, width = values.shape
    side = int(np.ceil(np.hypot(width, height)))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return np.asarray(cv2.warpAffine(values, matrix, (side, side), flags=cv2.INTER_NEAREST))


@dataclass(frozen=True)
class _Shape:
    number: int
    left: int
    top: int
    width: int
    height: int
    stroke: float

    def follows(self, other: "_Shape") -> bool:
        """Whether it may stand to the right of another letter."""
        tall, low = max(self.height, other.height), min(self.height, other.height)
        together = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        gap = self.left - (other.left + other.width)
        return (
            low > 0.45 * tall
            and together > 0.5 * low
            and -0.3 * tall < gap < 1.5 * tall
            and self.left + self.width / 2 > other.left + other.width / 2
            and max(self.stroke, other.stroke) < 2 * min(self.stroke, other.stroke)
        )


def _row_of_letters(shape: Floats, tone: Floats) -> tuple[int, float]:
    """Number of letters of the longest row, 0 for none, and their overlap with their mirror image."""
    mask = shape > 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if not 1 + _LEAST_LETTERS <= count <= 400:
        return 0, 1.0
    inside = np.asarray(cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5))[1:-1, 1:-1]
    depth = np.bincount(labels.ravel(), weights=inside.ravel(), minlength=count) / np.maximum(stats[:, 4], 1)
    shapes = []
    for number in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[number])
        stroke = 4 * float(depth[number])  # the mean distance from the edge is a quarter of a stroke's width
        if height < 7 or width > 2.5 * height or not 0.1 < area / (width * height) < 0.95:
            continue
        if stroke < 0.45 * height and (height > 1.5 * stroke):
            shapes.append(_Shape(number, left, top, width, height, stroke))
    best: dict[int, list[_Shape]] = {}
    for each in sorted(shapes, key=lambda one: one.left + one.width / 2):
        chains = [best[other.number] for other in shapes if other.number in best and each.follows(other)]
        best[each.number] = [*max(chains, key=len, default=[]), each]
    row = max(best.values(), key=len, default=[])
    if len(row) < _LEAST_LETTERS or not _varied(row, labels):
        return 0, 1.0
    if not _on_a_line(row):
        return 0, 1.0
    letters = np.isin(labels, [each.number for each in row])
    rows, columns = np.nonzero(letters)
    window = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    own = letters[window]
    if own.sum() < 0.6 * mask[window].sum():
        return 0, 1.0
    known = tone[window] > 0
    if known.any() and _separation(tone[window][known], own[known]) < _TWO_TONES:
        return 0, 1.0
    return len(row), float((own & own[:, ::-1]).sum() / (own | own[:, ::-1]).sum())


def _on_a_line(row: list[_Shape]) -> bool:
    """Whether most of the shapes stand on one straight line."""
    x = np.array([shape.left + shape.width / 2 for shape in row])
    feet = np.array([shape.top + shape.height for shape in row], dtype=np.float64)
    height = float(np.median([shape.height for shape in row]))
    first, second = np.triu_indices(len(row), 1)
    slopes = (feet[second] - feet[first]) / (x[second] - x[first])  # the median of all pairs: Theil and Sen
    rest = feet - float(np.median(slopes)) * x
    return float(np.mean(np.abs(rest - np.median(rest)) < 0.15 * height)) >= 0.7


def _varied(row: list[_Shape], labels: npt.NDArray[np.int32]) -> bool:
    """Whether the shapes differ, as letters do and the teeth of a row, the bars of a fence or stars do not."""
    made = []
    for shape in row:
        cut = labels[shape.top : shape.top + shape.height, shape.left : shape.left + shape.width] == shape.number
        made.append(np.asarray(cv2.resize(cut.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)))
    apart = [float(np.abs(first - second).mean()) for first, second in pairwise(made)]
    return float(np.median(apart)) > 0.12
