"""Sets of pictures with known truth, made when a test or an example needs them; none of them is shipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from . import photo
from .cat_pictures import GINGER, SIAMESE, TUXEDO, Marks, down
from .cats import Coat, Head, draw_head
from .drawing import Painter, curve, ellipse
from .photo import SIZE, Array, PointMap


def turned_head(strength: float = 1.0) -> PointMap:
    """A wider face, its nose and muzzle pushed to the other side, as if the cat had turned its head."""
    centers = [(120, 330), (700, 360), (430, 30), (527, 490)]
    shifts = np.array([(-74, -4), (52, -14), (24, 44), (-64, -34)], dtype=float)
    return photo.bend_map(centers, shifts * strength, [180, 150, 200, 165])


def moving_cat(frames: int = 24, size: tuple[int, int] = (451, 300)) -> Iterator[tuple[Image.Image, PointMap]]:
    """Looping frames of the cat bending and swaying by a known map; each with its forward map from ``size`` pixels.

    Frame 0 is the resting picture.
    """
    array = photo.to_array(photo.cat().resize(size, Image.Resampling.LANCZOS))
    scale = np.array([SIZE[0] / size[0], SIZE[1] / size[1]])
    for k in range(frames):
        phase = np.sin(2 * np.pi * k / frames)
        inner = turned_head(0.6 * phase)
        sway = np.array([14.0 * phase, 5.0 * (1 - np.cos(4 * np.pi * k / frames))])

        def forward(p: Array, inner: PointMap = inner, sway: Array = sway) -> Array:
            return np.asarray((inner((p + 0.5) * scale - 0.5) + 0.5) / scale - 0.5 + sway, dtype=float)

        yield photo.to_image(photo.warp(array, forward)), forward


def turned_cats(
    angles: Sequence[float] = (-30, -15, 0, 15, 30),
    scales: Sequence[float] = (0.5, 0.8),
    size: tuple[int, int] = (640, 480),
) -> Iterator[tuple[Image.Image, PointMap]]:
    """The cat as a print of every angle (degrees) and scale on a grey table; each with its forward map from the source.

    A scale of 1 fills the width of the picture.
    """
    array = photo.to_array(photo.cat().resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.LANCZOS))
    table = np.full((size[1], size[0], 3), 0.55) + 0.02 * photo.noise((size[1], size[0]), (1.0, 12.0), 4)[..., None]
    for angle in angles:
        for scale in scales:
            factor = scale * size[0] / SIZE[0]
            c, s = factor * np.cos(np.radians(angle)), factor * np.sin(np.radians(angle))
            matrix = np.array([[c, -s], [s, c]])

            def forward(p: Array, matrix: Array = matrix) -> Array:
                middle = (np.array(SIZE) - 1) / 2
                return np.asarray((p - middle) @ matrix.T + (np.array(size) - 1) / 2, dtype=float)

            grid = photo.pixel_grid(size)
            back = (grid - (np.array(size) - 1) / 2) @ np.linalg.inv(matrix).T + (np.array(SIZE) - 1) / 2
            inside = np.all((back > -0.5) & (back < np.array(SIZE) - 0.5), axis=-1)[..., None]
            half = (back + 0.5) / 2 - 0.5
            yield photo.to_image(np.where(inside, photo.sample(array, half), table)), forward


def random_coat(rng: np.random.Generator) -> Coat:
    """A coat with colours that cats have."""
    tabby = Coat(
        base=(150, 132, 110),
        shade=(92, 76, 60),
        light=(236, 224, 204),
        stripe=(62, 50, 42),
        ear=(206, 156, 146),
        nose=(196, 110, 100),
        iris=((220, 226, 140), (168, 176, 70), (84, 92, 30)),
    )
    kinds = [GINGER, SIAMESE, TUXEDO, tabby]
    start = kinds[int(rng.integers(len(kinds)))]
    eyes = [start.iris, GINGER.iris, SIAMESE.iris, TUXEDO.iris][int(rng.integers(4))]
    shift = rng.integers(-16, 17, 3)

    def near(color: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(int(v) for v in np.clip(np.array(color) + shift, 0, 255))

    return Coat(
        base=near(start.base),
        shade=near(start.shade),
        light=start.light,
        stripe=start.stripe,
        ear=start.ear,
        nose=start.nose,
        iris=eyes,
        line=start.line,
        mask=start.mask,
    )


def litter(count: int, seed: int = 0, size: tuple[int, int] = (420, 440)) -> Iterator[tuple[Image.Image, Marks]]:
    """Drawn cats of random coat, pose and background; each with the places of its eyes, nose and mouth."""
    for k in range(count):
        p = Painter(size, scale=2, seed=seed * 1000 + k)
        rng, (w, h) = p.rng, size
        paper = [(int(a), int(b), int(c)) for a, b, c in rng.integers(90, 230, (2, 3))]
        p.fill([(0, 0), (w, 0), (w, h), (0, h)], p.gradient((0, 0), (w * 0.4, h), paper))
        for _ in range(14):
            r = rng.uniform(10, 50)
            p.fill(ellipse((rng.uniform(0, w), rng.uniform(0, h)), r, r), paper[0], blur=r / 4, opacity=0.3)
        coat = random_coat(rng)
        radius = float(rng.uniform(0.34, 0.40) * w)
        head = Head(
            center=(w / 2 + float(rng.normal(0, 8)), 0.52 * h),
            radius=radius,
            yaw=float(rng.uniform(0.1, 0.35)),
            pitch=float(rng.uniform(0.0, 0.1)),
            roll=float(rng.uniform(-0.02, 0.18)),
        )
        x, y = head.center
        chest = curve(
            [(x - 0.6 * radius, y), (x - 0.8 * radius, h), (x, h * 1.2), (x + 0.8 * radius, h), (x + 0.6 * radius, y)]
        )
        p.fill(chest, coat.shade, blur=2)
        p.fur(p.mask(chest, blur=3), down, 900, 24, width=1.6)
        ink = 3.5 if rng.random() < 0.35 else 0.0
        draw_head(
            p,
            head,
            coat,
            hairs=0 if ink else 3000,
            ink=ink,
            eye=float(rng.uniform(0.92, 1.1)),
            blaze=bool(rng.random() < 0.4),
        )
        yield p.finish(), head.landmarks()
