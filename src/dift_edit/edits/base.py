"""What every edit has: a quad in the source that says where it is, and a way onto a target."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from dift_edit.errors import EditError, GeometryError
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points, as_points
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing, widened
from dift_edit.rendering.warp import Warped, premultiplied, warp_layer

__all__ = ["Edit", "alpha_box", "as_quad", "check_edit", "source_context"]


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
            The picture to edit; it is not changed.
        transform : Transform
            Source pixels to target pixels.
        source : Image, optional
            The picture that the edit was made on, for edits that compare with it.
        compositing : Compositing, optional
            How the edit is put on; the defaults when None.

        Returns
        -------
        Image
            With the target's size, type and file information. Pixels that the edit does not reach are
            bit-identical.
        """

    def recipe(self) -> dict[str, Any]:
        """The edit as plain data (see `dift_edit.edits.recipe`)."""


_FARTHEST = 1e7  # pixels; beyond it products of coordinates lose their meaning


def as_quad(quad: Any, what: str = "The quad") -> Points:
    """Check the four corners of an edit.

    Parameters
    ----------
    quad : array_like
        (4, 2) in source pixels, in the order top left, top right, bottom right, bottom left of the edit.
    what : str
        How an error names it.

    Returns
    -------
    ndarray
        (4, 2) float64.

    Raises
    ------
    EditError
        If it is not four finite corners, covers no area, crosses itself or is not convex.
    """
    try:
        corners = as_points(quad, what.removeprefix("The "))
    except GeometryError as error:
        raise EditError(str(error)) from error
    if len(corners) != 4:
        raise EditError(
            f"{what} has {len(corners)} corners: give four, as top left, top right, bottom right, bottom left."
        )
    if np.abs(corners).max() > _FARTHEST:
        raise EditError(f"{what} reaches {np.abs(corners).max():g}, which no picture does: give pixels of the source.")
    following = np.roll(corners, -1, axis=0) - corners
    after = np.roll(following, -1, axis=0)
    turns = following[:, 0] * after[:, 1] - following[:, 1] * after[:, 0]
    size = max(1e-9, float(np.abs(following).max()))
    shown = " ".join(f"{x:g},{y:g}" for x, y in corners)
    if (np.abs(turns) < 1e-6 * size**2).any() or size < 1e-3:
        raise EditError(f"{what} ({shown}) covers no area: give four different corners that are not on one line.")
    if len(set(np.sign(turns))) > 1:
        raise EditError(
            f"{what} ({shown}) crosses itself or has a dent: give the corners in the order top left, top right, "
            "bottom right, bottom left."
        )
    return corners


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
        If the edit's quad does not touch the source.
    """
    quad = as_quad(
        edit.quad, f"The quad of {name[:1].lower() + name[1:]}" if name == "The edit" else f"The quad of {name}"
    )
    low, high = quad.min(axis=0), quad.max(axis=0)
    width, height = source_size
    if high[0] <= -0.5 or high[1] <= -0.5 or low[0] >= width - 0.5 or low[1] >= height - 0.5:
        raise EditError(
            f"{name} lies outside the source, at x {low[0]:g} to {high[0]:g} and y {low[1]:g} to {high[1]:g} of a "
            f"picture of {width}×{height}: place it on the source with at=(x, y, w, h) or quad (--at, --quad)."
        )


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
