"""HPatches (and Oxford affine sequences): matching of keypoints between views of a plane, and the homography."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.evaluation.base import BenchmarkOptions, Dataset, Item, Maps, Prediction, Score, mean
from dift_edit.evaluation.metrics import corner_error, homography_accuracy, matching_accuracy
from dift_edit.features.base import FeatureMap
from dift_edit.geometry.coords import Points
from dift_edit.imaging.files import as_image
from dift_edit.matching.points import MatchSettings, match_mutual

__all__ = ["HPATCHES", "HPatchesBenchmark", "load_keypoints"]

HPATCHES = Dataset(
    name="HPatches (full sequences)",
    page="https://github.com/hpatches/hpatches-dataset",
    layout="{i,v}_NAME/{1..6}.ppm and H_1_{2..6}; or NAME/img{1..6}.png and H1to{2..6}p",
)
THRESHOLDS = (1, 3, 5)
"""Pixels of corner error, as in SuperPoint's evaluation (DeTone et al., 2018)."""
TOO_LARGE = frozenset(
    ("i_contruction", "i_crownnight", "i_dc", "i_pencils", "i_whitebuilding")
    + ("v_artisans", "v_astronautis", "v_talent")
)
"""Sequences that the D2-Net evaluation, and most after it, leave out: 108 of 116 remain."""
_LIMIT = 1000
"""Most keypoints of a picture, as in DIFT's evaluation."""


@dataclass(frozen=True, eq=False)
class _Views:
    first: Path
    second: Path
    matrix: Path


class HPatchesBenchmark:
    """Mutual nearest neighbours of detected keypoints; matching accuracy and corner error of the homography.

    "released" normalises keypoints to [-1, 1] between the outermost pixel centres and samples as if ±1 were the outer
    edges, as DIFT's script does; "corrected" samples at the keypoints. Splits: "" for all, "viewpoint",
    "illumination", and "d2" for the 108 sequences of the D2-Net evaluation.
    """

    name = "hpatches"
    dataset = HPATCHES
    headline = "homography@3"

    def __init__(self, root: Path, options: BenchmarkOptions, seed: int = 0) -> None:
        self.root = root
        self.options = options
        self.seed = seed
        self.settings = MatchSettings(metric=options.metric, consensus=0)

    def items(self) -> list[Item]:
        """The pairs 1→2 … 1→6 of every sequence."""
        HPATCHES.require([self.root])
        start = {"viewpoint": "v_", "illumination": "i_"}.get(self.options.split, "")
        items = []
        for folder in sorted(path for path in self.root.iterdir() if path.is_dir()):
            if not folder.name.startswith(start) or (self.options.split == "d2" and folder.name in TOO_LARGE):
                continue
            kind = {"v_": "viewpoint", "i_": "illumination"}.get(folder.name[:2], folder.name)
            for number in range(2, 7):
                views = _views(folder, number)
                if views is not None:
                    items.append(Item(f"{folder.name}/{number}", kind, views))
        if not items:
            raise HPATCHES.error(f"{self.root} has no sequence with pictures and homographies")
        if not (start or self.options.split in ("", "d2")):
            raise HPATCHES.error(f"The split {self.options.split!r} is none of viewpoint, illumination and d2")
        if self.options.keypoints not in ("sift", "grid"):
            suffix = f".{self.options.keypoints}"
            pictures = [path for item in items for path in (item.data.first, item.data.second)]
            HPATCHES.require(path.with_name(path.name + suffix) for path in pictures)
        return items

    def predict(self, item: Item, maps: Maps, folder: Path) -> Prediction:
        """Matches, and the homography of a robust estimator."""
        views: _Views = item.data
        features = [maps(path) for path in (views.first, views.second)]
        points = [self._keypoints(path, one) for path, one in zip((views.first, views.second), features, strict=True)]
        seen = points
        if self.options.protocol == "released":
            seen = [_released(one, two.image_size) for one, two in zip(points, features, strict=True)]
        found = match_mutual(features[0], features[1], seen[0], seen[1], settings=self.settings)
        first, second = points[0][found.source_index], points[1][found.target_index]
        matrix = self._estimate(first, second)
        return {
            "source": np.round(first, 3).tolist(),
            "target": np.round(second, 3).tolist(),
            "matrix": None if matrix is None else matrix.tolist(),
            "size": list(features[0].image_size),
        }

    def score(self, item: Item, prediction: Prediction, folder: Path) -> Score:
        """Matching accuracy and corner error."""
        truth = np.loadtxt(item.data.matrix)
        error = corner_error(prediction["matrix"], truth, prediction["size"])
        accuracy = matching_accuracy(prediction["source"], prediction["target"], truth, THRESHOLDS)
        return {
            "value": float(error <= 3),
            "corner": error if np.isfinite(error) else None,
            "mma": {str(limit): share for limit, share in accuracy.items()},
            "matches": len(prediction["source"]),
        }

    def summarise(self, scores: Sequence[Score]) -> dict[str, float]:
        """Shares in per cent at 1, 3 and 5 pixels; median corner error in pixels; mean number of matches."""
        errors = [np.inf if score["corner"] is None else score["corner"] for score in scores]
        row = {f"homography@{limit:g}": 100 * share for limit, share in homography_accuracy(errors, THRESHOLDS).items()}
        row |= {f"MMA@{limit}": 100 * mean(score["mma"][str(limit)] for score in scores) for limit in THRESHOLDS}
        row["corner error (median px)"] = float(np.median(errors)) if errors else float("nan")
        row["matches"] = mean(score["matches"] for score in scores)
        return row

    def _keypoints(self, path: Path, features: FeatureMap) -> Points:
        kind = self.options.keypoints
        if kind == "grid":
            width, height = features.image_size
            step = max(4.0, (width * height / 20000) ** 0.5)
            x, y = np.arange(step / 2, width - 0.5, step), np.arange(step / 2, height - 0.5, step)
            return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        points = _sift(path) if kind == "sift" else load_keypoints(path.with_name(f"{path.name}.{kind}"))
        inside = ((points >= 0) & (points <= np.asarray(features.image_size) - 1)).all(1)
        return points[inside]

    def _estimate(self, source: Points, target: Points) -> Any:
        import cv2

        if len(source) < 4:
            return None
        method = {"ransac": cv2.RANSAC, "lmeds": cv2.LMEDS, "magsac": cv2.USAC_MAGSAC}[self.options.estimator]
        cv2.setRNGSeed(self.seed)
        matrix, _ = cv2.findHomography(source, target, method, self.options.pixels, maxIters=10000, confidence=0.9999)
        return matrix


