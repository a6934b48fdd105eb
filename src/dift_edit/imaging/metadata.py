"""What may stay of a file's metadata when something in its image was hidden: a short list of known numbers and dates.

Everything else may show or tell what the image showed: thumbnails, maker notes, comments, captions, regions with
names, edit histories, gain and depth maps, positions. What is not on the list is left out, whatever its size.
"""

import math
import re
from dataclasses import replace
from typing import Any

import PIL.Image

from dift_edit.imaging.image import FileInfo
from dift_edit.imaging.profiles import rebuilt_profile

__all__ = ["KEPT_EXIF", "KEPT_IMAGE", "stripped"]

_EXIF = 0x8769
_DATE = r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d"
_OFFSET = r"[+-]\d\d:\d\d"
_FRACTION = r"\d{1,6}"
_VERSION = r"\d{4}"

KEPT_IMAGE: dict[int, str | int] = {
    0x011A: 1, 0x011B: 1, 0x0128: 1, 0x0132: _DATE,
}  # fmt: skip
"""Tags of the image itself (IFD0) that are kept: how many numbers, or what the text must look like.

XResolution, YResolution, ResolutionUnit, DateTime."""

KEPT_EXIF: dict[int, str | int] = {
    0x829A: 1, 0x829D: 1, 0x8822: 1, 0x8827: 1, 0x8830: 1, 0x9000: _VERSION, 0x9003: _DATE, 0x9004: _DATE,
    0x9010: _OFFSET, 0x9011: _OFFSET, 0x9012: _OFFSET, 0x9201: 1, 0x9202: 1, 0x9203: 1, 0x9204: 1, 0x9205: 1, 0x9206: 1,
    0x9207: 1, 0x9208: 1, 0x9209: 1, 0x920A: 1, 0x9290: _FRACTION, 0x9291: _FRACTION, 0x9292: _FRACTION,
    0xA001: 1, 0xA20E: 1, 0xA20F: 1, 0xA210: 1, 0xA217: 1, 0xA402: 1, 0xA403: 1, 0xA404: 1, 0xA405: 1, 0xA406: 1,
    0xA407: 1, 0xA408: 1, 0xA409: 1, 0xA40A: 1, 0xA40C: 1, 0xA432: 4,
}  # fmt: skip
"""Tags of the Exif part that are kept, likewise.

ExposureTime, FNumber, ExposureProgram, ISO, SensitivityType, ExifVersion, DateTimeOriginal, DateTimeDigitized,
OffsetTime, OffsetTimeOriginal, OffsetTimeDigitized, ShutterSpeed, Aperture, Brightness, ExposureBias, MaxAperture,
SubjectDistance, MeteringMode, LightSource, Flash, FocalLength, SubSecTime, SubSecTimeOriginal, SubSecTimeDigitized,
ColorSpace, FocalPlaneXResolution, FocalPlaneYResolution, FocalPlaneResolutionUnit, SensingMethod, ExposureMode,
WhiteBalance, DigitalZoomRatio, FocalLengthIn35mm, SceneCaptureType, GainControl, Contrast, Saturation, Sharpness,
SubjectDistanceRange, LensSpecification (Exif 3.0, tables 7 and 9)."""


def stripped(file: FileInfo | None) -> FileInfo | None:
    """The file information with nothing that may show or tell what was hidden.

    Parameters
    ----------
    file : FileInfo or None
        Of an image in which something is hidden.

    Returns
    -------
    FileInfo or None
        With the tags of `KEPT_IMAGE` and `KEPT_EXIF`, the resolution, JPEG's tables, the subsampling, and a colour
        profile built anew (`dift_edit.imaging.profiles.rebuilt_profile`). An image whose profile cannot be built anew
        has none, and is written in sRGB.
    """
    if file is None:
        return None
    given = file.metadata
    kept: dict[str, Any] = {}
    exif = _exif(given.get("exif"))
    if exif:
        kept["exif"] = exif
    if _numbers(given.get("dpi"), 2):
        kept["dpi"] = tuple(float(value) for value in given["dpi"])
    if given.get("chroma") in (420, 422, 444):
        kept["chroma"] = given["chroma"]
    tables = given.get("qtables")
    if isinstance(tables, dict) and all(_table(table) for table in tables.values()):
        kept["qtables"] = {key: list(table) for key, table in tables.items()}
        kept["subsampling"] = int(given.get("subsampling", 0))
    profile = rebuilt_profile(given["icc_profile"]) if given.get("icc_profile") else None
    if profile is None:
        return replace(file, metadata=kept, native=None, converted=None)
    return replace(file, metadata={**kept, "icc_profile": profile})


def _exif(data: bytes | None) -> bytes | None:
    """Only the tags on the lists; None where there are none, or where it is damaged."""
    if not data:
        return None
    try:
        given, kept = PIL.Image.Exif(), PIL.Image.Exif()
        given.load(data)
        for tag, value in given.items():
            if _fits(value, KEPT_IMAGE.get(tag)):
                kept[tag] = value
        part = {tag: value for tag, value in given.get_ifd(_EXIF).items() if _fits(value, KEPT_EXIF.get(tag))}
        if part:
            kept[_EXIF] = part
        return kept.tobytes() if len(kept) else None
    except Exception:  # noqa: BLE001 - whatever damaged EXIF may do, it must not stay
        return None


def _fits(value: Any, wanted: str | int | None) -> bool:
    if wanted is None:
        return False
    if isinstance(wanted, int):
        return _numbers(value if isinstance(value, tuple) else (value,), wanted)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return isinstance(value, str) and re.fullmatch(wanted, value, re.ASCII) is not None


def _numbers(values: Any, count: int) -> bool:
    if not isinstance(values, tuple) or len(values) != count:
        return False
    try:
        return all(not isinstance(value, str | bytes) and math.isfinite(float(value)) for value in values)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return False


def _table(table: Any) -> bool:
    return len(table) == 64 and all(isinstance(value, int) and 1 <= value <= 255 for value in table)
