"""DAVIS 2016 and 2017 (masks) and JHMDB (joints), carried from each sequence's first frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dift_edit.clips.labels.carry import propagate_keypoints, propagate_labels
from dift_edit.clips.labels.masks import read_mask, write_mask
from dift_edit.clips.labels.settings import PropagationSettings
from dift_edit.evaluation.base import BenchmarkOptions, Dataset, Item, Maps, Prediction, Score, mean
from dift_edit.evaluation.metrics import pck_flags
from dift_edit.evaluation.pictures import mask_strip
from dift_edit.evaluation.segmentation import mean_jf
from dift_edit.imaging.image import Image

__all__ = ["DAVIS", "JHMDB", "DavisBenchmark", "JhmdbBenchmark"]

DAVIS = Dataset(
    name="DAVIS",
    page="https://davischallenge.org/",
    layout="JPEGImages/480p/NAME/*.jpg, Annotations/480p/NAME/*.png, ImageSets/{2016,2017}/*.txt",
)
JHMDB = Dataset(
    name="JHMDB",
    page="http://jhmdb.is.tue.mpg.de/",
    layout="Rename_Images/ACTION/VIDEO/*.png, joint_positions/ACTION/VIDEO/joint_positions.mat, "
    "splits/ACTION_test_split{1,2,3}.txt",
)
LEAST_BOX = 1.0
"""Pixels: the size of a person whose joints all lie in one place (chosen)."""


@dataclass(frozen=True, eq=False)
class _Sequence:
    name: str
    frames: list[Path]
    annotations: list[Path]


def _settings(options: BenchmarkOptions) -> PropagationSettings:
    return PropagationSettings(
        temperature=options.temperature,
        top_k=options.top_k,
        last_frames=options.last_frames,
        radius=options.radius,
        channels=options.channels,
        edges=options.edges,
        protocol=options.protocol,
    )


class DavisBenchmark:
    """Mask propagation: J, F and their mean, over all objects, without the first and the last frame.

    Splits name a list under ImageSets ("2017/val" by default, "2016/val", …); "2016/…" merges all objects. A folder
    without ImageSets is scored whole, with the objects as they are annotated. Predicted masks are written in the
    layout that the official evaluation reads.
    """

    name = "davis"
    dataset = DAVIS
    headline = "J&F"

    def __init__(self, root: Path, options: BenchmarkOptions, seed: int = 0) -> None:
        self.root = root / "DAVIS" if (root / "DAVIS").is_dir() else root
        self.options = options
        self.binary = options.split.startswith("2016")

    def items(self) -> list[Item]:
        """The sequences of the split."""
        pictures, masks = (self.root / part / "480p" for part in ("JPEGImages", "Annotations"))
        DAVIS.require([pictures, masks])
        if self.options.split or (self.root / "ImageSets").is_dir():
            listed = self.root / "ImageSets" / f"{self.options.split or '2017/val'}.txt"
            DAVIS.require([listed])
            lines = [line.split()[0] for line in listed.read_text().splitlines() if line.strip()]
            # The lists of 2016 name picture and mask of every frame, those of 2017 the sequences.
            names = list(dict.fromkeys(Path(line).parent.name if "/" in line else line for line in lines))
        else:
            names = sorted(path.name for path in pictures.iterdir() if path.is_dir())
        DAVIS.require(folder / name for name in names for folder in (pictures, masks))
        items = []
        for name in names:
            frames = sorted((pictures / name).glob("*.jpg"))
            annotations = [masks / name / f"{path.stem}.png" for path in frames]
            DAVIS.require(annotations)
            if len(frames) < 3:
                raise DAVIS.error(f"The sequence {name} has {len(frames)} frames, but at least 3 are needed")
            items.append(Item(name, name, _Sequence(name, frames, annotations)))
        return items

    def predict(self, item: Item, maps: Maps, folder: Path) -> Prediction:
        """Masks of all frames from the first one's, as files ``NAME/00000.png``."""
        sequence: _Sequence = item.data
        first = read_mask(sequence.annotations[0], binary=self.binary)
        settings = _settings(self.options)
        results = propagate_labels(
            iter(sequence.frames), first, featurizer=maps.featurizer, settings=settings, seed=maps.seed
        )
        confidences = []
        for path, result in zip(sequence.frames, results, strict=True):
            write_mask(folder / sequence.name / f"{path.stem}.png", result.labels)
            confidences.append(round(result.confidence, 4))
        return {"folder": sequence.name, "frames": len(sequence.frames), "confidence": confidences}

    def score(self, item: Item, prediction: Prediction, folder: Path) -> Score:
        """J and F of every object that the first frame shows."""
        sequence: _Sequence = item.data
        truth = [read_mask(path, binary=self.binary) for path in sequence.annotations]
        masks = [read_mask(folder / prediction["folder"] / path.name) for path in sequence.annotations[1:-1]]
        objects = [int(value) for value in np.unique(truth[0]) if value]
        values = [
            mean_jf([mask == number for mask in masks], [mask == number for mask in truth[1:-1]]) for number in objects
        ]
        return {"value": mean(value["J&F"] for value in values), "objects": values}

    def draw(self, item: Item, prediction: Prediction, folder: Path) -> Image:
        """Annotated and carried masks of some frames, side by side."""
        sequence: _Sequence = item.data
        truth = [read_mask(path, binary=self.binary) for path in sequence.annotations]
        carried = [read_mask(folder / prediction["folder"] / path.name) for path in sequence.annotations]
        return mask_strip(sequence.frames, truth, carried)

    def summarise(self, scores: Sequence[Score]) -> dict[str, float]:
        """Means over all objects, in per cent."""
        objects = [value for score in scores for value in score["objects"]]
        names = ("J&F", "J-mean", "J-recall", "J-decay", "F-mean", "F-recall", "F-decay")
        return {name: 100 * mean(value[name] for value in objects) for name in names}


