"""The probability that a placement is right, from how consistent the evidence is with itself.

Similarity of features says little: some things look alike everywhere. What tells right placements from wrong ones is
whether other poses explain the votes as well, whether the way back leads to where it began, whether each part knows its
place, and whether the whole object is there. A logistic model maps these signs to a probability; its coefficients and
the data they were fitted to are in ``confidence.json``, which `benchmarks/calibrate_confidence.py` writes.
"""

import json
from dataclasses import astuple, dataclass, fields
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from dift_edit.geometry.quad import quad_extent, quad_iou
from dift_edit.placement.similarities import Poses
from dift_edit.placement.votes import Evidence

__all__ = ["Signs", "probability"]


@dataclass(frozen=True)
class Signs:
    """What speaks for a placement.

    Attributes
    ----------
    overlap : float
        Expected overlap of the placement with the right one, over the posterior of poses.
    back : float
        The same for the way back: the placed edit looked for in the source.
    round_trip : float
        Overlap of the edit with what the way back gives.
    entropy : float
        How spread the votes of the edit's points are, 0 to 1.
    size : float
        Logarithm of the placed edit's size in short sides of the target: the same error harms a small edit more.
    whole_score : float
        Support of the best pose of the whole object.
    """

    overlap: float
    back: float
    round_trip: float
    entropy: float
    size: float
    whole_score: float

    @classmethod
    def of(cls, evidence: Evidence, near: Poses, wide: Poses, back: Poses | None) -> "Signs":
        """The signs from an edit's votes, the poses of its surroundings and of the whole object, and those back.

        `back` are poses of the placed edit in the source; None when there is no way back.
        """
        index, overlap = near.expected
        placed = near.transform(index)(near.quad)
        returned, back_overlap = near.quad[:0], 0.0
        if back is not None:
            way, back_overlap = back.expected
            returned = back.transform(way)(placed)
        extent = quad_extent(placed)
        return cls(
            overlap=overlap, back=back_overlap,
            round_trip=quad_iou(returned, near.quad) if len(returned) else 0.0,
            entropy=evidence.entropy, size=float(np.log(extent / min(evidence.target_size))),
            whole_score=float(wide.scores[0]),
        )  # fmt: skip


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
    record = json.loads(files("dift_edit.placement").joinpath("confidence.json").read_text(encoding="utf-8"))
    names = [item.name for item in fields(Signs)]
    return {
        "weights": np.array([record["signs"][name]["weight"] for name in names]),
        "mean": np.array([record["signs"][name]["mean"] for name in names]),
        "scale": np.array([record["signs"][name]["scale"] for name in names]),
        "bias": np.array(record["bias"]),
    }
