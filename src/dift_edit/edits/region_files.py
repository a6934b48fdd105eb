"""Regions in words and files: a box in numbers, a polygon's corners, a picture of a mask."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.atomic_files import parse_json
from dift_edit.edits.region import Region
from dift_edit.errors import EditError
from dift_edit.imaging.files import load_image

__all__ = ["box_of", "load_region"]

_POLYGONS = (".txt", ".csv", ".json")


def box_of(text: str) -> tuple[float, float, float, float] | None:
    """The (x, y, width, height) that a text names as four numbers with commas between them; None for another text."""
    parts = text.split(",")
    try:
        x, y, width, height = (float(part) for part in parts)
    except ValueError:
        return None
    return x, y, width, height


def load_region(text: str, size: tuple[int, int]) -> Region:
    """A region of the source.

    Parameters
    ----------
    text : str
        ``X,Y,W,H``: the first pixel and the size of an upright box. Or the path of a file: ``.txt`` or ``.csv`` with
        one corner "x, y" of a polygon a line, ``.json`` with a list [[x, y], …], or an image of the source's size,
        whose alpha, or else brightness, is the mask.
    size : (W, H)
        Of the source in pixels.

    Returns
    -------
    Region

    Raises
    ------
    EditError
        If it is neither, cannot be read, or a mask has another size than the source.
    ImageError
        If an image cannot be read.
    """
    box = box_of(text)
    if box is not None:
        return Region.box(*box)
    path = Path(text)
    if path.suffix.lower() in _POLYGONS:
        try:
            return Region.polygon(_corners(path))
        except EditError as error:
            raise EditError(f"The polygon {path} cannot be used: {error}") from error
    if not os.path.lexists(path) and not path.suffix:
        raise EditError(
            f"The region {text!r} is neither a box X,Y,W,H nor a file: give four numbers, a polygon or a mask."
        )
    image = load_image(path)
    if image.size != size:
        raise EditError(
            f"The mask {path} is {image.size[0]}×{image.size[1]} but the source is {size[0]}×{size[1]}: "
            "draw it on a canvas of that size."
        )
    mask = image.alpha if image.alpha is not None else image.pixels.max(axis=2)
    try:
        return Region.mask(mask)
    except EditError as error:
        raise EditError(f"The mask {path} cannot be used: {error}") from error


def _corners(path: Path) -> Any:
    """(N, 2) numbers in a file."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "it is no text"
        raise EditError(f"it cannot be read ({said}).") from error
    try:
        if path.suffix.lower() == ".json":
            return np.asarray(parse_json(text), dtype=np.float64)
        rows = [re.split(r"[,;\s]+", line.strip()) for line in text.splitlines() if line.strip()]
        if rows and not _is_number(rows[0][0]):
            rows = rows[1:]  # a heading
        return np.array([[float(x), float(y)] for x, y in rows])
    except (ValueError, TypeError) as error:
        raise EditError('give one corner "x, y" a line, or in JSON a list [[x, y], …].') from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
