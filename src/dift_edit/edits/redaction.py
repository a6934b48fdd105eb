"""Making something unrecognisable: always opaque, always coarser than what it hides, also in the file's metadata."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from dift_edit.edits.region import Region
from dift_edit.errors import EditError
from dift_edit.geometry.base import Chain, MatrixTransform, Transform
from dift_edit.geometry.coords import Points
from dift_edit.imaging.image import Image, Pixels
from dift_edit.imaging.metadata import stripped
from dift_edit.rendering.blending import extend_colors
from dift_edit.rendering.compositing import Compositing, widened, write
from dift_edit.rendering.warp import Box

__all__ = ["MAX_CELLS", "MIN_CELL", "REDACTION_MODES", "Redaction", "cells_of"]

Floats = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

REDACTION_MODES = ("blur", "pixelate", "fill")
MAX_CELLS = 8
"""More cells along the longer side than this can give a face away (chosen)."""
MIN_CELL = 8
"""Pixels of the target along a cell's side, at least: smaller ones keep small print readable by eye (chosen)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Redaction:
    """A region made unrecognisable in the source and on every target.

    Attributes
    ----------
    region : Region
        What to hide, in the source.
    mode : {"blur", "pixelate", "fill"}
        "pixelate" leaves squares of one colour, "blur" the same with smooth transitions, "fill" one given colour.
    cells : int
        How many squares along the region's longer side remain, at most `MAX_CELLS`, and fewer where one would be
        smaller than `MIN_CELL` pixels: the strength follows the region's size in each target. "blur" holds no more
        than these squares either, so it cannot be sharpened back.
    color : str
        For "fill": a colour name or ``#rrggbb``.
    margin : float
        How far the region is widened, as a share of its shorter side, because a placement is never exact.

    Raises
    ------
    EditError
        If a value is not one of its choices or out of its range.

    Notes
    -----
    Every pixel that the region touches, also by its antialiased edge, is replaced whole; the opacity, feather and
    blend settings do not apply. Of the file's metadata only a list of known numbers and dates is kept (see
    `dift_edit.imaging.metadata.stripped`), because everything else may show or tell what the image showed.

    "fill" leaves nothing of what it hides. The means of "pixelate" and "blur" hide it from eyes, but not from somebody
    who can try out guesses (see `caution`).

    References
    ----------
    Hill et al., "On the (In)effectiveness of Mosaicing and Blurring as Tools for Document Redaction", 2016; McPherson
    et al., "Defeating Image Obfuscation with Deep Learning", 2016.
    """

    region: Region
    mode: str = "pixelate"
    cells: int = 5
    color: str = "black"
    margin: float = 0.1

    def __post_init__(self) -> None:
        if self.mode not in REDACTION_MODES:
            raise EditError(f"The redaction mode is {self.mode!r}: use one of {', '.join(REDACTION_MODES)}.")
        if not (isinstance(self.cells, int) and 1 <= self.cells <= MAX_CELLS):
            raise EditError(f"The number of cells is {self.cells}: use 1 to {MAX_CELLS}, more would show too much.")
        if not 0 <= self.margin <= 2:
            raise EditError(f"The margin is {self.margin}: use a share of the region's size from 0 to 2.")
        try:
            ImageColor.getrgb(self.color)
        except (ValueError, AttributeError) as error:
            raise EditError(f"{self.color!r} is not a colour: use a name such as 'black', or #rrggbb.") from error

    @property
    def caution(self) -> str:
        """What this redaction does not hold against, in a sentence; empty where its result keeps nothing but a mean."""
        if self.mode == "fill" or self.cells == 1:
            return ""
        return (
            f"The redaction keeps the means of up to {self.cells} cells a side, from which text, plates and faces can "
            'be found again by trying out guesses: use mode "fill", or cells 1, where that matters.'
        )

    @property
    def quad(self) -> Points:
        """(4, 2) corners of the region in source pixels."""
        return self.region.quad

    def apply(
        self,
        target: Image,
        transform: Transform,
        *,
        source: Image | None = None,
        compositing: Compositing | None = None,
    ) -> Image:
        """Redact a target: see `dift_edit.edits.base.Edit`. The settings do not count.

        Raises
        ------
        EditError
            If no pixel of the target lies in the region: nothing would be hidden.
        """
        clean = replace(target, file=stripped(target.file))
        hidden, box = self._hidden(transform, target.size)
        if not hidden.any():
            raise EditError(
                f"The region to hide lies outside {target.name}, so nothing was hidden in it: correct the placement, "
                "or look whether there is anything to hide."
            )
        window = clean.crop(box)
        colors = window.pixels.astype(np.float32) / np.float32(target.full_scale)
        if self.mode == "fill":
            colors = np.empty_like(colors)
            colors[:] = np.array(ImageColor.getrgb(self.color)[:3], np.float32) / 255
        else:
            colors = _coarse(colors, window.pixels, hidden, self.cells, smooth=self.mode == "blur")
        return write(clean, box, colors, hidden.astype(np.float32))

    def reaches(self, transform: Transform, size: tuple[int, int]) -> bool:
        """Whether any pixel of a target of `size` (W, H) lies in the region."""
        return bool(self._hidden(transform, size)[0].any())

    def _hidden(self, transform: Transform, size: tuple[int, int]) -> tuple[Mask, Box]:
        """(h, w) what to hide in a box of the target; a region beyond the edge is widened into the picture as well."""
        grow = max(2, round(self.margin * _short_side(transform(self.quad), size)))
        frame = grow + 1
        canvas = size[0] + 2 * frame, size[1] + 2 * frame
        shift = MatrixTransform(np.array([(1, 0, frame), (0, 1, frame), (0, 0, 1)], dtype=np.float64))
        warped = self.region.warped(Chain((transform, shift)), canvas)
        box = widened(warped.box, canvas, 0, grow)
        hidden = _grown(warped.within(box)[..., 0] > 0, grow)
        left, top = max(box[0] - frame, 0), max(box[1] - frame, 0)
        right, bottom = max(left, min(box[2] - frame, size[0])), max(top, min(box[3] - frame, size[1]))
        x, y = left + frame - box[0], top + frame - box[1]
        return hidden[y : y + bottom - top, x : x + right - left], (left, top, right, bottom)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: see `dift_edit.edits.stored`."""
        return {
            "type": "redaction", "region": self.region, "mode": self.mode, "cells": self.cells,
            "color": self.color, "margin": self.margin,
        }  # fmt: skip


def _short_side(placed: Points, size: tuple[int, int]) -> float:
    """Of the region as it is placed, also where that is outside the target; at most the target's own."""
    with np.errstate(invalid="ignore"):
        short = float(np.ptp(placed, axis=0).min())
    return min(short if np.isfinite(short) else np.inf, *size)


