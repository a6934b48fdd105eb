"""Readers of layered files that share nothing with the writers: struct and Pillow, zipfile and ElementTree."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
from PIL import PsdImagePlugin


def psd_records(data: bytes) -> list[dict[str, Any]]:
    """Box, blend mode, opacity and visibility of each layer, the lowest first (Adobe's file format, layer records)."""
    assert data[:6] == b"8BPS\0\1"
    at = 26
    for _ in range(2):  # colour mode data, image resources
        at += 4 + struct.unpack_from(">I", data, at)[0]
    at += 8  # lengths of the section and of the layer info
    count = abs(struct.unpack_from(">h", data, at)[0])
    at += 2
    records = []
    for _ in range(count):
        top, left, bottom, right, channels = struct.unpack_from(">4iH", data, at)
        at += 18 + 6 * channels
        signature, mode, opacity, _clipping, flags, _filler, extra = struct.unpack_from(">4s4sBBBBI", data, at)
        assert signature == b"8BIM"
        at += 16 + extra
        records.append(
            {"box": (left, top, right, bottom), "mode": mode, "opacity": opacity / 255, "seen": not flags & 2}
        )
    return records


def psd_flattened(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Layers composited, and the merged image that the file holds: (H, W, 4) in 0 to 255."""
    picture = PIL.Image.open(io.BytesIO(data))
    assert isinstance(picture, PsdImagePlugin.PsdImageFile)
    merged = np.asarray(picture.convert("RGBA"), np.float64)
    canvas = np.zeros_like(merged)
    for number, record in enumerate(psd_records(data), 1):
        assert record["mode"] == b"norm" and record["seen"]
        picture.seek(number)
        canvas = _over(canvas, picture.convert("RGBA"), record["box"][:2], record["opacity"])
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
            canvas = _over(canvas, picture, (int(layer["x"]), int(layer["y"])), float(layer["opacity"]))
        merged = np.asarray(PIL.Image.open(io.BytesIO(archive.read("mergedimage.png"))).convert("RGBA"), np.float64)
        small = PIL.Image.open(io.BytesIO(archive.read("Thumbnails/thumbnail.png")))
        assert max(small.size) <= 256
    return canvas, merged, layers


def png_flattened(folder: Path) -> np.ndarray:
    """PNGs of one size, stacked in the order of their names."""
    pictures = [PIL.Image.open(path).convert("RGBA") for path in sorted(folder.iterdir())]
    canvas = np.zeros((pictures[0].height, pictures[0].width, 4))
    for picture in pictures:
        canvas = _over(canvas, picture, (0, 0), 1.0)
    return canvas


def _over(canvas: np.ndarray, picture: PIL.Image.Image, at: tuple[int, int], opacity: float) -> np.ndarray:
    values = np.asarray(picture, np.float64)
    below = canvas[at[1] : at[1] + picture.height, at[0] : at[0] + picture.width]
    alpha = values[..., 3:] / 255 * opacity
    rest = below[..., 3:] / 255 * (1 - alpha)
    total = alpha + rest
    colour = np.divide(values[..., :3] * alpha + below[..., :3] * rest, total, out=below[..., :3].copy(), where=total > 0)
    done = canvas.copy()
    done[at[1] : at[1] + picture.height, at[0] : at[0] + picture.width] = np.concatenate([colour, 255 * total], axis=2)
    return done
