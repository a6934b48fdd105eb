"""Images in layers: the target below, each edit above it, written as PSD, OpenRaster or a folder's worth of PNGs.

Layers are in sRGB and carry nothing of a file's metadata. They are as large as what they show, in the depth of the
target where the format has it.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import PIL.Image

from dift_edit.errors import MissingDependencyError, OutputError
from dift_edit.imaging.image import Image, Pixels
from dift_edit.imaging.writing import encoded_png

__all__ = ["ImageLayer", "LayeredImage", "encoded_mask"]

_PSD_SIDE = 30_000
"""Pixels: a PSD holds no more a side (Adobe Photoshop File Formats Specification, file header)."""
_THUMBNAIL = 256
"""Pixels of the longest side of an OpenRaster thumbnail (OpenRaster 0.0.6, Thumbnails)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageLayer:
    """One edit on one target.

    Attributes
    ----------
    name : str
        What it is: "1 sticker", "2 recolour".
    image : Image
        Its part of the target, with alpha; straight colours in sRGB.
    at : (x, y)
        The target's pixel on which the image's first one lies.
    opacity : float
        With which it lies on what is below, 0 to 1.
    note : str
        What is baked into the pixels, because no format has it; empty where nothing is.
    """

    name: str
    image: Image
    at: tuple[int, int]
    opacity: float = 1.0
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayeredImage:
    """A target with its edits in layers, see `dift_edit.edits.layered`.

    Attributes
    ----------
    base : Image
        The bottom layer: the target as it is; where something is redacted, after the last redaction.
    layers : tuple of ImageLayer
        The edits above it, the lowest first.
    masks : dict
        Name → (H, W) uint8, how much of each pixel an edit covers, its opacity not counted; also of the edits that are
        in the bottom layer.
    flat : Image
        All of it in one, as `Edit.apply` gives it.
    reach : ndarray
        (H, W) bool: the pixels that the edits set. All others are the target's.
    """

    base: Image
    layers: tuple[ImageLayer, ...]
    masks: dict[str, npt.NDArray[np.uint8]]
    flat: Image
    reach: npt.NDArray[np.bool_]

    def notes(self, kind: str) -> list[str]:
        """What a format ("psd", "ora" or "png") cannot keep apart, in a few words each."""
        said = [f"{layer.name}: {layer.note}" for layer in self.layers if layer.note]
        if kind == "png":
            said += [f"{layer.name}: opacity baked" for layer in self.layers if layer.opacity < 1]
        if kind == "ora" and self.base.pixels.dtype != np.uint8:
            said.append("8 bits in OpenRaster")
        if self.flat.file is not None and self.flat.file.native is not None:
            said.append("colours in sRGB, not in the profile of the target")
        return said

    def encoded(self, kind: str) -> dict[str, bytes]:
        """The files of a format.

        Parameters
        ----------
        kind : {"psd", "ora", "png"}
            An image of Photoshop, of OpenRaster (Krita, GIMP, MyPaint), or one PNG of the target's size for each layer.

        Returns
        -------
        dict
            Ending → bytes: ".psd", ".ora", or "/0-target.png", "/1-sticker.png"….

        Raises
        ------
        MissingDependencyError
            If psd-tools is not installed.
        OutputError
            If the image is too large for the format.
        """
        return _ENCODERS[kind](self)


def encoded_mask(mask: npt.NDArray[np.uint8]) -> bytes:
    """A mask (H, W) as a grey PNG of 8 bits."""
    return _pillow_png(PIL.Image.fromarray(mask))


def _whole(layer: ImageLayer, like: Image) -> Image:
    """A layer on a transparent canvas of the target's size, its opacity in its alpha."""
    pixels = np.zeros_like(like.pixels)
    alpha = np.zeros(like.pixels.shape[:2], like.pixels.dtype)
    x, y = layer.at
    width, height = layer.image.size
    window = (slice(y, y + height), slice(x, x + width))
    assert layer.image.alpha is not None
    pixels[window] = layer.image.pixels
    scaled = layer.image.alpha * np.float32(layer.opacity)
    alpha[window] = scaled if like.full_scale == 1 else np.rint(scaled).astype(alpha.dtype)
    return Image(pixels, alpha)


