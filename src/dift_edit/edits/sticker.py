"""A picture with transparency, placed on the source."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dift_edit.edits.artwork import Part, artwork_parts, is_mirrored, kept_upright
from dift_edit.edits.base import alpha_box, check_edit, source_context
from dift_edit.errors import EditError
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import as_quad, box_quad, quad_matrix
from dift_edit.imaging.files import as_image, load_image
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing, composite, fitted
from dift_edit.rendering.warp import Warped, premultiplied, warp_layer
from dift_edit.types import ImageLike, QuadLike

__all__ = ["Sticker"]

_log = logging.getLogger(__name__)
_TINY = 8
"""Pixels of the source below which a sticker is called tiny: less than a cell of most feature maps (chosen)."""


class Sticker:
    """An image that lies on the source.

    Parameters
    ----------
    image : Image, path, PIL.Image.Image or array
        The image; its alpha channel says what of it is seen.
    quad : array_like, optional
        (4, 2) where its outer corners lie in the source, in pixels: top left, top right, bottom right, bottom left.
    at : (x, y, w, h), optional
        The same for an upright box: left and top pixel, width and height in source pixels.
        Without `quad` and `at` the image is a transparent canvas in the source's own frame.

    Attributes
    ----------
    image : Image
        The image.
    quad : ndarray
        (4, 2) in source pixels; for a canvas the box of what is not transparent.
    matrix : ndarray
        (3, 3) from the sticker's pixels to the source's.
    canvas : bool
        Whether it is in the source's own frame.

    Raises
    ------
    EditError
        If the image is fully transparent, or the corners are unusable, or a canvas has no transparency.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> sticker = de.Sticker(FOLDER / "glasses.png", at=(122, 104, 620, 478))
    >>> sticker.quad.tolist()
    [[121.5, 103.5], [741.5, 103.5], [741.5, 581.5], [121.5, 581.5]]
    """

    def __init__(self, image: ImageLike, quad: QuadLike | None = None, *, at: Sequence[float] | None = None) -> None:
        self.image: Image = as_image(image)
        name = self.image.name
        box = alpha_box(self.image)
        if quad is not None and at is not None:
            raise EditError(f"Both quad and at were given for {name}: give one of them.")
        if at is not None:
            quad = _box_corners(at, name)
        self.canvas = quad is None
        self.matrix: npt.NDArray[np.float64] = np.eye(3)
        if quad is None:
            if self.image.alpha is None:
                raise EditError(
                    f"{name} has no transparency, so it would cover the whole picture: say where it lies with "
                    "at=(x, y, w, h) or quad (--at, --quad), or give an edited picture as edited (--edited)."
                )
            self.quad: Points = box_quad(box)
        else:
            self.quad = as_quad(quad, f"The quad of {name}")
            self.matrix = quad_matrix(box_quad((0, 0, *self.image.size)), self.quad)
        left, top = box[:2]
        self._layer = premultiplied(self.image.crop(box))
        self._layer_matrix = self.matrix @ np.array([(1, 0, left), (0, 1, top), (0, 0, 1)], dtype=np.float64)

    @classmethod
    def from_file(
        cls,
        path: Path | str,
        *,
        quad: QuadLike | None = None,
        at: Sequence[float] | None = None,
        source_size: Sequence[int] | None = None,
    ) -> "Sticker":
        """Read a sticker.

        Parameters
        ----------
        path : path
            An image with transparency.
        quad, at
            Where it lies in the source: see the class.
        source_size : (W, H), optional
            Size of the source, to check that a canvas has it and that a placed sticker lies on it.

        Returns
        -------
        Sticker

        Raises
        ------
        ImageError
            If the file cannot be read.
        EditError
            As for the class; or if it lies outside the source; or if a canvas has another size than the source.
        """
        image = load_image(path)
        if source_size is not None and quad is None and at is None and image.size != tuple(source_size):
            raise EditError(
                f"{path} is {image.size[0]}×{image.size[1]} but the source is {source_size[0]}×{source_size[1]}: "
                "say where it lies with at=(x, y, w, h) or quad (--at, --quad), or draw it on a canvas of that size."
            )
        sticker = cls(image, quad, at=at)
        if source_size is not None:
            check_edit(sticker, (int(source_size[0]), int(source_size[1])), str(path))
        _warn_if_tiny(sticker, path)
        return sticker

    def apply(
        self,
        target: Image,
        transform: Transform,
        *,
        source: Image | None = None,
        compositing: Compositing | None = None,
    ) -> Image:
        """Put it on a target: see `dift_edit.edits.base.Edit`."""
        settings = compositing or Compositing()
        warped, context = self._warped(target, transform, source, settings)
        return composite(target, warped, settings, context=context)

    def layer_on(self, target: Image, transform: Transform, source: Image | None, settings: Compositing) -> Warped:
        """The (h, w, 4) premultiplied layer that `apply` puts over a target, its opacity not counted."""
        warped, context = self._warped(target, transform, source, settings)
        return warped if warped.empty else Warped(fitted(target, warped, settings, context), warped.box)

    def _warped(
        self, target: Image, transform: Transform, source: Image | None, settings: Compositing
    ) -> tuple[Warped, Warped | None]:
        layer = self._as_seen(transform, settings.artwork)
        warped = warp_layer(layer, transform, target.size, matrix=self._layer_matrix, resampling=settings.resampling)
        return warped, source_context(source, self.quad, target, transform, settings)

    @cached_property
    def _parts(self) -> list[Part]:
        return artwork_parts(self._layer)

    def _kept(self, artwork: str) -> list[Part]:
        """The parts that are not mirrored with the object."""
        return [part for part in self._parts if artwork == "keep" or part.text] if artwork != "flip" else []

    def _as_seen(self, transform: Transform, artwork: str) -> npt.NDArray[np.float32]:
        """The layer that a transform is applied to."""
        if artwork == "flip" or not is_mirrored(transform, self.quad):
            return self._layer
        return kept_upright(self._layer, self._kept(artwork))

    def artwork_on(self, transform: Transform, artwork: str) -> str:
        """What `apply` does with the artwork on a mirrored target.

        Parameters
        ----------
        transform : Transform
            Source pixels to target pixels.
        artwork : {"auto", "keep", "flip"}
            See `Compositing`.

        Returns
        -------
        {"", "kept", "flipped", "partly kept"}
            Empty where the transform does not mirror.
        """
        if not is_mirrored(transform, self.quad):
            return ""
        kept = len(self._kept(artwork))
        return "flipped" if kept == 0 else "kept" if kept == len(self._parts) else "partly kept"

    def to_dict(self) -> dict[str, Any]:
        """Plain data: ``{"type": "sticker", "image": Image, "quad": [[x, y], …] or None}``."""
        return {"type": "sticker", "image": self.image, "quad": None if self.canvas else self.quad.tolist()}

    def __repr__(self) -> str:
        return f"Sticker({self.image!r}, quad={np.round(self.quad, 1).tolist()})"


def _warn_if_tiny(sticker: Sticker, path: Path | str) -> None:
    sides = np.linalg.norm(np.roll(sticker.quad, -1, axis=0) - sticker.quad, axis=1)
    width, height = float(max(sides[0], sides[2])), float(max(sides[1], sides[3]))
    if max(width, height) < _TINY:
        _log.warning(
            "%s covers only %.0f × %.0f pixels of the source, too little to be placed well or seen: "
            "check --at, --quad or the sticker.", path, width, height,
        )  # fmt: skip


def _box_corners(at: Sequence[float], name: str) -> Points:
    try:
        x, y, width, height = (float(value) for value in at)
    except (TypeError, ValueError) as error:
        raise EditError(f"The place of {name} must be four numbers x, y, width, height, but is {at!r}.") from error
    if not np.isfinite([x, y, width, height]).all() or width <= 0 or height <= 0:
        raise EditError(
            f"The place of {name} (x {x:g}, y {y:g}, width {width:g}, height {height:g}) covers no area: "
            "give finite numbers with a width and height above 0."
        )
    return box_quad((x, y, x + width, y + height))
