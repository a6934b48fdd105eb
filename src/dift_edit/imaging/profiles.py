"""ICC profiles built anew from the few numbers that define a colour space, so that nothing else can ride along."""

import struct

import numpy as np
import numpy.typing as npt

__all__ = ["rebuilt_profile"]

_HEADER = 128
_MOST_TAGS = 100
_CURVE = 1024
"""Samples of a tone curve in a rebuilt profile."""
_PARAMETERS = (1, 3, 4, 5, 7)
"""Numbers of a parametric curve of function type 0 to 4 (ICC.1:2022, table 68)."""
_COLORANTS = (b"rXYZ", b"gXYZ", b"bXYZ")
_CURVES = (b"rTRC", b"gTRC", b"bTRC")


def rebuilt_profile(profile: bytes) -> bytes | None:
    """A matrix profile for RGB with nothing but its white point, colorants, tone curves and adaptation matrix.

    Parameters
    ----------
    profile : bytes
        An ICC profile.

    Returns
    -------
    bytes or None
        A profile of version 2 or 4, like the given one, that converts in the same way, to one level of 255. Texts,
        dates, makers, unknown tags and padding are left out; sampled tone curves, which must rise, are sampled again at
        1,024 places. None when the profile is none of this kind (it has look-up tables, is not for RGB, or is damaged):
        then the image must be converted.

    References
    ----------
    ICC.1:2022, sections 7.2 (header), 8.3.3 (three-component matrix-based profiles) and 10 (types).
    """
    try:
        return _rebuilt(profile)
    except (struct.error, ValueError, IndexError, OverflowError):
        return None


def _rebuilt(profile: bytes) -> bytes | None:
    version, kind, space, connection = struct.unpack_from(">8xI4s4s4s", profile)
    version >>= 24
    if version not in (2, 4) or kind not in (b"mntr", b"scnr", b"spac") or space + connection != b"RGB XYZ ":
        return None
    (count,) = struct.unpack_from(">I", profile, _HEADER)
    if count > _MOST_TAGS:
        return None
    tags: dict[bytes, bytes] = {}
    for number in range(count):
        name, offset, size = struct.unpack_from(">4sII", profile, _HEADER + 4 + 12 * number)
        tags[name] = profile[offset : offset + size]
    if any(name[:3] in (b"A2B", b"B2A", b"D2B", b"B2D") for name in tags):
        return None
    kept = {name: _numbers(tags[name], b"XYZ ", 3) for name in (b"wtpt", *_COLORANTS)}
    kept |= {name: _curve(tags[name]) for name in _CURVES}
    if b"chad" in tags:
        kept[b"chad"] = _numbers(tags[b"chad"], b"sf32", 9)
    kept[b"desc"] = _text("RGB", version, "desc")
    kept[b"cprt"] = _text("none", version, "text")
    return _assembled(kept, 0x04300000 if version == 4 else 0x02400000)


def _numbers(tag: bytes, kind: bytes, count: int) -> bytes:
    """A tag of so many s15Fixed16 numbers."""
    if tag[:4] != kind:
        raise ValueError(kind)
    return kind + bytes(4) + struct.pack(f">{count}i", *struct.unpack_from(f">{count}i", tag, 8))


def _curve(tag: bytes) -> bytes:
    if tag[:4] == b"para":
        (function,) = struct.unpack_from(">H", tag, 8)
        number = _PARAMETERS[function]
        values = struct.unpack_from(f">{number}i", tag, 12)
        return b"para" + bytes(4) + struct.pack(f">HH{number}i", function, 0, *values)
    if tag[:4] != b"curv":
        raise ValueError(tag[:4])
    (count,) = struct.unpack_from(">I", tag, 8)
    if count > 1 << 16:
        raise ValueError(count)
    values = struct.unpack_from(f">{count}H", tag, 12)
    if count > 1:
        values = _resampled(np.array(values, dtype=np.float64))
    return b"curv" + bytes(4) + struct.pack(f">I{len(values)}H", len(values), *values)


def _resampled(values: npt.NDArray[np.float64]) -> tuple[int, ...]:
    if (np.diff(values) < 0).any():
        raise ValueError("a tone curve must rise")
    places = np.linspace(0, len(values) - 1, _CURVE)
    found: list[int] = np.rint(np.interp(places, np.arange(len(values)), values)).astype(int).tolist()
    return tuple(found)


def _text(text: str, version: int, old_kind: str) -> bytes:
    """The description and the copyright, which a profile must have."""
    if version == 4:
        wide = text.encode("utf-16-be")
        return b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(wide), 28) + wide
    plain = text.encode() + b"\0"
    if old_kind == "text":
        return b"text" + bytes(4) + plain
    return b"desc" + struct.pack(">4xI", len(plain)) + plain + bytes(4 + 4 + 2 + 1 + 67)


def _assembled(tags: dict[bytes, bytes], version: int) -> bytes:
    table, data, start = b"", b"", _HEADER + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    header = struct.pack(
        ">I4xI4s4s4s6H4s24xI3i48x", _HEADER + len(body), version, b"mntr", b"RGB ", b"XYZ ", 2000, 1, 1, 0, 0, 0,
        b"acsp", 0, 0xF6D6, 0x10000, 0xD32D,
    )  # fmt: skip
    return header + body
