"""PCK on pairs with annotated keypoints, and edit transfer on the same pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dift_edit.errors import GeometryError
from dift_edit.evaluation.base import (
    BenchmarkOptions,
    DatasetError,
    Item,
    Maps,
    Prediction,
    Score,
    mean,
)
from dift_edit.evaluation.keypoint_sets import KEYPOINT_SETS, KeypointPair
from dift_edit.evaluation.metrics import auroc, pck_flags, transfer_iou
from dift_edit.evaluation.pictures import matches_with_truth
from dift_edit.geometry.coords import Points
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image

__all__ = ["ALPHAS", "KeypointBenchmark", "TransferBenchmark"]

ALPHAS = (0.05, 0.1, 0.15)
"""Shares of the box at which PCK is given, as in Hyperpixel Flow (Min et al., ICCV 2019)."""


class _OnPairs:
    """The items of a keypoint data set."""

    def __init__(self, name: str, root: Path, options: BenchmarkOptions, seed: int) -> None:
        if name not in KEYPOINT_SETS:
            raise DatasetError(f"There is no keypoint data set {name!r}: use one of {', '.join(KEYPOINT_SETS)}.")
        self.dataset, self._load = KEYPOINT_SETS[name]
        self.root, self.options, self.seed = root, options, seed

    def items(self) -> list[Item]:
        """All pairs; their pictures exist."""
        items = self._load(self.root, self.options.split, self.options.pairs, self.seed)
        self.dataset.require(path for item in items for path in (item.data.source, item.data.target))
        return items


class KeypointBenchmark(_OnPairs):
    """Where keypoints of one image are found in another: percentage of correct keypoints.

    "released" rounds the keypoints of the source to whole pixels and interpolates features as they come from the
    network, as DIFT's SPair-71k script; "corrected" looks at the exact place and interpolates unit features.

    Parameters
    ----------
    name : str
        Of the data set.
    root : path
        Its folder.
    options : BenchmarkOptions
        Split, protocol, metric and threshold.
    seed : int
        Of random pairs.
    """

    headline = "PCK@0.1 per image"

    def __init__(self, name: str, root: Path, options: BenchmarkOptions, seed: int = 0) -> None:
        super().__init__(name, root, options, seed)
        self.name = name

    def predict(self, item: Item, maps: Maps, folder: Path) -> Prediction:
        """Nearest neighbours of the source's keypoints."""
        pair: KeypointPair = item.data
        source, target = (maps(path, category=pair.category) for path in (pair.source, pair.target))
        points = np.clip(pair.source_points, 0, np.asarray(source.image_size) - 1)
        if self.options.protocol == "released":
            points = np.round(points)
        found = maps.nearest(source, points, pair.target, self.options, category=pair.category)
        return {"points": np.round(found, 2).tolist(), "size": list(target.image_size)}

    def score(self, item: Item, prediction: Prediction, folder: Path) -> Score:
        """Which keypoints are correct, for each alpha."""
        pair: KeypointPair = item.data
        if not len(pair.target_points):
            return {"value": None, "correct": {str(alpha): 0 for alpha in ALPHAS}, "count": 0}
        correct = {str(alpha): int(self._correct(pair, prediction, alpha).sum()) for alpha in ALPHAS}
        return {"value": correct["0.1"] / len(pair.target_points), "correct": correct, "count": len(pair.target_points)}

    def _correct(self, pair: KeypointPair, prediction: Prediction, alpha: float) -> npt.NDArray[np.bool_]:
        box = pair.target_box
        size = max(prediction["size"]) if self.options.threshold == "image" else max(box[2] - box[0], box[3] - box[1])
        return pck_flags(prediction["points"], pair.target_points, size=float(size), alpha=alpha)

    def draw(self, item: Item, prediction: Prediction, folder: Path) -> Image:
        """The matches; which are wrong at alpha 0.1, and where they belong."""
        pair: KeypointPair = item.data
        return matches_with_truth(
            load_image(pair.source), load_image(pair.target), pair.source_points, np.array(prediction["points"]),
            pair.target_points, self._correct(pair, prediction, 0.1),
        )  # fmt: skip

    def summarise(self, scores: Sequence[Score]) -> dict[str, float]:
        """PCK per image (mean over pairs) and per point (pooled), in per cent."""
        counted = [score for score in scores if score["count"]]
        row: dict[str, float] = {}
        for alpha in map(str, ALPHAS):
            shares = [score["correct"][alpha] / score["count"] for score in counted]
            row[f"PCK@{alpha} per image"] = 100 * mean(shares)
            pooled = sum(score["correct"][alpha] for score in counted) / max(sum(s["count"] for s in counted), 1)
            row[f"PCK@{alpha} per point"] = 100 * pooled if counted else float("nan")
        return row