def _encode_png(made: LayeredImage) -> dict[str, bytes]:
    files = {"/0-target.png": encoded_png(_bare(made.base))}
    for layer in made.layers:
        files[f"/{layer.name.replace(' ', '-')}.png"] = encoded_png(_whole(layer, made.base))
    return files


def _encode_ora(made: LayeredImage) -> dict[str, bytes]:
    """A zip of PNGs and an XML file that stacks them, the topmost first (OpenRaster 0.0.6)."""
    width, height = made.base.size
    root = ElementTree.Element("image", {"version": "0.0.6", "w": str(width), "h": str(height)})
    stack = ElementTree.SubElement(root, "stack")
    bottom = ImageLayer(name="target", image=made.base, at=(0, 0))
    pictures: dict[str, bytes] = {}
    for number, layer in reversed(list(enumerate((bottom, *made.layers)))):
        source = f"data/layer{number}.png"
        pictures[source] = encoded_png(_eight_bits(layer.image))
        ElementTree.SubElement(
            stack,
            "layer",
            {
                "name": layer.name,
                "src": source,
                "x": str(layer.at[0]),
                "y": str(layer.at[1]),
                "opacity": f"{layer.opacity:.6g}",
                "visibility": "visible",
                "composite-op": "svg:src-over",
            },
        )
    flat = _eight_bits(made.flat)
    pictures["mergedimage.png"] = encoded_png(flat)
    small = flat.to_pil()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    pictures["Thumbnails/thumbnail.png"] = _pillow_png(small)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "mimetype", b"image/openraster")
        xml = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
        _add(archive, "stack.xml", xml, zipfile.ZIP_DEFLATED)
        for name, data in pictures.items():
            _add(archive, name, data)
    return {".ora": buffer.getvalue()}


def _add(archive: zipfile.ZipFile, name: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """One file of an archive, without the time of writing: equal images give equal bytes."""
    archive.writestr(zipfile.ZipInfo(name), data, compression)


def _pillow_png(picture: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _encode_psd(made: LayeredImage) -> dict[str, bytes]:
    """Pixel layers of normal blend mode, and the flattened result as the merged image."""
    if max(made.base.size) > _PSD_SIDE:
        raise OutputError(
            f"{made.base.name} has {made.base.size[0]}×{made.base.size[1]} pixels, but a PSD holds {_PSD_SIDE:,} a "
            "side: use ora or png for its layers."
        )
    try:
        from psd_tools import PSDImage
    except ImportError as error:
        raise MissingDependencyError("psd-tools", "layers", "Writing PSD") from error
    deep = made.base.pixels.dtype != np.uint8
    mode = "RGB" if made.flat.alpha is None else "RGBA"
    document = PSDImage.new(mode, made.base.size, depth=16 if deep else 8)
    document.create_pixel_layer_from_array(np.asarray(made.base), name="target")
    for layer in made.layers:
        document.create_pixel_layer_from_array(
            np.asarray(layer.image),
            name=layer.name,
            left=layer.at[0],
            top=layer.at[1],
            opacity=round(255 * layer.opacity),
        )
    flat = np.asarray(made.flat)
    if flat.dtype == np.float32:
        flat = np.rint(np.clip(flat, 0, 1) * 65535).astype(np.uint16)
    planes = [
        np.ascontiguousarray(plane).astype(">u2" if deep else np.uint8).tobytes() for plane in np.moveaxis(flat, 2, 0)
    ]
    # The writer below `PSDImage.save`, which would composite the layers itself to make the merged image.
    record = document._record
    record.image_data.set_data(planes, record.header)
    buffer = io.BytesIO()
    record.write(buffer)
    return {".psd": buffer.getvalue()}


def _bare(image: Image) -> Image:
    """Pixels alone, without what is known of the file."""
    return Image(image.pixels, image.alpha)


def _eight_bits(image: Image) -> Image:
    if image.pixels.dtype == np.uint8:
        return _bare(image)
    array: Pixels = np.asarray(image.to_pil())
    return Image(
        np.ascontiguousarray(array[..., :3]), None if array.shape[2] == 3 else np.ascontiguousarray(array[..., 3])
    )


_ENCODERS: dict[str, Callable[[LayeredImage], dict[str, bytes]]] = {
    "psd": _encode_psd,
    "ora": _encode_ora,
    "png": _encode_png,
}
