"""Pictures derived from scikit-image's CC0 photographs: warps with known truth, light, coats, paint and pencil.

Frame: pixels (x, y) of a picture, pixel centres at integers. Pictures are (H, W, 3) float arrays in [0, 1].
A *forward map* takes source points (N, 2) to target points (N, 2); that is the ground truth of a warp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFilter
from scipy import ndimage
from skimage import data

from .drawing import Painter, curve, ellipse

Array = NDArray[np.float64]
PointMap = Callable[[Array], Array]

SIZE = (902, 600)
"""Width and height of ``cat.jpg``: the photograph of 451 x 300 pixels, enlarged twice."""

LANDMARKS = {"left_eye": (341.0, 233.0), "right_eye": (629.0, 273.0), "nose": (527.0, 478.0), "mouth": (510.0, 536.0)}
"""Where the parts of the cat's face are in ``cat.jpg`` ("left" is the picture's left)."""

HEAD = [
    (70, -30),
    (62, 100),
    (64, 210),
    (96, 300),
    (150, 410),
    (250, 500),
    (370, 556),
    (490, 584),
    (590, 556),
    (632, 480),
    (660, 420),
    (700, 350),
    (716, 270),
    (712, 170),
    (748, 90),
    (800, -30),
]
BODY = [(-40, 270), (60, 210), (100, 300), (150, 410), (260, 500), (370, 556), (420, 640), (-40, 640)]


def to_array(picture: Image.Image) -> Array:
    """(H, W, 3) in [0, 1]."""
    return np.asarray(picture.convert("RGB"), dtype=float) / 255.0


def to_image(array: Array) -> Image.Image:
    """Picture of 8 bits."""
    return Image.fromarray(np.round(np.clip(array, 0, 1) * 255).astype(np.uint8), "RGB")


def cat() -> Image.Image:
    """The source: Chelsea (CC0), enlarged twice and slightly sharpened."""
    picture = Image.fromarray(data.chelsea()).resize(SIZE, Image.Resampling.LANCZOS)
    return picture.filter(ImageFilter.UnsharpMask(2.2, 70, 2))


def coffee(size: tuple[int, int] = (960, 640)) -> Image.Image:
    """A cup of coffee (CC0), without any cat."""
    picture = Image.fromarray(data.coffee()).resize(size, Image.Resampling.LANCZOS)
    return picture.filter(ImageFilter.UnsharpMask(1.6, 60, 2))


def noise(shape: tuple[int, int], scales: Sequence[float], seed: int) -> Array:
    """Smooth noise with mean 0 and deviation 1: a sum of Gaussian-filtered white noises."""
    rng = np.random.default_rng(seed)
    total = np.zeros(shape)
    for s in scales:
        layer = ndimage.gaussian_filter(rng.standard_normal(shape), s, mode="wrap")
        total += layer / layer.std()
    return np.asarray(total / total.std(), dtype=float)


def polygon_mask(polygons: Sequence[ArrayLike], size: tuple[int, int], blur: float) -> Array:
    """Soft mask (H, W) in [0, 1] of a union of polygons."""
    painter = Painter(size, scale=1)
    total = np.zeros(size[::-1])
    for p in polygons:
        total = np.maximum(total, np.asarray(painter.mask(curve(p), 0), dtype=float) / 255)
    return np.asarray(ndimage.gaussian_filter(total, blur, mode="nearest"), dtype=float)


def sample(array: Array, points: Array, mode: Literal["nearest", "mirror", "grid-wrap"] = "nearest") -> Array:
    """Values (..., C) of a picture at points (..., 2), linearly interpolated."""
    at = np.stack([points[..., 1], points[..., 0]])
    planes = [ndimage.map_coordinates(array[..., c], at, order=1, mode=mode) for c in range(array.shape[-1])]
    return np.stack(planes, -1)


def pixel_grid(size: tuple[int, int]) -> Array:
    """All pixel centres, (H, W, 2)."""
    return np.stack(np.meshgrid(np.arange(size[0], dtype=float), np.arange(size[1], dtype=float)), -1)


def homography(source: ArrayLike, target: ArrayLike) -> Array:
    """The 3 x 3 matrix that takes four source points to four target points."""
    rows, right = [], []
    for (x, y), (u, v) in zip(np.asarray(source, dtype=float), np.asarray(target, dtype=float), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(right)), 1.0).reshape(3, 3)


def project(matrix: Array, points: ArrayLike) -> Array:
    """Points (..., 2) through a homography."""
    p = np.asarray(points, dtype=float)
    q = np.concatenate([p, np.ones((*p.shape[:-1], 1))], -1) @ matrix.T
    return np.asarray(q[..., :2] / q[..., 2:], dtype=float)


def bend_map(centers: ArrayLike, shifts: ArrayLike, widths: ArrayLike) -> PointMap:
    """Smooth forward map: every centre is pushed by its shift, fading as a Gaussian of its width."""
    c, d, s = np.asarray(centers, dtype=float), np.asarray(shifts, dtype=float), np.asarray(widths, dtype=float)

    def forward(points: Array) -> Array:
        p = np.asarray(points, dtype=float)
        moved = p.copy()
        for k in range(len(c)):
            moved += np.exp(-((p - c[k]) ** 2).sum(-1, keepdims=True) / (2 * s[k] ** 2)) * d[k]
        return moved

    return forward


def warp(array: Array, forward: PointMap, size: tuple[int, int] | None = None, rounds: int = 18) -> Array:
    """The picture moved by a forward map, inverted by fixed-point steps (its shift must have a slope below 1)."""
    target = pixel_grid(size or (array.shape[1], array.shape[0]))
    back = target.copy()
    for _ in range(rounds):
        back += target - forward(back)
    return sample(array, back, mode="mirror")


def relight(
    array: Array, ambient: ArrayLike, lamp: ArrayLike, where: tuple[float, float, float], power: float = 1.0
) -> Array:
    """Light the cat's head, taken as half an ellipsoid, by a lamp.

    ``where`` is the lamp's (x, y, z) in head radii from the head's middle; ``ambient`` and ``lamp`` are (r, g, b).
    """
    grid = pixel_grid((array.shape[1], array.shape[0]))
    p = (grid - (430.0, 300.0)) / (370.0, 330.0)
    z = np.sqrt(np.clip(1.05 - (p**2).sum(-1), 0.02, None))
    luma = array @ np.array([0.3, 0.59, 0.11])
    relief = ndimage.gaussian_filter(luma, 2.0)
    gy, gx = np.gradient(relief)
    normal = np.stack([p[..., 0] - 5 * gx, p[..., 1] - 5 * gy, z], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    ray = np.array(where) - np.concatenate([p, z[..., None]], -1)
    distance = np.linalg.norm(ray, axis=-1, keepdims=True)
    facing = np.clip((normal * ray / distance).sum(-1, keepdims=True), 0, None)
    light = np.asarray(ambient, dtype=float) + np.asarray(lamp, dtype=float) * facing * power / (
        0.35 + distance**2 / np.sum(np.square(where))
    )
    lit = array**1.1 * light
    return np.asarray(1 - np.exp(-1.7 * lit), dtype=float)


def eye_masks() -> tuple[Array, Array]:
    """Soft masks of the eyes (iris and pupil) and of the nose's skin in ``cat.jpg``."""
    eyes = [ellipse((338, 233), 64, 58, 0.1), ellipse((632, 274), 43, 51, 0.1)]
    nose = [curve([(482, 464), (514, 456), (570, 464), (578, 472), (540, 506), (514, 528), (502, 504)])]
    return polygon_mask(eyes, SIZE, 3.0), polygon_mask(nose, SIZE, 3.0)


