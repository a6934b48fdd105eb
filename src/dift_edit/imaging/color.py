"""Colour: linear light, Lab, and what makes an edit look as if it belonged to a target.

The conversions are kornia's. All estimates are robust (medians) and bounded, because a correction that is too strong
looks worse than none.
"""

import cv2
import numpy as np
import numpy.typing as npt
from scipy import linalg

__all__ = [
    "illuminant_gain",
    "illumination_gain",
    "lab_to_srgb",
    "linear_to_srgb",
    "luminance",
    "match_palette",
    "shading_field",
    "srgb_to_lab",
    "srgb_to_linear",
]

Floats = npt.NDArray[np.float32]

MAX_EXPOSURE, MAX_TINT = 1.0, 0.4
"""Largest corrections, in stops: of the brightness, and of one channel against the mean of all."""


def srgb_to_linear(values: Floats) -> Floats:
    """SRGB (…, 3) in [0, 1] to linear light (IEC 61966-2-1)."""
    return _converted(values, "rgb_to_linear_rgb")


def linear_to_srgb(values: Floats) -> Floats:
    """Linear light (…, 3) in [0, 1] to sRGB (IEC 61966-2-1)."""
    return _converted(values, "linear_rgb_to_rgb")


def _converted(values: Floats, conversion: str) -> Floats:
    """A conversion of kornia, which takes (3, H, W), on values (…, 3)."""
    import kornia.color  # half a second
    import torch

    colours = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    converted = getattr(kornia.color, conversion)(colours.reshape(-1, 3).T[..., None])
    return np.ascontiguousarray(converted[..., 0].T.reshape(colours.shape).numpy())


def luminance(linear: Floats) -> Floats:
    """Relative luminance (…) of linear light (…, 3) (ITU-R BT.709)."""
    return np.asarray(linear @ np.array([0.2126, 0.7152, 0.0722], np.float32), dtype=np.float32)


def srgb_to_lab(values: Floats) -> Floats:
    """SRGB (…, 3) in [0, 1] to CIE L*a*b* (D65): L in [0, 100]."""
    return _converted(values, "rgb_to_lab")


def lab_to_srgb(lab: Floats) -> Floats:
    """CIE L*a*b* (…, 3) to sRGB, cut to [0, 1]; colours of negative Z, which no light has, get Z = 0."""
    return _converted(lab, "lab_to_rgb")


def illumination_gain(before: Floats, after: Floats, strength: float = 1.0) -> Floats:
    """How the light changed between pixels that show the same surface.

    Parameters
    ----------
    before, after : ndarray
        (N, 3) sRGB in [0, 1], pairs of pixels.
    strength : float
        0 (no correction) to 1.

    Returns
    -------
    ndarray
        (3,) factors for linear light; ones when too few pairs are usable. The median over the pairs is shrunk when
        they disagree, and bounded by `MAX_EXPOSURE` and `MAX_TINT`.

    References
    ----------
    von Kries, 1902 (a change of light as one factor per channel).
    """
    usable = ((np.minimum(before, after) > 0.03) & (np.maximum(before, after) < 0.985)).all(axis=1)
    if usable.sum() < 30:
        return np.ones(3, np.float32)
    ratio = np.log2(srgb_to_linear(after[usable])) - np.log2(srgb_to_linear(before[usable]))
    middle = np.median(ratio, axis=0)
    spread = 1.4826 * float(np.median(np.abs(ratio - middle).mean(axis=1)))
    return _bounded(middle / (1 + (spread / 1.5) ** 2), strength)


def illuminant_gain(values: Floats, strength: float = 1.0) -> Floats:
    """The colour and brightness of an image's light, from the image alone.

    Parameters
    ----------
    values : ndarray
        (h, w, 3) sRGB in [0, 1].
    strength : float
        0 (no correction) to 1.

    Returns
    -------
    ndarray
        (3,) factors for linear light that a neutral, well-lit surface would need; half of what the estimate says,
        because it takes the image's own colours for the light's.

    References
    ----------
    Finlayson and Trezzi, "Shades of Gray and Colour Constancy", 2004 (Minkowski norm p = 6).
    """
    linear = srgb_to_linear(values).reshape(-1, 3).astype(np.float64)
    light = np.maximum((linear**6).mean(axis=0) ** (1 / 6), 1e-4)
    tint = np.log2(light / np.exp(np.log(light).mean()))
    exposure = np.log2(max(float(np.median(luminance(linear.astype(np.float32)))), 1e-4) / 0.2)
    return _bounded(0.5 * (tint + 0.5 * exposure), strength)


