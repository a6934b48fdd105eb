"""Pictures of annotations: boxes, outlines, masks, curves, and keypoints in the colour of their confidence."""

from collections.abc import Iterable

import cv2
import numpy as np
from PIL import ImageDraw

from dift_edit.annotations.model import AnnotatedObject, ObjectMask
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import box_quad
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.types import ImageLike
from dift_edit.viz.primitives import (
    PAPER,
    at_scale,
    color_mapped,
    distinct_colors,
    draw_dot,
    draw_tag,
    load_font,
    opaque_picture,
    painted,
    stroke_width,
    text_size,
)

__all__ = ["draw_annotations"]

KNOWN = "#00b4d8"
"""Colour of keypoints whose confidence is not known, such as those of the source."""


def draw_annotations(image: ImageLike, objects: Iterable[AnnotatedObject], *, labels: bool = True) -> Image:
    """An image with its annotations.

    Parameters
    ----------
    image : Image or what `as_image` takes
        The image.
    objects : iterable of AnnotatedObject
        In its pixels. Each category has its colour; keypoints go from red (surely wrong) to green (surely right).
    labels : bool
        Whether to write the category and the confidence at each object.

    Returns
    -------
    Image
        8 bits per channel, opaque.
    """
    things = list(objects)
    picture = opaque_picture(image)
    width = stroke_width(picture.size)
    names = sorted({thing.category for thing in things})
    colors = dict(zip(names, distinct_colors(len(names)), strict=True))

    def paint(draw: ImageDraw.ImageDraw, scale: int) -> None:
        for thing in things:
            for line, closed in _lines(thing):
                drawn = at_scale(np.vstack([line, line[:2]]) if closed else line, scale)
                draw.line(drawn, fill=PAPER, width=(width + 2) * scale, joint="curve")
                draw.line(drawn, fill=colors[thing.category], width=width * scale, joint="curve")
            for keypoint in thing.keypoints:
                if not keypoint.missing:
                    draw_dot(draw, np.array([keypoint.x, keypoint.y]), 1.4 * width, _color(keypoint.confidence), scale)

    picture = painted(picture, paint)
    if labels:
        draw, font = ImageDraw.Draw(picture), load_font(0.7 * text_size(picture.size))
        for thing in things:
            extent = thing.extent()
            if extent is not None:
                sure = "" if thing.confidence is None else f" {thing.confidence:.2f}"
                shade = "#{:02x}{:02x}{:02x}".format(*colors[thing.category])
                draw_tag(draw, np.array(extent[:2]), f"{thing.category}{sure}", font, shade, picture.size)
    return as_image(picture)


def _color(confidence: float | None) -> str:
    if confidence is None:
        return KNOWN
    red, green, blue = np.rint(255 * color_mapped(np.array([[confidence]]), "confidence")[0, 0]).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _lines(thing: AnnotatedObject) -> Iterable[tuple[Points, bool]]:
    """Every line of an object, and whether it is closed."""
    if thing.box is not None:
        left, top, right, bottom = thing.box
        yield box_quad((left + 0.5, top + 0.5, right + 0.5, bottom + 0.5)), True
    for outline in thing.outlines:
        yield from ((line, True) for line in (outline.points, *outline.holes))
    for curve in thing.curves:
        yield curve.points, curve.closed
    if thing.mask is not None:
        yield from ((line, True) for line in _rims(thing.mask))


def _rims(mask: ObjectMask) -> Iterable[Points]:
    lines, _ = cv2.findContours(mask.pixels.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for line in lines:
        if len(line) > 2:
            yield line[:, 0].astype(np.float64) + (mask.left, mask.top)
