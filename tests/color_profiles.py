"""ICC profiles of wide-gamut colour spaces, and profiles of the kinds that make trouble."""

import struct

import numpy as np

WIDE = {
    "adobe": ([(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)], 563 / 256),
    "prophoto": ([(0.79767, 0.28804, 0.0), (0.13519, 0.71187, 0.0), (0.03135, 0.00009, 0.82491)], 1.8),
    "p3": ([(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)], 2.2),
}
"""Colorants adapted to D50, and the exponent of the tone curve."""


def fixed(*values):
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def curve(gamma, kind="gamma"):
    if kind == "gamma":
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    if kind == "parametric":
        return b"para" + bytes(4) + struct.pack(">HH", 0, 0) + fixed(gamma)
    values = np.rint(65535 * np.linspace(0, 1, 4096) ** gamma).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", 4096) + values.tobytes()


def profile_of(tags, *, version=0x02400000, connection=b"XYZ ", space=b"RGB "):
    start, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, tag in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    head = struct.pack(
        ">I4sI4s4s4s6H4s24xI", start + len(data), b"test", version, b"mntr", space, connection, 2020, 2, 3, 4, 5, 6,
        b"acsp", 0,
    )  # fmt: skip
    return head + fixed(0.9642, 1.0, 0.8249) + bytes(48) + struct.pack(">I", len(tags)) + table + data


def texts(text):
    plain = text.encode() + b"\0"
    description = b"desc" + struct.pack(">4xI", len(plain)) + plain + bytes(78)
    return {b"desc": description, b"cprt": b"text" + bytes(4) + plain}


def wide_profile(name, *, kind="gamma", extra=None, text="a wide space"):
    """A matrix profile; `extra` tags as {name: bytes}."""
    colorants, gamma = WIDE[name]
    tags = {**texts(text), b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)}
    for channel, xyz in zip(b"rgb", colorants, strict=True):
        tags[bytes([channel]) + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*xyz)
        tags[bytes([channel]) + b"TRC"] = curve(gamma, kind)
    return profile_of({**tags, **(extra or {})})


def table_profile():
    """A look-up table from RGB to Lab and none back: it cannot be inverted."""
    ramp = bytes(range(256)) * 3
    clut = bytes(v for r in (0, 255) for g in (0, 255) for b in (0, 255) for v in ((r + g + b) // 3, r, b))
    lut = b"mft1" + bytes(4) + bytes([3, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + ramp + clut + ramp
    white = b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)
    return profile_of({**texts("one way"), b"wtpt": white, b"A2B0": lut}, connection=b"Lab ")
