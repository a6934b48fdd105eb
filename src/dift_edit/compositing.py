"""Putting a warped layer on a target: premultiplied alpha-over, in the target's own depth.

Pixels that the layer does not cover keep their exact values.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.errors import EditError
from dift_edit.features.base import fingerprint
from dift_edit.image import Image, Pixels
from dift_edit.warp import RESAMPLINGS, Warped

__all__ = ["BLENDS", "Compositing", "alpha_over", "composite", "linear_to_srgb", "srgb_to_linear"]

Floats = npt.NDArray[np.float32]

BLENDS = ("over",)
_STRIP = 1 << 20
"""Pixels blended at once."""


def _option(default: Any, help_: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help_, **more})


@dataclass(frozen=True, kw_only=True)
class Compositing:
    """How an edit is put on a target.

    Raises
    ------
    EditError
        If a value is not one of its choices or out of its range.
    """

    blend: str = _option("over", "how the edit is joined with the target", choices=BLENDS)
    opacity: float = _option(1.0, "opacity of the whole edit, 0 to 1", limits=(0.0, 1.0))
    feather: float = _option(0.0, "width of a soft inner edge in target pixels", limits=(0.0, 1e4))
    linear_light: bool = _option(False, "mix in linear light instead of in sRGB values")
    resampling: str = _option("bilinear", "how the edit is resampled", choices=RESAMPLINGS)

    def __post_init__(self) -> None:
        for item in fields(self):
            value, choices, limits = getattr(self, item.name), item.metadata.get("choices"), item.metadata.get("limits")
            if choices and value not in choices:
                raise EditError(f"The setting {item.name} is {value!r}: use one of {', '.join(choices)}.")
            if limits and not limits[0] <= value <= limits[1]:
                raise EditError(
                    f"The setting {item.name} is {value}: use a number from {limits[0]:g} to {limits[1]:g}."
                )

    def fingerprint(self) -> str:
        """Digest of all settings (16 hexadecimal digits)."""
        return fingerprint(self)


def alpha_over(
    base: Floats, layer: Floats, alpha: Floats, base_alpha: Floats | None = None
) -> tuple[Floats, Floats | None]:
    """A layer over a base.

    Parameters
    ----------
    base : ndarray
        (h, w, 3) float in [0, 1], straight colour.
    layer : ndarray
        (h, w, 3) float, premultiplied with `alpha`.
    alpha : ndarray
        (h, w) float in [0, 1].
    base_alpha : ndarray, optional
        (h, w) of the base; opaque when None.

    Returns
    -------
    colour : ndarray
        (h, w, 3), straight.
    alpha : ndarray or None
        (h, w); None for an opaque base.

    References
    ----------
    Porter and Duff, "Compositing Digital Images", 1984, operator *over*.
    """
    rest = 1 - alpha
    if base_alpha is None:
        return layer + base * rest[..., None], None
    total = alpha + base_alpha * rest
    mixed = layer + base * (base_alpha * rest)[..., None]
    colour = np.divide(mixed, total[..., None], out=base.astype(np.float32), where=total[..., None] > 0)
    return colour, total


def composite(target: Image, warped: Warped, settings: Compositing | None = None) -> Image:
    """Put a premultiplied RGBA layer on a target.

    Parameters
    ----------
    target : Image
        The picture.
    warped : Warped
        (h, w, 4) premultiplied, in a box of the target.
    settings : Compositing, optional
        The defaults when None.

    Returns
    -------
    Image
        Of the target's size, type and file information; pixels with no opacity of the layer are bit-identical.
    """
    settings = settings or Compositing()
    if warped.empty:
        return target
    values = np.clip(warped.values, 0, 1)
    values[..., :3] = np.minimum(values[..., :3], values[..., 3:])
    opacity = settings.opacity
    if settings.feather > 0:
        values = values * feathered(values[..., 3], settings.feather)[..., None]
    if opacity < 1:
        values = values * np.float32(opacity)
    return put(target, warped.box, values, linear_light=settings.linear_light)


def feathered(alpha: Floats, width: float) -> Floats:
    """Factor (h, w) in [0, 1] that falls to zero over `width` pixels towards the edge of what is opaque."""
    solid = np.pad((alpha > 0.5).astype(np.uint8), 1)
    distance = cv2.distanceTransform(solid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    t = np.clip((distance - 0.5) / width, 0, 1)
    soft: Floats = (t * t * (3 - 2 * t)).astype(np.float32)
    return soft


def put(target: Image, box: tuple[int, int, int, int], values: Floats, *, linear_light: bool = False) -> Image:
    """`alpha_over` on a box of an image, in strips of rows, in the image's own depth.

    Parameters
    ----------
    target : Image
        The picture below.
    box : (left, top, right, bottom)
        Where the layer lies.
    values : ndarray
        (h, w, 4) float32 premultiplied, in [0, 1].
    linear_light : bool
        Mix intensities instead of sRGB values.
    """
    left, top, right, bottom = box
    pixels = target.pixels.copy()
    alpha = None if target.alpha is None else target.alpha.copy()
    rows = max(1, _STRIP // max(1, right - left))
    for start in range(0, bottom - top, rows):
        part = values[start : start + rows]
        touched = part[..., 3] > 0
        if not touched.any():
            continue
        window = (slice(top + start, top + start + len(part)), slice(left, right))
        base = pixels[window].astype(np.float32) / np.float32(target.full_scale)
        below = None if alpha is None else alpha[window].astype(np.float32) / np.float32(target.full_scale)
        colours = part[..., :3]
        if linear_light:
            opacity = part[..., 3:]
            straight = np.divide(colours, opacity, out=np.zeros_like(colours), where=opacity > 0)
            base, colours = srgb_to_linear(base), srgb_to_linear(straight) * opacity
        mixed, total = alpha_over(base, colours, part[..., 3], below)
        if linear_light:
            mixed = linear_to_srgb(mixed)
        np.copyto(pixels[window], _typed(mixed, target), where=touched[..., None])
        if alpha is not None and total is not None:
            np.copyto(alpha[window], _typed(total, target), where=touched)
    return target.with_pixels(pixels, alpha)


def _typed(values: Floats, like: Image) -> Pixels:
    """Values in [0, 1] in the depth of a picture."""
    scaled = np.clip(values, 0, 1) * np.float32(like.full_scale)
    if like.full_scale != 1:
        scaled = np.rint(scaled)
    return scaled.astype(like.pixels.dtype)


def srgb_to_linear(values: Floats) -> Floats:
    """SRGB values in [0, 1] to linear light (IEC 61966-2-1)."""
    linear = np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def linear_to_srgb(values: Floats) -> Floats:
    """Linear light in [0, 1] to sRGB values (IEC 61966-2-1)."""
    curved = 1.055 * np.maximum(values, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(values <= 0.0031308, values * 12.92, curved).astype(np.float32)
