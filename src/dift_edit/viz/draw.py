"""Pictures for people: matches, quads, heat maps, comparisons and contact sheets."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from PIL import ImageDraw

from dift_edit.errors import EditError
from dift_edit.geometry.coords import as_points, rescale_points
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.types import ImageLike, PointLike, PointsLike, QuadLike
from dift_edit.viz.primitives import (
    COLOR_MAPS,
    FAINT,
    INK,
    PAPER,
    at_scale,
    color_mapped,
    distinct_colors,
    draw_badge,
    draw_dot,
    draw_ring,
    draw_tag,
    load_font,
    opaque_picture,
    painted,
    scaled_to_height,
    shortened,
    stroke_width,
    text_size,
    thumbnail,
    wrapped_lines,
)

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


def draw_quad(image: ImageLike, quad: QuadLike, *, color: str = "#ff2d78", label: str = "") -> Image:
    """An image with the outline of a quad, its top edge marked by a dot at the first corner.

    Parameters
    ----------
    image : Image or what `as_image` takes
        The image.
    quad : array_like
        (N, 2) corners in pixels, in order.
    color : str
        Any colour name or ``#rrggbb``.
    label : str
        Written at the first corner.

    Returns
    -------
    Image
        8 bits per channel, opaque.
    """
    picture = opaque_picture(image)
    points, width = as_points(quad, "quad"), stroke_width(picture.size)
    closed = np.vstack([points, points[:2]])

    def paint(draw: ImageDraw.ImageDraw, scale: int) -> None:
        line = at_scale(closed, scale)
        draw.line(line, fill=PAPER, width=(width + 2) * scale, joint="curve")
        draw.line(line, fill=color, width=width * scale, joint="curve")
        draw_dot(draw, points[0], 1.8 * width, color, scale)

    picture = painted(picture, paint)
    if label:
        draw_tag(ImageDraw.Draw(picture), points[0], label, load_font(text_size(picture.size)), color, picture.size)
    return as_image(picture)


def draw_mesh(image: ImageLike, points: PointsLike, triangles: npt.ArrayLike, *, color: str = "#00b4d8") -> Image:
    """An image with the edges of a triangulation.

    Parameters
    ----------
    image : Image or what `as_image` takes
        The image.
    points : array_like
        (N, 2) vertices in pixels.
    triangles : array_like
        (M, 3) indices of vertices.
    color : str
        Any colour name or ``#rrggbb``.

    Returns
    -------
    Image
        8 bits per channel, opaque.
    """
    picture = opaque_picture(image)
    vertices, faces = as_points(points, "mesh points"), np.asarray(triangles, dtype=np.int64).reshape(-1, 3)
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    width = max(1, stroke_width(picture.size) // 2)

    def paint(draw: ImageDraw.ImageDraw, scale: int) -> None:
        for edge in edges:
            draw.line(at_scale(vertices[edge], scale), fill=color, width=width * scale)
        for vertex in vertices:
            draw_dot(draw, vertex, 1.2 * width, color, scale)

    return as_image(painted(picture, paint))


def draw_matches(
    source: ImageLike,
    target: ImageLike,
    source_points: PointsLike,
    target_points: PointsLike,
    *,
    confidence: npt.ArrayLike | None = None,
    numbers: bool = True,
    height: int = 480,
) -> Image:
    """Two images side by side with lines between matching points.

    Parameters
    ----------
    source, target : Image or what `as_image` takes
        The images.
    source_points, target_points : array_like
        (N, 2) in pixels of each.
    confidence : array_like, optional
        (N,) in [0, 1]: lines of low confidence are thin and pale.
    numbers : bool
        Write each point's number, from 1.
    height : int
        Height of both images, in pixels of the drawing.

    Returns
    -------
    Image
        8 bits per channel, opaque.
    """
    first, second = as_points(source_points, "source points"), as_points(target_points, "target points")
    if len(first) != len(second):
        raise EditError(f"There are {len(first)} source points but {len(second)} target points: give pairs.")
    left, right = scaled_to_height(source, height), scaled_to_height(target, height)
    gap = max(8, height // 40)
    canvas = PIL.Image.new("RGB", (left.width + gap + right.width, height), PAPER)
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width + gap, 0))
    width = max(2, height // 240)
    start = rescale_points(first, as_image(source).size, left.size)
    end = rescale_points(second, as_image(target).size, right.size) + np.array([left.width + gap, 0])
    sure = np.ones(len(start)) if confidence is None else np.clip(np.asarray(confidence, dtype=float), 0, 1)
    colors, order = distinct_colors(len(start)), np.argsort(sure)

    def paint(draw: ImageDraw.ImageDraw, scale: int) -> None:
        for index in order:
            line, opacity = at_scale(np.stack([start[index], end[index]]), scale), int(70 + 185 * sure[index])
            draw.line(line, fill=(255, 255, 255, opacity // 2), width=(width + 2) * scale)
            draw.line(line, fill=(*colors[index], opacity), width=width * scale)
        for index in order:
            for point in (start[index], end[index]):
                draw_dot(draw, point, 2.2 * width, colors[index], scale)

    canvas = painted(canvas, paint)
    draw, font = ImageDraw.Draw(canvas), load_font(max(11, height // 34))
    for index in order if numbers else []:
        for x, y in (start[index], end[index]):
            place = (x + 3 * width, y - 3 * width)
            draw.text(place, str(index + 1), fill=PAPER, font=font, anchor="ls", stroke_width=2, stroke_fill=INK)
    return as_image(canvas)


def draw_heatmap(
    image: ImageLike,
    values: npt.ArrayLike | torch.Tensor,
    *,
    point: PointLike | None = None,
    strength: float = 0.6,
    limits: tuple[float, float] | None = None,
    colors: str = "heat",
    legend: bool = False,
) -> Image:
    """An image under a colour map: a similarity or confidence map.

    Parameters
    ----------
    image : Image or what `as_image` takes
        The image.
    values : array_like
        (h, w), of any size, over the whole image; NaN is left uncoloured.
    point : (x, y), optional
        Marked with a ring, in pixels of the image.
    strength : float
        Opacity of the colours, 0 to 1.
    limits : (low, high), optional
        Values of the ends of the colour map; the least and largest of `values` when None.
    colors : {"heat", "confidence"}
        Dark violet to yellow; or red over yellow to green.
    legend : bool
        Draw a bar with the limits below the image.

    Returns
    -------
    Image
        8 bits per channel, opaque.
    """
    picture = opaque_picture(image)
    field = np.asarray(values, dtype=np.float64)
    if field.ndim != 2 or not np.isfinite(field).any():
        raise EditError(f"A heat map needs a 2-D array with finite values, but got shape {field.shape}.")
    if colors not in COLOR_MAPS:
        raise EditError(f"The colours are {colors!r}: use one of {', '.join(COLOR_MAPS)}.")
    low, high = limits or (float(np.nanmin(field)), float(np.nanmax(field)))
    scaled = np.clip(np.nan_to_num((field - low) / max(high - low, 1e-12)), 0, 1)
    layer = PIL.Image.fromarray(np.rint(color_mapped(scaled, colors) * 255).astype(np.uint8))
    layer = layer.resize(picture.size, PIL.Image.Resampling.BILINEAR)
    known = PIL.Image.fromarray((np.isfinite(field) * round(255 * strength)).astype(np.uint8))
    grey = picture.convert("L").convert("RGB")
    picture = PIL.Image.composite(layer, grey, known.resize(picture.size, PIL.Image.Resampling.BILINEAR))
    if point is not None:
        spot, width = as_points(point, "point")[0], stroke_width(picture.size)
        picture = painted(picture, lambda draw, scale: draw_ring(draw, spot, 4.0 * width, width, scale))
    return as_image(_with_legend(picture, low, high, colors) if legend else picture)


def _with_legend(picture: PIL.Image.Image, low: float, high: float, colors: str) -> PIL.Image.Image:
    font = load_font(text_size(picture.size))
    bar, pad = round(font.size * 0.8), round(font.size * 0.5)
    words = [f"{low:.2f}", f"{high:.2f}"]
    left, right = (round(font.getlength(word)) for word in words)
    canvas = PIL.Image.new("RGB", (picture.width, picture.height + bar + 2 * pad), PAPER)
    canvas.paste(picture, (0, 0))
    draw, middle = ImageDraw.Draw(canvas), picture.height + pad + bar // 2
    draw.text((pad, middle), words[0], fill=INK, font=font, anchor="lm")
    draw.text((picture.width - pad, middle), words[1], fill=INK, font=font, anchor="rm")
    width = picture.width - left - right - 4 * pad
    if width > 2:
        ramp = np.rint(color_mapped(np.linspace(0, 1, width)[None], colors) * 255).astype(np.uint8)
        canvas.paste(PIL.Image.fromarray(np.repeat(ramp, bar, axis=0)), (left + 2 * pad, picture.height + pad))
    return canvas


def before_after(
    before: ImageLike, after: ImageLike, *, labels: Sequence[str] = ("before", "after"), height: int = 480
) -> Image:
    """Two images side by side with a label on each.

    Parameters
    ----------
    before, after : Image or what `as_image` takes
        The images.
    labels : two str
        Written at the top left of each.
    height : int
        Height of both, in pixels of the drawing.

    Returns
    -------
    Image
        8 bits per channel, opaque.
    """
    pictures = [scaled_to_height(before, height), scaled_to_height(after, height)]
    gap, font = max(6, height // 60), load_font(max(12, height // 24))
    canvas = PIL.Image.new("RGB", (sum(p.width for p in pictures) + gap, height), PAPER)
    x = 0
    for picture, label in zip(pictures, labels, strict=True):
        canvas.paste(picture, (x, 0))
        if label:
            draw_badge(canvas, (x + gap, gap), label, font, INK)
        x += picture.width + gap
    return as_image(canvas)


def contact_sheet(
    images: Sequence[ImageLike | None],
    captions: Sequence[str] | None = None,
    *,
    statuses: Sequence[str] | None = None,
    cell: int = 240,
    columns: int | None = None,
    title: str = "",
) -> Image:
    r"""Many images in a grid with a caption under each.

    Parameters
    ----------
    images : sequence of Image or what `as_image` takes
        The images; None leaves an empty cell (a target that could not be read).
    captions : sequence of str, optional
        One for each; lines are broken at ``\n`` and where they are too long, at most four are shown.
    statuses : sequence of str, optional
        One for each, "applied", "abstained", "failed" or "": written over the image in its colour.
    cell : int
        Longest side of an image, in pixels of the sheet.
    columns : int, optional
        Images in a row; chosen for a sheet a little wider than high when None.
    title : str
        Written above.

    Returns
    -------
    Image
        8 bits per channel, opaque.

    Raises
    ------
    EditError
        If there is no image, or another number of captions or statuses than images.
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
    font, gap = load_font(max(11, cell // 18)), max(8, cell // 16)
    lines = [wrapped_lines(caption, font, cell, 4) for caption in captions]
    line_height = round(sum(font.getmetrics()) * 1.08)
    rows = [range(start, min(start + columns, count)) for start in range(0, count, columns)]
    thumbnails = [None if image is None else thumbnail(image, cell) for image in images]
    tall = [max([thumbnails[i].height for i in row if thumbnails[i]] or [cell // 2]) for row in rows]  # type: ignore[union-attr]
    text = [max(len(lines[i]) for i in row) * line_height for row in rows]
    heading = load_font(max(14, cell // 12))
    top = gap + (round(sum(heading.getmetrics()) * 1.3) if title else 0)
    size = (gap + columns * (cell + gap), top + sum(t + x + round(gap * 1.4) for t, x in zip(tall, text, strict=True)))
    sheet = PIL.Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((gap, gap), shortened(title, heading, size[0] - 2 * gap), fill=INK, font=heading)
    for number, row in enumerate(rows):
        for column, i in enumerate(row):
            x = gap + column * (cell + gap)
            _cell(sheet, thumbnails[i], (x, top, x + cell, top + tall[number]), statuses[i])
            for k, line in enumerate(lines[i]):
                place = (x + cell // 2, top + tall[number] + gap // 3 + k * line_height)
                draw.text(place, line, fill=INK, font=font, anchor="ma")
        top += tall[number] + text[number] + round(gap * 1.4)
    return as_image(sheet)


def _cell(sheet: PIL.Image.Image, picture: PIL.Image.Image | None, box: tuple[int, int, int, int], status: str) -> None:
    draw, (left, top, right, bottom) = ImageDraw.Draw(sheet), box
    color = STATUS_COLORS.get(status, INK)
    font = load_font(max(10, (right - left) // 20))
    draw.rectangle((left, top, right - 1, bottom - 1), fill=FAINT)
    if picture is None:
        draw.text(((left + right) / 2, (top + bottom) / 2), "no picture", fill="#6b7280", font=font, anchor="mm")
        x, y, width, height = left, top, right - left, bottom - top
    else:
        width, height = picture.size
        x, y = left + (right - left - width) // 2, top + (bottom - top - height) // 2
        sheet.paste(picture, (x, y))
    if status:
        draw.rectangle((x - 2, y - 2, x + width + 1, y + height + 1), outline=color, width=3)
        draw_badge(sheet, (x + 4, y + 4), status, font, color)
