"""Make the sample pictures that ship with dift-edit: ``python tools/make_samples.py [FOLDER]``.

Everything is derived from pictures that scikit-image bundles under CC0, or drawn here; the same version of the
libraries gives the same files. Needs Pillow, numpy, scipy and scikit-image (the ``test`` extra); nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sample_pictures import cat_pictures, photo, scenes
from sample_pictures.photo import LANDMARKS, SIZE, Array, PointMap
from sample_pictures.sets import litter, moving_cat, turned_cats, turned_head
from sample_pictures.sticker import BOX, draw_sticker

OUT = Path(__file__).resolve().parents[1] / "src" / "dift_edit" / "samples"
QUALITY = 90
PHOTO = "Chelsea, photograph by Stefan van der Walt (CC0), from scikit-image"
CUP = "coffee cup, photograph by Rachel Michetti (CC0), from scikit-image"
DRAWN = "drawn by `tools/sample_pictures/cat_pictures.py`"
WALL = "brick wall (CC0, cc0textures.com), from scikit-image"


@dataclass(frozen=True)
class Target:
    """One target picture: its pixels, and where the source's points are in it (None: nowhere)."""

    picture: Image.Image
    truth: PointMap | None = None
    landmarks: dict[str, tuple[float, float]] | None = None
    mirrored: bool = False


def corners() -> Array:
    """The sticker's quad on the source: centres of its corner pixels, TL, TR, BR, BL."""
    x, y, w, h = BOX
    return np.array([(x, y), (x + w - 1, y), (x + w - 1, y + h - 1), (x, y + h - 1)], dtype=float)


def similarity(source: Array, target: Array) -> PointMap:
    """Least-squares similarity from points (N, 2) to points (N, 2), reflected if that fits better."""

    def fit(flip: bool) -> tuple[float, complex, complex]:
        p, q = source[:, 0] * (-1 if flip else 1) + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
        a = np.vdot(p - p.mean(), q - q.mean()) / np.vdot(p - p.mean(), p - p.mean())
        b = q.mean() - a * p.mean()
        return float(np.abs(a * p + b - q).sum()), complex(a), complex(b)

    plain, flipped = fit(False), fit(True)
    _, a, b = min(plain, flipped)
    sign = -1 if flipped < plain else 1

    def forward(points: Array) -> Array:
        z = a * (sign * points[..., 0] + 1j * points[..., 1]) + b
        return np.stack([z.real, z.imag], -1)

    return forward


