"""Putting a warped layer on a target, in the target's own depth.

The layer is first fitted to the target (light, shade, palette, texture: all off by default), then joined with it
(premultiplied alpha-over, Laplacian or gradient-domain blend). Pixels that it does not reach keep their exact values.
"""

from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.imaging.color import (
    illuminant_gain,
    illumination_gain,
    linear_to_srgb,
    luminance,
    match_palette,
    shading_field,
    srgb_to_linear,
)
from dift_edit.imaging.image import Image, Pixels
from dift_edit.rendering.blending import extend_colors, gradient_blend, laplacian_blend
from dift_edit.rendering.resample import in_threads
from dift_edit.rendering.warp import Box, Warped, premultiplied
from dift_edit.settings import Compositing
from dift_edit.types import Artwork, Blend

__all__ = ["ARTWORKS", "BLENDS", "Compositing", "alpha_over", "composite", "feathered", "fitted", "widened", "write"]

Floats = npt.NDArray[np.float32]

ARTWORKS = get_args(Artwork)
BLENDS = get_args(Blend)
_STRIP = 1 << 20
"""Pixels blended at once (chosen)."""


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


def composite(
    target: Image, warped: Warped, settings: Compositing | None = None, *, context: Warped | None = None
) -> Image:
    """Put a premultiplied RGBA layer on a target.

    Parameters
    ----------
    target : Image
        The image.
    warped : Warped
        (h, w, 4) premultiplied, in [0, 1], in a box of the target.
    settings : Compositing, optional
        The defaults when None.
    context : Warped, optional
        (h, w, 4) premultiplied: the source itself warped in the same way, to compare its light with the target's.

    Returns
    -------
    Image
        Of the target's size, type and file information; pixels with no opacity of the layer are bit-identical.
    """
    settings = settings or Compositing()
    if warped.empty:
        return target
    values = fitted(target, warped, settings, context)
    if settings.opacity < 1:
        values = values * np.float32(settings.opacity)
    if settings.blend == "over":
        return put(target, warped.box, values, linear_light=settings.linear_light)
    return _blended(target, Warped(values, warped.box), settings)


def fitted(target: Image, layer: Warped, settings: Compositing, context: Warped | None) -> Floats:
    """The layer's values (h, w, 4), premultiplied, as they go on a target but for the opacity: fitted and feathered."""
    values = _lit(target, layer, settings, context)
    if settings.feather > 0:
        values = values * feathered(values[..., 3], settings.feather)[..., None]
    return values


def _lit(target: Image, layer: Warped, settings: Compositing, context: Warped | None) -> Floats:
    """The layer's values (h, w, 4) with the target's light, shade, palette and texture, as far as wanted."""
    if not any((settings.match_color, settings.shading, settings.palette, settings.texture)):
        return layer.values
    box = widened(layer.box, target.size, 0.4)
    below = _crop(target, box)
    own = (
        slice(layer.box[1] - box[1], layer.box[3] - box[1]),
        slice(layer.box[0] - box[0], layer.box[2] - box[0]),
    )
    around = None if context is None else context.within(box)
    alpha = layer.values[..., 3]
    colors = np.divide(
        layer.values[..., :3], alpha[..., None], out=np.zeros_like(layer.values[..., :3]), where=alpha[..., None] > 0
    )
    factor = np.ones((1, 1, 3), np.float32)
    if settings.match_color:
        factor = factor * _light(target, below, around, settings.match_color)
    if settings.shading:
        shade_context = None if around is None else around[own]
        factor = factor * shading_field(below[own], alpha, shade_context, settings.shading)[..., None]
    if settings.match_color or settings.shading:
        colors = linear_to_srgb(np.clip(srgb_to_linear(colors) * factor, 0, 1))
    if settings.palette:
        colors = match_palette(colors, alpha, _thinned(below, 100), settings.palette)
    if settings.texture:
        bright = luminance(below)
        grain = bright - np.asarray(cv2.GaussianBlur(bright, (0, 0), max(1.2, 0.02 * float(alpha.sum()) ** 0.5)))
        colors = colors + settings.texture * np.clip(grain[own], -0.15, 0.15)[..., None]
    return np.concatenate([np.clip(colors, 0, 1) * alpha[..., None], alpha[..., None]], axis=2).astype(np.float32)


def widened(box: Box, size: tuple[int, int], share: float, least: int = 2) -> Box:
    """A box with a margin of a share of its longer side, cut to a picture's size."""
    margin = max(least, round(share * max(box[2] - box[0], box[3] - box[1])))
    return (
        max(0, box[0] - margin), max(0, box[1] - margin), min(size[0], box[2] + margin), min(size[1], box[3] + margin)
    )  # fmt: skip


def _light(target: Image, below: Floats, around: Floats | None, strength: float) -> Floats:
    """Factors (3,) for linear light: from pixels of the source and the target that show the same thing, if known."""
    if around is None:
        step = max(1, max(target.size) // 256)
        coarse = target.pixels[::step, ::step].astype(np.float32) / target.full_scale
        return illuminant_gain(coarse.astype(np.float32), strength)
    before, after = _thinned(around, 128), _thinned(below, 128)
    known = before[..., 3] > 0.98
    return illumination_gain(before[known][:, :3], after[known], strength)


def _thinned(values: Floats, longest: int) -> Floats:
    scale = min(1.0, longest / max(values.shape[:2]))
    size = (max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale)))
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA))


