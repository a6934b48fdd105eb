"""Writing images: the format of the name's ending, with the metadata that the image's file had.

`Image.save` calls this module, so it imports `Image` for its types alone.
"""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from PIL import ImageCms

from dift_edit.atomic_files import write_atomic
from dift_edit.errors import MissingDependencyError, OutputError, first_line
from dift_edit.imaging.heif import encode_heif

if TYPE_CHECKING:
    from dift_edit.imaging.image import Image, Pixels

__all__ = ["OUTPUT_FORMATS", "encoded_png", "save_image"]

OUTPUT_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP",
    ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".gif": "GIF", ".avif": "AVIF", ".heic": "HEIF",
    ".heif": "HEIF", ".hif": "HEIF",
}  # fmt: skip
_NO_ALPHA = {"JPEG", "BMP"}
_METADATA = {
    "JPEG": {"exif", "icc_profile", "xmp", "dpi", "qtables", "subsampling"},
    "PNG": {"exif", "icc_profile", "dpi"},
    "WEBP": {"exif", "icc_profile", "xmp"},
    "TIFF": {"exif", "icc_profile", "dpi"},
    "AVIF": {"exif", "icc_profile", "xmp"},
    "HEIF": {"exif", "icc_profile", "xmp", "chroma"},
}
_QUALITY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "HEIF": {"quality": 95, "chroma": 420},  # what every phone can show
    "TIFF": {"compression": "tiff_deflate"},
}
_IFDS = (0x8769, 0x8825, 0xA005)


def save_image(image: "Image", path: Path | str) -> Path:
    """Write an image under its final name only when it is whole.

    The format follows from the name's ending. Metadata of the file the image came from (EXIF, colour profile,
    JPEG tables) is kept as far as the format has a place for it; pixels that were not edited keep their original
    values, also in a wide-gamut profile. A profile that cannot be converted to is left out: then all is in sRGB. A TIFF
    with an Exif or GPS part is not compressed, because libtiff cannot write these. HEIC keeps 10 of 16 bits; it, AVIF,
    JPEG and WebP are lossy everywhere.

    Parameters
    ----------
    image : Image
        The image.
    path : path
        Where to write; an ending that cannot be written becomes ``.png``.

    Returns
    -------
    Path
        The path that was written.

    Raises
    ------
    OutputError
        If the image cannot be encoded or the file not be written.
    MissingDependencyError
        If the name is one of a HEIC file, and pillow-heif is not installed.
    """
    path = Path(path)
    try:
        return _save(image, path)
    except (OutputError, MissingDependencyError):
        raise
    except MemoryError as error:
        raise OutputError(f"{path} needs more memory to be written than there is: use a smaller picture.") from error
    except Exception as error:  # whatever an encoder may find in a picture or its metadata
        raise OutputError(
            f"{path} cannot be written ({type(error).__name__}: {first_line(error)}): use a .png name."
        ) from error


def _save(image: "Image", path: Path) -> Path:
    format_ = OUTPUT_FORMATS.get(path.suffix.lower())
    if format_ is None:
        path, format_ = path.with_name(path.name + ".png"), "PNG"
    metadata = dict(image.file.metadata) if image.file else {}
    pixels = image.pixels
    alpha = None if format_ in _NO_ALPHA else image.alpha
    if format_ in _NO_ALPHA and image.alpha is not None:
        pixels = _over_white(image)
    profile = metadata.get("icc_profile") if "icc_profile" in _METADATA.get(format_, set()) else None
    if profile and image.file and image.file.native is not None:
        native = _to_native(image, pixels, profile)
        if native is None:
            metadata.pop("icc_profile")
        pixels = pixels if native is None else native
    if pixels.dtype == np.uint16 and format_ in ("PNG", "TIFF"):
        data = _encode_16_bit(pixels, alpha, ".png" if format_ == "PNG" else ".tiff", profile)
        write_atomic(path, lambda file: file.write(data))
        return path
    options = {**_QUALITY.get(format_, {}), **{k: v for k, v in metadata.items() if k in _METADATA.get(format_, set())}}
    if "qtables" in options:
        options.pop("quality", None)
    if format_ == "TIFF" and _has_parts(options.get("exif")):
        options["compression"] = "raw"
    if format_ == "HEIF":
        whole = replace(image, pixels=pixels, alpha=alpha)
        data = encode_heif(np.asarray(whole if pixels.dtype == np.uint16 else whole.to_pil()), **options)
        write_atomic(path, lambda file: file.write(data))
        return path
    picture = replace(image, pixels=pixels, alpha=alpha).to_pil()
    write_atomic(path, lambda file: picture.save(file, format_, **options))
    return path


def encoded_png(image: "Image") -> bytes:
    """The bytes of a PNG with an image's pixels in its own depth, and nothing of its file's metadata."""
    if image.pixels.dtype == np.uint16:
        return _encode_16_bit(image.pixels, image.alpha, ".png", None)
    buffer = io.BytesIO()
    image.to_pil().save(buffer, "PNG")
    return buffer.getvalue()


def _has_parts(exif: bytes | None) -> bool:
    """Whether there are IFDs beside the first, which Pillow's own TIFF writer can write, but not libtiff."""
    if not exif:
        return False
    found = PIL.Image.Exif()
    found.load(exif)
    return any(part in found for part in _IFDS)


def _over_white(image: "Image") -> "Pixels":
    assert image.alpha is not None
    opacity = image.alpha[..., None].astype(np.float32) / image.full_scale
    mixed = image.pixels * opacity + image.full_scale * (1 - opacity)
    return (mixed if image.full_scale == 1 else np.round(mixed)).astype(image.pixels.dtype)


def _to_native(image: "Image", pixels: "Pixels", profile: bytes) -> "Pixels | None":
    """Unedited pixels as they were, edited ones converted to the file's own profile; None if it cannot be inverted."""
    assert image.file is not None and image.file.native is not None and image.file.converted is not None
    if pixels.shape != image.file.native.shape or pixels.dtype != np.uint8:
        return pixels
    changed = (pixels != image.file.converted).any(axis=2)
    if image.written is not None:
        changed |= image.written  # colours outside sRGB may equal the edit's own after conversion
    try:
        converted = ImageCms.profileToProfile(
            PIL.Image.fromarray(pixels), ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile))
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return np.where(changed[..., None], np.asarray(converted), image.file.native)


def _encode_16_bit(pixels: "Pixels", alpha: "Pixels | None", suffix: str, profile: bytes | None) -> bytes:
    import cv2  # only here: the window of napari needs this module for the names of results

    order = pixels[..., ::-1] if alpha is None else np.concatenate([pixels[..., ::-1], alpha[..., None]], axis=2)
    done, encoded = cv2.imencode(suffix, np.ascontiguousarray(order))
    if not done:
        raise OutputError("The 16-bit picture cannot be encoded: save it as an 8-bit PNG.")
    data = encoded.tobytes()
    return _insert_png_profile(data, profile) if profile and suffix == ".png" else data


def _insert_png_profile(data: bytes, profile: bytes) -> bytes:
    """Put an iCCP chunk behind the header (PNG specification, 11.3.2.3)."""
    body = b"ICC profile\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(body)) + b"iCCP" + body + struct.pack(">I", zlib.crc32(b"iCCP" + body))
    return data[:33] + chunk + data[33:]
