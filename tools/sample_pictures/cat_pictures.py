"""Three drawn cats, each in its own style and pose."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .cats import Coat, Head, draw_head
from .drawing import Array, Painter, curve, ellipse, tapered

Marks = dict[str, tuple[float, float]]

GINGER = Coat(
    base=(232, 158, 84),
    shade=(172, 92, 40),
    light=(255, 236, 208),
    stripe=(166, 82, 30),
    ear=(240, 170, 150),
    nose=(226, 122, 112),
    iris=((226, 226, 120), (150, 178, 60), (66, 92, 30)),
    line=(62, 30, 18),
)
TUXEDO = Coat(
    base=(62, 62, 78),
    shade=(26, 26, 38),
    light=(248, 246, 242),
    stripe=None,
    ear=(196, 128, 136),
    nose=(232, 146, 150),
    iris=((255, 236, 130), (240, 184, 50), (150, 92, 20)),
    line=(14, 12, 20),
)
SIAMESE = Coat(
    base=(240, 222, 194),
    shade=(190, 154, 118),
    light=(252, 240, 220),
    stripe=None,
    ear=(150, 104, 92),
    nose=(70, 46, 44),
    iris=((190, 232, 255), (80, 160, 226), (24, 70, 140)),
    line=(36, 24, 26),
    mask=(104, 72, 60),
    whisker=(250, 246, 238),
)


def cut(p: Painter, box: tuple[int, int, int, int], head: Head, flip: bool = False) -> tuple[Image.Image, Marks]:
    """The finished picture inside ``box`` (left, top, right, bottom), and the head's landmarks in it."""
    picture = p.finish().crop(box)
    marks = {k: (x - box[0], y - box[1]) for k, (x, y) in head.landmarks().items()}
    if flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        marks = {k: (picture.width - 1 - x, y) for k, (x, y) in marks.items()}
        marks["left_eye"], marks["right_eye"] = marks["right_eye"], marks["left_eye"]
    return picture, marks


def down(points: Array) -> Array:
    """Hair that lies downward, fanning out a little."""
    return np.asarray(np.pi / 2 - (points[:, 0] - points[:, 0].mean()) / 500.0, dtype=float)


def kitten() -> tuple[Image.Image, Marks]:
    """A ginger kitten in a garden, painted hair by hair."""
    p = Painter((760, 860), scale=2, seed=1)
    p.fill(
        [(0, 0), (760, 0), (760, 860), (0, 860)],
        p.gradient((0, 0), (300, 860), [(150, 190, 140), (96, 148, 96), (44, 86, 60)]),
    )
    for _ in range(46):
        x, y, r = p.rng.uniform(0, 760), p.rng.uniform(0, 860), p.rng.uniform(16, 58)
        tone = [(214, 232, 150), (250, 226, 160), (120, 178, 120), (236, 190, 190), (70, 120, 84)][p.rng.integers(5)]
        p.fill(ellipse((x, y), r, r), tone, blur=r * 0.16, opacity=float(p.rng.uniform(0.15, 0.42)))
    chest = curve(
        [(250, 560), (220, 690), (170, 790), (160, 900), (640, 900), (625, 770), (570, 680), (540, 560), (400, 500)]
    )
    body = p.fill(chest, p.gradient((300, 500), (640, 900), [(226, 150, 80), (206, 128, 64), (140, 74, 34)]), blur=3)
    for k in range(4):
        for side in (1, -1):
            x0, y0 = 395 + side * (120 + 12 * k), 660 + 54 * k
            p.stroke(
                curve([(x0, y0), (x0 + side * 40, y0 + 14), (x0 + side * 90, y0 + 46)], closed=False),
                (6, 22, 10),
                GINGER.stripe or (0, 0, 0),
                blur=3,
                opacity=0.7,
                clip=body,
            )
    p.fill(
        curve([(320, 580), (300, 690), (330, 820), (400, 900), (470, 820), (500, 690), (470, 580)]),
        GINGER.light,
        blur=18,
        opacity=0.9,
        clip=body,
    )
    p.fill(
        curve([(250, 560), (400, 660), (545, 560), (540, 620), (400, 710), (260, 620)]),
        (104, 54, 24),
        blur=18,
        opacity=0.55,
        clip=body,
    )
    p.fur(p.mask(chest, blur=5), down, 5200, 40, width=1.9)
    head = Head(center=(385, 400), radius=250, yaw=0.24, pitch=0.06, roll=0.08)
    draw_head(p, head, GINGER, hairs=9000, eye=1.12)
    return cut(p, (50, 46, 720, 796), head)


