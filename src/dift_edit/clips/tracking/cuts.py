"""Cuts: where one shot ends and another begins."""

from collections import deque
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.imaging.image import Image

__all__ = ["CutDetector", "thumbnail"]

# Chosen: the size at which frames are compared, the bins of red and green chromaticity, and when a change is a cut.
_SIZE = (48, 27)
_BINS = (12, 8)
_LEAST = 0.28  # a smaller change is never a cut
_RATIO = 3.5  # over the changes of the frames just before


def thumbnail(image: Image) -> npt.NDArray[np.float32]:
    """(27, 48, 3) float32 in [0, 1]: a few pixels that stand for the frame."""
    pixels = image.pixels.astype(np.float32) / image.full_scale if image.pixels.dtype != np.uint8 else image.pixels
    small = cv2.resize(pixels, _SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(small / 255 if image.pixels.dtype == np.uint8 else small)


class CutDetector:
    """Tells a cut from movement: colours and layout change at once, and far more than in the frames before.

    The change between two frames is the mean of two numbers in [0, 1]: one minus the intersection of their hue and
    saturation histograms with brightness histograms, and one minus the correlation of their layouts after the
    best small shift. A flash changes only the light, a fast pan only the layout.
    """

    def __init__(self) -> None:
        self._before: npt.NDArray[np.float32] | None = None
        self._changes: deque[float] = deque(maxlen=12)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        before = np.zeros((0, 0, 3), np.float32) if self._before is None else self._before
        return {"cut_before": before, "cut_changes": np.array(self._changes)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._before = state["cut_before"] if state["cut_before"].size else None
        self._changes = deque(state["cut_changes"].tolist(), maxlen=12)

    def __call__(self, image: Image) -> bool:
        """Whether this frame belongs to another shot than the one before it."""
        small = thumbnail(image)
        before, self._before = self._before, small
        if before is None:
            return False
        change = (_color_change(before, small) + _layout_change(before, small)) / 2
        usual = float(np.median(self._changes)) if self._changes else 0.0
        if change > max(_LEAST, _RATIO * usual):
            self._changes.clear()
            return True
        self._changes.append(change)
        return False


def _color_change(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """One minus the intersection of chromaticity histograms, which a change of light leaves alone."""
    histograms = []
    for picture in (a, b):
        total = picture.sum(2) + 0.05
        red, green = picture[..., 0] / total, picture[..., 1] / total
        histogram, _, _ = np.histogram2d(red.ravel(), green.ravel(), bins=_BINS, range=[[0, 1], [0, 1]])
        smooth = cv2.GaussianBlur(histogram, (0, 0), 0.6)
        histograms.append(smooth / smooth.sum())
    return 1 - float(np.minimum(*histograms).sum())


def _layout_change(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """One minus the correlation of the brightness layouts after the best shift of up to a sixth of the picture."""
    first, second = (picture.mean(2) for picture in (a, b))
    rows, columns = _SIZE[1] // 6, _SIZE[0] // 6
    middle = first[rows:-rows, columns:-columns]
    score = cv2.matchTemplate(second, middle, cv2.TM_CCOEFF_NORMED)
    return float(np.clip(1 - np.nan_to_num(score, nan=0.0, posinf=0.0, neginf=0.0).max(), 0, 1))
