"""How probable it is that a landmark, and an object as a whole, were found: logistic models of what speaks for it.

The models are fitted to annotated pairs of many kinds by ``benchmarks/landmarks.py --fit`` and judged by leaving each
kind out. All signs are ratios, so that they mean the same for other networks.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from dift_edit.features.base import FeatureMap
from dift_edit.geometry.coords import Points
from dift_edit.landmarks.frame import Frame
from dift_edit.landmarks.settle import Settled
from dift_edit.landmarks.votes import Votes
from dift_edit.placement.placement import Placement

__all__ = [
    "LANDMARK_SIGNS",
    "OBJECT_SIGNS",
    "landmark_probability",
    "landmark_signs",
    "object_probability",
    "object_signs",
]

Array = npt.NDArray[np.float64]

OBJECT_SIGNS = ("placement", "contrast", "gain", "fine gain", "miss", "fine miss", "bend", "shift")
"""Logit of the placement's confidence; the frame's contrast; means over all points of the votes' gain in the whole
object and in its parts; logarithms of the median distance between points and their predictions, both times; of the
stiffness; and of how far the parts moved the points."""
LANDMARK_SIGNS = ("gain", "fine gain", "miss", "fine miss", "spread", "shift", "way back", "likeness")
"""Of one landmark: the gains; logarithms of its distances to the predictions, of the prediction's spread and of how far
the enlarged part moved it; of how far from it the votes of its place lie in the source; and how alike both places are,
between the mean of the source (0) and the same (1)."""
_TINY = 1e-3
"""Of distances in extents, before their logarithm is taken."""


def object_signs(placement: Placement, frame: Frame, coarse: Settled, fine: Settled, extent: float) -> Array:
    """(L,) what speaks for an object as a whole, see `OBJECT_SIGNS`."""
    return np.array([
        logit(np.clip(placement.confidence, 0.01, 0.99)), frame.contrast, coarse.gain.mean(), fine.gain.mean(),
        *(np.log(_TINY + np.median(each)) for each in (
            _miss(coarse, extent), _miss(fine, extent), [fine.bend], _shift(coarse, fine, extent)
        )),
    ])  # fmt: skip


def landmark_signs(
    source: FeatureMap,
    target: FeatureMap,
    points: Points,
    *,
    coarse: Settled,
    fine: Settled,
    back: Votes,
    extent: float,
    about_all: Array,
) -> Array:
    """(N, K + L) what speaks for each landmark: `LANDMARK_SIGNS`, then those of its object.

    Parameters
    ----------
    source, target : FeatureMap
        Of the views.
    points : ndarray
        (N, 2) in the source's view.
    coarse, fine : Settled
        Where they are in the target's view.
    back : Votes
        Of these places for places in the source's view.
    extent : float
        Of the landmarks in view pixels.
    about_all : ndarray
        (L,) of the object.
    """
    queries = source.sample(points)
    own = (queries @ source.unit.flatten(1).mean(1)).numpy(force=True).astype(np.float64)
    alike = (queries * target.sample(fine.points).to(queries.device)).sum(1).numpy(force=True).astype(np.float64)
    way_back = back.mean_distance(points, 0.5 * extent) / extent
    distances = (
        _miss(coarse, extent), _miss(fine, extent), fine.spread, _shift(coarse, fine, extent), way_back
    )  # fmt: skip
    signs = [coarse.gain, fine.gain, *(np.log(_TINY + each) for each in distances)]
    signs.append((alike - own) / np.maximum(1 - own, 1e-6))
    return np.column_stack([*signs, np.broadcast_to(about_all, (len(points), len(about_all)))])


def _miss(settled: Settled, extent: float) -> Array:
    missed: Array = np.linalg.norm(settled.points - settled.predicted, axis=1) / extent
    return missed


def _shift(coarse: Settled, fine: Settled, extent: float) -> Array:
    moved: Array = np.linalg.norm(fine.points - coarse.points, axis=1) / extent
    return moved


def landmark_probability(signs: Array, fingerprint: str = "") -> Array:
    """(N,) probability that each landmark lies within 5 % of the extent of the right place, from (N, K + L) signs."""
    return _probability("landmark", signs, fingerprint)


def object_probability(signs: Array, fingerprint: str = "") -> float:
    """Probability that most landmarks lie within 15 % of the extent, from (L,) signs."""
    return float(_probability("object", signs[None], fingerprint)[0])


def _probability(kind: str, signs: Array, fingerprint: str) -> Array:
    model = (_models().get(fingerprint) or _models()[""])[kind]
    x = (signs - np.array(model["mean"])) / np.array(model["scale"])
    probability: Array = expit(x @ np.array(model["weight"]) + model["bias"])
    return probability


@cache
def _models() -> dict[str, Any]:
    """Fingerprint of the featurizer → its models; "" for all others."""
    record = json.loads(files("dift_edit.landmarks").joinpath("confidence.json").read_text(encoding="utf-8"))
    known = {model["fingerprint"]: model for model in record["models"].values()}
    return {**known, "": next(iter(record["models"].values()))}
