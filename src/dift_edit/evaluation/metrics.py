"""Measures of correspondence, homographies, flow and edit transfer. Every rate is a number from 0 to 1."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dift_edit.errors import GeometryError
from dift_edit.geometry.coords import Points, as_points
from dift_edit.geometry.quad import quad_iou
from dift_edit.types import PointsLike, QuadLike

__all__ = [
    "auroc",
    "corner_error",
    "homography_accuracy",
    "matching_accuracy",
    "pck",
    "pck_flags",
    "transfer_iou",
]

Array = npt.NDArray[np.float64]


def pck_flags(predicted: PointsLike, truth: PointsLike, *, size: float, alpha: float = 0.1) -> npt.NDArray[np.bool_]:
    """Which keypoints are correct: within ``alpha * size`` of the truth, the border included.

    Parameters
    ----------
    predicted, truth : array_like
        (N, 2) in pixels.
    size : float
        What the threshold is relative to: the longer side of the target's box, or of the image.
    alpha : float
        Fraction of it.

    Returns
    -------
    ndarray
        (N,) bool.

    Raises
    ------
    GeometryError
        If the two lists differ in length or the size is not positive.
    """
    first, second = as_points(predicted, "predicted keypoints"), as_points(truth, "annotated keypoints")
    if len(first) != len(second):
        raise GeometryError(f"{len(first)} keypoints were predicted, but {len(second)} are annotated.")
    if not size > 0:
        raise GeometryError(f"PCK needs a size above 0 to be relative to, but got {size}.")
    flags: npt.NDArray[np.bool_] = np.linalg.norm(first - second, axis=1) <= alpha * size
    return flags


def pck(predicted: PointsLike, truth: PointsLike, *, size: float, alpha: float = 0.1) -> float:
    """Percentage of correct keypoints, as a number from 0 to 1; NaN for no keypoint.

    References
    ----------
    Yang and Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, PAMI 2013.
    """
    flags = pck_flags(predicted, truth, size=size, alpha=alpha)
    return float(flags.mean()) if len(flags) else float("nan")


def _homogeneous(matrix: npt.ArrayLike) -> Array:
    array = np.asarray(matrix, dtype=np.float64)
    if array.shape != (3, 3) or not np.isfinite(array).all():
        raise GeometryError(f"A homography must be a finite 3×3 matrix, but got {matrix!r}.")
    return array


def _map(matrix: Array, points: Points) -> Points:
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Points = mapped[:, :2] / mapped[:, 2:]
    return result


def corner_error(estimated: npt.ArrayLike | None, truth: npt.ArrayLike, size: Sequence[int]) -> float:
    """Mean distance in pixels between where two homographies put an image's four corner pixels.

    Parameters
    ----------
    estimated : array_like or None
        (3, 3); None, when no homography was found, has an infinite error.
    truth : array_like
        (3, 3).
    size : (W, H)
        Of the source; its corners are (0, 0) … (W − 1, H − 1).

    Returns
    -------
    float

    References
    ----------
    DeTone et al., SuperPoint, CVPRW 2018, section 6.2.
    """
    if estimated is None:
        return float("inf")
    right, low = size[0] - 1, size[1] - 1
    corners = np.array([[0, 0], [right, 0], [right, low], [0, low]], dtype=np.float64)
    error = np.linalg.norm(_map(_homogeneous(estimated), corners) - _map(_homogeneous(truth), corners), axis=1).mean()
    return float(error) if np.isfinite(error) else float("inf")


def homography_accuracy(errors: Sequence[float], thresholds: Sequence[float] = (1, 3, 5)) -> dict[float, float]:
    """Share of pairs whose corner error is at most a threshold.

    Parameters
    ----------
    errors : sequence of float
        Of `corner_error`.
    thresholds : sequence of float
        In pixels.

    Returns
    -------
    dict
        Threshold → share from 0 to 1.
    """
    array = np.asarray(errors, dtype=np.float64)
    return {limit: float((array <= limit).mean()) if array.size else float("nan") for limit in thresholds}


def matching_accuracy(
    source: PointsLike, target: PointsLike, truth: npt.ArrayLike, thresholds: Sequence[float] = (1, 3, 5)
) -> dict[float, float]:
    """Share of matches that a homography maps to within a threshold (its mean over pairs is the MMA).

    Parameters
    ----------
    source, target : array_like
        (N, 2) matched points in pixels.
    truth : array_like
        (3, 3) source → target.
    thresholds : sequence of float
        In pixels.

    Returns
    -------
    dict
        Threshold → share from 0 to 1; 0 where nothing was matched, as in the D2-Net evaluation.
    """
    first, second = np.reshape(source, (-1, 2)), np.reshape(target, (-1, 2))
    if not len(first):
        return dict.fromkeys(thresholds, 0.0)
    error = np.linalg.norm(_map(_homogeneous(truth), as_points(first)) - as_points(second), axis=1)
    return {limit: float((error <= limit).mean()) for limit in thresholds}


def transfer_iou(placed: QuadLike, truth: QuadLike) -> float:
    """Intersection over union of the placed quadrilateral and the annotated one; 0 to 1.

    Parameters
    ----------
    placed, truth : array_like
        (4, 2) corners in target pixels. A quadrilateral that folds counts by its convex hull.

    Returns
    -------
    float
    """
    return quad_iou(placed, truth)


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Area under the ROC curve: the chance that a positive scores higher than a negative (ties count half).

    Returns
    -------
    float
        NaN when one of the two kinds is missing.
    """
    from scipy.stats import rankdata

    flags = np.asarray(positive, dtype=bool)
    count, others = int(flags.sum()), int((~flags).sum())
    if not count or not others:
        return float("nan")
    ranks = rankdata(np.asarray(scores, dtype=np.float64))
    return float((ranks[flags].sum() - count * (count + 1) / 2) / (count * others))
