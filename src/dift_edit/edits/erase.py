"""Taking something out: the region is filled from the target's own surroundings."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.edits.region import Region
from dift_edit.errors import EditError
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points
from dift_edit.imaging.image import Image
from dift_edit.imaging.metadata import stripped
from dift_edit.rendering.blending import extend_colors, gradient_blend
from dift_edit.rendering.compositing import Compositing, feathered, widened, write
from dift_edit.rendering.warp import premultiplied

__all__ = ["Erase", "filled"]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_SEARCH = 240
"""Longest side, in pixels, at which a patch to copy is looked for (chosen)."""


@dataclass(frozen=True, eq=False)
class Erase:
    """A region to be filled from what lies round it.

    Attributes
    ----------
    region : Region
        What to take out, in the source; its soft edge is kept.

    Notes
    -----
    The patch whose surroundings look most like the region's is copied from elsewhere in the target and joined in the
    gradient domain. That is right for walls, sky, fur, grass; it does not invent an object that was hidden.

    What fills the region does not depend on what it showed, neither in colour nor in alpha, and of the file's metadata
    only what `dift_edit.imaging.metadata.stripped` lists is kept. But an opacity below 1, a feather and the region's
    own soft edge let what was there show through: to hide something for good use `Redaction`.
    """

    region: Region

    @property
    def quad(self) -> Points:
        """(4, 2) corners of the region in source pixels."""
        return self.region.quad

    def apply(
        self,
        target: Image,
        transform: Transform,
        *,
        source: Image | None = None,
        compositing: Compositing | None = None,
    ) -> Image:
        """Fill the region on a target: see `dift_edit.edits.base.Edit`. Of the settings, opacity and feather count.

        Raises
        ------
        EditError
            If the region lies outside the target, or covers all of it.
        """
        settings = compositing or Compositing()
        target = replace(target, file=stripped(target.file))
        warped = self.region.warped(transform, target.size)
        if warped.empty or not warped.values.any():
            raise EditError(
                f"The region to erase lies outside {target.name}, so nothing was erased in it: correct the placement, "
                "or look whether there is anything to erase."
            )
        side = max(warped.values.shape[:2])
        box = widened(warped.box, target.size, 0, max(16, 3 * side))
        weight = warped.within(box)[..., 0]
        known = weight <= 0
        if not known.any():
            raise EditError(f"The region covers all of {target.name}, so there is nothing to fill it from: mark less.")
        below = target.crop(box)
        base = below.pixels.astype(np.float32) / np.float32(target.full_scale)
        around = premultiplied(below) * known[..., None]  # what is in the region must not colour its surroundings
        result = filled(base if below.alpha is None else extend_colors(around), ~known)
        if settings.feather:
            weight = weight * feathered(weight, settings.feather)
        weight = weight * np.float32(settings.opacity)
        mixed = base * (1 - weight[..., None]) + result * weight[..., None]  # exactly the result where the weight is 1
        made = write(target, box, mixed, weight, keep_alpha=True)
        if made.alpha is None or below.alpha is None:
            return made
        given = below.alpha.astype(np.float32) / np.float32(target.full_scale)
        spread = extend_colors(np.dstack([given * known, known.astype(np.float32)]))[..., 0]
        scaled = np.clip(given * (1 - weight) + spread * weight, 0, 1) * np.float32(target.full_scale)
        alpha = made.alpha.copy()
        window = alpha[box[1] : box[3], box[0] : box[2]]
        np.copyto(window, (scaled if target.full_scale == 1 else np.rint(scaled)).astype(alpha.dtype), where=weight > 0)
        return replace(made, alpha=alpha)

    def reaches(self, transform: Transform, size: tuple[int, int]) -> bool:
        """Whether any pixel of a target of `size` (W, H) lies in the region."""
        return bool(self.region.warped(transform, size).values.any())

    def to_dict(self) -> dict[str, Any]:
        """Plain data: see `dift_edit.edits.stored`."""
        return {"type": "erase", "region": self.region}


def filled(base: Floats, hole: Mask) -> Floats:
    """An image with a hole filled from its surroundings.

    Parameters
    ----------
    base : ndarray
        (h, w, 3) sRGB; what it shows in the hole does not count.
    hole : ndarray
        (h, w) bool; not everywhere.

    Returns
    -------
    ndarray
        (h, w, 3).

    References
    ----------
    Hays and Efros, "Scene Completion Using Millions of Photographs", 2007, section 5 (the best-fitting whole patch,
    joined by Poisson blending); here the patches are the image's own.
    """
    known = np.where(hole, 0, 1).astype(np.float32)[..., None]
    guess = extend_colors(np.concatenate([base * known, known], axis=2))
    base = np.where(hole[..., None], guess, base)
    shift = _best_shift(base, hole)
    if shift is not None:
        dx, dy = shift
        rows, columns = np.nonzero(hole)
        guess = np.where(hole[..., None], guess, base)
        height, width = hole.shape
        grown = np.asarray(cv2.dilate(hole.astype(np.uint8), np.ones((3, 3), np.uint8))) > 0
        rows, columns = np.nonzero(grown)
        guess[rows, columns] = base[np.clip(rows + dy, 0, height - 1), np.clip(columns + dx, 0, width - 1)]
    return np.clip(gradient_blend(base, guess, hole), 0, 1)


def _best_shift(base: Floats, hole: Mask) -> tuple[int, int] | None:
    """(dx, dy) from the hole to the patch whose rim looks most like the hole's; None when there is no room."""
    scale = min(1.0, _SEARCH / max(hole.shape))
    size = (max(1, round(hole.shape[1] * scale)), max(1, round(hole.shape[0] * scale)))
    picture = np.asarray(cv2.resize(base, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    small = np.asarray(cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA)) > 0
    rows, columns = np.nonzero(small)
    rim = max(2, round(0.15 * max(np.ptp(rows), np.ptp(columns)) + 1))
    top, left = max(0, rows.min() - rim), max(0, columns.min() - rim)
    bottom, right = min(small.shape[0], rows.max() + 1 + rim), min(small.shape[1], columns.max() + 1 + rim)
    inner = small[top:bottom, left:right]
    kernel = np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)
    ring = ((np.asarray(cv2.dilate(inner.astype(np.uint8), kernel)) > 0) & ~inner).astype(np.float32)
    if not ring.any() or inner.shape[0] >= small.shape[0] or inner.shape[1] >= small.shape[1]:
        return None
    template = np.ascontiguousarray(picture[top:bottom, left:right])
    cost = np.asarray(cv2.matchTemplate(picture, template, cv2.TM_SQDIFF, mask=np.dstack([ring] * 3)))
    overlap = np.asarray(cv2.matchTemplate(small.astype(np.float32), inner.astype(np.float32), cv2.TM_CCORR))
    cost = np.where(np.isfinite(cost) & (overlap < 0.5), cost, np.inf)
    if not np.isfinite(cost).any():
        return None
    y, x = np.unravel_index(int(np.argmin(cost)), cost.shape)
    return round((int(x) - left) / scale), round((int(y) - top) / scale)
