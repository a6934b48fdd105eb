"""Pictures for people: matches, quads, heat maps, comparisons and contact sheets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageColor, ImageDraw, ImageFont

from dift_edit.coords import Points, as_points
from dift_edit.errors import EditError
from dift_edit.image import Image, as_image

__all__ = [
    "STATUS_COLORS",
    "before_after",
    "contact_sheet",
    "draw_heatmap",
    "draw_matches",
    "draw_mesh",
    "draw_quad",
]

STATUS_COLORS = {"applied": "#2e9e5b", "abstained": "#e0a100", "failed": "#d64545", "source": "#4c72b0"}
"""Colour of a result's status in pictures; the word is always written too."""

_INK, _PAPER, _FAINT = "#1f2328", "#ffffff", "#eef0f2"


def draw_quad(image: Any, quad: Any, *, color: str = "#ff2d78", label: str = "") -> Image:
    """A picture with the outline of a quad, its top edge marked by a dot at the first corner.

    Parameters
    ----------
    image : Image or what `as_image` takes
        The picture.
    quad : array_like
        (N, 2) corners in pixels, in order.
    color : str
        Any colour name or ``#rrggbb``.
    label : str
        Written at the first corner.

    Returns
    -------
    Image
        8 bits a channel, opaque.
    """
    picture = _opaque(image)
    draw = ImageDraw.Draw(picture)
    points = as_points(quad, "quad")
    width = _stroke(picture.size)
    outline = [tuple(point) for point in np.vstack([points, points[:1]])]
    draw.line(outline, fill=_PAPER, width=width + 2, joint="curve")
    draw.line(outline, fill=color, width=width, joint="curve")
    _dot(draw, points[0], 1.8 * width, color)
    if label:
        _tag(draw, points[0], label, _font(_text_size(picture.size)), color, picture.size)
    return as_image(picture)


