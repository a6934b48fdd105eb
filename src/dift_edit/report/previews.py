"""The small pictures of the review page, on the disk beside it."""

import contextlib
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from dift_edit.errors import EditError, GeometryError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.results.folder import PREVIEWS, OutputFolder
from dift_edit.results.manifest import Row
from dift_edit.types import QuadLike

__all__ = [
    "CUTOUT",
    "SOURCE",
    "SOURCE_BEFORE",
    "after_name",
    "cutout_box",
    "preview_name",
    "remove_previews",
    "write_previews",
    "write_source_previews",
]

SOURCE = f"{PREVIEWS}/source.jpg"
SOURCE_BEFORE = f"{PREVIEWS}/source-before.jpg"
CUTOUT = f"{PREVIEWS}/edit.png"
_IN_PLACE = MatrixTransform(np.eye(3))


def preview_name(key: str, kind: str) -> str:
    """Name of a preview relative to the output folder.

    Parameters
    ----------
    key : str
        The row's id; only its digest appears in the name.
    kind : {"before", "after", "rejected"}
        "rejected" is the image after a redaction that was rejected.

    Returns
    -------
    str
    """
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"{PREVIEWS}/{digest[:2]}/{digest}-{kind}.jpg"


def after_name(row: Row, *, hides_content: bool) -> str | None:
    """Name of the preview of a row's result; None where there is no result.

    Parameters
    ----------
    row : Row
        The row.
    hides_content : bool
        Whether the edit hides something: a result that was rejected does not do so well enough.
    """
    if row.status != "applied":
        return None
    return preview_name(row.id, "rejected" if hides_content and row.review == "rejected" else "after")


def remove_previews(output: OutputFolder, row: Row) -> None:
    """Remove what earlier results left that does not belong to a row: of a target that is not the same any more."""
    valid = {
        None if row.size is None else preview_name(row.id, "before"),
        after_name(row, hides_content=output.hides_content),
    }
    for kind in ("before", "after", "rejected"):
        name = preview_name(row.id, kind)
        if name not in valid and output.keeps(name):
            output.remove(name)


def write_previews(
    output: OutputFolder, key: str, before: Image, after: Image | None, longest: int, *, rejected: bool = False
) -> None:
    """Write the previews of one target.

    Parameters
    ----------
    output : OutputFolder
        Where to.
    key : str
        The row's id.
    before : Image
        The target.
    after : Image or None
        The result, if there is one.
    longest : int
        Longest side in pixels; smaller images keep their size.
    rejected : bool
        Whether the result is of a redaction and was rejected.
    """
    for kind, image in (("before", before), ("rejected" if rejected else "after", after)):
        if image is not None and output.keeps(preview_name(key, kind)):
            output.write(preview_name(key, kind), _jpeg(image, longest))


def cutout_box(quad: QuadLike, size: Sequence[int]) -> tuple[int, int, int, int]:
    """The half-open box of source pixels that the cutout shows: what the edit covers.

    Parameters
    ----------
    quad : array_like
        (4, 2) corners of the edit in source pixels.
    size : (W, H)
        Of the source.
    """
    low, high = np.asarray(quad, dtype=np.float64).min(axis=0), np.asarray(quad, dtype=np.float64).max(axis=0)
    left, top = np.clip(np.floor(low + 0.5), 0, np.subtract(size, 1)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high + 0.5), (left + 1, top + 1), size).astype(int).tolist()
    return left, top, right, bottom


def write_source_previews(output: OutputFolder, source: Image, edit: Any, longest: int) -> None:
    """Write what the page needs of the source: with its edit, without it, and the edit cut out.

    Parameters
    ----------
    output : OutputFolder
        Where to.
    source : Image
        The source.
    edit : Edit
        The edit.
    longest : int
        Longest side in pixels.
    """
    edited = edit.apply(source, _IN_PLACE, source=source)
    output.write(SOURCE, _jpeg(edited, longest))
    if output.keeps(SOURCE_BEFORE):
        output.write(SOURCE_BEFORE, _jpeg(source, longest))
    buffer = io.BytesIO()
    cutout = _cutout(edited, edit)
    cutout.thumbnail((longest, longest), PIL.Image.Resampling.BICUBIC)
    cutout.save(buffer, "PNG")
    output.write(CUTOUT, buffer.getvalue())


def _cutout(edited: Image, edit: Any) -> PIL.Image.Image:
    """The edit as an RGBA picture of its box.

    What it looks like over black and over white tells colour and opacity (Smith and Blinn, "Blue Screen Matting",
    1996). An edit that changes what lies there, such as a recolouring, is cut out of the edited source; where it does
    so, noise tells, so that the shape says nothing about what a redaction hides.
    """
    box = cutout_box(edit.quad, edited.size)
    after = _rgb(edited, box)
    colour, opacity = np.zeros_like(after), np.zeros(after.shape[:2], np.float32)
    with contextlib.suppress(EditError, GeometryError):
        shape = (edited.size[1], edited.size[0], 3)
        black, white = (_over(edit, np.full(shape, shade, np.uint8), box) for shade in (0, 255))
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        changed = (_over(edit, noise, box) != _rgb(as_image(noise), box)).any(axis=2)
        opacity = np.clip(1 - (white - black).mean(axis=2) / 255, 0, 1)
        colour = black / np.maximum(opacity, 1 / 255)[..., None]
        changed &= opacity == 0
        colour, opacity = np.where(changed[..., None], after, colour), np.where(changed, 1, opacity)
    pixels = np.concatenate([np.clip(colour, 0, 255), 255 * opacity[..., None]], axis=2)
    return PIL.Image.fromarray(pixels.round().astype(np.uint8))


def _over(edit: Any, ground: Any, box: tuple[int, int, int, int]) -> Any:
    image = as_image(ground)
    return _rgb(edit.apply(image, _IN_PLACE, source=image), box)


def _rgb(image: Image, box: tuple[int, int, int, int]) -> Any:
    return np.asarray(image.to_pil().convert("RGB").crop(box), np.float32)


def _jpeg(image: Image, longest: int) -> bytes:
    picture = image.to_pil()
    picture.thumbnail((longest, longest), PIL.Image.Resampling.BICUBIC, reducing_gap=2.0)
    if picture.mode == "RGBA":
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
