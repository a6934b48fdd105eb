"""The DAVIS measures of video segmentation: region similarity J, contour accuracy F, and their statistics.

References
----------
Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016, section 4.
Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation, 2017 (the mean of J and F over objects).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dift_edit.errors import ImageError
from dift_edit.types import MaskLike

__all__ = ["Statistics", "boundary", "contour_accuracy", "mean_jf", "region_similarity", "statistics"]

Mask = npt.NDArray[np.bool_]
_TOLERANCE = 0.008  # of the picture's diagonal, as DAVIS has it (Perazzi et al., CVPR 2016)


def _masks(predicted: MaskLike, truth: MaskLike) -> tuple[Mask, Mask]:
    first, second = np.asarray(predicted).astype(bool), np.asarray(truth).astype(bool)
    if first.ndim != 2 or first.shape != second.shape:
        raise ImageError(
            f"A mask of shape {first.shape} cannot be compared with one of shape {second.shape}: both must be (H, W)."
        )
    return first, second


def region_similarity(predicted: MaskLike, truth: MaskLike) -> float:
    """J: intersection over union of two masks; 1 when both are empty.

    Parameters
    ----------
    predicted, truth : array_like
        (H, W), true inside the object.

    Returns
    -------
    float
        0 to 1.
    """
    first, second = _masks(predicted, truth)
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def boundary(mask: MaskLike) -> Mask:
    """Pixels that differ from their right, lower or lower right neighbour; outside the image nothing differs.

    Parameters
    ----------
    mask : array_like
        (H, W).

    Returns
    -------
    ndarray
        (H, W) bool: a contour one pixel thin.
    """
    inside = np.asarray(mask).astype(bool)
    padded = np.pad(inside, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    edge: Mask = (inside != right) | (inside != below) | (inside != diagonal)
    return edge


def contour_accuracy(predicted: MaskLike, truth: MaskLike, *, tolerance: float = _TOLERANCE) -> float:
    """F: harmonic mean of the precision and the recall of the contour's pixels.

    A pixel of one contour counts as found when a pixel of the other lies within the tolerance.

    Parameters
    ----------
    predicted, truth : array_like
        (H, W), true inside the object.
    tolerance : float
        As a fraction of the diagonal, rounded up to whole pixels; from 1 on, in pixels.

    Returns
    -------
    float
        0 to 1; 1 when neither has a contour.
    """
    from scipy.ndimage import distance_transform_edt

    first, second = _masks(predicted, truth)
    radius = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*first.shape))
    edges = boundary(first), boundary(second)
    counts = [int(np.count_nonzero(edge)) for edge in edges]
    if not any(counts):
        return 1.0
    if not all(counts):
        return 0.0
    rows = np.flatnonzero((edges[0] | edges[1]).any(1))
    columns = np.flatnonzero((edges[0] | edges[1]).any(0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    cut = [edge[window] for edge in edges]
    found = []
    for mine, other, count in ((cut[0], cut[1], counts[0]), (cut[1], cut[0], counts[1])):
        distance = np.asarray(distance_transform_edt(~other))
        found.append(np.count_nonzero(mine & (distance <= radius)) / count)
    precision, recall = found
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@dataclass(frozen=True)
class Statistics:
    """Of one object's values over the frames.

    Attributes
    ----------
    mean : float
        Mean of the values.
    recall : float
        Share of the frames whose value is above 0.5.
    decay : float
        Mean of the first quarter of the frames less that of the last quarter.
    """

    mean: float
    recall: float
    decay: float


def statistics(values: Sequence[float]) -> Statistics:
    """Mean, recall and decay as the official evaluation takes them.

    The quarters share their border frames, and their borders are rounded as there.

    Parameters
    ----------
    values : sequence of float
        One per frame.

    Returns
    -------
    Statistics
        NaN for no frame.
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        return Statistics(math.nan, math.nan, math.nan)
    # Borders of four equal parts of the frames 1…N, rounded half up by the small addition. (The official code keeps
    # them in 8 bits, so that its decay is wrong for more than 256 frames; no DAVIS sequence is so long.)
    border = np.round(np.linspace(1, len(array), 5) + 1e-10).astype(int) - 1
    first, last = array[border[0] : border[1] + 1], array[border[3] : border[4] + 1]
    return Statistics(float(array.mean()), float((array > 0.5).mean()), float(first.mean() - last.mean()))


def mean_jf(predicted: Sequence[MaskLike], truth: Sequence[MaskLike]) -> dict[str, float]:
    """J&F of one object in a sequence, with mean, recall and decay of J and F.

    Parameters
    ----------
    predicted, truth : sequence of array_like
        (H, W) masks of the frames to be scored (DAVIS leaves out the first and the last one).

    Returns
    -------
    dict
        "J&F", "J-mean", "J-recall", "J-decay", "F-mean", "F-recall", "F-decay", from 0 to 1.

    Raises
    ------
    ImageError
        If the sequences differ in length or the masks in size.
    """
    if len(predicted) != len(truth):
        raise ImageError(f"{len(predicted)} masks were predicted, but {len(truth)} are annotated.")
    pairs = list(zip(predicted, truth, strict=True))
    region = statistics([region_similarity(*pair) for pair in pairs])
    contour = statistics([contour_accuracy(*pair) for pair in pairs])
    result = {"J&F": (region.mean + contour.mean) / 2}
    for name, part in (("J", region), ("F", contour)):
        result |= {f"{name}-mean": part.mean, f"{name}-recall": part.recall, f"{name}-decay": part.decay}
    return result
