"""What an output has in common with its target where the edit does not reach."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.errors import ImageError
from dift_edit.imaging.image import Image, Pixels

__all__ = ["Untouched", "compare_outside"]

LOSSLESS = {"PNG", "TIFF", "BMP"}
"""Formats whose files, as they are written here, hold every pixel as it is."""
_BLOCK = 8
_BLEED = 2
"""Pixels by which a decoder that smooths subsampled colour looks beyond a block (libjpeg's "fancy upsampling")."""


@dataclass(frozen=True, kw_only=True)
class Untouched:
    """An output compared with its target outside the edit.

    Attributes
    ----------
    reach : float
        Share of the pixels that the edit may set, 0 to 1.
    unit : {"pixels", "blocks"}
        What is counted: pixels of a lossless format; of a lossy one the blocks of 8 × 8 pixels that no block which the
        edit touches can change, as they are decoded.
    compared, changed : int
        How many units lie outside the edit, and how many of them differ.
    largest : float
        The greatest difference of a channel, in 255ths of full intensity.
    tables_kept : bool or None
        Whether a JPEG has the quantisation tables and the subsampling of its target; None for other formats.
    """

    reach: float
    unit: Literal["pixels", "blocks"]
    compared: int
    changed: int
    largest: float
    tables_kept: bool | None = None

    @property
    def proven(self) -> bool:
        """Whether nothing outside the edit changed but what a lossy format cannot help."""
        return self.unit == "blocks" or self.changed == 0


def compare_outside(target: Image, output: Image, reach: npt.NDArray[np.bool_]) -> Untouched:
    """Compare an output with its target where the edit does not reach.

    Parameters
    ----------
    target, output : Image
        As they were read from their files.
    reach : ndarray
        (H, W) bool: the pixels that the edit may set, as of `LayeredImage`.

    Returns
    -------
    Untouched

    Raises
    ------
    ImageError
        If the three have different sizes.
    """
    if not target.size == output.size == reach.shape[::-1]:
        raise ImageError(f"{output.name} has not the size of its target, {target.size[0]}×{target.size[1]}.")
    difference = _difference(target, output)
    format_ = "" if output.file is None else output.file.format
    share = float(reach.mean())
    if format_ in LOSSLESS:
        outside = difference[~reach]
        return Untouched(
            reach=share, unit="pixels", compared=outside.size, changed=int((outside > 0).sum()),
            largest=float(outside.max(initial=0)),
        )  # fmt: skip
    free = ~_blocks(_touched(reach), np.logical_or)
    largest = np.where(free, _blocks(difference, np.maximum), 0)
    return Untouched(
        reach=share, unit="blocks", compared=int(free.sum()), changed=int((largest > 0).sum()),
        largest=float(largest.max(initial=0)), tables_kept=_same_tables(target, output) if format_ == "JPEG" else None,
    )  # fmt: skip


def _difference(target: Image, output: Image) -> npt.NDArray[np.float32]:
    """(H, W) the greatest difference of a channel, in 255ths; in the files' own profile where both have it."""
    before, after = (image.file.native if image.file else None for image in (target, output))
    found = _largest(target.pixels, output.pixels) if before is None or after is None else _largest(before, after)
    if target.alpha is not None or output.alpha is not None:
        full = [
            np.full(image.pixels.shape[:2], image.full_scale, image.pixels.dtype)
            if image.alpha is None
            else image.alpha
            for image in (target, output)
        ]
        found = np.maximum(found, _largest(full[0][..., None], full[1][..., None]))
    return found


def _largest(before: Pixels, after: Pixels) -> npt.NDArray[np.float32]:
    scales = [255 / (1 if each.dtype == np.float32 else np.iinfo(each.dtype).max) for each in (before, after)]
    if before.dtype == after.dtype:
        apart = (np.maximum(before, after) - np.minimum(before, after)) * np.float32(scales[0])
    else:  # one of them was written with 8 bits
        apart = np.abs(np.rint(before * np.float32(scales[0])) - np.rint(after * np.float32(scales[1])))
    return np.asarray(apart.max(axis=2), dtype=np.float32)


def _touched(reach: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The pixels that a lossy format may change with the edit: units of 16 × 16, and what is smoothed with them."""
    unit = 2 * _BLOCK
    whole = _blocks(reach, np.logical_or, unit)
    grown = np.repeat(np.repeat(whole, unit, axis=0), unit, axis=1)[: reach.shape[0], : reach.shape[1]]
    kernel = np.ones((2 * _BLEED + 1, 2 * _BLEED + 1), np.uint8)
    return np.asarray(cv2.dilate(grown.astype(np.uint8), kernel)) > 0


def _blocks(values: npt.NDArray[Any], reduce: np.ufunc, side: int = _BLOCK) -> npt.NDArray[Any]:
    """One value for each block of the image."""
    rows, columns = (np.arange(0, length, side) for length in values.shape)
    return np.asarray(reduce.reduceat(reduce.reduceat(values, rows, axis=0), columns, axis=1))


def _same_tables(target: Image, output: Image) -> bool:
    known = [image.file.metadata if image.file else {} for image in (target, output)]
    tables = [{key: list(table) for key, table in each.get("qtables", {}).items()} for each in known]
    return bool(tables[0]) and tables[0] == tables[1] and known[0].get("subsampling") == known[1].get("subsampling")