def tuxedo() -> tuple[Image.Image, Marks]:
    """A black and white cat on a roof by moonlight, as in a picture book."""
    p = Painter((760, 900), scale=2, seed=2)
    p.fill(
        [(0, 0), (760, 0), (760, 900), (0, 900)],
        p.gradient((0, 0), (0, 900), [(28, 40, 92), (66, 92, 152), (150, 152, 184)]),
    )
    for _ in range(70):
        x, y = p.rng.uniform(0, 760), p.rng.uniform(0, 560)
        p.fill(ellipse((x, y), 1.8, 1.8), (255, 250, 220), blur=0.4, opacity=float(p.rng.uniform(0.3, 1)))
    p.fill(ellipse((520, 300), 300, 300), (255, 240, 190), blur=60, opacity=0.35)
    moon = p.fill(
        ellipse((520, 300), 222, 222),
        p.gradient((450, 230), (760, 520), [(255, 250, 224), (252, 232, 176), (232, 196, 130)], radial=True),
    )
    for x, y, r in [(600, 210, 30), (650, 330, 44), (560, 430, 24), (430, 190, 20), (660, 250, 14)]:
        p.fill(ellipse((x, y), r, r * 0.9), (222, 190, 130), blur=4, opacity=0.5, clip=moon)
    _roof(p)
    _sitting_body(p)
    head = Head(center=(350, 365), radius=212, yaw=0.30, pitch=0.05, roll=0.12)
    draw_head(p, head, TUXEDO, hairs=2600, eye=1.08, blaze=True)
    return cut(p, (64, 12, 724, 872), head)


def _roof(p: Painter) -> None:
    roof = p.fill([(0, 800), (760, 730), (760, 900), (0, 900)], (132, 62, 58))
    for row in range(4):
        for k in range(17):
            x, y = k * 50 - 30 + 25 * (row % 2), 812 - (k * 50) * 0.092 + row * 34
            p.fill(
                curve([(x, y), (x + 48, y - 4), (x + 46, y + 28), (x + 24, y + 38), (x + 3, y + 30)]),
                p.gradient((0, y), (0, y + 38), [(196, 102, 84), (150, 70, 62), (104, 46, 50)]),
                clip=roof,
            )


def _sitting_body(p: Painter) -> None:
    p.fill(ellipse((410, 822), 260, 26), (50, 16, 24), blur=14, opacity=0.6)
    dark, mid, rim = TUXEDO.shade, TUXEDO.base, (122, 126, 160)
    tail = curve([(470, 770), (560, 800), (650, 770), (690, 680), (660, 600), (690, 540)], closed=False)
    p.stroke(tail, (60, 56, 50, 46, 40, 26), mid, blur=1)
    p.stroke(tail - (8, 4), (8, 10, 8, 3), rim, blur=5, opacity=0.7)
    p.fill(ellipse(tail[-4], 19, 28, 0.5), TUXEDO.light, blur=1.5)
    p.fur(p.mask(tapered(tail, (58, 54, 48, 44, 38, 24)), blur=2), down, 900, 22, width=1.6, contrast=12)
    shape = curve(
        [
            (262, 420),
            (236, 520),
            (222, 640),
            (226, 790),
            (300, 822),
            (420, 822),
            (520, 812),
            (545, 730),
            (520, 620),
            (462, 520),
            (432, 420),
        ]
    )
    body = p.fill(shape, p.gradient((330, 480), (560, 860), [mid, (44, 44, 58), dark]), blur=0.8)
    p.fur(p.mask(shape, blur=2), down, 2400, 34, width=1.8, contrast=12)
    p.fill(
        curve([(276, 440), (262, 540), (280, 640), (320, 690), (366, 640), (396, 540), (404, 440)]),
        TUXEDO.light,
        blur=5,
        clip=body,
    )
    haunch = curve([(430, 640), (520, 640), (556, 730), (530, 810), (440, 822), (408, 740)])
    p.fill(haunch, p.gradient((500, 640), (440, 830), [(78, 80, 100), mid, dark]), blur=3)
    p.fur(p.mask(haunch, blur=3), down, 900, 30, width=1.8, contrast=12)
    for x in (262, 346):
        leg = curve(
            [(x - 26, 620), (x + 30, 620), (x + 28, 760), (x + 40, 812), (x, 826), (x - 40, 812), (x - 28, 760)]
        )
        p.fill(leg, p.gradient((x - 30, 0), (x + 44, 0), [mid, (70, 72, 90), dark]), blur=1.5)
        p.fur(p.mask(leg, blur=2), down, 420, 26, width=1.6, contrast=12)
        paw = curve([(x - 28, 760), (x + 28, 760), (x + 44, 808), (x + 20, 828), (x - 22, 828), (x - 44, 808)])
        p.fill(paw, p.gradient((0, 760), (0, 830), [TUXEDO.light, TUXEDO.light, (190, 190, 206)]), blur=1)
        for dx in (-14, 10):
            p.stroke([(x + dx, 826), (x + dx + 1, 806)], (2.5, 1), (90, 90, 110))
    p.fill(
        curve([(240, 440), (345, 490), (440, 440), (430, 480), (345, 520), (255, 480)]),
        (10, 10, 22),
        blur=12,
        opacity=0.5,
        clip=body,
    )


