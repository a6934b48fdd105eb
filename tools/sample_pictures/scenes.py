"""The cat as a picture inside another picture: a print on a cafe table, a framed picture on a brick wall."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import data

from .photo import SIZE, Array, cat, coffee, homography, noise, pixel_grid, project, sample, to_array


def place(
    scene: Array,
    picture: Array,
    corners: Array,
    shadow: tuple[float, float] = (6, 9),
    blur: float = 7.0,
    strength: float = 0.55,
) -> Array:
    """``picture`` laid over ``scene`` with its corners (TL, TR, BR, BL) at ``corners``, casting a soft shadow.

    Sampled through a blurred copy, as wide as the picture is reduced, so that fine fur does not alias.
    """
    h, w = picture.shape[:2]
    frame = [(0, 0), (w - 1, 0), (w - 1, h - 1), (0, h - 1)]
    back = homography(corners, frame)
    size = (scene.shape[1], scene.shape[0])
    total, cover = np.zeros_like(scene), np.zeros(scene.shape[:2])
    shift = (np.arange(3) + 0.5) / 3 - 0.5
    for dx in shift:
        for dy in shift:
            at = project(back, pixel_grid(size) + (dx, dy))
            inside = np.all((at > -0.5) & (at < (w - 0.5, h - 0.5)), axis=-1).astype(float)
            total += sample(picture, at) * inside[..., None] / 9
            cover += inside / 9
    dark = ndimage.gaussian_filter(ndimage.shift(cover, shadow[::-1], order=1), blur) * strength
    return np.asarray(scene * (1 - dark[..., None]) * (1 - cover[..., None]) + total, dtype=float)


def print_on_table() -> tuple[Array, Array]:
    """A photographic print lying on the table beside the cup; returns it and the source's homography into it."""
    scene = to_array(coffee())
    photograph = to_array(cat())
    margin = 46
    sheet = np.full((SIZE[1] + 2 * margin, SIZE[0] + 2 * margin, 3), (0.97, 0.96, 0.93))
    sheet[margin:-margin, margin:-margin] = photograph
    sheet *= 1 - 0.05 * (pixel_grid((sheet.shape[1], sheet.shape[0]))[..., :1] / sheet.shape[1])
    corners = np.array([(386, 196), (940, 298), (846, 676), (276, 556)], dtype=float)
    lit = place(scene, sheet * (1.0, 0.96, 0.86), corners)
    frame = [
        (-margin, -margin),
        (SIZE[0] - 1 + margin, -margin),
        (SIZE[0] - 1 + margin, SIZE[1] - 1 + margin),
        (-margin, SIZE[1] - 1 + margin),
    ]
    return lit, homography(frame, corners)


def framed_on_wall() -> tuple[Array, Array]:
    """A framed picture on a brick wall, seen from the left under evening light; returns it and the homography."""
    width, height = 900, 640
    brick = (
        np.asarray(Image.fromarray(data.brick()).resize((900, 900), Image.Resampling.LANCZOS), dtype=float)[:, :, None]
        / 255
    )
    wall = np.rot90(brick, 1)[:height, ::-1][:, -width:] ** 1.3 * (0.80, 0.50, 0.42) * 1.35
    grid = pixel_grid((width, height))
    photograph = to_array(cat())
    mat, wood = 62, 40
    margin = mat + wood
    big = (SIZE[0] + 2 * margin, SIZE[1] + 2 * margin)
    sheet = np.full((big[1], big[0], 3), (0.95, 0.94, 0.90))
    sheet[margin:-margin, margin:-margin] = photograph
    g = pixel_grid(big)
    depth = np.minimum(np.minimum(g[..., 0], big[0] - 1 - g[..., 0]), np.minimum(g[..., 1], big[1] - 1 - g[..., 1]))
    rounded = 0.55 + 0.45 * np.sin(np.clip(depth / wood, 0, 1) * np.pi)
    grain = 1 + 0.08 * noise((big[1], big[0]), (1.5, 6), 5)
    timber = np.array([0.30, 0.17, 0.09]) * (rounded * grain)[..., None] * 1.5
    edge = (depth < wood)[..., None]
    inner = np.clip((depth - wood) / 10, 0, 1)[..., None]
    sheet = np.where(edge, timber, sheet * (0.62 + 0.38 * inner))
    corners = np.array([(196, 64), (790, 168), (770, 560), (166, 560)], dtype=float)
    scene = place(wall, sheet, corners, shadow=(16, 18), blur=11, strength=0.7)
    lamp = np.exp(-((((grid - (330, 60)) / (520, 470)) ** 2).sum(-1)))[..., None]
    lit = scene * ((0.34, 0.33, 0.42) + lamp * np.array([1.05, 0.92, 0.68]))
    frame = [
        (-margin, -margin),
        (SIZE[0] - 1 + margin, -margin),
        (SIZE[0] - 1 + margin, SIZE[1] - 1 + margin),
        (-margin, SIZE[1] - 1 + margin),
    ]
    return lit, homography(frame, corners)
