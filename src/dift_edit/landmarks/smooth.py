"""Smooth displacements from noisy ones: a Gaussian process, whose stiffness the points choose by predicting each other.

A displacement is an affine part plus a bend. Both have Gaussian priors; so each point's displacement can be predicted
from all others in closed form. The prior under which these predictions are best is the right stiffness.

References
----------
Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sections 2.7 (explicit basis functions) and 5.4.2
(leave-one-out predictive probability).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from dift_edit.geometry.coords import Points

__all__ = ["BENDS", "Predictions", "covariance", "predict_each_other", "stiffness"]

Array = npt.NDArray[np.float64]

AFFINE = (0.08, 0.15)
"""Standard deviations of the shift, in extents, and of the four numbers of the linear part (chosen)."""
LENGTH = 0.35
"""Over how many extents bends are alike (chosen)."""
BENDS = (0.005, 0.01, 0.02, 0.04, 0.08)
"""Standard deviations of the bend in extents, from stiff to soft, among which the points choose."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What all points but one say of that one.

    Attributes
    ----------
    mean : ndarray
        (N, 2) displacement.
    variance : ndarray
        (N,) of each of its coordinates, without the point's own noise.
    """

    mean: Points
    variance: Array


def covariance(points: Points, bend: float) -> Array:
    """(N, N) prior covariance of the displacements at points in units of the extent, round their mean."""
    x = points - points.mean(0)
    bent = bend**2 * np.exp(-cdist(x, x, "sqeuclidean") / (2 * LENGTH**2))
    prior: Array = AFFINE[0] ** 2 + AFFINE[1] ** 2 * x @ x.T + bent
    return prior


def predict_each_other(prior: Array, found: Points, noise: Array) -> Predictions:
    """Predict each displacement from all others.

    Parameters
    ----------
    prior : ndarray
        (N, N) covariance of the displacements.
    found : ndarray
        (N, 2) displacements as found.
    noise : ndarray
        (N,) variance of their noise.
    """
    precision = np.linalg.inv(prior + np.diag(noise))
    own = np.diag(precision)
    mean = found - precision @ found / own[:, None]
    return Predictions(mean, np.maximum(1 / own - noise, 1e-12))


def stiffness(points: Points, found: Points, noise: Array, trust: Array) -> float:
    """The bend of `BENDS` under which the points, weighted with (N,) trust, predict each other best."""

    def density(bend: float) -> float:
        said = predict_each_other(covariance(points, bend), found, noise)
        spread = said.variance + noise
        miss = ((found - said.mean) ** 2).sum(1) / spread
        # Student's t with 4 degrees of freedom: one wrong point does not decide.
        return float(trust @ (-np.log(spread) - 3 * np.log1p(miss / 4)))

    return max(BENDS, key=density)
