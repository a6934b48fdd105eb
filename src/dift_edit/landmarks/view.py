"""A picture as the source shows the object: cut out, and turned, scaled and mirrored alike."""

from dataclasses import dataclass

import cv2
import numpy as np

from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import Points, inside
from dift_edit.imaging.image import Image

__all__ = ["LONG_SIDE", "MARGIN", "View", "view_box"]

MARGIN = 0.25
"""Room round the landmarks in a view, in their extents (chosen)."""
LONG_SIDE = 640
"""Longer side of a view in pixels (chosen): no network of the catalogue sees fewer of small objects' pixels."""


@dataclass(frozen=True, eq=False)
class View:
    """A part of a picture, resampled.

    Attributes
    ----------
    image : Image
        What the network sees. Beyond the picture's edges its border pixels are repeated.
    to_picture : MatrixTransform
        View pixels → picture pixels; affine.
    picture_size : (W, H)
    """

    image: Image
    to_picture: MatrixTransform
    picture_size: tuple[int, int]

    @classmethod
    def of(cls, picture: Image, to_picture: MatrixTransform, size: tuple[int, int]) -> "View":
        """The view of a size that an affine map from its pixels to a picture's gives; shrunk without aliasing."""
        shrink = max(1.0, to_picture.enlargement)
        pixels, matrix = picture.resized(picture.size).permute(1, 2, 0).numpy(), to_picture.matrix
        if shrink > 1:
            edges = tuple(max(1, round(edge / shrink)) for edge in picture.size)
            ratio = np.array(edges) / np.array(picture.size)
            pixels = cv2.resize(pixels, edges, interpolation=cv2.INTER_AREA)
            matrix = (
                np.array([[ratio[0], 0, ratio[0] / 2 - 0.5], [0, ratio[1], ratio[1] / 2 - 0.5], [0, 0, 1]]) @ matrix
            )
        seen = cv2.warpAffine(
            pixels, matrix[:2], size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
        return cls(Image(np.ascontiguousarray((seen * 255 + 0.5).astype(np.uint8))), to_picture, picture.size)

    def is_inside(self, points: Points) -> np.ndarray:
        """(N,) whether (N, 2) view pixels lie in the picture."""
        return inside(self.to_picture(points), self.picture_size)


def view_box(points: Points, margin: float = MARGIN) -> tuple[MatrixTransform, tuple[int, int]]:
    """View pixels → picture pixels, and the size of the view, for landmarks (N, 2) of a picture."""
    low, high = points.min(0), points.max(0)
    room = margin * max(float((high - low).max()), 1.0)
    low, high = low - room, high + room
    scale = float((high - low).max()) / LONG_SIDE
    width, height = (max(16, round(float(edge) / scale)) for edge in high - low)
    return MatrixTransform(np.array([[scale, 0, low[0]], [0, scale, low[1]], [0, 0, 1]])), (width, height)