def load_keypoints(path: Path) -> Points:
    """Keypoints of a detector's file, at most 1000.

    Parameters
    ----------
    path : Path
        A NumPy archive (``.npz``) with ``keypoints`` (N, 2 or more: x, y, …) and perhaps ``scores`` (N,), an array of
        that shape, or a text file with x and y (and perhaps more) in each line. A third column that ``np.load``
        gives without scores is not looked at.

    Returns
    -------
    ndarray
        (N, 2) the best ones when there are scores, else the first ones; sorted and without repeats.

    Raises
    ------
    DatasetError
        If the file is neither.
    """
    scores = None
    try:
        head = path.open("rb").read(6)
        if head[:2] == b"PK" or head == b"\x93NUMPY":
            loaded = np.load(path, allow_pickle=False)
            points = loaded if isinstance(loaded, np.ndarray) else loaded["keypoints"]
            scores = loaded["scores"] if not isinstance(loaded, np.ndarray) and "scores" in loaded else None
        else:
            points = np.loadtxt(path, ndmin=2)
        points = np.asarray(points, dtype=np.float64)[:, :2]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise HPATCHES.error(f"{path} is not a readable keypoint file ({error})") from error
    order = np.argsort(-np.asarray(scores), kind="stable") if scores is not None else np.arange(len(points))
    return np.unique(points[order[:_LIMIT]], axis=0)


def _sift(path: Path) -> Points:
    import cv2

    detector: Any = vars(cv2)["SIFT_create"](nfeatures=_LIMIT)  # missing in the type stubs
    gray = cv2.cvtColor(np.ascontiguousarray(as_image(path).pixels), cv2.COLOR_RGB2GRAY)
    found = detector.detect(gray, None)
    points = np.array([keypoint.pt for keypoint in found], dtype=np.float64).reshape(-1, 2)
    return np.unique(points, axis=0)


def _released(points: Points, size: tuple[int, int]) -> Points:
    """Where the released script samples for keypoints: normalised with c = (w − 1)/2, read with edges at ±1."""
    edges = np.asarray(size, dtype=np.float64)
    moved = points * edges / np.maximum(edges - 1, 1) - 0.5
    clipped: Points = np.clip(moved, -0.5, edges - 0.5)
    return clipped


def _views(folder: Path, number: int) -> _Views | None:
    """The files of a pair, in one of the two layouts."""
    for first, second, matrix in (
        ("1", str(number), f"H_1_{number}"),
        ("img1", f"img{number}", f"H1to{number}p"),
    ):
        pictures = [
            next((path for suffix in (".ppm", ".png", ".jpg") if (path := folder / f"{stem}{suffix}").exists()), None)
            for stem in (first, second)
        ]
        if (folder / matrix).exists():
            if pictures[0] is None or pictures[1] is None:
                raise HPATCHES.error(f"{folder} has {matrix} but not the pictures {first} and {second}")
            return _Views(pictures[0], pictures[1], folder / matrix)
    return None