def _bounded(stops: npt.NDArray[np.floating], strength: float) -> Floats:
    exposure = float(np.mean(stops))
    tint = np.clip(stops - exposure, -MAX_TINT, MAX_TINT)
    factors = 2.0 ** (strength * (np.clip(exposure, -MAX_EXPOSURE, MAX_EXPOSURE) + tint))
    return np.asarray(factors, dtype=np.float32)


def shading_field(below: Floats, alpha: Floats, context: Floats | None = None, strength: float = 1.0) -> Floats:
    """The coarse light and shade of a target, relative to its median under a layer.

    Parameters
    ----------
    below : ndarray
        (h, w, 3) sRGB of the target.
    alpha : ndarray
        (h, w) of the layer.
    context : ndarray, optional
        (h, w, 4) premultiplied sRGB of the source in the same place: with it only the *change* of light and shade
        counts, so that dark fur is not taken for a shadow.
    strength : float
        0 to 1.

    Returns
    -------
    ndarray
        (h, w) factors for linear light, 0.4 to 2.
    """
    height, width = alpha.shape
    scale = min(1.0, 128 / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    sigma = max(1.0, 0.15 * scale * float(np.sqrt((alpha > 0.5).sum())))
    field = _smooth(np.log2(luminance(srgb_to_linear(_shrunk(below, size))) + 0.02), None, sigma)
    if context is not None:
        cover = _shrunk(context[..., 3], size)
        straight = _shrunk(context[..., :3], size) / np.maximum(cover, 1e-3)[..., None]
        field = field - _smooth(np.log2(luminance(srgb_to_linear(np.clip(straight, 0, 1))) + 0.02), cover, sigma)
    inside = _shrunk(alpha, size) > 0.5
    field = field - np.median(field[inside] if inside.any() else field)
    full = cv2.resize(np.asarray(field, dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(2.0 ** (strength * np.asarray(full)), 0.4, 2.0).astype(np.float32)


def _shrunk(values: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA))


def _smooth(values: Floats, weight: Floats | None, sigma: float) -> Floats:
    if weight is None:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), dtype=np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), sigma)
    return np.asarray(cv2.GaussianBlur(values * weight, (0, 0), sigma) / np.maximum(total, 1e-3), dtype=np.float32)


def match_palette(colors: Floats, weight: Floats, palette: Floats, strength: float = 1.0) -> Floats:
    """Colours moved towards a palette, keeping their order: a linear optimal transport in Lab.

    Parameters
    ----------
    colors : ndarray
        (h, w, 3) sRGB in [0, 1] of the edit.
    weight : ndarray
        (h, w) its alpha: transparent pixels do not count.
    palette : ndarray
        (..., 3) sRGB in [0, 1] of the target.
    strength : float
        0 to 1.

    Returns
    -------
    ndarray
        (h, w, 3) sRGB in [0, 1]. The mean moves by at most 25 units of L and 20 of a and b, spreads change by at
        most a factor of 2, so that an edit stays recognisable.

    References
    ----------
    Pitié and Kokaram, "The Linear Monge-Kantorovitch Linear Colour Mapping", 2007, equation 4.
    """
    lab = srgb_to_lab(colors)
    own = lab[weight > 0.5].astype(np.float64)
    goal = srgb_to_lab(palette.reshape(-1, 3)).astype(np.float64)
    if len(own) < 10 or len(goal) < 10:
        return colors
    own_mean, goal_mean = own.mean(axis=0), goal.mean(axis=0)
    ridge = 4.0 * np.eye(3)  # two units of noise keep flat colours from being blown up
    own_cov, goal_cov = np.cov(own.T) + ridge, np.cov(goal.T) + ridge
    root = np.real(linalg.sqrtm(own_cov))
    back = np.linalg.inv(root)
    transport = back @ np.real(linalg.sqrtm(root @ goal_cov @ root)) @ back
    gains, axes = np.linalg.eigh(transport)
    transport = (axes * np.clip(gains, 0.5, 2.0)) @ axes.T
    limit = np.array([25.0, 20.0, 20.0])
    shift = np.clip(goal_mean - own_mean, -limit, limit)
    linear = (1 - strength) * np.eye(3) + strength * transport
    moved = (lab - own_mean) @ linear.T + own_mean + strength * shift
    return lab_to_srgb(moved.astype(np.float32))
