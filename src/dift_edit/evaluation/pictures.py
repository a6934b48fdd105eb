"""Results of benchmarks as pictures: what was predicted beside what is annotated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from dift_edit.evaluation.segmentation import boundary, region_similarity
from dift_edit.geometry.coords import Points, rescale_points
from dift_edit.imaging.files import as_image, load_image
from dift_edit.imaging.image import Image
from dift_edit.viz.draw import contact_sheet, draw_matches
from dift_edit.viz.primitives import at_scale, distinct_colors, painted

__all__ = ["mask_strip", "matches_with_truth"]

Labels = npt.NDArray[np.uint8]
_FRAMES = 6
"""Frames on a strip (chosen)."""
_HEIGHT = 360
"""Pixels of each (chosen)."""


def mask_strip(
    frames: Sequence[Path], truth: Sequence[Labels], carried: Sequence[Labels], *, count: int = _FRAMES
) -> Image:
    """Frames of a sequence with the annotated masks, and below them with the carried ones.

    Parameters
    ----------
    frames : sequence of path
        All frames.
    truth, carried : sequence of ndarray
        (H, W) labels of each frame; 0 is the background.
    count : int
        So many frames are shown, at even distances.

    Returns
    -------
    Image
    """
    shown = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    pictures = [load_image(frames[index]) for index in shown]
    rows = [[_masked(picture, masks[index]) for picture, index in zip(pictures, shown, strict=True)]
            for masks in (truth, carried)]  # fmt: skip
    captions = [f"frame {index}: annotated" for index in shown]
    for index in shown:
        likeness = region_similarity(np.asarray(carried[index]) > 0, np.asarray(truth[index]) > 0)
        captions.append(f"frame {index}: carried, J {likeness:.2f}" if index else "frame 0: given")
    return contact_sheet([*rows[0], *rows[1]], captions, columns=len(shown), cell=_HEIGHT)


def matches_with_truth(
    source: Any, target: Any, source_points: Points, found: Points, truth: Points, correct: npt.NDArray[np.bool_]
) -> Image:
    """Matches side by side; a red line leads from each wrong one to where it belongs.

    Parameters
    ----------
    source, target : Image or what `as_image` takes
        The pictures.
    source_points, found, truth : ndarray
        (N, 2) pixels: the points, where they were found in the target, where they belong.
    correct : ndarray
        (N,) which count as correct.

    Returns
    -------
    Image
    """
    picture = draw_matches(source, target, source_points, found, confidence=np.where(correct, 1, 0.4), height=_HEIGHT)
    width, height = as_image(target).size
    shown = (round(width * _HEIGHT / height), _HEIGHT)
    offset = np.array([picture.size[0] - shown[0], 0])
    ends = [rescale_points(points, (width, height), shown) + offset for points in (found, truth)]

    def paint(draw: ImageDraw.ImageDraw, scale: int) -> None:
        for index in np.flatnonzero(~np.asarray(correct)):
            draw.line(
                at_scale(np.stack([ends[0][index], ends[1][index]]), scale), fill=(230, 30, 40, 255), width=2 * scale
            )

    return as_image(painted(picture.to_pil(), paint))


def _masked(picture: Image, labels: Labels) -> Image:
    """A picture with each object tinted and outlined in a colour of its own."""
    labels = np.asarray(labels)
    values = picture.pixels.astype(np.float32) / picture.full_scale * 255
    numbers = [int(number) for number in np.unique(labels) if number]
    for number, color in zip(numbers, distinct_colors(max(numbers, default=0)), strict=False):
        mask = labels == number
        values[mask] = 0.5 * values[mask] + 0.5 * np.array(color)
        values[boundary(mask)] = color
    return Image(values.round().astype(np.uint8))
