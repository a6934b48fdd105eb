"""The probability that a placement is right, from how consistent the evidence is with itself.

Similarity of features says little: some things look alike everywhere. What tells right placements from wrong ones is
whether other poses explain the votes as well, whether the way back leads to where it began, whether the whole object
agrees with its part, and by how much the place stands out from any other. A logistic model maps these features to a
probability: one for each embedded network, and one fitted to all of them for all others, whose results are not
calibrated. All features are ratios, ranks, overlaps and entropies, which mean the same whatever the
network, and none may count against its meaning. The coefficients and
how well they do on kinds that they were not fitted to are in ``confidence.json`` (the features as "signs"), which
`benchmarks/calibrate_confidence.py` writes.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import quad_extent, quad_iou
from dift_edit.placement.similarities import Poses
from dift_edit.placement.votes import Affinity, Evidence

__all__ = ["ConfidenceFeatures", "against", "calibrated", "probability"]

WORDS = {
    "overlap": "other places fit as well",
    "back": "the way back disagrees",
    "round_trip": "the way back disagrees",
    "back_contrast": "the way back disagrees",
    "whole": "the object as a whole lies elsewhere",
    "contrast": "little of the edit's surroundings is recognised",
    "whole_contrast": "little of the object is recognised",
    "scale": "the scale is implausible",
    "turn": "the turn is implausible",
    "size": "the place is small",
    "source_size": "the edit is small",
    "agreement": "most of its points match elsewhere",
    "rank": "most of its points match elsewhere",
    "second_rank": "most of its points match elsewhere",
    "spread": "little of the object is recognised",
}
"""What is said where a feature speaks against a placement."""
NOTICEABLE = -0.3
"""Log-odds from which on a feature is named."""


@dataclass(frozen=True, eq=False)
class WayBack:
    """Where the placed edit lies in a source by the poses found there.

    Attributes
    ----------
    poses : Poses or None
        Of the placed edit in the source; None when there is no way back.
    quad : ndarray
        (4, 2) where the edit lies in that source, in pixels.
    """

    poses: Poses | None
    quad: Points

    def measures(self, placed: Points) -> tuple[float, float, float]:
        """`back`, `round_trip` and `back_contrast` of `ConfidenceFeatures` for the quad placed in the target."""
        if self.poses is None:
            return 0.0, 0.0, 0.0
        return self.poses.expected[1], quad_iou(self.poses.placement(placed), self.quad), self.poses.contrast


@dataclass(frozen=True)
class ConfidenceFeatures:
    """What speaks for a placement.

    Attributes
    ----------
    overlap : float
        Expected overlap of the placement with the right one, over the posterior of poses.
    back : float
        The same for the way back: the placed edit looked for in the source.
    round_trip : float
        Overlap of the edit with what the way back gives.
    whole : float
        Overlap of the placement with where the best pose of the whole object puts the edit.
    contrast : float
        Logarithm of the support for the placement over the support that it would have anywhere.
    whole_contrast : float
        The same for the whole object.
    back_contrast : float
        The same for the way back.
    scale : float
        Absolute logarithm of the scale over the one that shows the object equally large.
    turn : float
        Absolute angle of the turn beyond the nearest quarter that was looked at, in radians.
    size : float
        Logarithm of the placed edit's size in short sides of the target: the same error harms a small edit more.
    source_size : float
        The same in the source.
    agreement : float
        Share of the edit's points that are most similar to a cell near where the placement puts them.
    rank : float
        Mean share of the target's cells that are less similar to such a point than the place where it is put.
    second_rank : float
        The same in the cuts of a second look (`dift_edit.placement.second_look`); the same value without one.
    spread : float
        How widely the votes of the whole object are spread, see `Evidence.spread`.
    """

    overlap: float
    back: float
    round_trip: float
    whole: float
    contrast: float
    whole_contrast: float
    back_contrast: float
    scale: float
    turn: float
    size: float
    source_size: float
    agreement: float
    rank: float
    second_rank: float
    spread: float

    @classmethod
    def of(
        cls,
        evidence: Evidence,
        near: Poses,
        wide: Poses,
        *,
        back: "Sequence[WayBack]",
        affinity: Affinity,
        spread: float,
    ) -> "ConfidenceFeatures":
        """The features from an edit's votes, the poses of its surroundings and of the whole object, and those back.

        `back` are the ways back to the source and to further views: of each measure the best counts, as the target
        may show what only one of them shows. `affinity` is that of the source and the target. There was no second look.
        """
        index, overlap = near.expected
        placed = near.placement(near.quad)
        back_overlap, round_trip, back_contrast = np.max([way.measures(placed) for way in back], axis=0).tolist()
        agreement, rank = affinity.agreement(evidence, near.placement)
        extent = quad_extent(placed)
        a = complex(near.a[index])
        return cls(
            overlap=overlap, back=back_overlap, round_trip=round_trip,
            whole=quad_iou(wide.placement(wide.quad), placed),
            contrast=near.contrast, whole_contrast=wide.contrast, back_contrast=back_contrast,
            scale=float(abs(np.log(abs(a) / evidence.expected_scale))),
            turn=float(abs(np.angle(a * np.exp(-1j * near.about)))),
            size=float(np.log(extent / min(evidence.target_size))),
            source_size=float(np.log(evidence.extent / min(evidence.source_size))),
            agreement=agreement, rank=rank, second_rank=rank, spread=spread,
        )  # fmt: skip


def probability(features: ConfidenceFeatures, fingerprint: str = "") -> float:
    """The estimated probability that the placed quad overlaps the right one by half.

    Parameters
    ----------
    features : ConfidenceFeatures
        What speaks for the placement.
    fingerprint : str
        Of the featurizer.

    Returns
    -------
    float
        0 to 1. Calibrated where `calibrated` says so, else from the features that do not depend on the model.
    """
    return float(1 / (1 + np.exp(-sum(_shares(features, fingerprint).values()))))


def calibrated(fingerprint: str) -> bool:
    """Whether the confidence was fitted to placements with a featurizer."""
    return fingerprint in _models()


def against(features: ConfidenceFeatures, fingerprint: str = "", count: int = 2) -> list[str]:
    """What speaks most against a placement, in words.

    Parameters
    ----------
    features : ConfidenceFeatures
        What the confidence was made from.
    fingerprint : str
        Of the featurizer.
    count : int
        At most so many.

    Returns
    -------
    list of str
        Worst first; features that count for more than against are left out.
    """
    shares = _shares(features, fingerprint)
    said: dict[str, float] = {}
    for name, words in WORDS.items():
        said[words] = said.get(words, 0.0) + shares.get(name, 0.0)
    worst = sorted(said, key=lambda words: said[words])
    return [words for words in worst[:count] if said[words] < NOTICEABLE]


def _shares(features: ConfidenceFeatures, fingerprint: str) -> dict[str, float]:
    """What each feature adds to the log-odds, against the mean placement; "" is the bias."""
    model = _models().get(fingerprint) or _models()[""]
    values = asdict(features)
    shares = {
        name: float(item["weight"] * (values[name] - item["mean"]) / item["scale"])
        for name, item in model["signs"].items()
    }
    return {"": float(model["bias"]), **shares}


@cache
def _models() -> dict[str, Any]:
    """Fingerprint of the featurizer → the logistic model; "" for all others."""
    record = json.loads(files("dift_edit.placement").joinpath("confidence.json").read_text(encoding="utf-8"))
    known = {model["fingerprint"]: model for model in record["models"].values()}
    return {**known, "": record["other models"]}
