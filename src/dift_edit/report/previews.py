"""The small pictures of the review page, on the disk beside it."""

import hashlib
import io
from typing import Any

import numpy as np
import PIL.Image

from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging.image import Image
from dift_edit.results.folder import PREVIEWS, OutputFolder
from dift_edit.results.manifest import Row

__all__ = ["after_name", "preview_name", "remove_previews", "write_previews", "write_source_preview"]


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


def write_source_preview(output: OutputFolder, source: Image, edit: Any, longest: int) -> None:
    """Write ``review_files/source.jpg``: the source with its edit, to compare results with."""
    edited = edit.apply(source, MatrixTransform(np.eye(3)), source=source)
    output.write(f"{PREVIEWS}/source.jpg", _jpeg(edited, longest))


def _jpeg(image: Image, longest: int) -> bytes:
    picture = image.to_pil()
    picture.thumbnail((longest, longest), PIL.Image.Resampling.BICUBIC, reducing_gap=2.0)
    if picture.mode == "RGBA":
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