def coat(
    array: Array,
    dark: ArrayLike,
    light: ArrayLike,
    iris: ArrayLike,
    stripes: float = 0.25,
    background: ArrayLike = (1, 1, 1),
    patch: Array | None = None,
    patch_light: ArrayLike = (1, 1, 1),
) -> Array:
    """Another coat for the cat of ``cat.jpg``.

    The fur's luminance is split into stripes (coarse, kept by the factor ``stripes``) and hairs (fine, kept), and
    runs from colour ``dark`` to ``light``; ``patch`` (H, W) in [0, 1] marks white fur.
    """
    luma = array @ np.array([0.3, 0.59, 0.11])
    coarse = ndimage.gaussian_filter(luma, 9.0)
    form = ndimage.gaussian_filter(luma, 70.0)
    tone = np.clip(0.45 + (form - form.mean()) * 0.7 + (coarse - form) * stripes + (luma - coarse) * 1.25, 0, 1)[
        ..., None
    ]
    dark, light = np.asarray(dark, dtype=float), np.asarray(light, dtype=float)
    fur = dark + (light - dark) * tone
    if patch is not None:
        white = np.asarray(patch_light, dtype=float) * np.clip(0.62 + 0.55 * tone, 0, 1.1)
        fur = fur + (white - fur) * patch[..., None]
    head = polygon_mask([HEAD, BODY], SIZE, 7.0)[..., None]
    eyes, nose = (m[..., None] for m in eye_masks())
    green = luma[..., None] * np.asarray(iris, dtype=float) * 2.0
    result = array * np.asarray(background, dtype=float) * (1 - head) + fur * head
    result = result * (1 - nose) + (fur * 0.35 + array * (0.9, 0.75, 0.8) * 0.65) * nose
    return np.asarray(result * (1 - eyes) + np.clip(green, 0, 1) * eyes, dtype=float)


def smooth_regions(array: Array, rounds: int, radius: float, sharpness: float = 0.07) -> Array:
    """Edge-preserving smoothing: a few rounds of the guided filter (He et al. 2010), guided by the luminance."""
    for _ in range(rounds):
        guide = array @ np.array([0.3, 0.59, 0.11])

        def mean(a: Array) -> Array:
            return np.asarray(ndimage.gaussian_filter(a, radius), dtype=float)

        m = mean(guide)
        variance = mean(guide * guide) - m * m
        planes = []
        for c in range(3):
            slope = (mean(guide * array[..., c]) - m * mean(array[..., c])) / (variance + sharpness**2)
            planes.append(mean(slope) * guide + mean(mean(array[..., c]) - slope * m))
        array = np.stack(planes, -1)
    return array


