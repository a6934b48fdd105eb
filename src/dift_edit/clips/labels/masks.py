"""Masks as files, and drawn over pictures."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from dift_edit.atomic_files import write_atomic
from dift_edit.clips.labels.coding import Labels
from dift_edit.errors import ImageError
from dift_edit.imaging.image import Image

__all__ = ["draw_labels", "read_mask", "write_mask"]

_VOID = 255
"""Not annotated, as in PASCAL VOC."""
_MOST_LEVELS = 64
"""An image with more grey levels is a photograph, not a mask (chosen)."""


def read_mask(path: Path, *, binary: bool = False) -> npt.NDArray[np.uint8]:
    """Object numbers of an annotation.

    Parameters
    ----------
    path : Path
        A palette image (DAVIS 2017: its indices are the objects), a gray one (DAVIS 2016: 255 is the object), or one
        whose object is what is not transparent.
    binary : bool
        Merge all objects into number 1.

    Returns
    -------
    ndarray
        (H, W) uint8, 0 for the background; the void index 255 of a palette image is background.

    Raises
    ------
    ImageError
        If it cannot be read, or has too many gray levels for a mask.
    """
    try:
        with PIL.Image.open(path) as picture:
            indexed = picture.mode == "P"
            clear = picture.mode in ("RGBA", "LA") and picture.getchannel("A").getextrema()[0] == 0
            array = np.asarray(picture if indexed else picture.getchannel("A") if clear else picture.convert("L"))
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist: check the path.") from error
    except Exception as error:  # whatever a decoder may meet in a damaged file
        raise ImageError(f"{path} is damaged, too large or not a picture: replace the file.") from error
    if indexed:
        array = np.where(array == _VOID, 0, array)
    elif array.max(initial=0) > 127:
        array = array > 127
    elif len(np.unique(array)) > _MOST_LEVELS:
        raise ImageError(f"{path} has too many gray levels for a mask: give object numbers, or black and white.")
    return (array > 0).astype(np.uint8) if binary else array.astype(np.uint8)


def write_mask(path: Path, mask: npt.NDArray[Any]) -> None:
    """Write object numbers as a palette PNG, as the official evaluation reads results."""
    picture = PIL.Image.fromarray(np.asarray(mask, dtype=np.uint8))
    picture.putpalette(_palette().tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: picture.save(file, "PNG"))


def draw_labels(image: Image, labels: Labels, *, strength: float = 0.5) -> Image:
    """An image with every label but 0 in its colour, half transparent and with an outline.

    Parameters
    ----------
    image : Image
        The image.
    labels : ndarray
        (H, W) whole numbers of its size.
    strength : float
        Of the colours, 0 to 1.

    Returns
    -------
    Image
        Where the label is 0, the pixels are the image's own.
    """
    colors = _palette()[labels.astype(np.int64) % 256].astype(np.float32) * np.float32(image.full_scale / 255)
    inner = cv2.erode((labels != 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    changes = np.zeros(labels.shape, bool)
    changes[1:] |= labels[1:] != labels[:-1]
    changes[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    share = np.where((labels != 0) & (changes | ~inner), 1.0, strength).astype(np.float32)[..., None]
    pixels = image.pixels + share * (colors - image.pixels)
    if image.pixels.dtype != np.float32:
        pixels = np.round(pixels)
    mixed = np.where((labels != 0)[..., None], pixels, image.pixels).astype(image.pixels.dtype)
    return image.with_pixels(mixed, image.alpha, labels != 0)


def _palette() -> npt.NDArray[np.uint8]:
    """(256, 3) colours of PASCAL VOC: bits of the index, spread over the three channels."""
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((np.arange(256) >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette
