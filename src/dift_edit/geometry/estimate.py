"""Robust estimation of a similarity from weighted correspondences."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dift_edit.coords import Points
from dift_edit.errors import GeometryError
from dift_edit.geometry.base import MatrixTransform

__all__ = ["Correspondences", "estimate_similarity", "fit_similarity"]

Weights = npt.NDArray[np.float64]
_ROTATION_SIGMA, _LOG_SCALE_SIGMA = 0.6, 0.7


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Weighted pairs of points.

    Attributes
    ----------
    source, target : ndarray
        (N, 2) pixels of the two pictures.
    weights : ndarray
        (N,) not negative.
    """

    source: Points
    target: Points
    weights: Weights

    def __add__(self, other: "Correspondences") -> "Correspondences":
        return Correspondences(
            np.concatenate([self.source, other.source]),
            np.concatenate([self.target, other.target]),
            np.concatenate([self.weights, other.weights]),
        )

    def reversed(self, total: float) -> "Correspondences":
        """The pairs with source and target exchanged, and the weights scaled to a total."""
        return Correspondences(self.target, self.source, self.weights * (total / max(self.weights.sum(), 1e-12)))


def fit_similarity(pairs: Correspondences) -> MatrixTransform:
    """The weighted least-squares similarity (Umeyama 1991, without reflection).

    Raises
    ------
    GeometryError
        If there are fewer than two distinct weighted points.
    """
    p, q = (points[:, 0] + 1j * points[:, 1] for points in (pairs.source, pairs.target))
    w = pairs.weights / max(pairs.weights.sum(), 1e-300)
    p_mean, q_mean = (w * p).sum(), (w * q).sum()
    spread = (w * np.abs(p - p_mean) ** 2).sum()
    if not spread > 1e-12:
        raise GeometryError("A similarity needs two points that differ.")
    a = (w * (q - q_mean) * (p - p_mean).conj()).sum() / spread
    return _similarity(a, q_mean - a * p_mean)


def estimate_similarity(
    pairs: Correspondences,
    *,
    threshold: float,
    expected_scale: float = 1.0,
    least_distance: float = 0.0,
    prior: float = 0.1,
    hypotheses: int = 600,
    seed: int = 0,
) -> tuple[MatrixTransform, float]:
    """MSAC over 2-point samples with a mild prior on the pose, then iteratively reweighted least squares.

    Parameters
    ----------
    pairs : Correspondences
        At least two pairs with positive weight.
    threshold : float
        Residual in target pixels from which a pair counts as an outlier.
    expected_scale : float
        Centre of the prior on the scale.
    least_distance : float
        Two points of a sample are at least so far apart, in source pixels.
    prior : float
        Weight of the prior on rotation (sigma 0.6 rad) and log-scale (sigma 0.7).
    hypotheses : int
        Number of samples.
    seed : int
        Of the samples.

    Returns
    -------
    MatrixTransform
        The similarity.
    float
        Its MSAC score in [0, 1] less the prior's penalty.

    Raises
    ------
    GeometryError
        If no hypothesis is possible.

    References
    ----------
    Torr and Zisserman, MLESAC, CVIU 2000 (the MSAC cost); Geman and McClure 1987 (the robust weight).
    """
    rng = np.random.default_rng(seed)
    p, q = (points[:, 0] + 1j * points[:, 1] for points in (pairs.source, pairs.target))
    total = pairs.weights.sum()
    if not total > 0 or len(p) < 2:
        raise GeometryError("A similarity needs at least two pairs of points with positive weight.")
    w = pairs.weights / total
    i, j = rng.choice(len(p), (2, hypotheses), p=w)
    far = np.abs(p[i] - p[j]) > max(least_distance, 1e-6)
    i, j = i[far], j[far]
    a = (q[i] - q[j]) / (p[i] - p[j])
    sane = (np.abs(a) > 0.2 * expected_scale) & (np.abs(a) < 5 * expected_scale)
    a, i = a[sane], i[sane]
    if not len(a):
        raise GeometryError("The matches agree on no placement.")
    b = q[i] - a * p[i]
    residual = np.abs(a[:, None] * p + b[:, None] - q) / threshold
    score = (w * np.clip(1 - residual**2, 0, None)).sum(1)
    turn, grow = np.angle(a) / _ROTATION_SIGMA, np.log(np.abs(a) / expected_scale) / _LOG_SCALE_SIGMA
    score -= prior * (turn**2 + grow**2) / 2
    best = int(score.argmax())
    transform = _similarity(a[best], b[best])
    for _ in range(8):
        residual = np.linalg.norm(transform(pairs.source) - pairs.target, axis=1) / (threshold / 2)
        transform = fit_similarity(Correspondences(pairs.source, pairs.target, w / (1 + residual**2) ** 2))
    return transform, float(score[best])


def _similarity(a: complex, b: complex) -> MatrixTransform:
    return MatrixTransform(np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]]))
