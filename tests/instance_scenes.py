"""Drawn pictures that show one kind of object several times, large and small, with the truth of each place."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageColor, ImageDraw, ImageFilter

from dift_edit.imaging.image import Image

__all__ = ["KINDS", "Scene", "draw_scene", "draw_source"]

Array = np.ndarray
SIDE = 480
"""Pixels along the square that an object is drawn in."""
_FINE = 2


class _Pen:
    """Draws on a transparent square, larger than it is needed so that edges are smooth."""

    def __init__(self) -> None:
        self.picture = Pillow.new("RGBA", (SIDE * _FINE, SIDE * _FINE))
        self.draw = ImageDraw.Draw(self.picture)

    def oval(self, x: float, y: float, width: float, height: float, color: str, edge: str = "#20140c") -> None:
        box = [(x - width / 2) * _FINE, (y - height / 2) * _FINE, (x + width / 2) * _FINE, (y + height / 2) * _FINE]
        self.draw.ellipse(box, fill=color, outline=edge or None, width=4 * _FINE)

    def box(
        self, x: float, y: float, width: float, height: float, color: str, edge: str = "#20140c", r: int = 6
    ) -> None:
        box = [(x - width / 2) * _FINE, (y - height / 2) * _FINE, (x + width / 2) * _FINE, (y + height / 2) * _FINE]
        self.draw.rounded_rectangle(box, r * _FINE, fill=color, outline=edge or None, width=4 * _FINE)

    def line(self, points: list[tuple[float, float]], color: str, width: float) -> None:
        self.draw.line([(x * _FINE, y * _FINE) for x, y in points], color, round(width * _FINE), joint="curve")

    def polygon(self, points: list[tuple[float, float]], color: str) -> None:
        self.draw.polygon([(x * _FINE, y * _FINE) for x, y in points], color)

    def done(self) -> Pillow.Image:
        return self.picture.resize((SIDE, SIDE), Pillow.Resampling.LANCZOS)


def _guitar(pen: _Pen, color: str, rng: np.random.Generator) -> None:
    pen.box(240, 95, 30, 190, "#5a3a22")
    pen.box(240, 24, 46, 44, "#3a2414")
    pen.oval(240, 230, 150, 140, color)
    pen.oval(240, 345, 210, 210, color)
    pen.oval(240, 250, 120, 130, color, edge="")
    pen.oval(240, 300, 150, 120, color, edge="")
    pen.oval(240, 255, 66, 66, "#1c120c", edge="#e8d8a0")
    pen.box(240, 375, 90, 16, "#2a1810")
    for k in range(5):
        pen.line([(230 + 5 * k, 30), (230 + 5 * k, 375)], "#efe6cf", 1.2)


def _face(pen: _Pen, color: str, rng: np.random.Generator) -> None:
    skin = str(rng.choice(["#f2c9a0", "#d89a6a", "#8a5a3a", "#ffe0c0"]))
    pen.oval(240, 420, 330, 240, color)
    pen.box(240, 330, 80, 80, skin, edge="")
    pen.oval(240, 190, 240, 300, "#3a2418" if rng.random() < 0.6 else "#c08a30")
    pen.oval(240, 215, 200, 250, skin)
    for side in (-1, 1):
        pen.oval(240 + 48 * side, 190, 46, 30, "#ffffff")
        pen.oval(240 + 48 * side, 190, 20, 22, "#203860")
        pen.line([(240 + 26 * side, 158), (240 + 70 * side, 154)], "#2a1a10", 7)
    pen.line([(240, 195), (228, 240), (246, 244)], "#7a4a2a", 5)
    pen.oval(240, 285, 80, 26, "#b03040")


def _badge(pen: _Pen, color: str, rng: np.random.Generator) -> None:
    pen.oval(240, 240, 400, 400, color)
    pen.oval(240, 240, 320, 320, "#f6f0dc")
    turn = np.pi * np.arange(10) / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2, 55, 130)
    pen.polygon([(240 + r * np.cos(t), 240 + r * np.sin(t)) for r, t in zip(reach, turn, strict=True)], color)
    pen.box(240, 240, 130, 34, "#203050")
    for k in range(4):
        pen.box(195 + 30 * k, 240, 14, 16, "#ffffff", edge="", r=2)


def _mug(pen: _Pen, color: str, rng: np.random.Generator) -> None:
    pen.oval(375, 260, 150, 180, color)
    pen.oval(372, 260, 90, 116, "#00000000")
    pen.box(225, 265, 260, 330, color, r=34)
    pen.oval(225, 110, 260, 60, "#3a2010")
    pen.box(225, 280, 170, 150, "#fffaf0")
    pen.polygon([(225, 335), (165, 265), (180, 235), (225, 255), (270, 235), (285, 265)], "#c02040")


KINDS: dict[str, tuple[Callable[[_Pen, str, np.random.Generator], None], tuple[int, int, int, int]]] = {
    "guitar": (_guitar, (130, 150, 350, 450)),
    "face": (_face, (135, 90, 345, 340)),
    "badge": (_badge, (110, 110, 370, 370)),
    "mug": (_mug, (95, 100, 355, 430)),
}
"""Name → how it is drawn, and the box of the edit in its square."""
COLORS = ["#c8402c", "#2c6ac8", "#2c9a54", "#d8a020", "#7a3ca0", "#e07a9a", "#5a4a40", "#30b0b8"]


@dataclass(frozen=True)
class Scene:
    """A picture, the (4, 2) quads of the edit on each object, and the objects' sizes in pixels."""

    image: Image
    quads: list[Array]
    sizes: list[float]