def _crop(target: Image, box: Box) -> Floats:
    """SRGB (h, w, 3) in [0, 1] of a part of a picture; transparent places take the colour beside them."""
    window = target.crop(box)
    values = premultiplied(window)
    return values[..., :3] if window.alpha is None else extend_colors(values)


def _blended(target: Image, layer: Warped, settings: Compositing) -> Image:
    solid = np.pad((layer.values[..., 3] > 0.02).astype(np.uint8), 1)
    thickness = float(np.max(cv2.distanceTransform(solid, cv2.DIST_L2, 3)))
    levels = int(np.clip(np.log2(max(thickness, 1) / 4), 1, 5))  # a wider seam than the layer would be a glow round it
    box = widened(layer.box, target.size, 0, 2 ** (levels + 2) if settings.blend == "laplacian" else 2)
    values, base = layer.within(box), _crop(target, box)
    alpha = values[..., 3]
    colors = extend_colors(values)
    if settings.blend == "laplacian":
        if settings.linear_light:
            base, colors = srgb_to_linear(base), srgb_to_linear(np.clip(colors, 0, 1))
        mixed, reach = laplacian_blend(base, colors, alpha, levels)
        mixed = linear_to_srgb(np.clip(mixed, 0, 1)) if settings.linear_light else mixed
        fade = np.clip((reach - 1 / 255) * 16, 0, 1)  # no step where the box ends
        return write(target, box, _crop(target, box) * (1 - fade[..., None]) + mixed * fade[..., None], reach * fade)
    pasted = gradient_blend(base, colors, alpha > 0, mixed=settings.blend == "poisson-mixed")
    return write(target, box, base + alpha[..., None] * (pasted - base), alpha)


def write(
    target: Image, box: Box, colors: Floats, coverage: Floats, *, keep_alpha: bool = False, in_place: bool = False
) -> Image:
    """Set the straight colours of a box of an image where `coverage` is above zero.

    Parameters
    ----------
    target : Image
        The image.
    box : (left, top, right, bottom)
        Where.
    colors : ndarray
        (h, w, 3) sRGB in [0, 1].
    coverage : ndarray
        (h, w) in [0, 1]; the image's alpha grows by it.
    keep_alpha : bool
        Leave the image's alpha as it is.
    in_place : bool
        Change the image's own arrays (of a copy made before).
    """
    left, top, right, bottom = box
    window = (slice(top, bottom), slice(left, right))
    pixels = target.pixels if in_place else target.pixels.copy()
    touched = coverage > 0
    np.copyto(pixels[window], _typed(colors, target), where=touched[..., None])
    alpha = target.alpha
    if alpha is not None and not keep_alpha:
        alpha = alpha if in_place else alpha.copy()
        below = alpha[window].astype(np.float32) / np.float32(target.full_scale)
        np.copyto(alpha[window], _typed(coverage + below * (1 - coverage), target), where=touched)
    return target.with_pixels(pixels, alpha, _placed(touched, box, target))


def feathered(alpha: Floats, width: float) -> Floats:
    """Factor (h, w) in [0, 1] that falls to zero over `width` pixels towards the edge of what is not transparent.

    Parts thinner than three times the width get a narrower edge, so that drawn lines do not vanish.
    """
    solid = np.pad((alpha > 0.02).astype(np.uint8), 1)
    distance = np.asarray(cv2.distanceTransform(solid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))[1:-1, 1:-1]
    thickness = np.asarray(cv2.dilate(distance, np.ones((3, 3), np.uint8), iterations=int(min(width, 64))))
    t = np.clip((distance - 0.5) / np.clip(0.6 * thickness, 0.5, width), 0, 1)
    soft: Floats = (t * t * (3 - 2 * t)).astype(np.float32)
    return soft


def put(target: Image, box: Box, values: Floats, *, linear_light: bool = False) -> Image:
    """`alpha_over` on a box of an image, in strips of rows, in the image's own depth.

    Parameters
    ----------
    target : Image
        The image below.
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

    def mix(start: int) -> None:
        part = values[start : start + rows]
        touched = part[..., 3] > 0
        if not touched.any():
            return
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

    in_threads(mix, range(0, bottom - top, rows))
    return target.with_pixels(pixels, alpha, _placed(values[..., 3] > 0, box, target))


def _placed(touched: npt.NDArray[np.bool_], box: Box, like: Image) -> npt.NDArray[np.bool_]:
    """(H, W) of the picture's size: a mask of a box in its place."""
    left, top, right, bottom = box
    mask = np.zeros(like.pixels.shape[:2], bool)
    mask[top:bottom, left:right] = touched
    return mask


def _typed(values: Floats, like: Image) -> Pixels:
    """Values in [0, 1] in the depth of a picture."""
    scaled = np.clip(values, 0, 1) * np.float32(like.full_scale)
    if like.full_scale != 1:
        scaled = np.rint(scaled)
    return scaled.astype(like.pixels.dtype)