def window(array: Array, box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[Array, PointMap]:
    """Part (left, top, right, bottom) of a picture, resized; and the forward map."""
    left, top, right, bottom = box
    picture = photo.to_image(array).crop(box).resize(size, Image.Resampling.LANCZOS)
    scale = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    return photo.to_array(picture), lambda p: (p - (left, top) + 0.5) * scale - 0.5


def mirror(p: Array) -> Array:
    """Forward map of a left-right flip of the source."""
    return np.asarray(p * (-1, 1) + (SIZE[0] - 1, 0), dtype=float)


def same(p: Array) -> Array:
    """Forward map of a picture that keeps every point in its place."""
    return p


def make_print() -> Target:
    """A photographic print on the cafe table."""
    scene, matrix = scenes.print_on_table()
    return Target(photo.to_image(scene), lambda p: photo.project(matrix, p))


def make_framed() -> Target:
    """A framed picture on a wall, seen at an angle."""
    scene, matrix = scenes.framed_on_wall()
    return Target(photo.to_image(scene), lambda p: photo.project(matrix, p))


def make_bent() -> Target:
    """The face bent by a smooth, known map."""
    forward = turned_head()
    return Target(photo.to_image(photo.warp(photo.to_array(photo.cat()), forward)), forward)


def make_night() -> Target:
    """Moonlight from the left."""
    lit = photo.relight(photo.to_array(photo.cat()), (0.10, 0.16, 0.34), (0.55, 0.75, 1.25), (-1.6, -1.2, 0.9), 1.3)
    return Target(photo.to_image(lit), same)


def make_lamp() -> Target:
    """A warm lamp close by on the right, darkness on the left."""
    lit = photo.relight(photo.to_array(photo.cat()), (0.20, 0.13, 0.12), (2.3, 1.4, 0.55), (1.3, -0.9, 1.3), 1.2)
    return Target(photo.to_image(lit), same)


def make_grey() -> Target:
    """A blue-grey cousin with copper eyes who looks the other way."""
    fur = photo.coat(
        photo.to_array(photo.cat()), (0.07, 0.08, 0.11), (0.80, 0.84, 0.92), (1.25, 0.72, 0.18), 0.15, (0.75, 1.0, 0.95)
    )
    return Target(photo.to_image(fur[:, ::-1]), mirror, mirrored=True)


def make_watercolour() -> Target:
    """Painted on paper."""
    return Target(photo.to_image(photo.watercolour(photo.to_array(photo.cat()))), same)


def make_pencil() -> Target:
    """A close-up in pencil, in portrait format."""
    close, forward = window(photo.to_array(photo.cat()), (112, 50, 762, 600), (832, 704))
    return Target(photo.to_image(photo.pencil(close)), forward)


def make_kitten() -> Target:
    """A painted ginger kitten."""
    picture, marks = cat_pictures.kitten()
    return Target(picture, landmarks=marks)


def make_tuxedo() -> Target:
    """A picture-book cat, its whole body, looking to the right."""
    picture, marks = cat_pictures.tuxedo()
    return Target(picture, landmarks=marks)


def make_siamese() -> Target:
    """A comic cat, resting, resting; looks to the right."""
    picture, marks = cat_pictures.siamese()
    return Target(picture, landmarks=marks)


def make_coffee() -> Target:
    """The same table without any cat."""
    return Target(photo.coffee((750, 500)))


RECIPES: list[tuple[str, str, str, Callable[[], Target]]] = [
    ("print", "Small in a larger scene: a print on a cafe table", f"{PHOTO}; {CUP}", make_print),
    ("framed", "Seen at an angle: framed, on a wall", f"{PHOTO}; {WALL}; the frame is drawn", make_framed),
    ("bent", "Bent: the head turned and broadened by a known warp", PHOTO, make_bent),
    ("night", "Another light: moonlight", PHOTO, make_night),
    ("lamp", "Another light: a lamp from the side", PHOTO, make_lamp),
    ("grey", "Another coat, mirrored: a grey cousin looks the other way", PHOTO, make_grey),
    ("watercolour", "Another technique: a watercolour", PHOTO, make_watercolour),
    ("pencil", "Another technique, closer: a pencil drawing", PHOTO, make_pencil),
    ("kitten", "Another cat: a ginger kitten, painted hair by hair", DRAWN, make_kitten),
    ("tuxedo", "Another cat: on a roof by moonlight, as in a picture book", DRAWN, make_tuxedo),
    ("siamese", "Another cat: a comic drawing in ink", DRAWN, make_siamese),
    ("coffee", "No cat at all: nothing to edit here", CUP, make_coffee),
]
"""Name, caption, origin and maker of every target, in the order of the demo; the last one has nothing to match."""


def describe(name: str, caption: str, target: Target) -> dict[str, Any]:
    """The entry of one target in ``samples.json``."""
    marks = np.array(list(LANDMARKS.values()))
    kind = "warp" if target.truth else "drawn"
    forward = target.truth
    if target.landmarks:
        forward = similarity(marks, np.array([target.landmarks[k] for k in LANDMARKS]))
    truth = None
    if forward:
        places = np.array([target.landmarks[k] for k in LANDMARKS]) if target.landmarks else forward(marks)
        truth = {
            "kind": kind,
            "quad": np.round(forward(corners()), 2).tolist(),
            "landmarks": {k: np.round(p, 2).tolist() for k, p in zip(LANDMARKS, places, strict=True)},
        }
    return {
        "file": f"{name}.jpg",
        "name": name,
        "caption": caption,
        "size": list(target.picture.size),
        "expected": "applied" if forward else "abstained",
        "mirrored": target.mirrored,
        "truth": truth,
    }


def write_notes(folder: Path) -> None:
    """README.md and LICENSE.md: where every picture comes from and what may be done with it."""
    lines = [
        "# Sample pictures",
        "",
        "Made by `python tools/make_samples.py`. `samples.json` says where the sticker sits on the source",
        "and where it belongs in each target.",
        "",
        "| file | what it shows | origin |",
        "|---|---|---|",
        f"| cat.jpg | the source | {PHOTO} |",
        "| glasses.png | the sticker | drawn by `tools/sample_pictures/sticker.py` |",
    ]
    lines += [f"| {name}.jpg | {caption} | {origin} |" for name, caption, origin, _ in RECIPES]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = """# Licence of the sample pictures

All pictures in this folder are dedicated to the public domain under
[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/).

They were made from photographs that scikit-image distributes with no copyright restrictions (CC0):

- `chelsea`: Chelsea the cat, CC0 by the photographer, Stefan van der Walt;
- `coffee`: coffee cup, courtesy of Pikolo Espresso Bar, CC0 by the photographer, Rachel Michetti;
- `brick`: brick wall, from cc0textures.com (Bricks25), CC0;

and from drawings made by the code in `tools/sample_pictures/`, dedicated to the public domain as well.
"""
    (folder / "LICENSE.md").write_text(text, encoding="utf-8")


def make(folder: Path, only: list[str] | None = None) -> None:
    """Write all pictures (or those named in ``only``), ``samples.json`` and the notes into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    photo.cat().save(folder / "cat.jpg", quality=QUALITY)
    sticker = draw_sticker()
    sticker.save(folder / "glasses.png", optimize=True)
    targets = []
    for name, caption, _, maker in RECIPES:
        if only and name not in only:
            continue
        target = maker()
        target.picture.convert("RGB").save(folder / f"{name}.jpg", quality=QUALITY)
        targets.append(describe(name, caption, target))
        print(f"{name}.jpg: {caption}")
    marks = {k: list(v) for k, v in LANDMARKS.items()}
    listing = {
        "version": 1,
        "source": {"file": "cat.jpg", "caption": "Chelsea the cat", "size": list(SIZE), "landmarks": marks},
        "sticker": {
            "file": "glasses.png",
            "caption": "Glasses and a moustache",
            "size": list(sticker.size),
            "at": list(BOX),
            "quad": corners().tolist(),
        },
        "targets": targets,
    }
    (folder / "samples.json").write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")
    write_notes(folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the sample pictures that ship with dift-edit.")
    parser.add_argument("folder", nargs="?", type=Path, default=OUT)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="make only these targets (samples.json lists only them)"
    )
    parser.add_argument("--frames", type=Path, metavar="DIR", help="also write 24 looping frames of a moving cat there")
    parser.add_argument(
        "--turned", type=Path, metavar="DIR", help="also write turned and scaled copies of the cat there"
    )
    parser.add_argument("--litter", type=Path, metavar="DIR", help="also write twelve drawn cats there")
    args = parser.parse_args()
    for where, pictures in ((args.frames, moving_cat()), (args.turned, turned_cats()), (args.litter, litter(12))):
        if where:
            where.mkdir(parents=True, exist_ok=True)
            for k, (picture, _) in enumerate(pictures):
                picture.convert("RGB").save(where / f"{k:03d}.png")
    make(args.folder, args.only)


if __name__ == "__main__":
    main()