def watercolour(array: Array, seed: int = 3) -> Array:
    """Re-paint: flat washes, darker pigment at their edges, wandering outlines, paper grain and a white border."""
    h, w = array.shape[:2]
    grid = pixel_grid((w, h))
    wobble = np.stack([noise((h, w), (5, 14), seed), noise((h, w), (5, 14), seed + 1)], -1)
    painted = sample(smooth_regions(array, 3, 4.0, 0.09), grid + 2.6 * wobble)
    levels = 9.0
    soft = painted * levels
    washes = (np.floor(soft) + 1 / (1 + np.exp(-10 * (soft - np.floor(soft) - 0.5)))) / levels
    washes = ndimage.gaussian_filter(washes, (1.0, 1.0, 0))
    luma = ndimage.gaussian_filter(washes, (2, 2, 0)) @ np.array([0.3, 0.59, 0.11])
    edge = np.hypot(*np.gradient(luma))
    pigment = 1 - np.clip(edge * 7, 0, 0.42)
    grey = washes.mean(-1, keepdims=True)
    colour = np.clip(grey + (washes - grey) * 1.55, 0, 1) ** 0.62
    flow = 1 + 0.06 * noise((h, w), (30, 70), seed + 2) + 0.035 * noise((h, w), (1.0, 2.5), seed + 3)
    inked = 1 - (1 - colour * pigment[..., None]) * np.clip(flow, 0.5, 1.5)[..., None]
    x, y = grid[..., 0] / w * 2 - 1, grid[..., 1] / h * 2 - 1
    rim = np.maximum(
        np.abs(x) ** 1.0 + 0.045 * noise((h, w), (12, 45), seed + 5),
        np.abs(y) + 0.06 * noise((h, w), (12, 45), seed + 6),
    )
    cover = 1 / (1 + np.exp((rim - 0.88) * 60))
    paper = np.array([0.985, 0.975, 0.945]) + 0.012 * noise((h, w), (1.2, 3.0), seed + 7)[..., None]
    border = 1 - 0.35 * np.exp(-(((rim - 0.86) / 0.018) ** 2))
    inked = 1 - (1 - inked) * (1 + (1 - border[..., None]) * 0.8)
    return np.asarray(paper * (1 - cover[..., None]) + np.clip(inked, 0, 1) * paper * cover[..., None], dtype=float)


def pencil(array: Array, seed: int = 11) -> Array:
    """Re-draw in pencil: dodged lines plus hatching that is denser where the picture is darker, on cream paper."""
    h, w = array.shape[:2]
    luma = array @ np.array([0.3, 0.59, 0.11])
    lines = np.clip(luma / np.maximum(ndimage.gaussian_filter(luma, 7.0), 0.02), 0, 1.06) / 1.06
    lines = np.clip((lines - 0.62) / 0.38, 0, 1)
    tone = np.clip((ndimage.gaussian_filter(luma, 3.0) - 0.08) / 0.72, 0, 1)
    grid = pixel_grid((w, h))
    rng = np.random.default_rng(seed)
    hatch = np.ones((h, w))
    for angle, limit in ((-0.9, 0.62), (-0.45, 0.42), (0.5, 0.24)):
        c, s = np.cos(angle), np.sin(angle)
        white = ndimage.gaussian_filter(rng.standard_normal((h, w)), 0.6)
        long = np.stack([grid[..., 0] * c + grid[..., 1] * s, grid[..., 1] * c - grid[..., 0] * s], -1)
        along = np.stack([long[..., 0] / 26, long[..., 1] / 1.6], -1) % (min(h, w) - 1)
        texture = sample(white[..., None], along, mode="grid-wrap")[..., 0]
        texture = (texture - texture.mean()) / texture.std()
        dark = np.clip((limit - tone) / limit, 0, 1)
        hatch *= 1 - 0.62 * np.clip(dark * 1.5 + 0.35 * texture * np.sqrt(dark), 0, 1)
    grain = 1 + 0.05 * noise((h, w), (0.8, 1.6), seed + 1)
    graphite = np.clip((1 - (1 - lines) * 0.95) * hatch, 0, 1) ** (0.9 * grain)
    paper, lead = np.array([0.97, 0.95, 0.90]), np.array([0.17, 0.17, 0.20])
    x, y = np.abs(grid[..., 0] / w * 2 - 1), np.abs(grid[..., 1] / h * 2 - 1)
    fade = 1 / (1 + np.exp((np.maximum(x, y) + 0.07 * noise((h, w), (9, 40), seed + 3) - 0.87) * 30))
    amount = ((1 - graphite) * fade)[..., None]
    return np.asarray(paper + (lead - paper) * amount, dtype=float)
