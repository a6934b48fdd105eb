"""Pictures that are the same but for a text in one place, and what is left of the text when the place is hidden.

A result that is byte for byte the same for two texts tells nothing of either. For the modes that keep means the second
picture has the first one's pixels exchanged inside each cell.
"""

import base64
import functools
import importlib.util
import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from color_profiles import WIDE, table_profile, wide_profile
from dift_edit.edits import Erase, Redaction, Region
from dift_edit.edits.redaction import cells_of
from dift_edit.imaging.files import load_image
from dift_edit.imaging.heif import is_heif, open_heif
from dift_edit.imaging.writing import save_image
from dift_edit.rendering.compositing import Compositing
from transforms import similarity

__all__ = ["EDITS", "INPUTS", "LOSSY", "OUTPUTS", "PROFILES", "SHAPES", "Case", "drawn", "leaks", "profiles_of"]

SIZE = (176, 128)
CENTRE = (88.0, 64.0)
TEXT = (48, 52)
TEXT_SIZE = (80, 24)
WORDS = ("ANNA K. 4711", "OTTO B. 0815")

INPUTS = (
    "png", "png palette", "png alpha", "png gray", "png gray alpha", "png 1 bit", "png 16 bit", "png 16 bit alpha",
    "tiff", "tiff cmyk", "tiff 16 bit", "tiff gray 16 bit", "tiff float", "tiff frames", "gif frames", "bmp",
    "webp lossless",
)  # fmt: skip
HEIF = importlib.util.find_spec("pillow_heif") is not None
LOSSY = ("jpeg", "jpeg cmyk", "jpeg gray", "mpo", "webp", "avif") + ("heic",) * HEIF
OUTPUTS = (".png", ".jpg", ".tif", ".webp", ".avif", ".gif", ".bmp") + (".heic",) * HEIF
PROFILES = ("none", *WIDE, "table")
EDITS = ("pixelate", "blur", "fill", "erase")
SHAPES = ("box", "polygon", "mask", "ellipse")
_PROFILED = {
    "png", "tiff", "webp lossless", "jpeg", "webp", "avif", "heic", "mpo", "png alpha", "tiff frames", "png 16 bit",
    "png 16 bit alpha",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One picture, what is hidden in it and how, and the format of the result."""

    kind: str
    profile: str = "none"
    edit: str = "fill"
    shape: str = "box"
    output: str = ".png"
    scale: float = 1.0
    degrees: float = 0.0
    cells: int = 5
    opacity: float = 1.0
    feather: float = 0.0
    orientation: int = 1
    seed: int = 0

    @property
    def transform(self):
        """Turned and scaled about the picture's middle, from a source of the same size."""
        move = similarity(self.scale, self.degrees)
        x, y = np.array(CENTRE) - move(np.array([CENTRE]))[0]
        return similarity(self.scale, self.degrees, x, y)

    @property
    def region(self):
        """It covers the text with 8 pixels to spare on every side, wherever it is turned to."""
        reach = (np.array(TEXT_SIZE) / 2 + 8) / self.scale
        angle = np.radians(self.degrees)
        turned = np.abs([[np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ reach
        x, y = np.array(CENTRE) - turned
        w, h = 2 * turned
        if self.shape == "box":
            return Region.box(x, y, w, h)
        if self.shape == "polygon":
            return Region.polygon([(x, y), (x + w, y), (x + w, y + h), (x + w / 2, y + h + 3), (x, y + h)])
        if self.shape == "ellipse":
            return Region.ellipse(x - 0.22 * w, y - 0.22 * h, 1.44 * w, 1.44 * h)
        mask = np.zeros((SIZE[1] * 2, SIZE[0] * 2), np.float32)
        mask[max(0, int(y)) : int(np.ceil(y + h)), max(0, int(x)) : int(np.ceil(x + w))] = 1
        return Region.mask(mask)

    def made(self):
        """The edit and its blending."""
        blending = Compositing(opacity=self.opacity, feather=self.feather)
        if self.edit == "erase":
            return Erase(self.region), blending
        return Redaction(region=self.region, mode=self.edit, cells=self.cells, color="#3c5a78"), blending


@functools.cache
def word(number):
    """(h, w) bool."""
    canvas = PIL.Image.new("L", TEXT_SIZE)
    PIL.ImageDraw.Draw(canvas).text((2, 3), WORDS[number], font=PIL.ImageFont.load_default(12), fill=255)
    mask = np.asarray(canvas) > 127
    assert mask.sum() > 100
    return mask


def pixels(case, number, channels, top):
    """(H, W, channels) of stored values as they are displayed, 0 to `top`: a textured ground with a text."""
    rng = np.random.default_rng(case.seed)
    small = PIL.Image.fromarray(rng.integers(0, 256, (6, 8, 4), dtype=np.uint8), "RGBA").resize(SIZE)
    ground = np.asarray(small).astype(np.float64) / 255 + rng.normal(0, 0.02, (SIZE[1], SIZE[0], 4))
    if case.profile != "none":  # colours outside sRGB, which clip
        ground[..., :3] = ground[..., :3] * (0.3, 0.1, 0.1) + (0.7, 0, 0)
    ground = np.clip(ground[..., :channels], 0, 1)
    x, y = TEXT
    part = ground[y : y + TEXT_SIZE[1], x : x + TEXT_SIZE[0]]
    part[word(number)] = (0.88, 0, 0, 0.2)[:channels] if case.profile != "none" else (0.05, 0.1, 0.05, 0.2)[:channels]
    return np.rint(ground * top)


def hidden_mask(case):
    """(H, W) bool that the redaction hides."""
    edit, _ = case.made()
    inner, box = edit._hidden(case.transform, SIZE)
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[box[1] : box[3], box[0] : box[2]] = inner
    return mask


def exchanged(case, values):
    """The same values with those inside each cell in another order."""
    mask = hidden_mask(case)
    cell, _, _ = cells_of(mask, case.cells)
    rows, columns = np.nonzero(mask)
    order = np.random.default_rng(case.seed + 1).permutation(len(cell))
    order = order[np.argsort(cell[order], kind="stable")]
    start = np.argsort(cell, kind="stable")
    result = values.copy()
    result[rows[start], columns[start]] = values[rows[order], columns[order]]
    assert not np.array_equal(result, values)
    return result


def secrets(number):
    """Metadata that shows or tells what is hidden: a preview, a caption, a depth map."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(number + 100).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(buffer, "JPEG")
    preview, text = buffer.getvalue(), WORDS[number]
    exif = PIL.Image.Exif()
    exif[0x010E], exif[0x0132], exif[0x8298] = text, "2024:05:06 07:08:09", text
    exif[0x8769] = {0x9286: b"ASCII\0\0\0" + preview, 0x927C: preview, 0xFDE8: preview, 0x829A: 0.01, 0xA430: text}
    exif[0x8825] = {0x1B: preview, 1: "N", 2: (52.0, 31.0, float(number))}
    depth = base64.b64encode(preview)
    xmp = b"<x:xmpmeta><GDepth:Data>" + depth + b"</GDepth:Data><dc:title>" + text.encode() + b"</dc:title></x:xmpmeta>"
    return preview, text, exif, xmp, depth


def stored(case, path, number, *, swap=False):
    """Write the picture with the text `number`, or with its pixels exchanged inside each cell."""
    kind = case.kind
    preview, text, exif, xmp, _ = secrets(number)
    modes = {
        "png palette": ("P", 3), "png alpha": ("RGBA", 4), "png gray": ("L", 1), "png gray alpha": ("LA", 2),
        "png 1 bit": ("1", 1), "tiff cmyk": ("CMYK", 4), "jpeg cmyk": ("CMYK", 4), "jpeg gray": ("L", 1),
    }  # fmt: skip
    mode, channels = modes.get(kind, ("RGB", 3))
    deep = "16 bit" in kind
    if deep or kind == "tiff float":
        channels = 1 if kind in ("tiff gray 16 bit", "tiff float") else 4 if "alpha" in kind else 3
    values = pixels(case, number, channels, 65535 if deep else 255)
    if kind == "png 1 bit":
        values = 255 * (values > 127)
    if kind == "png palette" or kind == "gif frames":
        values = values // 64 * 64
    if swap:
        values = exchanged(case, values)
    inverse = {6: PIL.Image.Transpose.ROTATE_90, 3: PIL.Image.Transpose.ROTATE_180, 8: PIL.Image.Transpose.ROTATE_270,
               5: PIL.Image.Transpose.TRANSPOSE, 2: PIL.Image.Transpose.FLIP_LEFT_RIGHT}  # fmt: skip
    extra = {}
    if case.profile != "none" and kind in _PROFILED:
        whole = table_profile() if case.profile == "table" else None
        extra["icc_profile"] = whole or wide_profile(case.profile, text=text, extra={b"priv": preview})
    if deep or kind == "tiff float":
        _write_deep(path, kind, values, exif, extra)
        return
    array = values.astype(np.uint8)[..., 0] if channels == 1 else values.astype(np.uint8)
    if mode == "P":
        picture = _with_palette(array)
    else:
        picture = PIL.Image.fromarray(array, "L").convert("1") if mode == "1" else PIL.Image.fromarray(array, mode)
    if case.orientation != 1 and not kind.startswith(("gif", "bmp")):
        picture = picture.transpose(inverse[case.orientation])
        exif[0x0112] = case.orientation
    if kind == "bmp":
        picture.save(path, "BMP")
    elif kind == "gif frames":
        frames = _with_palette(array), picture.transpose(PIL.Image.Transpose.FLIP_TOP_BOTTOM)
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], comment=text.encode())
    elif kind == "heic":
        import pillow_heif

        data, more = picture.tobytes(), {"exif": exif.tobytes(), "xmp": xmp, **extra}
        pillow_heif.encode("RGB", picture.size, data, str(path), quality=95, **more)
    elif kind == "mpo":
        picture.save(path, "MPO", save_all=True, append_images=[picture.rotate(180)], exif=exif.tobytes(), **extra)
    elif kind.startswith("tiff"):
        frames = {"save_all": True, "append_images": [picture.rotate(180)]} if "frames" in kind else {}
        exif[0x8649], exif[0x02BC] = preview, xmp
        picture.save(path, "TIFF", exif=exif.tobytes(), **frames, **extra)
    elif kind.startswith("png"):
        info = PIL.PngImagePlugin.PngInfo()
        info.add_text("Description", text, zip=True)
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        picture.save(path, "PNG", exif=exif.tobytes(), pnginfo=info, **extra)
    else:
        options = {"lossless": True, "exact": True} if kind == "webp lossless" else {"quality": 95}
        format_ = {"webp lossless": "WEBP", "webp": "WEBP", "avif": "AVIF"}.get(kind, "JPEG")
        picture.save(path, format_, exif=exif.tobytes(), xmp=xmp, **options, **extra)


def _with_palette(array):
    """Indices into the palette of its colours, which leaves none out."""
    colors, index = np.unique(array.reshape(-1, 3), axis=0, return_inverse=True)
    assert len(colors) <= 256
    picture = PIL.Image.fromarray(index.reshape(array.shape[:2]).astype(np.uint8), "P")
    picture.putpalette(colors.astype(np.uint8).tobytes())
    return picture


def _write_deep(path, kind, values, exif, extra):
    if kind == "tiff float":
        PIL.Image.fromarray((values[..., 0] / 255).astype(np.float32), "F").save(path, "TIFF", exif=exif.tobytes())
    elif kind == "tiff gray 16 bit":
        PIL.Image.fromarray(values[..., 0].astype(np.uint16)).save(path, "TIFF", exif=exif.tobytes())
    else:
        import cv2

        order = values.astype(np.uint16)[..., [2, 1, 0, 3][: values.shape[2]]]
        done, data = cv2.imencode(".png" if kind.startswith("png") else ".tiff", np.ascontiguousarray(order))
        assert done
        data = data.tobytes()
        if kind.startswith("png"):
            raw = exif.tobytes().removeprefix(b"Exif\0\0")
            chunk = struct.pack(">I", len(raw)) + b"eXIf" + raw + struct.pack(">I", zlib.crc32(b"eXIf" + raw))
            if "icc_profile" in extra:
                body = b"iCCP" + b"a profile\0\0" + zlib.compress(extra["icc_profile"])
                chunk += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
            data = data[:33] + chunk + data[33:]
        path.write_bytes(data)


def opened(data):
    """A picture from the bytes of its file."""
    return open_heif(io.BytesIO(data), "") if is_heif(data) else PIL.Image.open(io.BytesIO(data))


def exif_parts(exif):
    """The tags of all parts of EXIF; a part that is not there is left out (older Pillows raise KeyError for it)."""
    parts = [exif, *(exif.get_ifd(tag) for tag in (0x8769, 0x8825, 1))]
    return [*parts, exif.get_ifd(0xA005)] if 0xA005 in parts[1] else parts


def unpacked(data):
    """The bytes of a file, of its metadata, and of whatever is compressed in it."""
    found = [data]
    start = -1
    while (start := data.find(b"\x78", start + 1)) >= 0:
        if start + 1 < len(data) and data[start + 1] in b"\x01\x5e\x9c\xda":
            stream = zlib.decompressobj()
            try:
                found.append(stream.decompress(data[start:], 1 << 22))
            except zlib.error:
                continue
    with opened(data) as picture:
        found += [value if isinstance(value, bytes) else str(value).encode() for value in picture.info.values()]
        for tags in exif_parts(picture.getexif()):
            found += [value if isinstance(value, bytes) else str(value).encode() for value in tags.values()]
    return b"\n".join(found)


def outcome(case, path, folder, name):
    """The bytes of the result."""
    edit, blending = case.made()
    result = edit.apply(load_image(path), case.transform, compositing=blending)
    return save_image(result, folder / f"{name}{case.output}").read_bytes()


def profiles_of(kind):
    """The colour profiles that pictures of a kind are tried with."""
    return PROFILES if kind in _PROFILED else ("none",)


def drawn(kind, edit, profile, seed):
    """A case with everything else drawn; an erasure with an opacity or a feather is not meant to hide."""
    rng = np.random.default_rng((seed, *map(ord, kind + edit + profile)))
    blending = {} if edit == "erase" else {"opacity": rng.choice([1.0, 0.3]), "feather": rng.choice([0.0, 5.0])}
    return Case(
        kind, profile, edit, str(rng.choice(SHAPES)), ".png" if kind in LOSSY else str(rng.choice(OUTPUTS)),
        scale=float(rng.choice([1.0, rng.uniform(0.6, 1.6)])), degrees=float(rng.choice([0.0, rng.uniform(-180, 180)])),
        cells=int(rng.integers(1, 9)), orientation=int(rng.choice([1, 2, 3, 5, 6, 8])), seed=seed, **blending,
    )  # fmt: skip


def _lossy_leaks(case, folder):
    """Two lossy pictures differ all over, so the hidden part of the results is looked at, not their bytes."""
    hidden = hidden_mask(case) if case.edit != "erase" else None
    files = []
    for number, name in enumerate("ab"):
        path = folder / f"{name}.jpg"
        stored(case, path, number)
        files.append(outcome(case, path, folder, f"result-{name}"))
    first, second = (np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")).astype(float) for data in files)
    found = traces(files[0], 0)
    if case.edit == "fill" and not np.array_equal(first[hidden], second[hidden]):
        found.append("the result depends on what is hidden")
    if case.edit == "pixelate" and len(np.unique(first[hidden], axis=0)) > case.cells**2:
        found.append("more than the means of the cells")
    if case.edit == "erase":
        x, y = TEXT
        part = (slice(y, y + TEXT_SIZE[1]), slice(x, x + TEXT_SIZE[0]))
        change = (first - second)[part].mean(axis=2)
        letters = word(0).astype(float) - word(1)
        if change.std() > 0 and abs(np.corrcoef(change.ravel(), letters.ravel())[0, 1]) > 0.3:
            found.append("what filled the place looks like the text")
    return found


def leaks(case, folder):
    """What a result tells of what was hidden, in words; nothing when it holds."""
    if case.kind in LOSSY:
        return _lossy_leaks(case, folder)
    means = case.edit in ("pixelate", "blur")
    files = []
    for number, name in enumerate("ab"):
        path = folder / f"{name}.{case.kind.split()[0]}"
        stored(case, path, 0 if means else number, swap=means and number == 1)
        files.append(outcome(case, path, folder, f"result-{name}"))
    found = [] if files[0] == files[1] else ["the result depends on what is hidden"]
    return found + traces(files[0], 0)


def traces(data, number):
    """What of the metadata of a picture is in a result."""
    preview, text, _, _, depth = secrets(number)
    inside = unpacked(data)
    coded = preview[preview.index(b"\xff\xda") + 20 :]
    found = []
    if any(coded[start : start + 16] in inside for start in range(0, len(coded) - 16, 3)):
        found.append("a piece of a preview")
    if any(text.encode(code) in inside for code in ("utf-8", "utf-16-le", "utf-16-be")):
        found.append("the text")
    if depth[40:80] in inside:
        found.append("the depth map")
    with opened(data) as picture:
        if getattr(picture, "n_frames", 1) != 1:
            found.append("other frames")
        if 0x8825 in picture.getexif():
            found.append("the position")
    return found
