"""The small pictures of the review page, on the disk beside it."""

import hashlib
import io
from typing import Any

import numpy as np
import PIL.Image

from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging.image import Image
from dift_edit.results.folder import OutputFolder

__all__ = ["preview_name", "write_previews", "write_source_preview"]

FOLDER = "review_files"


def preview_name(key: str, kind: str) -> str:
    """Name of a preview relative to the output folder.

    Parameters
    ----------
    key : str
        The row's id; only its digest appears in the name.
    kind : {"before", "after"}

    Returns
    -------
    str
    """
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"{FOLDER}/{digest[:2]}/{digest}-{kind}.jpg"


def write_previews(output: OutputFolder, key: str, before: Image, after: Image | None, longest: int) -> None:
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
        Longest side in pixels; smaller pictures keep their size.
    """
    for kind, image in (("before", before), ("after", after)):
        if image is not None:
            output.write(preview_name(key, kind), _jpeg(image, longest))


def write_source_preview(output: OutputFolder, source: Image, edit: Any, longest: int) -> None:
    """Write ``review_files/source.jpg``: the source with its edit, to compare results with."""
    edited = edit.apply(source, MatrixTransform(np.eye(3)), source=source)
    output.write(f"{FOLDER}/source.jpg", _jpeg(edited, longest))


def _jpeg(image: Image, longest: int) -> bytes:
    picture = image.to_pil()
    picture.thumbnail((longest, longest), PIL.Image.Resampling.BICUBIC, reducing_gap=2.0)
    if picture.mode == "RGBA":
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
