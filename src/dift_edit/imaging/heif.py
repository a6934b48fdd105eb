"""HEIC and HEIF, in which phones keep their photographs, by pillow-heif (libheif)."""

import io
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import PIL.Image

from dift_edit.errors import MissingDependencyError

__all__ = ["deep_heif_pixels", "encode_heif", "is_heif", "open_heif"]

_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


def is_heif(head: bytes) -> bool:
    """Whether a file with these first 12 bytes is HEIF with HEVC inside (ISO/IEC 23008-12, brands)."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def open_heif(file: BinaryIO, name: str) -> PIL.Image.Image:
    """A HEIF image, not decoded yet; turned as it is to be displayed, its EXIF's orientation reset.

    Parameters
    ----------
    file : binary file
        At its start.
    name : str
        How an error names it.

    Raises
    ------
    MissingDependencyError
        If pillow-heif is not installed.
    """
    return cast("PIL.Image.Image", _library(f"Reading {name}").HeifImageFile(file))


def deep_heif_pixels(picture: PIL.Image.Image, file: BinaryIO) -> npt.NDArray[np.uint16] | None:
    """(H, W) or (H, W, C) pixels of an opened HEIF image of more than 8 bits, over the full range; None for others."""
    if picture.info.get("bit_depth", 8) <= 8:
        return None
    file.seek(0)
    pixels = np.asarray(_library("Reading HEIC").open_heif(file, convert_hdr_to_8bit=False))
    return pixels if pixels.dtype == np.uint16 else None


def encode_heif(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    """The bytes of a HEIC file: 8 bits per channel, or 10 where the pixels have 16.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 3) or (H, W, 4) uint8 or uint16.
    **options
        ``exif``, ``icc_profile`` and ``xmp``, as bytes; ``quality``, 0 to 100; ``chroma``: 420, 422 or 444.

    Returns
    -------
    bytes

    Raises
    ------
    MissingDependencyError
        If pillow-heif is not installed.
    """
    heif = _library("Writing HEIC")
    mode = ("RGB" if pixels.shape[2] == 3 else "RGBA") + (";16" if pixels.dtype == np.uint16 else "")
    buffer = io.BytesIO()
    size = pixels.shape[1], pixels.shape[0]
    heif.encode(mode, size, np.ascontiguousarray(pixels).tobytes(), buffer, **options)
    return buffer.getvalue()


def _library(purpose: str) -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingDependencyError("pillow-heif", "heif", purpose) from error
    return pillow_heif
