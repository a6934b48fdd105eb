"""The probability that a placement is right, from how consistent the evidence is with itself.

Similarity of features says little: some things look alike everywhere. What tells right placements from wrong ones is
whether other poses explain the votes as well, and whether the edit's surroundings and the whole object agree on the
pose. A logistic model maps these signs to a probability; its coefficients and the data they were fitted to are in
``confidence.json``, which `benchmarks/calibrate_confidence.py` writes.
"""

import json
from dataclasses import astuple, dataclass, fields
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from dift_edit.coords import Points
from dift_edit.geometry.base import quad_iou
from dift_edit.poses import Poses

__all__ = ["Signs", "agreement", "probability"]


@dataclass(frozen=True)
class Signs:
    """What speaks for a placement.

    Attributes
    ----------
    overlap : float
        Expected overlap of the placement with the right one, over the posterior of poses.
    share : float
        Posterior share of the poses that overlap the placement by half.
    score : float
        Support of the placement by the votes.
    lead : float
        Its score less that of the best pose elsewhere.
    whole : float
        Expected overlap, over the posterior of poses of the whole object.
    whole_score : float
        Support of the best pose of the whole object.
    agreement : float
        Overlap of the placement with that of the whole object.
    """

    overlap: float
    share: float
    score: float
    lead: float
    whole: float
    whole_score: float
    agreement: float

    @classmethod
    def of(cls, near: Poses, wide: Poses) -> "Signs":
        """The signs from the poses of the edit's surroundings and those of the whole object."""
        index, overlap, share = near.expected
        other, whole, _ = wide.expected
        return cls(
            overlap=overlap, share=share, score=float(near.scores[index]), lead=near.rival(index), whole=whole,
            whole_score=float(wide.scores[0]),
            agreement=agreement(near.transform(index)(near.quad), wide.transform(other)(near.quad)),
        )  # fmt: skip


def agreement(first: Points, second: Points) -> float:
    """Intersection over union of two placed quads, 0 when one has no area."""
    return quad_iou(first, second)


def probability(signs: Signs) -> float:
    """The calibrated probability that the placed quad overlaps the right one by half.

    Parameters
    ----------
    signs : Signs
        What speaks for the placement.

    Returns
    -------
    float
        0 to 1.
    """
    model = _model()
    values = np.array(astuple(signs))
    z = float(model["weights"] @ ((values - model["mean"]) / model["scale"]) + model["bias"])
    return float(1 / (1 + np.exp(-z)))


@cache
def _model() -> dict[str, npt.NDArray[np.float64]]:
    record = json.loads(files("dift_edit").joinpath("confidence.json").read_text(encoding="utf-8"))
    names = [item.name for item in fields(Signs)]
    return {
        "weights": np.array([record["signs"][name]["weight"] for name in names]),
        "mean": np.array([record["signs"][name]["mean"] for name in names]),
        "scale": np.array([record["signs"][name]["scale"] for name in names]),
        "bias": np.array(record["bias"]),
    }
