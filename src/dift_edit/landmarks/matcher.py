"""Landmarks of a source in a target."""

import numpy as np

from dift_edit.features.base import FeatureMap
from dift_edit.geometry.coords import Points
from dift_edit.landmarks.smooth import covariance, predict_each_other, stiffness
from dift_edit.landmarks.votes import Votes
from dift_edit.placement.votes import Affinity

ROUNDS = 6
START = 0.12

def settle(votes: Votes, points: Points, extent: float, floor: float = 0.01, rounds=ROUNDS, start=START, info=None):
    """Places of points (N, 2) in a view in which they are expected at their own places."""
    x = points / extent
    places, variance = points.copy(), np.full(len(points), (start * extent) ** 2)
    bend = 0.04
    for k in range(rounds):
        seen = votes.near(places, variance)
        trust = 1 / (1 + np.exp(-(seen.gain - 1.0)))
        # Votes seen through a normal window look like the product of both: take the window out again.
        precision = np.maximum(1 / seen.variance - 1 / variance, 1e-3 / variance)
        pull = (seen.mean - places) / (seen.variance * precision)[:, None]
        reach = 2 * np.sqrt(variance)[:, None]
        d = (places + np.clip(pull, -reach, reach) - points) / extent
        own = (1 / precision / extent**2 + floor**2) / np.maximum(trust, 1e-3)
        if k >= 1:
            bend = stiffness(x, d, own, trust)
        said = predict_each_other(covariance(x, bend), d, own)
        places = points + said.mean * extent
        variance = (said.variance + floor**2) * extent**2
    seen = votes.near(places, variance)
    if info is not None:
        info.update(bend=bend, gain=seen.gain, loo=np.sqrt(variance) / extent, miss=np.linalg.norm(seen.mean - places, axis=1) / extent, places=places)
    return seen.mean
