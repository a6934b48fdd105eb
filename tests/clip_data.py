"""What the tests of clips share."""

from pathlib import Path

import numpy as np

from dift_edit.clips.io import open_writer
from dift_edit.edits import Sticker
from dift_edit.geometry.quad import quad_side
from synthetic_clips import SyntheticClip

SMALL = (320, 180)


def sticker(quad: np.ndarray, *, color: tuple[int, int, int] = (255, 0, 160)) -> Sticker:
    pixels = np.zeros((40, 60, 4), np.uint8)
    pixels[..., :3] = color
    pixels[4:-4, 4:-4, 3] = 255
    return Sticker(pixels, quad=quad)


def errors(clip: SyntheticClip, quads: np.ndarray) -> np.ndarray:
    """Mean corner error of every frame, as a share of the edit's side."""
    truth = np.array([clip.quad(index) for index in range(len(clip))])
    side = np.array([quad_side(quad) for quad in truth])
    return np.linalg.norm(quads - truth, axis=2).mean(1) / side


def jitter(quads: np.ndarray) -> float:
    return float(np.sqrt((np.diff(quads, 2, axis=0) ** 2).sum(2).mean()))


def write_clip(clip: SyntheticClip, path: Path) -> Path:
    writer = open_writer(path, clip)
    for image in clip.read(0, len(clip)):
        writer.add(image)
    return writer.close()
