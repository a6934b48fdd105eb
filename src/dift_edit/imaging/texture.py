"""Texture: how alike two pictures are round every pixel, and which of their keypoints belong together."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["local_moments", "ratio_matches"]

Field = npt.NDArray[np.float32]


def local_moments(a: Field, b: Field, window: int, border: int = cv2.BORDER_DEFAULT) -> tuple[Field, Field, Field]:
    """Covariance of two pictures in a window round every pixel, and their variances there.

    Parameters
    ----------
    a, b : ndarray
        (h, w) float32.
    window : int
        Side of the square window in pixels, odd.
    border : int
        How OpenCV goes on beyond the edges (``cv2.BORDER_…``).

    Returns
    -------
    covariance, variance_a, variance_b : ndarray
        (h, w) float32. Rounding may make a variance slightly negative.
    """

    def mean(values: Field) -> Field:
        return np.asarray(cv2.blur(values, (window, window), borderType=border), dtype=np.float32)

    mean_a, mean_b = mean(a), mean(b)
    return mean(a * b) - mean_a * mean_b, mean(a * a) - mean_a**2, mean(b * b) - mean_b**2


def ratio_matches(first: npt.NDArray[Any], second: npt.NDArray[Any], ratio: float = 0.8) -> npt.NDArray[np.intp]:
    """Pairs of descriptors that are clearly nearer to each other than to the next best.

    Parameters
    ----------
    first, second : ndarray
        (N, D) and (M, D) float32 descriptors.
    ratio : float
        Of the distances to the best and to the second best, at most.

    Returns
    -------
    ndarray
        (K, 2) indices into `first` and `second`, in the order of `first`.

    References
    ----------
    Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004, section 7.1 (ratio 0.8).
    """
    nearest = cv2.BFMatcher(cv2.NORM_L2).knnMatch(first, second, k=2)
    kept = [(m[0].queryIdx, m[0].trainIdx) for m in nearest if len(m) == 2 and m[0].distance < ratio * m[1].distance]
    return np.array(kept, dtype=np.intp).reshape(-1, 2)
