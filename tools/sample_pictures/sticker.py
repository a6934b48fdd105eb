"""The sticker: round glasses and a curled moustache, drawn for the face in ``cat.jpg``."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .drawing import Array, Gradient, Painter, curve, ellipse, tapered

BOX = (122, 104, 620, 478)
"""Where the sticker lies on the source: x, y, width, height in source pixels."""

LENSES = (((342.0, 234.0), 114.0, 110.0, 0.06), ((638.0, 272.0), 88.0, 102.0, 0.12))
"""Centre, half axes and turn of the two lenses in source pixels; the far one is foreshortened."""


def _glasses(p: Painter) -> None:
    red, dark, light = (214, 38, 52), (128, 12, 30), (255, 148, 140)
    for center, rx, ry, turn in LENSES:
        glass = p.mask(ellipse(center, rx - 6, ry - 6, turn))
        x, y = center
        tint = p.gradient(
            (x - rx, y - ry), (x + rx * 0.6, y + ry), [(120, 205, 255, 96), (190, 235, 255, 38), (255, 235, 200, 60)]
        )
        p.paint(glass, tint)
        for shift, width in ((-0.52, 34.0), (-0.2, 12.0)):
            a, b = (x + rx * (shift + 0.55), y - ry * 1.1), (x + rx * (shift - 0.55), y + ry * 1.1)
            p.stroke(np.array([a, b]), (width,), (255, 255, 255), opacity=0.26, clip=glass)
    bridge = curve([(453, 226), (478, 206), (520, 206), (556, 240)], closed=False)
    arm = curve([(232, 216), (196, 206), (160, 202), (140, 205)], closed=False)
    far = curve([(722, 262), (731, 258), (738, 250)], closed=False)
    parts = [tapered(bridge, (22, 17, 17, 22)), tapered(arm, (26, 22, 19, 15)), tapered(far, (18, 10))]
    for part in parts:
        p.fill(part + (0, 5), (60, 20, 10), blur=5, opacity=0.4)
    p.fill(ellipse(arm[-1], 7.5, 7.5), red)
    for part in parts:
        p.fill(part, p.gradient((0, part[:, 1].min()), (0, part[:, 1].max()), [light, red, red, dark]))
    for center, rx, ry, turn in LENSES:
        _rim(p, np.array(center), rx, ry, turn, red, dark, light)
    p.stroke(bridge[40:120] - (0, 4), (1, 4, 1), (255, 220, 214), opacity=0.8)


def _rim(
    p: Painter,
    center: Array,
    rx: float,
    ry: float,
    turn: float,
    red: tuple[int, ...],
    dark: tuple[int, ...],
    light: tuple[int, ...],
) -> None:
    """One round frame, lit from above: a dark edge, the body, and two highlights."""

    def ring(
        outer: float,
        inner: float,
        color: tuple[int, ...] | Gradient,
        dy: float = 0.0,
        blur: float = 0.0,
        opacity: float = 1.0,
    ) -> None:
        a = ellipse(center + (0, dy), rx + outer, ry + outer, turn)
        b = ellipse(center + (0, dy), rx + inner, ry + inner, turn)[::-1]
        p.fill(np.vstack([a, a[:1], b[-1:], b]), color, blur, opacity)

    ring(10, -10, (50, 15, 5), dy=7, blur=6, opacity=0.45)
    ring(12, -11, dark)
    body = p.gradient((0, center[1] - ry), (0, center[1] + ry), [light, red, red, (176, 22, 42)])
    ring(10, -8, body)
    for start, stop, opacity in ((-2.7, -1.5, 0.9), (0.35, 0.8, 0.5)):
        t = np.linspace(start, stop, 40)
        arc = np.c_[np.cos(t) * (rx + 3), np.sin(t) * (ry + 3)]
        c, s = np.cos(turn), np.sin(turn)
        p.stroke(arc @ np.array([[c, s], [-s, c]]) + center, (1, 6, 1), (255, 236, 230), blur=0.6, opacity=opacity)


def _moustache(p: Painter) -> None:
    middle, turn = np.array([512.0, 522.0]), 0.10
    c, s = np.cos(turn), np.sin(turn)
    matrix = np.array([[c, s], [-s, c]])
    spine = np.array([(2, -4), (44, -4), (96, 14), (146, 16), (184, -8), (192, -42), (172, -58), (154, -46)])
    widths = (26, 52, 52, 36, 21, 14, 10, 4)
    for sign, squeeze in ((-1.0, 1.08), (1.0, 0.86)):
        line = (curve(spine * (sign * squeeze, 1.0), closed=False, samples=120)) @ matrix + middle
        shape = tapered(line, widths)
        p.fill(shape + (0, 7), (40, 20, 10), blur=5, opacity=0.45)
        p.paint(p.mask(shape, grow=2.0), (150, 104, 62))
        tone = [(116, 68, 32), (70, 38, 18), (40, 20, 12)]
        body = p.fill(shape, p.gradient((0, middle[1] - 40), (0, middle[1] + 40), tone))
        edges = np.stack(np.split(shape, 2)[:1] + [np.split(shape, 2)[1][::-1]])
        for k in range(15):
            u = (k + 0.5) / 15.0
            hair = edges[0] * (1 - u) + edges[1] * u
            p.stroke(hair, (0.6, 2.8, 2.2, 0.6), (190, 132, 80) if k % 3 == 1 else (22, 10, 6), opacity=0.4, clip=body)
        shine = edges[0] * 0.74 + edges[1] * 0.26 if sign < 0 else edges[1] * 0.26 + edges[0] * 0.74
        shine = shine if shine[30, 1] < line[30, 1] else edges[0] * 0.26 + edges[1] * 0.74
        p.stroke(shine[8:80], (1, 8, 1), (240, 186, 130), blur=2, opacity=0.5, clip=body)


def draw_sticker() -> Image.Image:
    """The sticker as an RGBA picture of the size of ``BOX``."""
    x, y, width, height = BOX
    painter = Painter((x + width + 20, y + height + 20), scale=4)
    _glasses(painter)
    _moustache(painter)
    return painter.finish().crop((x, y, x + width, y + height))
