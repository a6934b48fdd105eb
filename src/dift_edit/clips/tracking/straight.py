"""A keyframe's patch as frames show it, straightened to the keyframe's own view."""

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.geometry.base import Matrix
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import quad_matrix
from dift_edit.imaging.image import Image

__all__ = ["Straightener"]

# Numbers without a source are chosen.
_ROOM = 0.3  # of the quad, on each side, is looked at too
_MOST_PIXELS, _LEAST_PIXELS = 240, 176  # longest side of the straightened patch


class Straightener:
    """Cuts a patch and some room round it out of frames, always in the same small size.

    Parameters
    ----------
    size : (W, H)
        Of the frames.
    quad : ndarray
        (4, 2) the patch in the keyframe.
    working_side : int
        Short side to which larger frames are brought first.

    Attributes
    ----------
    box : (w, h)
        Size of what is cut out.
    to_source : ndarray
        (3, 3) its pixels → pixels of the keyframe.
    """

    def __init__(self, size: tuple[int, int], quad: Points, working_side: int) -> None:
        self._quad = quad
        scale = min(1.0, working_side / min(size))
        self._size = (round(size[0] * scale), round(size[1] * scale))
        self._shrink = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
        middle = quad.mean(0)
        grown = middle + (quad - middle) * (1 + 2 * _ROOM)
        edges = np.linalg.norm(np.roll(grown, -1, 0) - grown, axis=1)
        extent = np.array([edges[0] + edges[2], edges[1] + edges[3]]) / 2 * scale
        extent *= np.clip(extent.max(), _LEAST_PIXELS, _MOST_PIXELS) / extent.max()
        self.box = (max(round(extent[0]), 16), max(round(extent[1]), 16))
        width, height = self.box
        outline = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5
        self.to_source: Matrix = quad_matrix(outline, grown)

    def __call__(self, image: Image, corners: Points) -> npt.NDArray[np.uint8]:
        """(h, w, 3) the patch of a frame in which its corners (4, 2) are known."""
        pixels = np.asarray(Image(image.pixels).to_pil()) if image.pixels.dtype != np.uint8 else image.pixels
        if image.size != self._size:
            pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA)
        matrix = self._shrink @ quad_matrix(self._quad, corners) @ self.to_source
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpPerspective(pixels, matrix, self.box, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        )  # fmt: skip
