"""A cat's head as a small model: parts placed on half an ellipsoid, turned, and drawn with shading, fur or ink.

Frame of the model: the head is about 2 units wide; x to the picture's right, y down, z toward the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageChops

from .drawing import Array, Color, Gradient, Painter, curve, ellipse, tapered

SKULL = [
    (0.0, -0.84),
    (0.34, -0.84),
    (0.68, -0.66),
    (0.92, -0.28),
    (1.0, 0.12),
    (0.90, 0.46),
    (0.62, 0.74),
    (0.34, 0.92),
    (0.0, 0.98),
]
"""Right half of the head's outline, from the crown to the chin."""

EAR = [(0.20, -0.76), (0.36, -1.12), (0.68, -1.52), (0.79, -1.46), (0.94, -0.98), (0.98, -0.26), (0.6, -0.4)]
PARTS = {"left_eye": (-0.42, -0.14), "right_eye": (0.42, -0.14), "nose": (0.0, 0.42), "mouth": (0.0, 0.61)}
"""Where the landmarks of a drawn cat are on its head."""


@dataclass(frozen=True, kw_only=True)
class Coat:
    """Colours of a cat."""

    base: Color
    shade: Color
    light: Color
    stripe: Color | None
    ear: Color
    nose: Color
    iris: tuple[Color, Color, Color]
    line: Color = (40, 24, 20)
    whisker: Color = (255, 250, 240)
    mask: Color | None = None


@dataclass(frozen=True, kw_only=True)
class Head:
    """Place and pose of a head: centre and radius in pixels, turns in radians (yaw > 0 looks to the right)."""

    center: tuple[float, float]
    radius: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def at(self, points: ArrayLike, depth: float | None = None) -> Array:
        """Model points (..., 2) on the surface (or at a fixed ``depth``) as picture points."""
        p = np.asarray(points, dtype=float)
        x, y = p[..., 0], p[..., 1]
        if depth is None:
            z = 0.85 * np.sqrt(np.clip(1 - 0.9 * (x * x + y * y), 0, None))
            z = z + 0.26 * np.exp(-((x / 0.34) ** 2) - ((y - 0.5) / 0.3) ** 2)
        else:
            z = np.full_like(x, depth)
        u = x * np.cos(self.yaw) + z * np.sin(self.yaw)
        z = z * np.cos(self.yaw) - x * np.sin(self.yaw)
        v = y * np.cos(self.pitch) + z * np.sin(self.pitch)
        c, s = np.cos(self.roll), np.sin(self.roll)
        return np.stack([c * u - s * v, s * u + c * v], -1) * self.radius + self.center

    def outline(self) -> Array:
        """The head's silhouette, without ears."""
        half = np.array(SKULL)
        p = curve(np.vstack([half, (half * (-1, 1))[-2:0:-1]]), samples=200)
        flat = Head(center=self.center, radius=self.radius, roll=self.roll)
        return flat.at(p + (0.12 * np.sin(self.yaw), 0.05 * np.sin(self.pitch)) * (p[:, 1:] > -2), depth=0)

    def ear(self, side: int, inset: float = 0.0) -> Array:
        """An ear's outline; ``inset`` shrinks it toward its middle."""
        p = np.array(EAR) * (side, 1)
        p = p + (p[[0, 3, 5]].mean(0) - p) * inset
        return curve(self.at(p, depth=-0.12), samples=90)

    def landmarks(self) -> dict[str, tuple[float, float]]:
        """Eyes, nose and mouth in the picture."""
        return {k: tuple(float(v) for v in self.at(p)) for k, p in PARTS.items()}  # type: ignore[misc]

    def lines(self, strokes: list[list[tuple[float, float]]]) -> list[Array]:
        """Surface lines on both sides of the face, smooth, in the picture."""
        both = [np.array(s) * (side, 1) for s in strokes for side in (1, -1)]
        return [self.at(curve(s, closed=False, samples=40)) for s in both]


