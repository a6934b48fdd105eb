"""Colour changes under a soft mask: what the target shows there stays, in other colours."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from dift_edit.edits.lut import CubeLut
from dift_edit.edits.region import Region
from dift_edit.errors import EditError
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points
from dift_edit.imaging.color import lab_to_srgb, linear_to_srgb, srgb_to_lab, srgb_to_linear
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing, feathered, write

__all__ = ["ColorAdjust"]

Floats = npt.NDArray[np.float32]

_STRIP = 1 << 20
"""Pixels adjusted at once (chosen)."""
_LIMITS = {"exposure": (-10.0, 10.0), "contrast": (0.0, 10.0), "saturation": (0.0, 10.0), "hue": (-360.0, 360.0)}
"""Stops, factors and degrees; beyond them nothing is left of an image (chosen)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ColorAdjust:
    """A colour change in a region.

    Attributes
    ----------
    region : Region
        Where, in the source.
    exposure : float
        Stops of light: 1 doubles it.
    contrast : float
        Factor about middle grey, in sRGB values.
    saturation : float
        Factor of the chroma in Lab: 0 makes grey.
    hue : float
        Turn of the hue in Lab, in degrees.
    recolor : str or None
        A colour name or ``#rrggbb``: the region's mean becomes this colour, its light and shade stay.
    matrix : ndarray or None
        (3, 4) affine map of sRGB values, before everything else.
    lut : CubeLut or None
        A colour table, after everything else.

    Raises
    ------
    EditError
        If a value is not finite or out of range, or nothing would change.
    """

    region: Region
    exposure: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    recolor: str | None = None
    matrix: npt.NDArray[np.float64] | None = None
    lut: CubeLut | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise EditError(f"The {name} is {getattr(self, name)}: use a number from {low:g} to {high:g}.")
        if self.recolor is not None:
            _color(self.recolor)
        if self.matrix is not None:
            matrix = np.asarray(self.matrix, dtype=np.float64)
            if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
                raise EditError(f"The colour matrix must be (3, 4) finite numbers, but has shape {matrix.shape}.")
            object.__setattr__(self, "matrix", matrix)
        values = [(getattr(self, item.name), item.default) for item in fields(self) if item.name != "region"]
        if all(value is default or (isinstance(value, float | int) and value == default) for value, default in values):
            raise EditError("The adjustment changes nothing: set exposure, contrast, saturation, hue, recolor or lut.")

    @property
    def quad(self) -> Points:
        """(4, 2) corners of the region in source pixels."""
        return self.region.quad

    def adjusted(self, colors: Floats, mean: Floats | None = None) -> Floats:
        """The change itself.

        Parameters
        ----------
        colors : ndarray
            (h, w, 3) sRGB in [0, 1].
        mean : ndarray, optional
            (3,) mean Lab of the region, for `recolor`; of `colors` when None.

        Returns
        -------
        ndarray
            (h, w, 3) sRGB in [0, 1].
        """
        values = np.asarray(colors, dtype=np.float32)
        if self.matrix is not None:
            values = np.clip(values @ self.matrix[:, :3].T + self.matrix[:, 3], 0, 1).astype(np.float32)
        if self.exposure:
            values = linear_to_srgb(np.clip(srgb_to_linear(values) * np.float32(2.0**self.exposure), 0, 1))
        if self.contrast != 1:
            values = np.clip((values - 0.5) * np.float32(self.contrast) + 0.5, 0, 1)
        if self.saturation != 1 or self.hue or self.recolor is not None:
            values = lab_to_srgb(self._turned(srgb_to_lab(values), mean))
        if self.lut is not None:
            values = np.clip(self.lut(values), 0, 1)
        return values

    def _turned(self, lab: Floats, mean: Floats | None) -> Floats:
        angle = np.radians(self.hue)
        turn = np.eye(3, dtype=np.float32)
        turn[1:, 1:] = [(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))]
        turn[1:, 1:] *= self.saturation
        lab = np.asarray(lab @ turn.T, dtype=np.float32)
        if self.recolor is None:
            return lab
        middle = lab.reshape(-1, 3).mean(axis=0) if mean is None else turn @ mean
        goal = srgb_to_lab(_color(self.recolor))
        spread = np.array([1, 0.4, 0.4], np.float32)  # shade stays, colour differences mostly go
        shift = np.array([np.clip(goal[0] - middle[0], -40, 40), *(goal[1:] - middle[1:])], np.float32)
        return np.asarray((lab - middle) * spread + middle + shift, dtype=np.float32)

    def apply(
        self,
        target: Image,
        transform: Transform,
        *,
        source: Image | None = None,
        compositing: Compositing | None = None,
    ) -> Image:
        """Adjust a target: see `dift_edit.edits.base.Edit`. Of the settings, opacity and feather count."""
        settings = compositing or Compositing()
        mask = self.region.warped(transform, target.size)
        if mask.empty:
            return target
        weight = mask.values[..., 0]
        if settings.feather:
            weight = weight * feathered(weight, settings.feather)
        weight = weight * np.float32(settings.opacity)
        mean = self._mean(target, weight, mask.box) if self.recolor else None
        left, top, right, bottom = mask.box
        rows = max(1, _STRIP // (right - left))
        result = target
        for start in range(top, bottom, rows):
            box = (left, start, right, min(bottom, start + rows))
            part = weight[box[1] - top : box[3] - top]
            if part.any():
                below = target.crop(box).pixels.astype(np.float32) / np.float32(target.full_scale)
                mixed = below + part[..., None] * (self.adjusted(below, mean) - below)
                result = write(result, box, mixed, part, keep_alpha=True, in_place=result is not target)
        return result

    def _mean(self, target: Image, weight: Floats, box: tuple[int, int, int, int]) -> Floats:
        step = max(1, int(np.sqrt(weight.size / 1e5)))
        part = target.crop(box).pixels[::step, ::step].astype(np.float32) / np.float32(target.full_scale)
        if self.matrix is not None or self.exposure or self.contrast != 1:
            part = ColorAdjust(
                region=self.region, matrix=self.matrix, exposure=self.exposure, contrast=self.contrast
            ).adjusted(part)
        share = np.maximum(weight[::step, ::step, None], 1e-9)
        return np.asarray((srgb_to_lab(part) * share).sum(axis=(0, 1)) / share.sum(), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: see `dift_edit.edits.stored`."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"type": "adjust", **{name: value for name, value in values.items() if value is not None}}


def _color(name: str) -> Floats:
    try:
        return np.array(ImageColor.getrgb(name)[:3], np.float32) / np.float32(255)
    except (ValueError, AttributeError) as error:
        raise EditError(f"{name!r} is not a colour: use a name such as 'red', or #rrggbb.") from error