def _grown(mask: Mask, distance: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * distance + 1, 2 * distance + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel)) > 0


def cells_of(hidden: Mask, cells: int) -> tuple[IntArray, int, int]:
    """Square cells that lie evenly over the hidden part.

    Parameters
    ----------
    hidden : ndarray
        (h, w) bool.
    cells : int
        Along the longer side; fewer where a cell would be smaller than `MIN_CELL` pixels.

    Returns
    -------
    cell : ndarray
        (N,) the number, row by row, of the cell of every hidden pixel, in the order of ``np.nonzero``.
    down, across : int
        How many cells there are.
    """
    rows, columns = np.nonzero(hidden)
    top, left = rows.min(), columns.min()
    height, width = rows.max() + 1 - top, columns.max() + 1 - left
    longest = max(height, width)
    side = longest / min(cells, max(1, longest // MIN_CELL))
    down, across = max(1, round(height / side)), max(1, round(width / side))
    return ((rows - top) * down // height) * across + (columns - left) * across // width, down, across


def _coarse(colors: Floats, pixels: Pixels, hidden: Mask, cells: int, *, smooth: bool) -> Floats:
    """Means over cells; only the hidden part's own pixels count. Sums of whole numbers are exact in any order."""
    rows, columns = np.nonzero(hidden)
    top, left = rows.min(), columns.min()
    height, width = rows.max() + 1 - top, columns.max() + 1 - left
    cell, down, across = cells_of(hidden, cells)
    count = np.bincount(cell, minlength=down * across)
    sums = [np.bincount(cell, pixels[rows, columns, channel], down * across) for channel in range(3)]
    full = 1 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max
    means = (np.stack(sums, axis=1) / (full * np.maximum(count, 1)[:, None])).astype(np.float32)
    result = colors.copy()
    if not smooth:
        result[rows, columns] = means[cell]
        return result
    known = (count > 0).astype(np.float32)[:, None]
    grid = extend_colors(np.concatenate([means * known, known], axis=1).reshape(down, across, 4))
    spread = np.asarray(cv2.resize(grid, (int(width), int(height)), interpolation=cv2.INTER_CUBIC))
    result[rows, columns] = np.clip(spread.reshape(height, width, 3)[rows - top, columns - left], 0, 1)
    return result
