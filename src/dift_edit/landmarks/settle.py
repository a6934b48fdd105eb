"""Points that vote for their own places and keep their shape together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dift_edit.geometry.coords import Points
from dift_edit.landmarks.smooth import covariance, predict_each_other, stiffness
from dift_edit.landmarks.votes import Voted

__all__ = ["Settled", "settle"]

Array = npt.NDArray[np.float64]

LEAST_GAIN = 1.0
"""Gain of a point's votes at which it is half trusted (chosen)."""
_KNOWN = 1e-3
"""Standard deviation of a known place, in extents (chosen): the others bend round it."""


@dataclass(frozen=True, eq=False)
class Settled:
    """Where points came to rest, in view pixels.

    Attributes
    ----------
    points : ndarray
        (N, 2) by the others' prediction and the point's own votes.
    predicted : ndarray
        (N, 2) by the others alone.
    spread : ndarray
        (N,) standard deviation of the prediction, in extents.
    gain : ndarray
        (N,) see `Weighed`.
    bend : float
        The stiffness that the points chose, see `smooth.BENDS`.
    """

    points: Points
    predicted: Points
    spread: Array
    gain: Array
    bend: float


def settle(
    votes: Voted,
    points: Points,
    start: Points,
    *,
    base: Points,
    extent: float,
    window: float,
    least: float,
    rounds: int,
    known: Mapping[int, Points] | None = None,
) -> Settled:
    """Let each point look for its votes near the place that all others predict, again and again.

    Parameters
    ----------
    votes : Voted
        Of the points, for places in the target's view.
    points : ndarray
        (N, 2) in the source's view, in pixels.
    start : ndarray
        (N, 2) where they are looked for first, in pixels of the target's view.
    base : ndarray
        (N, 2) where an affine map has them: the displacements from there are smooth.
    extent : float
        Of the landmarks, in view pixels.
    window : float
        Standard deviation of the first look, in extents.
    least : float
        How exact a vote is at best, in extents.
    rounds : int
        How often.
    known : mapping, optional
        Number of a point → (2,) its place in the target's view, when that is known: it stays there, and the others are
        predicted from it.
    """
    held = np.array(sorted(known or {}), dtype=int)
    at = np.array([(known or {})[number] for number in held], dtype=np.float64).reshape(-1, 2)
    x, places, variance = points / extent, start, np.full(len(points), (window * extent) ** 2)
    bend = 0.0
    for _ in range(rounds):
        seen = votes.near(places, variance)
        trust = 1 / (1 + np.exp(LEAST_GAIN - seen.gain))
        # Votes seen through a normal window look like the product of both: take the window out again.
        precision = np.maximum(1 / seen.variance - 1 / variance, 1e-3 / variance)
        pull = (seen.mean - places) / (seen.variance * precision)[:, None]
        reach = 2 * np.sqrt(variance)[:, None]
        found = (places + np.clip(pull, -reach, reach) - base) / extent
        noise = (1 / precision / extent**2 + least**2) / np.maximum(trust, 1e-3)
        found[held], noise[held], trust[held] = (at - base[held]) / extent, _KNOWN**2, 1.0
        bend = stiffness(x, found, noise, trust)
        said = predict_each_other(covariance(x, bend), found, noise)
        places, variance = base + said.mean * extent, (said.variance + least**2) * extent**2
    seen = votes.near(places, variance)
    seen.mean[held] = at
    return Settled(seen.mean, places, np.sqrt(variance) / extent, seen.gain, bend)
