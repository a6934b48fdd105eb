"""Drawing on Pillow pictures: smooth lines, text that fits, colours. Used by `dift_edit.viz.draw` and the report."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageColor, ImageDraw, ImageFont

from dift_edit.geometry.coords import Points
from dift_edit.imaging.files import as_image
from dift_edit.types import ImageLike

__all__ = [
    "COLOR_MAPS",
    "FAINT",
    "INK",
    "PAPER",
    "at_scale",
    "color_mapped",
    "distinct_colors",
    "draw_badge",
    "draw_dot",
    "draw_ring",
    "draw_tag",
    "load_font",
    "opaque_picture",
    "painted",
    "scaled_to_height",
    "shortened",
    "stroke_width",
    "text_size",
    "thumbnail",
    "wrapped_lines",
]

INK, PAPER, FAINT = "#1f2328", "#ffffff", "#eef0f2"


def draw_badge(
    canvas: PIL.Image.Image, place: tuple[int, int], text: str, font: ImageFont.FreeTypeFont, color: str
) -> None:
    """A label with rounded corners whose top left corner is at `place`."""
    draw = ImageDraw.Draw(canvas, "RGBA")
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = max(3, round(font.size * 0.3))
    x, y = place
    red, green, blue = ImageColor.getrgb(color)[:3]
    draw.rounded_rectangle(
        (x, y, x + right - left + 2 * pad, y + bottom - top + 2 * pad), radius=pad, fill=(red, green, blue, 230)
    )
    ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else PAPER
    draw.text((x + pad - left, y + pad - top), text, fill=ink, font=font)


def draw_tag(
    draw: ImageDraw.ImageDraw, point: Points, text: str, font: ImageFont.FreeTypeFont, color: str, size: tuple[int, int]
) -> None:
    """A label just above a point, moved so that it stays inside a picture of `size`."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = max(2, round(font.size * 0.25))
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = float(np.clip(point[0], 0, max(0, size[0] - width)))
    y = float(np.clip(point[1] - height - pad, 0, max(0, size[1] - height)))
    draw.rectangle((x, y, x + width, y + height), fill=color)
    red, green, blue = ImageColor.getrgb(color)[:3]
    ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else PAPER
    draw.text((x + pad - left, y + pad - top), text, fill=ink, font=font)


def painted(picture: PIL.Image.Image, paint: Callable[[ImageDraw.ImageDraw, int], None]) -> PIL.Image.Image:
    """A picture with a drawing over it, drawn larger and shrunk so that its lines are smooth."""
    scale = 3 if picture.width * picture.height <= 2_000_000 else 1
    overlay = PIL.Image.new("RGBA", (picture.width * scale, picture.height * scale), (255, 255, 255, 0))
    paint(ImageDraw.Draw(overlay), scale)
    if scale > 1:
        overlay = overlay.resize(picture.size, PIL.Image.Resampling.BOX)
    return PIL.Image.alpha_composite(picture.convert("RGBA"), overlay).convert("RGB")


def at_scale(points: Points, scale: int) -> list[tuple[float, float]]:
    """Points (N, 2) of a picture in one that is `scale` times as large."""
    return [(float(x), float(y)) for x, y in (points + 0.5) * scale - 0.5]


def draw_dot(draw: ImageDraw.ImageDraw, point: Points, radius: float, color: Any, scale: int) -> None:
    """A disc with a white rim; `radius` in pixels of the unscaled picture."""
    ((x, y),) = at_scale(point[None], scale)
    for size, fill in ((scale * (radius + 1), PAPER), (scale * radius, color)):
        draw.ellipse((x - size, y - size, x + size, y + size), fill=fill)


def draw_ring(draw: ImageDraw.ImageDraw, point: Points, radius: float, width: int, scale: int) -> None:
    """A white ring with a dark rim; `radius` and `width` in pixels of the unscaled picture."""
    ((x, y),) = at_scale(point[None], scale)
    for size, line, color in ((radius + 1, width + 2, INK), (radius, width, PAPER)):
        reach = scale * size
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=color, width=line * scale)


def load_font(size: float) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, so that pictures look the same everywhere."""
    font = ImageFont.load_default(max(8, size))
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def wrapped_lines(text: str, font: ImageFont.FreeTypeFont, width: int, limit: int) -> list[str]:
    """Lines that fit a width: broken at spaces, inside words where one alone is too long."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            trial = f"{line} {word}" if line else word
            if font.getlength(trial) <= width:
                line = trial
                continue
            if line:
                lines.append(line)
            while font.getlength(word) > width and len(word) > 1:
                cut = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or font.getlength(word[:n]) <= width)
                lines.append(word[:cut])
                word = word[cut:]  # noqa: PLW2901
            line = word
        lines.append(line)
    if text and len(lines) > limit:
        lines = [*lines[: limit - 1], shortened(lines[limit - 1] + "…", font, width)]
    return lines if text else []


def shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A text cut to a width, with … where something is missing."""
    if font.getlength(text) <= width:
        return text
    while len(text) > 1 and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip("…") + "…"


def opaque_picture(image: ImageLike) -> PIL.Image.Image:
    """Over white, 8 bits."""
    picture = as_image(image).to_pil()
    if picture.mode == "RGBA":
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture


def thumbnail(image: ImageLike, longest: int) -> PIL.Image.Image:
    """A picture whose longer side is `longest` pixels."""
    picture = opaque_picture(image)
    scale = longest / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)


def scaled_to_height(image: ImageLike, height: int) -> PIL.Image.Image:
    """A picture of a height, with its aspect ratio."""
    picture = opaque_picture(image)
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)


def stroke_width(size: tuple[int, int]) -> int:
    """A line width in pixels that is seen in a picture of `size`."""
    return max(2, round(min(size) / 180))


def text_size(size: tuple[int, int]) -> int:
    """A text size in pixels that is readable in a picture of `size`."""
    return max(11, round(min(size) / 28))


def distinct_colors(count: int) -> list[tuple[int, int, int]]:
    """Colours that neighbours in the list do not share: golden-angle steps round the colour circle."""
    return [ImageColor.getrgb(f"hsv({(i * 137.508) % 360:.0f}, 85%, 95%)")[:3] for i in range(count)]


COLOR_MAPS = {
    # nodes of matplotlib's "inferno", equal steps in brightness
    "heat": ["#000004", "#280b54", "#65156e", "#9f2a63", "#d44842", "#f57d15", "#fac127", "#fcffa4"],
    "confidence": ["#b2182b", "#e9814d", "#f7dc6f", "#9ccc65", "#1b7837"],
}


def color_mapped(values: npt.NDArray[np.float64], colors: str) -> npt.NDArray[np.float64]:
    """Colours (h, w, 3) in [0, 1] for values in [0, 1]."""
    nodes = np.array([ImageColor.getrgb(name)[:3] for name in COLOR_MAPS[colors]]) / 255.0
    at = np.linspace(0, 1, len(nodes))
    return np.stack([np.interp(values, at, nodes[:, channel]) for channel in range(3)], axis=-1)
