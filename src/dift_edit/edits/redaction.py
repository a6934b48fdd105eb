"""Making something unrecognisable: always opaque, always coarser than what it hides, also in the file's metadata."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageColor

from dift_edit.blending import extend_colors
from dift_edit.compositing import Compositing, widened, write
from dift_edit.coords import Points
from dift_edit.edits.region import Region
from dift_edit.errors import EditError
from dift_edit.geometry.base import Chain, MatrixTransform, Transform
from dift_edit.image import FileInfo, Image
from dift_edit.warp import Box

__all__ = ["MAX_CELLS", "REDACTION_MODES", "Redaction", "without_previews"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

REDACTION_MODES = ("blur", "pixelate", "fill")
MAX_CELLS = 8
"""More cells along the longer side than this can give a face away."""
_MAKER_NOTE = 0x927C
_PARTS = (0x8769, 0x8825)
"""The parts of EXIF that are kept: camera settings and position. The thumbnail's is not."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Redaction:
    """A region made unrecognisable in the source and on every target.

    Attributes
    ----------
    region : Region
        What to hide, in the source.
    mode : {"blur", "pixelate", "fill"}
        Squares of one colour; the same with smooth transitions; or one given colour.
    cells : int
        How many squares along the region's longer side remain, at most `MAX_CELLS`: the strength follows the
        region's size in each target. "blur" holds no more than these squares either, so it cannot be sharpened back.
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
    blend settings do not apply. The result's EXIF has no thumbnail and no maker note, and XMP is dropped, because
    these may hold a preview of the picture as it was.
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
        """Redact a target: see `dift_edit.edits.base.Edit`. The settings do not count."""
        clean = replace(target, file=without_previews(target.file))
        grow = max(2, round(self.margin * _short_side(transform(self.quad), target.size)))
        hidden, box = self._hidden(transform, target.size, grow)
        if not hidden.any():
            return clean
        window = clean.crop(box)
        colors = window.pixels.astype(np.float32) / np.float32(target.full_scale)
        if self.mode == "fill":
            colors = np.empty_like(colors)
            colors[:] = np.array(ImageColor.getrgb(self.color)[:3], np.float32) / 255
        else:
            colors = _coarse(colors, hidden, self.cells, smooth=self.mode == "blur")
        return write(clean, box, colors, hidden.astype(np.float32))

    def _hidden(self, transform: Transform, size: tuple[int, int], grow: int) -> tuple[Mask, Box]:
        """(h, w) what to hide in a box of the target; a region beyond the edge is widened into the picture as well."""
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

    def recipe(self) -> dict[str, Any]:
        """Plain data: see `dift_edit.edits.stored`."""
        return {
            "type": "redaction", "region": self.region, "mode": self.mode, "cells": self.cells,
            "color": self.color, "margin": self.margin,
        }  # fmt: skip


def without_previews(file: FileInfo | None) -> FileInfo | None:
    """The file information without anything that may show the picture as it was."""
    if file is None:
        return None
    metadata = {key: value for key, value in file.metadata.items() if key != "xmp"}
    if "exif" in metadata:
        exif, kept = PIL.Image.Exif(), PIL.Image.Exif()
        exif.load(metadata.pop("exif"))
        for tag, value in exif.items():
            if tag not in _PARTS and not (isinstance(value, bytes) and len(value) > 256):
                kept[tag] = value
        for part in _PARTS:
            values = {tag: value for tag, value in exif.get_ifd(part).items() if tag not in (_MAKER_NOTE, *_PARTS)}
            if values:
                kept[part] = values
        metadata["exif"] = kept.tobytes()
    return replace(file, metadata=metadata)


def _short_side(placed: Points, size: tuple[int, int]) -> float:
    """Of the region as it is placed, also where that is outside the target; at most the target's own."""
    with np.errstate(invalid="ignore"):
        short = float(np.ptp(placed, axis=0).min())
    return min(short if np.isfinite(short) else np.inf, *size)


def _grown(mask: Mask, distance: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * distance + 1, 2 * distance + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel)) > 0


def _coarse(colors: Floats, hidden: Mask, cells: int, *, smooth: bool) -> Floats:
    """Means over square cells that lie evenly over the hidden part; only its own pixels count."""
    rows, columns = np.nonzero(hidden)
    top, left = rows.min(), columns.min()
    height, width = rows.max() + 1 - top, columns.max() + 1 - left
    side = max(height, width) / cells
    down, across = max(1, round(height / side)), max(1, round(width / side))
    cell = ((rows - top) * down // height) * across + (columns - left) * across // width
    count = np.bincount(cell, minlength=down * across)
    sums = [np.bincount(cell, colors[rows, columns, channel], down * across) for channel in range(3)]
    means = (np.stack(sums, axis=1) / np.maximum(count, 1)[:, None]).astype(np.float32)
    result = colors.copy()
    if not smooth:
        result[rows, columns] = means[cell]
        return result
    known = (count > 0).astype(np.float32)[:, None]
    grid = extend_colors(np.concatenate([means * known, known], axis=1).reshape(down, across, 4))
    spread = np.asarray(cv2.resize(grid, (int(width), int(height)), interpolation=cv2.INTER_CUBIC))
    result[rows, columns] = np.clip(spread.reshape(height, width, 3)[rows - top, columns - left], 0, 1)
    return result