BROW = [
    [(0.10, -0.84), (0.12, -0.62), (0.17, -0.42)],
    [(0.30, -0.80), (0.31, -0.58), (0.40, -0.40)],
    [(0.50, -0.70), (0.50, -0.56), (0.60, -0.42)],
]
CHEEK = [
    [(0.66, 0.02), (0.82, 0.0), (0.98, 0.06)],
    [(0.60, 0.22), (0.78, 0.27), (0.92, 0.40)],
    [(0.56, 0.40), (0.68, 0.50), (0.78, 0.64)],
]
TEAR = [[(0.22, -0.02), (0.17, 0.14), (0.16, 0.32)]]


def _eye(p: Painter, head: Head, side: int, coat: Coat, scale: float, ink: float) -> None:
    """An eye: pale ring of fur, dark rim, iris lit from below, slit, lid shadow and lights."""
    center = np.array([0.42 * side, -0.14])
    almond = np.array(
        [
            (-1.08, 0.34),
            (-0.80, -0.46),
            (-0.12, -0.95),
            (0.62, -0.80),
            (1.04, -0.18),
            (0.78, 0.56),
            (0.08, 0.95),
            (-0.66, 0.76),
        ]
    )
    shape = curve(almond * (side * 0.235, 0.225) * scale, samples=100) + center
    around = head.at((shape - center) * 1.55 + center)
    p.fill(around, coat.light, blur=head.radius * 0.05, opacity=0.55)
    rim, opening = head.at((shape - center) * 1.13 + center), head.at(shape)
    p.fill(rim, coat.line, blur=0.6)
    corner = (
        curve(
            np.array([(-0.98, 0.1), (-1.24, 0.66), (-1.26, 0.98), (-0.75, 0.75)]) * (side * 0.235, 0.225) * scale,
            samples=40,
        )
        + center
    )
    p.fill(head.at(corner), coat.line, blur=1.0)
    middle = head.at(center)
    r = 0.26 * head.radius * scale
    ball = p.fill(
        opening, p.gradient(middle + (0, r * 0.25), middle + (r * 1.05, r * 0.25), list(coat.iris), radial=True)
    )
    p.fill(ellipse(middle + (0, r * 0.52), r * 0.62, r * 0.32), coat.iris[0], blur=r * 0.16, opacity=0.6, clip=ball)
    p.fill(ellipse(middle, r * 0.31, r * 0.66, head.roll), (12, 10, 14), blur=0.8, clip=ball)
    lid = np.vstack([opening[:55], opening[:55][::-1] + (0, r * 0.34)])
    p.fill(lid, (20, 12, 10), blur=r * 0.11, opacity=0.6, clip=ball)
    p.fill(
        ellipse(middle + (-r * 0.26, -r * 0.30), r * 0.17, r * 0.21), (255, 255, 255), blur=0.7, opacity=0.95, clip=ball
    )
    p.fill(
        ellipse(middle + (r * 0.30, r * 0.36), r * 0.09, r * 0.10), (255, 255, 255), blur=1.0, opacity=0.6, clip=ball
    )
    if ink:
        p.stroke(np.vstack([rim, rim[:1]]), (ink * 0.7,), coat.line)


def _nose_and_mouth(p: Painter, head: Head, coat: Coat, ink: float) -> None:
    half = np.array([(0.0, 0.325), (0.12, 0.312), (0.195, 0.355), (0.115, 0.465), (0.0, 0.53)])
    nose = curve(np.vstack([half, (half * (-1, 1))[-2:0:-1]]), samples=60)
    place = head.at(nose)
    p.fill(place, coat.line, blur=1.2, opacity=0.7)
    shape = (place - place.mean(0)) * 0.92 + place.mean(0)
    dark = tuple(int(v * 0.62) for v in coat.nose)
    body = p.fill(shape, p.gradient((0, place[:, 1].min()), (0, place[:, 1].max()), [coat.nose, coat.nose, dark]))
    for side in (1, -1):
        p.fill(
            head.at(ellipse((0.085 * side, 0.43), 0.042, 0.024, 0.5 * side)),
            (40, 14, 14),
            blur=0.8,
            opacity=0.85,
            clip=body,
        )
    p.fill(head.at(ellipse((-0.03, 0.36), 0.055, 0.014)), (255, 255, 255), blur=1.2, opacity=0.55, clip=body)
    w = max(0.020 * head.radius, ink)
    p.stroke(head.at([(0, 0.52), (0, 0.56), (0, 0.61)]), (w, w * 0.8), coat.line)
    for line in head.lines([[(0.0, 0.605), (0.10, 0.685), (0.22, 0.685), (0.33, 0.60)]]):
        p.stroke(line, (w, w, w * 0.4), coat.line, opacity=0.95)


