"""How probable it is that a landmark, and an object as a whole, were found: logistic models of what speaks for it.

The models are fitted to annotated pairs of many kinds by ``benchmarks/landmarks.py --fit`` and judged by leaving each
kind out. All signs are ratios, so that they mean the same for other networks.
"""

import json
from dataclasses import dataclass
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

__all__ = [
    "LANDMARK_SIGNS",
    "OBJECT_SIGNS",
    "landmark_probability",
    "landmark_signs",
    "object_probability",
    "object_signs",
]

Array = npt.NDArray[np.float64]

OBJECT_SIGNS = ("placement", "contrast", "gain", "patches", "miss", "fine miss", "bend", "shift")
"""Logit of the placement's confidence times its overlap with the frame; the frame's contrast; means over all points of
the features' gain and of the patches' likeness; logarithms of the median distance between points and their predictions,
by features and by pixels; of the stiffness; and of how far the pixels moved the points."""
LANDMARK_SIGNS = ("gain", "patch", "miss", "fine miss", "spread", "shift", "way back", "likeness")
"""Of one landmark: the features' gain; the patch's likeness; logarithms of its distances to the predictions, of the
prediction's spread and of how far the pixels moved it; of how far from it the votes of its place lie in the source; and
how alike the features of both places are, between the mean of the source (0) and the same (1)."""
_TINY = 1e-3
"""Of distances in extents, before their logarithm is taken."""


@dataclass(frozen=True, eq=False)
class Fits:
    """How points fit.

    Attributes
    ----------
    coarse, fine : Settled
        By the features' votes, and by those of the pixels, too.
    patches : ndarray
        (N,) likeness of the patches.
    extent : float
        Of the landmarks in view pixels.
    """

    coarse: Settled
    fine: Settled
    patches: Array
    extent: float

    @property
    def distances(self) -> tuple[Array, Array, Array]:
        """(N,) in extents: to the predictions, by features and by pixels, and from one to the other."""
        coarse, fine = self.coarse, self.fine
        pairs = (coarse.points, coarse.predicted), (fine.points, fine.predicted), (coarse.points, fine.points)
        miss, fine_miss, shift = (np.linalg.norm(a - b, axis=1) / self.extent for a, b in pairs)
        return miss, fine_miss, shift


def object_signs(placed: float, frame: Frame, fits: Fits) -> Array:
    """(L,) what speaks for an object as a whole, see `OBJECT_SIGNS`.

    Parameters
    ----------
    placed : float
        Confidence of the placement times its overlap with the frame.
    frame : Frame
        The frame.
    fits : Fits
        How all points fit.
    """
    miss, fine_miss, shift = (float(np.median(each)) for each in fits.distances)
    return np.array([
        logit(np.clip(placed, 0.01, 0.99)), frame.contrast, fits.coarse.gain.mean(), fits.patches.mean(),
        *np.log(_TINY + np.array([miss, fine_miss, fits.fine.bend, shift])),
    ])  # fmt: skip


def landmark_signs(source: FeatureMap, target: FeatureMap, points: Points, fits: Fits, back: Votes) -> Array:
    """(N, K) what speaks for each landmark, see `LANDMARK_SIGNS`.

    Parameters
    ----------
    source, target : FeatureMap
        Of the views.
    points : ndarray
        (N, 2) in the source's view.
    fits : Fits
        How they fit in the target's view.
    back : Votes
        Of the places found for places in the source's view.
    """
    queries = source.sample(points)
    own = (queries @ source.unit.flatten(1).mean(1)).numpy(force=True).astype(np.float64)
    found = target.sample(fits.fine.points).to(queries.device)
    alike = (queries * found).sum(1).numpy(force=True).astype(np.float64)
    miss, fine_miss, shift = fits.distances
    way_back = back.mean_distance(points, 0.5 * fits.extent) / fits.extent
    logs = np.log(_TINY + np.stack([miss, fine_miss, fits.fine.spread, shift, way_back], 1))
    likeness = (alike - own) / np.maximum(1 - own, 1e-6)
    return np.column_stack([fits.coarse.gain, fits.patches, logs, likeness])


def landmark_probability(signs: Array, fingerprint: str = "") -> Array:
    """(N,) probability that each landmark lies within 5 % of the extent of the right place.

    From (N, K + L) signs: its own and those of its object.
    """
    return _probability("landmark", signs, fingerprint)


def object_probability(signs: Array, placed: float, landmarks: Array, fingerprint: str = "") -> float:
    """Probability that most landmarks lie within 15 % of the extent.

    The model was fitted to targets that show the object. So that it is not sure where there is none, it only goes
    beyond the placement's own confidence as far as the points agree.

    Parameters
    ----------
    signs : ndarray
        (L,) see `object_signs`.
    placed : float
        As for `object_signs`.
    landmarks : ndarray
        (N,) `landmark_probability` of the object's points.
    fingerprint : str
        Of the featurizer.
    """
    fitted = float(_probability("object", signs[None], fingerprint)[0])
    return fitted if fitted <= placed else placed + float(landmarks.mean()) * (fitted - placed)


def _probability(kind: str, signs: Array, fingerprint: str) -> Array:
    model = (_models().get(fingerprint) or _models()[""])[kind]
    x = (signs - np.array(model["mean"])) / np.array(model["scale"])
    probability: Array = expit(x @ np.array(model["weight"]) + model["bias"])
    return probability


@cache
def _models() -> dict[str, Any]:
    """Fingerprint of the featurizer → its models; "" for all others, the default's."""
    record = json.loads(files("dift_edit.landmarks").joinpath("confidence.json").read_text(encoding="utf-8"))
    known = {model["fingerprint"]: model for model in record["models"].values()}
    return {**known, "": next(iter(record["models"].values()))}
