"""Which parts of a patch something else hides: the edit is cut off there.

Each frame is seen straightened to the keyframe's own view. A spot counts as hidden where the keyframe has texture and
the frame's does not correlate with it, or where the colour differs by more than the light explains. Where the patch
has changed its look as a whole, nothing is told apart, and nothing is cut off.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.clips.io.base import Clip
from dift_edit.clips.tracking.appearance import correlation, grey
from dift_edit.clips.tracking.straight import Straightener
from dift_edit.clips.tracking.trajectory import Trajectory
from dift_edit.geometry.base import Matrix, Transform
from dift_edit.geometry.coords import Points
from dift_edit.imaging.image import Image
from dift_edit.rendering.warp import Warped, warp_layer

__all__ = ["Hidden", "find_hidden"]

Map = npt.NDArray[np.float32]

# Numbers without a source are chosen.
_WINDOW = 13  # pixels of the straightened patch, for the correlation
_UNLIKE, _LIKE = 0.15, 0.65  # correlations of what is surely hidden, and surely seen
_SAME, _OTHER = 10.0, 38.0  # grey levels, after the light is taken out
_RECOGNISED = 0.3  # of the textured part must look as in the keyframe, else nothing is told apart
_GRID = 40  # cells of what is kept, on the longer side


@dataclass(frozen=True, eq=False)
class Hidden:
    """How far each spot of a patch is hidden in every frame of a path.

    Attributes
    ----------
    maps : ndarray
        (n, h, w) uint8 on a grid over the patch and some room round it; 255: hidden.
    to_source : ndarray
        (3, 3) cells of the grid → pixels of the keyframe.
    """

    maps: npt.NDArray[np.uint8]
    to_source: Matrix

    def at(self, index: int, transform: Transform, size: tuple[int, int]) -> Warped | None:
        """(h, w, 1) shares in [0, 1] where they lie on a frame of `size` (W, H); None when all is seen."""
        if not self.maps[index].any():
            return None
        layer = self.maps[index][..., None].astype(np.float32) / 255
        return warp_layer(layer, transform, size, matrix=self.to_source)


def find_hidden(
    clip: Clip, source: int, quad: Points, path: Trajectory, *, working_side: int, progress: Callable[[], None]
) -> Hidden:
    """Look at all frames of a path once more, and see what of the patch is hidden.

    Parameters
    ----------
    clip : Clip
        The frames.
    source : int
        The frame that shows the whole patch: that of the edit.
    quad : ndarray
        (4, 2) the patch in its pixels.
    path : Trajectory
        Where it is.
    working_side : int
        Short side to which larger frames are brought first.
    progress : callable
        Called after every frame.

    Returns
    -------
    Hidden
    """
    straight = Straightener(clip.size, quad, working_side)
    key = straight(next(clip.read(source, source + 1)), quad)
    shrink = max(max(straight.box) / _GRID, 1.0)
    width, height = (max(round(side / shrink), 2) for side in straight.box)
    maps = np.zeros((len(path), height, width), np.uint8)
    for index, image in enumerate(clip.read(path.start, path.start + len(path))):
        if path.opacity[index] > 0 and path.start + index != source:
            hidden = hidden_map(key, straight(image, path.corners[index]))
            maps[index] = np.round(255 * cv2.resize(hidden, (width, height), interpolation=cv2.INTER_AREA))
        progress()
    scale = np.array(straight.box) / (width, height)
    cells = np.array([[scale[0], 0, (scale[0] - 1) / 2], [0, scale[1], (scale[1] - 1) / 2], [0, 0, 1]])
    return Hidden(maps, straight.to_source @ cells)


def hidden_map(key: npt.NDArray[np.uint8], picture: npt.NDArray[np.uint8]) -> Map:
    """(h, w) in [0, 1] how surely each spot of a straightened patch is hidden.

    Parameters
    ----------
    key, picture : ndarray
        (h, w, 3) the patch in the keyframe and in a frame.
    """
    box = (key.shape[1], key.shape[0])
    a, b = (grey(Image(pixels), box).astype(np.float32) for pixels in (key, picture))
    alike, variance = correlation(a, b, _WINDOW)
    texture = np.minimum(variance, 400) / 400
    sure = (alike > 0.7) & (texture > 0.3)
    if sure.sum() < _RECOGNISED * (texture > 0.3).sum():
        return np.zeros(box[::-1], np.float32)
    before, after = key.astype(np.float32), picture.astype(np.float32)
    light = np.median(after[sure] / (before[sure] + 1), axis=0)
    change = cv2.blur(np.abs(after - light * before).mean(2), (9, 9))
    told = texture * _ramp(alike, _LIKE, _UNLIKE) + 0.5 * _ramp(change, _SAME, _OTHER)
    evidence = cv2.GaussianBlur(told, (0, 0), 3) / (cv2.GaussianBlur(texture, (0, 0), 3) + 0.5)
    hidden = (1 / (1 + np.exp(-8 * evidence))).astype(np.float32)
    return np.asarray(np.clip((hidden - 0.2) / 0.6, 0, 1), dtype=np.float32)


def _ramp(values: Map, low: float, high: float) -> Map:
    """-1 at `low`, 1 at `high`, straight between."""
    return np.asarray(np.clip(2 * (values - low) / (high - low) - 1, -1, 1), dtype=np.float32)
