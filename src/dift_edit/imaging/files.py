"""Reading images: every turn, profile and depth of a file, and whatever else a caller may have."""

import contextlib
import io
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
from PIL import ImageCms, JpegImagePlugin

from dift_edit.errors import ImageError, MissingDependencyError, first_line
from dift_edit.imaging.heif import deep_heif_pixels, is_heif, open_heif
from dift_edit.imaging.image import FileInfo, Image, Pixels, from_array
from dift_edit.types import ImageLike

__all__ = ["DEFAULT_MAX_PIXELS", "as_image", "from_pil", "load_image"]

_log = logging.getLogger(__name__)

DEFAULT_MAX_PIXELS = 200_000_000
"""Larger pictures are refused unless the caller raises the limit (decompression bombs)."""

_TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


def load_image(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image:
    """Read an image as it is meant to be displayed.

    The EXIF orientation is applied, an embedded colour profile is converted to sRGB, grey, palette and CMYK become
    RGB, 16 bits per channel stay 16 bits. Of an animation the first frame is read.

    Parameters
    ----------
    path : path
        Any format that Pillow reads, or HEIC with the extra "heif".
    max_pixels : int
        Refuse larger images.

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        If the file is missing, empty, not an image, damaged or too large.
    MissingDependencyError
        If it is HEIC, and pillow-heif is not installed.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> image = de.load_image(FOLDER / "cat.jpg")
    >>> image.size, image.pixels.dtype
    ((902, 600), dtype('uint8'))
    """
    path = Path(path)
    if "\0" in str(path):
        raise ImageError(f"The name {str(path)!r} has a NUL character, which no file can have: correct it.")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise ImageError(f"{path} is empty (0 bytes): give a complete picture file.")
            file.seek(0)
            return _read(file, path, max_pixels)
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist: check the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder, not a picture: name a file.") from error
    except PermissionError as error:
        raise ImageError(f"{path} may not be read: check its permissions.") from error
    except PIL.UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not a picture in a format that can be read: give a JPEG, PNG, WebP, TIFF…."
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{path} is larger than {max_pixels} pixels: raise the limit if you trust it.") from error
    except (ImageError, MissingDependencyError):
        raise
    except MemoryError as error:
        raise ImageError(f"{path} needs more memory than there is: shrink it, or lower --max-pixels.") from error
    except Exception as error:  # whatever a decoder may meet in a damaged file
        raise ImageError(f"{path} is damaged or incomplete ({first_line(error)}): replace the file.") from error


def as_image(image: ImageLike) -> Image:
    """Whatever a caller may have, as an `Image`.

    Parameters
    ----------
    image : Image, path, PIL.Image.Image, ndarray or torch.Tensor
        Arrays are (H, W) or (H, W, 1 | 3 | 4), uint8, uint16 or float in [0, 1]; tensors are (C, H, W).

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        If it cannot be read or is not an image.
    """
    if isinstance(image, Image):
        return image
    if isinstance(image, str | os.PathLike):
        return load_image(image)
    if isinstance(image, PIL.Image.Image):
        return from_pil(image)
    if "torch" in sys.modules:  # else nobody has a tensor
        import torch

        if isinstance(image, torch.Tensor):
            image = image.detach().cpu()
            image = (image.float() if image.is_floating_point() else image).numpy()
            if image.ndim == 3:
                image = image.transpose(1, 2, 0)
    return from_array(np.asarray(image))


_PILLOW_LIMIT = threading.Lock()


def _open(file: BinaryIO) -> PIL.Image.Image:
    """A picture's header; without Pillow's own limit, which is lower than ours may be and names no remedy."""
    with _PILLOW_LIMIT:
        before, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
        try:
            return PIL.Image.open(file)
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = before


def _read(file: BinaryIO, path: Path, max_pixels: int) -> Image:
    head = file.read(12)
    file.seek(0)
    with open_heif(file, str(path)) if is_heif(head) else _open(file) as opened:
        width, height = opened.size
        if width * height > max_pixels:
            raise ImageError(
                f"{path} has {width}×{height} pixels, more than the limit of {max_pixels}: "
                "shrink it, or raise max_pixels (--max-pixels) if you trust the file."
            )
        deep = deep_heif_pixels(opened, file) if is_heif(head) else _deep_pixels(path, opened)
        if deep is None:
            opened.load()
        if opened.format == "AVIF" and _is_deep_avif(path):
            _log.warning("%s has more than 8 bits per channel, of which 8 are kept: Pillow reads no more.", path)
        return from_pil(opened, path=path, deep=deep)


def _deep_pixels(path: Path, opened: PIL.Image.Image) -> Pixels | None:
    """Pixels of a colour picture with more than 8 bits per channel, which Pillow would cut to 8; None for others."""
    if opened.format not in ("PNG", "TIFF") or opened.mode not in ("RGB", "RGBA", "LA"):
        return None
    if opened.format == "PNG":
        header = path.read_bytes()[:26]
        if len(header) < 26 or header[24] != 16:
            return None
    elif max(opened.tag_v2.get(258, (8,))) != 16:  # type: ignore[attr-defined]
        return None
    import cv2  # only here: the window of napari needs this module to list folders

    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        return None
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_BGRA2RGBA if array.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return np.asarray(array)


def _is_deep_avif(path: Path) -> bool:
    """Whether the AV1 configuration box has high_bitdepth set (AV1 ISOBMFF binding, 2.3.3)."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    at = head.find(b"av1C")
    return 0 < at < len(head) - 6 and bool(head[at + 6] & 0x40)


def from_pil(picture: PIL.Image.Image, *, path: Path | None = None, deep: Pixels | None = None) -> Image:
    """A Pillow image as an `Image`.

    Parameters
    ----------
    picture : PIL.Image.Image
        The image, with its EXIF and profile in ``info``.
    path : Path, optional
        Its file; then metadata is kept for writing.
    deep : ndarray, optional
        (H, W[, C]) uint16 pixels to use instead of the image's own.

    Returns
    -------
    Image
    """
    format_ = "JPEG" if picture.format == "MPO" else (picture.format or "PNG")
    orientation = _orientation(picture)
    metadata = _writer_metadata(picture, format_)
    profile = picture.info.get("icc_profile")
    converted = None
    if deep is not None:
        array = deep
    elif picture.mode in ("I;16", "I;16B", "I;16L", "I"):
        array = np.clip(np.asarray(picture), 0, 65535).astype(np.uint16)
    elif picture.mode == "F":
        array = _from_float(np.asarray(picture), path)
    else:
        has_alpha = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
        if picture.mode == "CMYK":
            metadata.pop("icc_profile", None)
            picture = _to_srgb(picture, profile, "CMYK") or picture.convert("RGB")
        picture = picture.convert("RGBA" if has_alpha else "RGB")
        array = np.array(picture)
        if "icc_profile" in metadata:
            srgb = _to_srgb(picture, profile, picture.mode)
            if srgb is None:
                metadata.pop("icc_profile")
            else:
                converted = np.array(srgb)[..., :3]
    array = _turn(array, orientation)
    base = from_array(array)
    native = None
    if converted is not None:
        converted = _turn(converted, orientation)
        if np.array_equal(converted, base.pixels) and _is_srgb(profile):
            converted = None
        else:
            native = base.pixels
    alpha = base.alpha
    if alpha is not None and (alpha == base.full_scale).all():
        alpha = None
    pixels = base.pixels if converted is None else np.ascontiguousarray(converted)
    info = None
    if path is not None:
        info = FileInfo(
            path=path, format=format_, metadata=metadata, native=native,
            converted=None if native is None else pixels,
        )  # fmt: skip
    return Image(pixels, alpha, info)


def _writer_metadata(picture: PIL.Image.Image, format_: str) -> dict[str, Any]:
    info = picture.info
    metadata = {key: info[key] for key in ("icc_profile", "dpi") if info.get(key)}
    with contextlib.suppress(Exception):  # broken EXIF must not lose the picture
        exif = picture.getexif()
        exif.pop(0x0112, None)
        if len(exif):
            metadata["exif"] = exif.tobytes()
    if isinstance(info.get("xmp"), bytes) and b"rientation" not in info["xmp"]:
        metadata["xmp"] = info["xmp"]
    if format_ == "HEIF" and info.get("chroma") in (420, 422, 444):
        metadata["chroma"] = info["chroma"]
    if format_ == "JPEG" and isinstance(picture, JpegImagePlugin.JpegImageFile) and picture.mode == "RGB":
        metadata["qtables"] = picture.quantization
        metadata["subsampling"] = max(JpegImagePlugin.get_sampling(picture), 0)
    return metadata


def _orientation(picture: PIL.Image.Image) -> int:
    with contextlib.suppress(Exception):
        return int(picture.getexif().get(0x0112, 1))
    return 1


def _turn(array: Pixels, orientation: int) -> Pixels:
    if orientation not in _TURNS:
        return array
    quarters, mirror = _TURNS[orientation]
    turned = np.rot90(array, quarters)
    return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)


def _from_float(array: Pixels, path: Path | None) -> Pixels:
    array = np.where(np.isfinite(array), array, 0).astype(np.float32)
    top = float(array.max(initial=0))
    if array.min(initial=0) < 0 or top > 1:
        full = 255.0 if top <= 255 else 65535.0 if top <= 65535 else top
        array = array / full
    return np.clip(array, 0, 1)


def _to_srgb(picture: PIL.Image.Image, profile: bytes | None, mode: str) -> PIL.Image.Image | None:
    """The picture converted from its profile to sRGB; None when the profile is unusable."""
    if not profile:
        return None
    try:
        return ImageCms.profileToProfile(
            picture, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"),
            outputMode="RGB" if mode == "CMYK" else mode,
        )  # fmt: skip
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _is_srgb(profile: bytes | None) -> bool:
    """Whether a profile leaves colours spread over the whole cube as they are, to one level of 255."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    found = _to_srgb(PIL.Image.fromarray(cube), profile, "RGB")
    return found is not None and int(np.abs(np.asarray(found).astype(int) - cube).max()) <= 1