def siamese() -> tuple[Image.Image, Marks]:
    """A Siamese cat resting on a cushion, as an ink drawing with flat colour and halftone dots."""
    p = Painter((960, 660), scale=2, seed=3)
    p.fill([(0, 0), (960, 0), (960, 660), (0, 660)], (250, 206, 88))
    for k, y in enumerate(np.arange(8, 420, 17.0)):
        for x in np.arange(8 + 8.5 * (k % 2), 960, 17.0):
            r = 6.0 * (1 - y / 460)
            p.fill(ellipse((x, y), r, r, samples=16), (240, 150, 60))
    ink = 5.0
    cushion = curve([(60, 560), (120, 480), (480, 455), (860, 490), (925, 560), (880, 640), (480, 665), (100, 645)])
    p.stroke(np.vstack([cushion, cushion[:1]]), (ink * 2,), SIAMESE.line)
    p.fill(cushion, p.gradient((0, 470), (0, 660), [(206, 66, 84), (170, 40, 66), (120, 24, 54)]))
    tail = curve([(800, 520), (880, 500), (900, 430), (860, 380)], closed=False)
    p.stroke(tail, (52 + 2 * ink, 48 + 2 * ink, 42 + 2 * ink, 20 + ink), SIAMESE.line)
    p.stroke(tail, (52, 48, 42, 18), SIAMESE.mask or SIAMESE.base)
    shape = curve(
        [
            (330, 380),
            (470, 290),
            (640, 262),
            (780, 320),
            (850, 440),
            (830, 530),
            (640, 560),
            (400, 566),
            (250, 545),
            (270, 450),
        ]
    )
    p.stroke(np.vstack([shape, shape[:1]]), (ink * 2,), SIAMESE.line)
    body = p.fill(shape, p.gradient((560, 300), (760, 640), [SIAMESE.light, SIAMESE.base, SIAMESE.shade], radial=True))
    for k in range(16):
        x = 620 + 14 * k
        p.stroke(
            curve([(x, 548 - 3 * k), (x + 24, 500 - 4 * k), (x + 36, 452 - 2 * k)], closed=False),
            (3.4, 2.4, 0.6),
            SIAMESE.line,
            opacity=0.75,
            clip=body,
        )
    p.stroke(curve([(560, 556), (580, 470), (660, 420), (740, 440)], closed=False), (ink, ink, 1), SIAMESE.line)
    for x in (270, 390):
        paw = curve([(x - 60, 520), (x + 10, 500), (x + 60, 520), (x + 66, 560), (x + 10, 580), (x - 60, 572)])
        p.stroke(np.vstack([paw, paw[:1]]), (ink * 2,), SIAMESE.line)
        p.fill(paw, p.gradient((0, 500), (0, 580), [(150, 112, 94), SIAMESE.mask or SIAMESE.base]))
        for dx in (-24, 4):
            p.stroke([(x + dx, 578), (x + dx + 2, 556)], (3.5, 1.5), SIAMESE.line)
    head = Head(center=(330, 352), radius=222, yaw=-0.30, pitch=0.05, roll=-0.10)
    draw_head(p, head, SIAMESE, ink=ink)
    return cut(p, (46, 4, 946, 660), head, flip=True)
