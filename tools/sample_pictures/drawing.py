"""A small antialiased painter: smooth closed curves, gradients, soft shading and fur.

Frame: user coordinates are pixels of the final picture, (x, y), y down. The picture is drawn ``scale`` times as
large and reduced at the end, which is what smooths the edges. Colours are (r, g, b) or (r, g, b, a) in 0..255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]
Color = tuple[int, ...]


def curve(points: ArrayLike, closed: bool = True, samples: int = 160) -> Array:
    """Smooth curve through ``points`` (N, 2): a cubic spline over the chord length; returns (samples, 2)."""
    p = np.asarray(points, dtype=float)
    if closed:
        p = np.vstack([p, p[:1]])
    length = np.r_[0.0, np.cumsum(np.sqrt(np.linalg.norm(np.diff(p, axis=0), axis=1)))]
    spline = CubicSpline(length, p, bc_type="periodic" if closed else "natural")
    return np.asarray(spline(np.linspace(0.0, length[-1], samples, endpoint=not closed)), dtype=float)


def ellipse(center: ArrayLike, rx: float, ry: float, angle: float = 0.0, samples: int = 72) -> Array:
    """Polygon (samples, 2) of an ellipse turned by ``angle`` radians."""
    t = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    p = np.c_[rx * np.cos(t), ry * np.sin(t)]
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(p @ np.array([[c, s], [-s, c]]) + np.asarray(center, dtype=float), dtype=float)


def tapered(line: ArrayLike, widths: ArrayLike) -> Array:
    """Outline polygon of a line (N, 2) whose width runs through ``widths`` (interpolated along it)."""
    p = np.asarray(line, dtype=float)
    w = np.interp(np.linspace(0, 1, len(p)), np.linspace(0, 1, np.size(widths)), np.ravel(widths)) / 2
    t = np.gradient(p, axis=0)
    n = np.c_[-t[:, 1], t[:, 0]] / np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-9)
    return np.vstack([p + n * w[:, None], (p - n * w[:, None])[::-1]])


@dataclass(frozen=True)
class Gradient:
    """Colours along the line from ``start`` to ``stop``, or by distance from ``start``; drawing pixels."""

    start: Array
    stop: Array
    colors: tuple[Color, ...]
    radial: bool = False

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """The part (left, top, right, bottom) as an RGBA picture."""
        x, y = np.meshgrid(np.arange(box[0], box[2]), np.arange(box[1], box[3]))
        d = self.stop - self.start
        x, y = x - self.start[0], y - self.start[1]
        t = np.hypot(x, y) / np.hypot(*d) if self.radial else (x * d[0] + y * d[1]) / (d @ d)
        table = np.array([(*c, 255)[:4] for c in self.colors], dtype=float)
        at, knots = np.linspace(0, 1, 512), np.linspace(0, 1, len(table))
        ramp = np.stack([np.interp(at, knots, table[:, k]) for k in range(4)], -1)
        return Image.fromarray(np.round(ramp).astype(np.uint8)[np.clip(t * 511, 0, 511).astype(np.int16)], "RGBA")


class Painter:
    """Draws on an RGBA picture of ``size`` (width, height) final pixels."""

    def __init__(self, size: tuple[int, int], background: Color = (0, 0, 0, 0), scale: int = 3, seed: int = 0) -> None:
        self.size, self.scale = size, scale
        self.rng = np.random.default_rng(seed)
        self.image = Image.new("RGBA", (size[0] * scale, size[1] * scale), (*background, 255)[:4])

    @classmethod
    def on(cls, picture: Image.Image, scale: int = 3, seed: int = 0) -> Painter:
        """Painter that starts from ``picture``."""
        painter = cls(picture.size, scale=scale, seed=seed)
        painter.image = picture.convert("RGBA").resize(painter.image.size, Image.Resampling.BICUBIC)
        return painter

    def mask(self, polygon: ArrayLike, blur: float = 0.0, grow: float = 0.0) -> Image.Image:
        """Mask of a polygon at drawing size, 0..255; ``blur`` (and ``grow``) in final pixels."""
        mask = Image.new("L", self.image.size, 0)
        points = [(x * self.scale, y * self.scale) for x, y in np.asarray(polygon, dtype=float)]
        draw = ImageDraw.Draw(mask)
        draw.polygon(points, fill=255)
        if grow:
            draw.line([*points, points[0]], fill=255, width=round(2 * grow * self.scale), joint="curve")
        return self.blurred(mask, blur) if blur else mask

    def blurred(self, mask: Image.Image, blur: float) -> Image.Image:
        """Mask softened by a Gaussian of ``blur`` final pixels; only the part that can change is worked on."""
        box, margin = mask.getbbox(), round(3 * blur * self.scale)
        if box is None:
            return mask
        width, height = mask.size
        box = (
            max(box[0] - margin, 0),
            max(box[1] - margin, 0),
            min(box[2] + margin, width),
            min(box[3] + margin, height),
        )
        soft = Image.new("L", mask.size, 0)
        soft.paste(mask.crop(box).filter(ImageFilter.GaussianBlur(blur * self.scale)), box)
        return soft

    def paint(
        self,
        mask: Image.Image,
        fill: Color | Image.Image | Gradient,
        opacity: float = 1.0,
        clip: Image.Image | None = None,
        erase: bool = False,
    ) -> None:
        """Lay ``fill`` over the picture where ``mask`` (and ``clip``) is set; ``erase`` removes instead."""
        box = mask.getbbox()
        if box is None:
            return
        mask = mask.crop(box).point([round(v * opacity) for v in range(256)])
        if clip is not None:
            mask = ImageChops.multiply(mask, clip.crop(box))
        if erase:
            alpha = ImageChops.multiply(self.image.getchannel("A").crop(box), ImageChops.invert(mask))
            patch = self.image.crop(box)
            patch.putalpha(alpha)
            self.image.paste(patch, box)
            return
        size = (box[2] - box[0], box[3] - box[1])
        layer = Image.new("RGBA", size, (*fill, 255)[:4]) if isinstance(fill, tuple) else fill.crop(box).convert("RGBA")
        layer.putalpha(ImageChops.multiply(layer.getchannel("A"), mask))
        self.image.alpha_composite(layer, box[:2])

    def fill(
        self,
        polygon: ArrayLike,
        color: Color | Image.Image | Gradient,
        blur: float = 0.0,
        opacity: float = 1.0,
        clip: Image.Image | None = None,
    ) -> Image.Image:
        """Fill a polygon; returns its mask, to clip what is drawn inside it."""
        mask = self.mask(polygon, blur)
        self.paint(mask, color, opacity, clip)
        return mask

    def gradient(self, start: ArrayLike, stop: ArrayLike, colors: Sequence[Color], radial: bool = False) -> Gradient:
        """Colours that run from ``start`` to ``stop`` (or outward from ``start``), in final pixels."""
        a, b = np.asarray(start, dtype=float) * self.scale, np.asarray(stop, dtype=float) * self.scale
        return Gradient(a, b, tuple(colors), radial)

    def stroke(
        self,
        line: ArrayLike,
        widths: ArrayLike,
        color: Color,
        blur: float = 0.0,
        opacity: float = 1.0,
        clip: Image.Image | None = None,
    ) -> None:
        """Line with round, tapering body."""
        self.fill(tapered(line, widths), color, blur, opacity, clip)

    def fur(
        self,
        region: Image.Image,
        direction: Callable[[Array], Array],
        count: int,
        length: float,
        width: float = 1.6,
        contrast: float = 26.0,
        opacity: float = 0.55,
        curl: float = 0.35,
    ) -> None:
        """Cover ``region`` with hairs that take the colour found at their root, lighter or darker by chance.

        ``direction`` maps roots (N, 2) to angles (N,) in radians; hairs are tapering, slightly bent.
        """
        rng, s = self.rng, self.scale
        inside = np.asarray(region, dtype=float)
        box = region.getbbox()
        if box is None:
            return
        tries = np.c_[rng.uniform(box[0], box[2], count * 4), rng.uniform(box[1], box[3], count * 4)]
        value = inside[tries[:, 1].astype(int), tries[:, 0].astype(int)]
        roots = tries[value > rng.uniform(20, 255, len(tries))][:count]
        colors = np.asarray(self.image.convert("RGB"), dtype=float)[roots[:, 1].astype(int), roots[:, 0].astype(int)]
        angle = direction(roots / s) + rng.normal(0, 0.16, len(roots))
        bend = rng.normal(0, curl, len(roots))
        size = length * s * rng.uniform(0.6, 1.25, len(roots))
        shade = rng.normal(0, contrast, len(roots))
        draw = ImageDraw.Draw(self.image, "RGBA")
        t = np.linspace(0, 1, 5)
        for k in np.argsort(-roots[:, 1]):
            a = angle[k] + bend[k] * t
            line = roots[k] + size[k] * np.c_[np.cumsum(np.cos(a)), np.cumsum(np.sin(a))] / len(t)
            outline = tapered(line, (width * s, width * s * 0.8, 0.25 * s))
            rgb = tuple(int(v) for v in np.clip(colors[k] + shade[k], 0, 255))
            draw.polygon([(float(x), float(y)) for x, y in outline], fill=(*rgb, round(255 * opacity)))

    def finish(self) -> Image.Image:
        """The picture at its final size, RGBA."""
        return self.image.convert("RGBa").resize(self.size, Image.Resampling.BOX).convert("RGBA")