class JhmdbBenchmark:
    """Pose propagation: share of joints within alpha × 0.6 × the diagonal of the annotated joints' box.

    Splits are "1" (default), "2" and "3"; the first frame is not scored.
    """

    name = "jhmdb"
    dataset = JHMDB
    headline = "PCK@0.1"

    def __init__(self, root: Path, options: BenchmarkOptions, seed: int = 0) -> None:
        self.root = root
        self.options = options

    def items(self) -> list[Item]:
        """The split's test videos."""
        split = self.options.split or "1"
        parts = [self.root / name for name in ("Rename_Images", "joint_positions", "splits")]
        JHMDB.require(parts)
        lists = sorted(parts[2].glob(f"*_test_split{split}.txt"))
        if not lists:
            raise JHMDB.error(f"{parts[2]} has no list of the split {split!r}")
        items, files = [], []
        for path in lists:
            action = path.name.removesuffix(f"_test_split{split}.txt")
            for line in path.read_text().splitlines():
                words = line.split()
                if len(words) == 2 and words[1] == "2":
                    video = Path(words[0]).stem
                    joints = parts[1] / action / video / "joint_positions.mat"
                    files += [parts[0] / action / video, joints]
                    items.append(Item(f"{action}/{video}", action, (parts[0] / action / video, joints)))
        JHMDB.require(files)
        return items

    def predict(self, item: Item, maps: Maps, folder: Path) -> Prediction:
        """Joints of all frames from the first one's."""
        frames = sorted(item.data[0].glob("*.png"))
        joints = _joints(item.data[1])
        results = propagate_keypoints(
            iter(frames[: len(joints)]),
            joints[0],
            featurizer=maps.featurizer,
            settings=_settings(self.options),
            seed=maps.seed,
        )
        return {"points": [np.round(points, 2).tolist() for points in results]}

    def score(self, item: Item, prediction: Prediction, folder: Path) -> Score:
        """Shares of correct joints of the frames after the first."""
        truth = _joints(item.data[1])[1 : len(prediction["points"])]
        correct = {"0.1": 0, "0.2": 0}
        count = 0
        for points, annotated in zip(prediction["points"][1:], truth, strict=True):
            size = max(0.6 * float(np.linalg.norm(np.ptp(annotated, axis=0))), LEAST_BOX)
            count += len(annotated)
            for alpha in correct:
                correct[alpha] += int(pck_flags(points, annotated, size=size, alpha=float(alpha)).sum())
        return {"value": correct["0.1"] / count if count else None, "correct": correct, "count": count}

    def summarise(self, scores: Sequence[Score]) -> dict[str, float]:
        """Pooled over all joints of all frames, in per cent."""
        count = sum(score["count"] for score in scores)
        return {
            f"PCK@{alpha}": 100 * sum(score["correct"][alpha] for score in scores) / count if count else float("nan")
            for alpha in ("0.1", "0.2")
        }


def _joints(path: Path) -> npt.NDArray[np.float64]:
    """(T, 15, 2) in pixels; the file counts from 1 and is ordered (x or y, joint, frame)."""
    from scipy.io import loadmat

    try:
        array = np.asarray(loadmat(path)["pos_img"], dtype=np.float64)
        return array.transpose(2, 1, 0) - 1
    except (KeyError, ValueError, OSError) as error:
        raise JHMDB.error(f"{path} has no readable joints") from error