def draw_mesh(image: Any, points: Any, triangles: Any, *, color: str = "#00b4d8") -> Image:
    """A picture with the edges of a triangulation.

    Parameters
    ----------
    image : Image or what `as_image` takes
        The picture.
    points : array_like
        (N, 2) vertices in pixels.
    triangles : array_like
        (M, 3) indices of vertices.
    color : str
        Any colour name or ``#rrggbb``.

    Returns
    -------
    Image
        8 bits a channel, opaque.
    """
    picture = _opaque(image)
    draw = ImageDraw.Draw(picture)
    vertices, faces = as_points(points, "mesh points"), np.asarray(triangles, dtype=np.int64).reshape(-1, 3)
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    width = max(1, _stroke(picture.size) // 2)
    for first, second in edges:
        draw.line([tuple(vertices[first]), tuple(vertices[second])], fill=color, width=width)
    return as_image(picture)


def draw_matches(
    source: Any,
    target: Any,
    source_points: Any,
    target_points: Any,
    *,
    confidence: npt.ArrayLike | None = None,
    numbers: bool = True,
    height: int = 480,
) -> Image:
    """Two pictures side by side with lines between matching points.

    Parameters
    ----------
    source, target : Image or what `as_image` takes
        The pictures.
    source_points, target_points : array_like
        (N, 2) in pixels of each.
    confidence : array_like, optional
        (N,) in [0, 1]: lines of low confidence are thin and pale.
    numbers : bool
        Write each point's number, from 1.
    height : int
        Height of both pictures, in pixels of the drawing.

    Returns
    -------
    Image
        8 bits a channel, opaque.
    """
    first, second = as_points(source_points, "source points"), as_points(target_points, "target points")
    if len(first) != len(second):
        raise EditError(f"There are {len(first)} source points but {len(second)} target points: give pairs.")
    left, right = _scaled(source, height), _scaled(target, height)
    gap = max(8, height // 40)
    canvas = PIL.Image.new("RGB", (left.width + gap + right.width, height), _PAPER)
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width + gap, 0))
    draw = ImageDraw.Draw(canvas, "RGBA")
    font, width = _font(max(11, height // 34)), max(2, height // 240)
    start = _rescaled(first, as_image(source).size, left.size)
    end = _rescaled(second, as_image(target).size, right.size) + (left.width + gap, 0)
    sure = np.ones(len(start)) if confidence is None else np.clip(np.asarray(confidence, dtype=float), 0, 1)
    colors = _hues(len(start))
    for index in np.argsort(sure):
        opacity = int(70 + 185 * sure[index])
        line = [tuple(start[index]), tuple(end[index])]
        draw.line(line, fill=(255, 255, 255, opacity // 2), width=width + 2)
        draw.line(line, fill=(*colors[index], opacity), width=width)
    for index in np.argsort(sure):
        for point in (start[index], end[index]):
            _dot(draw, point, 2.2 * width, colors[index])
            if numbers:
                text = str(index + 1)
                place = (point[0] + 3 * width, point[1] - 3 * width)
                draw.text(place, text, fill=_PAPER, font=font, anchor="ls", stroke_width=2, stroke_fill=_INK)
    return as_image(canvas)


def draw_heatmap(image: Any, values: Any, *, point: Any = None, strength: float = 0.6) -> Image:
    """A picture under a colour map, from dark violet (low) to yellow (high).

    Parameters
    ----------
    image : Image or what `as_image` takes
        The picture.
    values : array_like
        (h, w), of any size and range: a similarity or confidence map over the whole picture.
    point : (x, y), optional
        Marked with a ring, in pixels of the picture.
    strength : float
        Opacity of the colours, 0 to 1.

    Returns
    -------
    Image
        8 bits a channel, opaque.
    """
    picture = _opaque(image)
    field = np.asarray(values, dtype=np.float64)
    if field.ndim != 2 or not np.isfinite(field).any():
        raise EditError(f"A heat map needs a 2-D array with finite values, but got shape {field.shape}.")
    low, high = np.nanmin(field), np.nanmax(field)
    scaled = np.nan_to_num((field - low) / max(high - low, 1e-12))
    colors = PIL.Image.fromarray(np.rint(_inferno(scaled) * 255).astype(np.uint8))
    colors = colors.resize(picture.size, PIL.Image.Resampling.BILINEAR)
    grey = picture.convert("L").convert("RGB")
    picture = PIL.Image.blend(grey, colors, strength)
    if point is not None:
        spot, draw, width = as_points(point, "point")[0], ImageDraw.Draw(picture), _stroke(picture.size)
        for radius, color, line in ((4.0 * width, _INK, width + 2), (4.0 * width, _PAPER, width)):
            draw.ellipse((*(spot - radius), *(spot + radius)), outline=color, width=line)
    return as_image(picture)


def before_after(before: Any, after: Any, *, labels: Sequence[str] = ("before", "after"), height: int = 480) -> Image:
    """Two pictures side by side with a label on each.

    Parameters
    ----------
    before, after : Image or what `as_image` takes
        The pictures.
    labels : two str
        Written at the top left of each.
    height : int
        Height of both, in pixels of the drawing.

    Returns
    -------
    Image
        8 bits a channel, opaque.
    """
    pictures = [_scaled(before, height), _scaled(after, height)]
    gap, font = max(6, height // 60), _font(max(12, height // 24))
    canvas = PIL.Image.new("RGB", (sum(p.width for p in pictures) + gap, height), _PAPER)
    x = 0
    for picture, label in zip(pictures, labels, strict=True):
        canvas.paste(picture, (x, 0))
        if label:
            _badge(canvas, (x + gap, gap), label, font, _INK)
        x += picture.width + gap
    return as_image(canvas)


def contact_sheet(
    images: Sequence[Any],
    captions: Sequence[str] | None = None,
    *,
    statuses: Sequence[str] | None = None,
    cell: int = 240,
    columns: int | None = None,
    title: str = "",
) -> Image:
    r"""Many pictures in a grid with a caption under each.

    Parameters
    ----------
    images : sequence of Image or what `as_image` takes
        The pictures; None leaves an empty cell (a target that could not be read).
    captions : sequence of str, optional
        One for each; lines are broken at ``\n`` and where they are too long, at most four are shown.
    statuses : sequence of str, optional
        One for each, "applied", "abstained", "failed" or "": written over the picture in its colour.
    cell : int
        Longest side of a picture, in pixels of the sheet.
    columns : int, optional
        Pictures in a row; chosen for a sheet a little wider than high when None.
    title : str
        Written above.

    Returns
    -------
    Image
        8 bits a channel, opaque.

    Raises
    ------
    EditError
        If there is no picture, or another number of captions or statuses than pictures.
    """
    count = len(images)
    captions = [""] * count if captions is None else list(captions)
    statuses = [""] * count if statuses is None else list(statuses)
    if count == 0 or len(captions) != count or len(statuses) != count:
        raise EditError(
            f"A contact sheet needs one caption and status per picture, but got {count} pictures, "
            f"{len(captions)} captions and {len(statuses)} statuses."
        )
    columns = columns or min(count, max(1, round(np.sqrt(count * 1.6))))
    font, gap = _font(max(11, cell // 18)), max(8, cell // 16)
    lines = [_wrapped(caption, font, cell, 4) for caption in captions]
    line_height = round(sum(font.getmetrics()) * 1.08)
    rows = [range(start, min(start + columns, count)) for start in range(0, count, columns)]
    thumbnails = [None if image is None else _thumbnail(image, cell) for image in images]
    tall = [max([thumbnails[i].height for i in row if thumbnails[i]] or [cell // 2]) for row in rows]  # type: ignore[union-attr]
    text = [max(len(lines[i]) for i in row) * line_height for row in rows]
    heading = _font(max(14, cell // 12))
    top = gap + (round(sum(heading.getmetrics()) * 1.3) if title else 0)
    size = (gap + columns * (cell + gap), top + sum(t + x + round(gap * 1.4) for t, x in zip(tall, text, strict=True)))
    sheet = PIL.Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((gap, gap), _shortened(title, heading, size[0] - 2 * gap), fill=_INK, font=heading)
    for number, row in enumerate(rows):
        for column, i in enumerate(row):
            x = gap + column * (cell + gap)
            _cell(sheet, thumbnails[i], (x, top, x + cell, top + tall[number]), statuses[i])
            for k, line in enumerate(lines[i]):
                place = (x + cell // 2, top + tall[number] + gap // 3 + k * line_height)
                draw.text(place, line, fill=_INK, font=font, anchor="ma")
        top += tall[number] + text[number] + round(gap * 1.4)
    return as_image(sheet)


def _cell(sheet: PIL.Image.Image, picture: PIL.Image.Image | None, box: tuple[int, int, int, int], status: str) -> None:
    draw, (left, top, right, bottom) = ImageDraw.Draw(sheet), box
    color = STATUS_COLORS.get(status, _INK)
    font = _font(max(10, (right - left) // 20))
    draw.rectangle((left, top, right - 1, bottom - 1), fill=_FAINT)
    if picture is None:
        draw.text(((left + right) / 2, (top + bottom) / 2), "no picture", fill="#6b7280", font=font, anchor="mm")
        x, y, width, height = left, top, right - left, bottom - top
    else:
        width, height = picture.size
        x, y = left + (right - left - width) // 2, top + (bottom - top - height) // 2
        sheet.paste(picture, (x, y))
    if status:
        draw.rectangle((x - 2, y - 2, x + width + 1, y + height + 1), outline=color, width=3)
        _badge(sheet, (x + 4, y + 4), status, font, color)


def _badge(
    canvas: PIL.Image.Image, place: tuple[int, int], text: str, font: ImageFont.FreeTypeFont, color: str
) -> None:
    draw = ImageDraw.Draw(canvas, "RGBA")
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = max(3, round(font.size * 0.3))
    x, y = place
    red, green, blue = ImageColor.getrgb(color)[:3]
    draw.rounded_rectangle(
        (x, y, x + right - left + 2 * pad, y + bottom - top + 2 * pad), radius=pad, fill=(red, green, blue, 230)
    )
    ink = _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else _PAPER
    draw.text((x + pad - left, y + pad - top), text, fill=ink, font=font)


def _tag(
    draw: ImageDraw.ImageDraw, point: Points, text: str, font: ImageFont.FreeTypeFont, color: str, size: tuple[int, int]
) -> None:
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = max(2, round(font.size * 0.25))
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = float(np.clip(point[0], 0, max(0, size[0] - width)))
    y = float(np.clip(point[1] - height - pad, 0, max(0, size[1] - height)))
    draw.rectangle((x, y, x + width, y + height), fill=color)
    red, green, blue = ImageColor.getrgb(color)[:3]
    ink = _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else _PAPER
    draw.text((x + pad - left, y + pad - top), text, fill=ink, font=font)


def _dot(draw: ImageDraw.ImageDraw, point: Points, radius: float, color: Any) -> None:
    draw.ellipse((*(point - radius - 1), *(point + radius + 1)), fill=_PAPER)
    draw.ellipse((*(point - radius), *(point + radius)), fill=color)


def _font(size: float) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, so that pictures look the same everywhere."""
    font = ImageFont.load_default(max(8, size))
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, limit: int) -> list[str]:
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
        lines = [*lines[: limit - 1], _shortened(lines[limit - 1] + "…", font, width)]
    return lines if text else []


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while len(text) > 1 and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip("…") + "…"


def _opaque(image: Any) -> PIL.Image.Image:
    """Over white, 8 bits."""
    picture = as_image(image).to_pil()
    if picture.mode == "RGBA":
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture


def _thumbnail(image: Any, longest: int) -> PIL.Image.Image:
    picture = _opaque(image)
    scale = longest / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)


def _scaled(image: Any, height: int) -> PIL.Image.Image:
    picture = _opaque(image)
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)


def _rescaled(points: Points, from_size: tuple[int, int], to_size: tuple[int, int]) -> Points:
    scaled: Points = (points + 0.5) * (np.array(to_size) / np.array(from_size)) - 0.5
    return scaled


def _stroke(size: tuple[int, int]) -> int:
    return max(2, round(min(size) / 180))


def _text_size(size: tuple[int, int]) -> int:
    return max(11, round(min(size) / 28))


def _hues(count: int) -> list[tuple[int, int, int]]:
    """Colours that neighbours in the list do not share: golden-angle steps round the colour circle."""
    return [ImageColor.getrgb(f"hsv({(i * 137.508) % 360:.0f}, 85%, 95%)")[:3] for i in range(count)]


_INFERNO = np.array([
    (0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99),
    (212, 72, 66), (245, 125, 21), (250, 193, 39), (252, 255, 164),
]) / 255.0  # fmt: skip


def _inferno(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Colours (h, w, 3) for values in [0, 1]: nodes of matplotlib's "inferno", equal steps in brightness."""
    at = np.linspace(0, 1, len(_INFERNO))
    return np.stack([np.interp(values, at, _INFERNO[:, channel]) for channel in range(3)], axis=-1)