class TransferBenchmark(_OnPairs):
    """Where an edit that covers the object lands: IoU with the target's object, and PCK of the carried keypoints.

    The edit's quadrilateral is the source's box; the truth is the target's box. A box cannot show a reflection, so
    the source's keypoints are carried by the placement too and scored as PCK@0.1. Pairs whose keypoints a mirrored
    similarity fits better are counted in a row of their own.
    """

    name = "transfer"
    headline = "IoU"

    def __init__(self, root: Path, options: BenchmarkOptions, seed: int = 0) -> None:
        super().__init__(options.dataset, root, options, seed)

    def items(self) -> list[Item]:
        """Pairs with at least two common keypoints, tagged as mirrored or not."""
        items = []
        for item in super().items():
            pair: KeypointPair = item.data
            if len(pair.source_points) >= 2 and np.ptp(pair.source_points, axis=0).min() >= 1:
                mirrored = _prefers_mirror(pair.source_points, pair.target_points)
                items.append(Item(item.key, item.group, pair, ("mirrored" if mirrored else "not mirrored",)))
        return items

    def predict(self, item: Item, maps: Maps, folder: Path) -> Prediction:
        """The placement of the source's box, and the source's keypoints carried by it."""
        from dift_edit.placement.placement import locate_features

        pair: KeypointPair = item.data
        source, target = (maps(path, category=pair.category) for path in (pair.source, pair.target))
        try:
            placement = locate_features(
                source,
                _corners(pair.source_box),
                target,
                lambda: maps(pair.target, category=pair.category, mirrored=True),
                engine=self.options.engine,
                mirror=self.options.mirror,
                seed=maps.seed,
            )
            carried = placement.transform(pair.source_points)
        except GeometryError as error:
            return {"quad": None, "points": None, "confidence": 0.0, "mirrored": False, "reason": str(error)}
        return {
            "quad": np.round(placement.quad, 2).tolist(),
            "points": np.round(carried, 2).tolist(),
            "confidence": round(float(placement.confidence), 5),
            "mirrored": bool(placement.mirrored),
            "reason": placement.reason,
        }

    def score(self, item: Item, prediction: Prediction, folder: Path) -> Score:
        """IoU, share of keypoints carried correctly, and whether the mirror test is right."""
        pair: KeypointPair = item.data
        right = prediction["mirrored"] == ("mirrored" in item.tags)
        if prediction["quad"] is None:
            return {"value": 0.0, "pck": 0.0, "confidence": 0.0, "mirror": right}
        iou = transfer_iou(prediction["quad"], _corners(pair.target_box))
        box = pair.target_box
        flags = pck_flags(
            prediction["points"], pair.target_points, size=float(max(box[2] - box[0], box[3] - box[1])), alpha=0.1
        )
        return {"value": iou, "pck": float(flags.mean()), "confidence": prediction["confidence"], "mirror": right}

    def summarise(self, scores: Sequence[Score]) -> dict[str, float]:
        """Mean IoU, share of IoU ≥ 0.5, PCK, mirror accuracy and AUROC of the confidence, in per cent."""
        good = [score["value"] >= 0.5 for score in scores]
        return {
            "IoU": 100 * mean(score["value"] for score in scores),
            "IoU ≥ 0.5": 100 * mean(good),
            "PCK@0.1": 100 * mean(score["pck"] for score in scores),
            "mirror right": 100 * mean(score["mirror"] for score in scores),
            "confidence AUROC": 100 * auroc([score["confidence"] for score in scores], good),
        }


def _corners(box: np.ndarray) -> Points:
    left, top, right, bottom = box
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)


def _prefers_mirror(source: Points, target: Points) -> bool:
    """Whether the best similarity with a reflection fits the keypoints better than the best one without."""
    p, q = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    p, q = p - p.mean(), q - q.mean()
    # The residual of the best similarity q ≈ a·p is |q|² − |⟨p, q⟩|²/|p|²; a reflection conjugates p.
    return bool(abs((p * q).sum()) > abs((p.conj() * q).sum()))