def _background(size: tuple[int, int], rng: np.random.Generator) -> Pillow.Image:
    """A room: wall and floor with a gradient, some furniture that is none of the objects, and grain."""
    width, height = size
    wall, floor, thing = (np.array(ImageColor.getrgb(str(rng.choice(group)))) for group in (
        ["#d8d0c0", "#a8b8c0", "#e8d8b0", "#708090", "#b0a8c8"], ["#8a6a4a", "#605850", "#b09070"],
        ["#405030", "#903020", "#304060", "#d0b080"],
    ))  # fmt: skip
    rows = np.linspace(1.1, 0.8, height)[:, None, None]
    pixels = np.broadcast_to(wall, (height, width, 3)) * rows
    pixels[int(0.72 * height) :] = floor * rows[int(0.72 * height) :]
    picture = Pillow.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(5):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h = rng.uniform(0.06, 0.22, 2) * width
        color = tuple(np.clip(thing * rng.uniform(0.6, 1.4), 0, 255).astype(int))
        draw.rectangle([x - w / 2, y - h / 2, x + w / 2, y + h / 2], fill=color)
    picture = picture.filter(ImageFilter.GaussianBlur(1.5))
    grain = rng.normal(0, 5, (height, width, 1))
    return Pillow.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


def _paste(
    scene: Pillow.Image, kind: str, color: str, centre: Array, size: float, turn: float, rng: np.random.Generator
) -> Array:
    """Put an object into a scene; returns the edit's quad on it."""
    draw, (left, top, right, bottom) = KINDS[kind]
    pen = _Pen()
    draw(pen, color, rng)
    scale = size / SIDE
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[c, -s], [s, c]])
    shift = centre - matrix @ np.full(2, SIDE / 2)
    back = np.linalg.inv(matrix)
    object_ = pen.done()
    if scale < 1:  # so that small ones are smooth
        object_ = object_.filter(ImageFilter.GaussianBlur(0.4 / scale))
    turned = object_.transform(
        scene.size, Pillow.Transform.AFFINE, (*back[0], -back[0] @ shift, *back[1], -back[1] @ shift),
        Pillow.Resampling.BICUBIC,
    )  # fmt: skip
    scene.paste(turned, (0, 0), turned)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
    return corners @ matrix.T + shift - 0.5


def draw_source(kind: str, seed: int = 0) -> Scene:
    """A picture with one object, large and upright."""
    rng = np.random.default_rng(seed)
    picture = _background((640, 560), rng)
    quad = _paste(picture, kind, COLORS[0], np.array([320.0, 280]), 460, 0.0, rng)
    return Scene(Image(np.asarray(picture)), [quad], [460])


def draw_scene(
    kind: str, count: int, seed: int = 0, *, size: tuple[int, int] = (1000, 700), same: bool = False
) -> Scene:
    """A picture with so many objects of a kind, apart from each other.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    count : int
        How many; 0 for a picture without any.
    seed : int
        Of sizes, places, colours and turns.
    size : (W, H)
        Of the picture in pixels.
    same : bool
        All in the source's colours; otherwise each has its own.

    Returns
    -------
    Scene
        Objects are 0.14 to 0.55 of the picture's width, fewer small ones where there are few objects.
    """
    rng = np.random.default_rng([seed, count])
    picture = _background(size, rng)
    width, height = size
    quads: list[Array] = []
    sizes: list[float] = []
    placed: list[tuple[Array, float]] = []
    largest = min(0.85 * height, width * 0.9 / max(count, 1) ** 0.5 * 0.8)
    while len(quads) < count:
        extent = max(0.14 * width, largest * rng.uniform(0.3, 1.0)) if quads else largest
        for _ in range(200):
            centre = rng.uniform((extent / 2, extent / 2), (width - extent / 2, height - extent / 2))
            if all(np.abs(centre - other).max() > (extent + wide) / 2 * 0.96 for other, wide in placed):
                break
            extent = max(0.14 * width, extent * 0.985)
        else:
            if len(placed) < count:
                largest *= 0.9
                quads, sizes, placed = [], [], []
                picture = _background(size, rng)
            continue
        color = COLORS[0] if same else str(rng.choice(COLORS))
        quads.append(_paste(picture, kind, color, centre, extent, rng.uniform(-0.25, 0.25), rng))
        sizes.append(extent)
        placed.append((centre, extent))
    return Scene(Image(np.asarray(picture)), quads, sizes)