def _whiskers(p: Painter, head: Head, coat: Coat, width: float) -> None:
    for side in (1, -1):
        for k, (x, y) in enumerate([(0.20, 0.50), (0.25, 0.56), (0.20, 0.60), (0.30, 0.52)]):
            end = np.array([(1.26 - 0.1 * k) * side, 0.30 + 0.22 * k])
            start = np.array([x * side, y])
            a, c = head.at(start), head.at(end, depth=0.05)
            middle = (a + c) / 2 + np.array([0, -0.10 * head.radius])
            p.stroke(
                curve([a, middle, c], closed=False, samples=40),
                (width, width * 0.8, width * 0.2),
                coat.whisker,
                opacity=0.9,
            )
            p.fill(ellipse(a, width * 0.9, width * 0.9), coat.line, blur=0.5, opacity=0.7)


def draw_head(
    p: Painter, head: Head, coat: Coat, *, hairs: int = 0, ink: float = 0.0, eye: float = 1.0, blaze: bool = False
) -> None:
    """Draw a head.

    ``hairs``: number of painted hairs; ``ink``: width of the outline in pixels; ``eye``: size of the eyes;
    ``blaze``: white muzzle and brow.
    """
    r, c = head.radius, np.array(head.center)

    def away(points: Array) -> Array:
        d = points - head.at((0.0, 0.25))
        return np.asarray(np.arctan2(d[:, 1], d[:, 0]), dtype=float)

    def upward(points: Array) -> Array:
        d = points - c
        return np.asarray(np.arctan2(d[:, 1], d[:, 0] * 0.6), dtype=float)

    outline = head.outline()
    for side in (1, -1):
        ear = head.ear(side)
        if ink:
            p.stroke(np.vstack([ear, ear[:1]]), (ink * 2,), coat.line)
        top, foot = ear[:, 1].min(), ear[:, 1].max()
        mask = p.fill(
            ear, p.gradient((0, top), (0, foot), [coat.mask or coat.shade, coat.mask or coat.base, coat.base]), blur=0.6
        )
        inner = p.fill(
            head.ear(side, 0.30),
            p.gradient((0, top), (0, foot), [coat.ear, coat.ear, coat.shade]),
            blur=r * 0.03,
            clip=mask,
        )
        if hairs:
            p.fur(mask, upward, hairs // 8, r * 0.11, opacity=0.4)
        for k in range(7):
            root = head.at((side * (0.36 + 0.045 * k), -0.66 + 0.035 * k), depth=-0.05)
            tip = head.at((side * (0.50 + 0.05 * k), -1.12 + 0.07 * k), depth=-0.05)
            p.stroke(
                curve([root, (root + tip) / 2 + (side * r * 0.03, 0), tip], closed=False, samples=20),
                (r * 0.035, r * 0.02, 0.5),
                coat.light,
                opacity=0.7,
                clip=inner if not hairs else mask,
            )
    if ink:
        p.stroke(np.vstack([outline, outline[:1]]), (ink * 2,), coat.line)
    body = p.fill(
        outline,
        p.gradient(
            c + (-0.35 * r, -0.45 * r), c + (0.75 * r, 1.0 * r), [coat.base, coat.base, coat.shade], radial=True
        ),
        blur=0.8,
    )
    _markings(p, head, coat, body, blaze)
    if hairs:
        p.fur(p.mask(outline, blur=r * 0.02), away, hairs, r * 0.13, contrast=20)
    for line in head.lines(TEAR):
        p.stroke(line, (r * 0.05, r * 0.06, r * 0.02), coat.shade, blur=r * 0.02, opacity=0.75, clip=body)
    for side in (1, -1):
        _eye(p, head, side, coat, eye, ink)
    _nose_and_mouth(p, head, coat, ink)
    for x, y in [(0.17, 0.55), (0.24, 0.52), (0.22, 0.61), (0.30, 0.58), (0.14, 0.62)]:
        for side in (1, -1):
            p.fill(ellipse(head.at((x * side, y)), r * 0.011, r * 0.011), coat.line, opacity=0.6)
    _whiskers(p, head, coat, max(1.6, r * 0.014))


def _markings(p: Painter, head: Head, coat: Coat, body: Image.Image, blaze: bool) -> None:
    """Stripes, mask, pale muzzle and chin, and the soft shading that makes the face round."""
    r = head.radius
    if coat.mask:
        p.fill(
            head.at(
                curve(
                    [
                        (-0.62, -0.28),
                        (0, -0.42),
                        (0.62, -0.28),
                        (0.72, 0.1),
                        (0.48, 0.6),
                        (0, 0.9),
                        (-0.48, 0.6),
                        (-0.72, 0.1),
                    ]
                )
            ),
            coat.mask,
            blur=r * 0.14,
            opacity=0.9,
            clip=body,
        )
    if coat.stripe:
        for line in head.lines(BROW):
            p.stroke(line, (r * 0.10, r * 0.08, r * 0.015), coat.stripe, blur=r * 0.012, opacity=0.8, clip=body)
        for line in head.lines(CHEEK):
            p.stroke(line, (r * 0.02, r * 0.07, r * 0.09), coat.stripe, blur=r * 0.012, opacity=0.75, clip=body)
    if blaze:
        white = curve(
            [
                (0, -0.95),
                (0.07, -0.5),
                (0.10, 0.0),
                (0.32, 0.28),
                (0.62, 0.58),
                (0.34, 1.1),
                (-0.34, 1.1),
                (-0.62, 0.58),
                (-0.32, 0.28),
                (-0.10, 0.0),
                (-0.07, -0.5),
            ]
        )
        p.fill(head.at(white), coat.light, blur=r * 0.012, clip=body)
    else:
        p.fill(
            head.at(curve([(0, -0.3), (0.08, 0.1), (0.10, 0.3), (-0.10, 0.3), (-0.08, 0.1)])),
            coat.light,
            blur=r * 0.05,
            opacity=0.45,
            clip=body,
        )
    for x, y, rx, ry, amount in [
        (0.22, 0.59, 0.27, 0.18, 0.95),
        (-0.22, 0.59, 0.27, 0.18, 0.95),
        (0.0, 0.82, 0.22, 0.12, 0.85),
    ]:
        p.fill(
            head.at(ellipse((x, y), rx, ry)),
            coat.light,
            blur=r * 0.035,
            opacity=amount if not coat.mask else 0.25,
            clip=body,
        )
    for side in (1, -1):
        p.fill(
            head.at(curve([(side * 0.16, -0.05), (side * 0.20, 0.2), (side * 0.24, 0.40), (side * 0.10, 0.34)])),
            coat.shade,
            blur=r * 0.04,
            opacity=0.5,
            clip=body,
        )
    p.fill(
        head.at(curve([(-0.42, 0.72), (0, 0.80), (0.42, 0.72), (0.2, 0.77), (0, 0.72), (-0.2, 0.77)])),
        coat.shade,
        blur=r * 0.03,
        opacity=0.7,
        clip=body,
    )
    rimmed = ImageChops.subtract(body, p.blurred(body, r * 0.16))
    p.paint(rimmed, coat.shade, 0.9)


__all__ = ["PARTS", "Coat", "Gradient", "Head", "draw_head", "tapered"]
