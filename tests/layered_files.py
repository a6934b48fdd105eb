"""Readers of layered files that share nothing with the writers: struct and Pillow, zipfile and ElementTree."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image


def psd_layers(data: bytes) -> list[dict[str, Any]]:
    """Box, blend mode, opacity, visibility and (h, w, 4) values of each layer, the lowest first.

    After "Adobe Photoshop File Formats Specification", layer records and channel image data.
    """
    assert data[:6] == b"8BPS\0\1"
    dtype = {8: ">u1", 16: ">u2"}[struct.unpack_from(">H", data, 22)[0]]
    at = 26
    for _ in range(2):  # colour mode data, image resources
        at += 4 + struct.unpack_from(">I", data, at)[0]
    at += 8  # lengths of the section and of the layer info
    count = abs(struct.unpack_from(">h", data, at)[0])
    at += 2
    layers = []
    for _ in range(count):
        top, left, bottom, right, number = struct.unpack_from(">4iH", data, at)
        channels = [struct.unpack_from(">hI", data, at + 18 + 6 * k) for k in range(number)]
        at += 18 + 6 * number
        signature, mode, opacity, _clipping, flags, _filler, extra = struct.unpack_from(">4s4sBBBBI", data, at)
        assert signature == b"8BIM"
        at += 16 + extra
        layers.append(
            {
                "box": (left, top, right, bottom), "mode": mode, "opacity": opacity / 255, "seen": not flags & 2,
                "channels": channels,
            }
        )  # fmt: skip
    for layer in layers:
        left, top, right, bottom = layer["box"]
        planes = {}
        for kind, length in layer.pop("channels"):
            planes[kind] = _plane(data[at : at + length], (bottom - top, right - left), np.dtype(dtype))
            at += length
        full = np.iinfo(dtype).max
        planes.setdefault(-1, np.full_like(planes[0], full))
        layer["values"] = np.dstack([planes[kind] for kind in (0, 1, 2, -1)]).astype(np.float64) / full * 255
    return layers


def _plane(data: bytes, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """One channel: as it is, or its rows packed (TIFF 6.0, section 9)."""
    compression = struct.unpack_from(">H", data)[0]
    assert compression in (0, 1)
    if compression == 0:
        return np.frombuffer(data, dtype, shape[0] * shape[1], 2).reshape(shape)
    packed, out = data[2 + 2 * shape[0] :], bytearray()
    at = 0
    while at < len(packed) and len(out) < shape[0] * shape[1] * dtype.itemsize:
        code = packed[at] if packed[at] < 128 else packed[at] - 256
        if code >= 0:
            out += packed[at + 1 : at + 2 + code]
            at += 2 + code
        else:
            out += packed[at + 1 : at + 2] * (1 - code) if code != -128 else b""
            at += 2
    return np.frombuffer(bytes(out), dtype).reshape(shape)


def psd_flattened(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Layers composited, and the merged image that the file holds, as Pillow reads it: (H, W, 4) in 0 to 255."""
    merged = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGBA"), np.float64)
    canvas = np.zeros_like(merged)
    for layer in psd_layers(data):
        assert layer["mode"] == b"norm" and layer["seen"]
        canvas = _over(canvas, layer["values"], layer["box"][:2], layer["opacity"])
    return canvas, merged


def ora_flattened(data: bytes) -> tuple[np.ndarray, np.ndarray, list[dict[str, str]]]:
    """The same of an OpenRaster file, and the attributes of its layers, the topmost first."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        first = archive.infolist()[0]
        assert first.filename == "mimetype" and first.compress_type == zipfile.ZIP_STORED
        assert data[38:54] == b"image/openraster"  # the file is recognised by these bytes
        assert archive.read("mimetype") == b"image/openraster"
        root = ElementTree.fromstring(archive.read("stack.xml"))
        layers = [dict(layer.attrib) for layer in root.iter("layer")]
        canvas = np.zeros((int(root.attrib["h"]), int(root.attrib["w"]), 4))
        for layer in reversed(layers):
            assert layer["composite-op"] == "svg:src-over"
            picture = PIL.Image.open(io.BytesIO(archive.read(layer["src"]))).convert("RGBA")
            canvas = _over(canvas, np.asarray(picture), (int(layer["x"]), int(layer["y"])), float(layer["opacity"]))
        merged = np.asarray(PIL.Image.open(io.BytesIO(archive.read("mergedimage.png"))).convert("RGBA"), np.float64)
        small = PIL.Image.open(io.BytesIO(archive.read("Thumbnails/thumbnail.png")))
        assert max(small.size) <= 256
    return canvas, merged, layers


def png_flattened(folder: Path) -> np.ndarray:
    """PNGs of one size, stacked in the order of their names."""
    pictures = [PIL.Image.open(path).convert("RGBA") for path in sorted(folder.iterdir())]
    canvas = np.zeros((pictures[0].height, pictures[0].width, 4))
    for picture in pictures:
        canvas = _over(canvas, np.asarray(picture), (0, 0), 1.0)
    return canvas


def _over(canvas: np.ndarray, values: np.ndarray, at: tuple[int, int], opacity: float) -> np.ndarray:
    """A layer (h, w, 4) over a canvas (H, W, 4), both straight and in 0 to 255 (Porter and Duff, "over")."""
    window = (slice(at[1], at[1] + values.shape[0]), slice(at[0], at[0] + values.shape[1]))
    below = canvas[window]
    alpha = values[..., 3:] / 255 * opacity
    rest = below[..., 3:] / 255 * (1 - alpha)
    total = alpha + rest
    mixed = values[..., :3] * alpha + below[..., :3] * rest
    colour = np.divide(mixed, total, out=below[..., :3].copy(), where=total > 0)
    done = canvas.copy()
    done[window] = np.concatenate([colour, 255 * total], axis=2)
    return done
