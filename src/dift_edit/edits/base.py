"""What every edit has: a quad in the source that says where it is, and a way onto a target."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from dift_edit.errors import EditError
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import check_quad
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing, widened
from dift_edit.rendering.warp import Warped, premultiplied, warp_layer

__all__ = ["Edit", "alpha_box", "check_edit", "source_context"]


@runtime_checkable
class Edit(Protocol):
    """Something made on the source that can be put on a target."""

    @property
    def quad(self) -> Points:
        """(4, 2) corners in source pixels of what the edit covers: top left, top right, bottom right, bottom left."""

    def apply(
        self,
        target: Image,
        transform: Transform,
        *,
        source: Image | None = None,
        compositing: Compositing | None = None,
    ) -> Image:
        """The target with the edit.

        Parameters
        ----------
        target : Image
            The image to edit; it is not changed.
        transform : Transform
            Source pixels to target pixels.
        source : Image, optional
            The image that the edit was made on, for edits that compare with it.
        compositing : Compositing, optional
            How the edit is put on; the defaults when None.

        Returns
        -------
        Image
            With the target's size, type and file information. Pixels that the edit does not reach are
            bit-identical.
        """

    def to_dict(self) -> dict[str, Any]:
        """The edit as plain data (see `dift_edit.edits.stored`)."""


def alpha_box(image: Image) -> tuple[int, int, int, int]:
    """The half-open box of an image's pixels that are not fully transparent.

    Raises
    ------
    EditError
        If there is none.
    """
    if image.alpha is None:
        return 0, 0, *image.size
    rows, columns = np.flatnonzero(image.alpha.any(axis=1)), np.flatnonzero(image.alpha.any(axis=0))
    if len(rows) == 0:
        raise EditError(f"{image.name} is fully transparent, so there is nothing to carry: paint something on it.")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def check_edit(edit: Edit, source_size: tuple[int, int], name: str = "The edit") -> None:
    """Refuse an edit that does not lie on its source.

    Parameters
    ----------
    edit : Edit
        The edit.
    source_size : (W, H)
        Size of the source in pixels.
    name : str
        How an error names it.

    Raises
    ------
    EditError
        As `dift_edit.geometry.quad.check_quad`, the rule that `locate` follows too.
    """
    check_quad(edit.quad, source_size, name)


def source_context(
    source: Image | None, quad: Points, target: Image, transform: Transform, settings: Compositing
) -> Warped | None:
    """The source round an edit as it lies on the target, where the settings compare the two; else None."""
    if source is None or not (settings.match_color or settings.shading):
        return None
    low, high = np.floor(quad.min(axis=0)).astype(int), np.ceil(quad.max(axis=0)).astype(int) + 1
    box = widened((int(low[0]), int(low[1]), int(high[0]), int(high[1])), source.size, 0.4)
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    offset = np.array([(1, 0, box[0]), (0, 1, box[1]), (0, 0, 1)], dtype=np.float64)
    return warp_layer(premultiplied(source.crop(box)), transform, target.size, matrix=offset)
