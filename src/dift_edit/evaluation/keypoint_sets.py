"""Pairs of images with annotated keypoints: SPair-71k, PF-WILLOW, PF-PASCAL and CUB in their official layouts.

Keypoints become (x, y) with pixel centres at integers: files of MATLAB tools count from 1 and are shifted by one.
"""

import csv
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dift_edit.evaluation.base import Dataset, Item
from dift_edit.geometry.coords import Points

__all__ = ["CUB", "KEYPOINT_SETS", "PF_PASCAL", "PF_WILLOW", "SPAIR", "KeypointPair"]


@dataclass(frozen=True, kw_only=True, eq=False)
class KeypointPair:
    """Two images with the keypoints that are annotated in both.

    Attributes
    ----------
    source, target : Path
        The images.
    category : str
        For the prompt and the table.
    source_points, target_points : ndarray
        (N, 2) in pixels.
    target_box : ndarray
        (4,) x, y of the top-left corner, x, y of the bottom-right corner of the target's object.
    source_box : ndarray
        (4,) likewise for the source.
    """

    source: Path
    target: Path
    category: str
    source_points: Points
    target_points: Points
    source_box: npt.NDArray[np.float64]
    target_box: npt.NDArray[np.float64]


SPAIR = Dataset(
    name="SPair-71k",
    page="https://cvlab.postech.ac.kr/research/SPair-71k/",
    layout="JPEGImages/CATEGORY/*.jpg, PairAnnotation/{trn,val,test}/*.json",
)
PF_WILLOW = Dataset(
    name="PF-WILLOW",
    page="https://www.di.ens.fr/willow/research/proposalflow/",
    layout="CLASS/NAME.png and CLASS/NAME.mat (also inside a folder PF-dataset)",
)
PF_PASCAL = Dataset(
    name="PF-PASCAL",
    page="https://www.di.ens.fr/willow/research/proposalflow/ (pairs: .../willow/research/cnngeometric/)",
    layout="JPEGImages/*.jpg, Annotations/CLASS/NAME.mat, {test,val}_pairs_pf_pascal.csv",
)
CUB = Dataset(
    name="CUB-200-2011",
    page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    layout="images/, images.txt, train_test_split.txt, image_class_labels.txt, bounding_boxes.txt, parts/part_locs.txt",
)
PASCAL_CLASSES = (  # noqa: SIM905 - easier to read
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant "
    "sheep sofa train tvmonitor"
).split()


def _extent(points: Points) -> npt.NDArray[np.float64]:
    return np.concatenate([points.min(0), points.max(0)])


def _mat(path: Path, name: str, dataset: Dataset) -> npt.NDArray[np.float64]:
    """A variable of a MATLAB file."""
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(path)[name], dtype=np.float64)
    except (KeyError, ValueError, OSError, NotImplementedError) as error:
        raise dataset.error(f"{path} has no readable variable {name!r}") from error


def spair(root: Path, split: str, _count: int, _seed: int) -> list[Item]:
    """SPair-71k: one JSON file a pair; keypoints in both pictures, boxes of both objects."""
    root = root / "SPair-71k" if (root / "SPair-71k").is_dir() else root
    folder = root / "PairAnnotation" / (split or "test")
    SPAIR.require([root / "JPEGImages", folder])
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise SPAIR.error(f"{folder} has no pair")
    items = []
    for path in paths:
        try:
            record = json.loads(path.read_text())
            category = record["category"]
            pair = KeypointPair(
                source=root / "JPEGImages" / category / record["src_imname"],
                target=root / "JPEGImages" / category / record["trg_imname"],
                category=category,
                source_points=np.asarray(record["src_kps"], dtype=np.float64).reshape(-1, 2),
                target_points=np.asarray(record["trg_kps"], dtype=np.float64).reshape(-1, 2),
                source_box=np.asarray(record["src_bndbox"], dtype=np.float64),
                target_box=np.asarray(record["trg_bndbox"], dtype=np.float64),
            )
        except (ValueError, KeyError) as error:
            raise SPAIR.error(f"{path} is not a pair annotation ({error!r})") from error
        items.append(Item(path.stem, category, pair))
    return sorted(items, key=lambda item: (item.group, item.data.source.name, item.key))


def pf_willow(root: Path, split: str, _count: int, _seed: int) -> list[Item]:
    """PF-WILLOW: all ordered pairs inside a class; the box is the extent of the target's ten keypoints."""
    root = root / "PF-dataset" if (root / "PF-dataset").is_dir() else root
    PF_WILLOW.require([root])
    items = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if split and folder.name != split:
            continue
        annotated = sorted(path for path in folder.glob("*.mat") if path.with_suffix(".png").exists())
        points = {path: _mat(path, "pts_coord", PF_WILLOW)[:2].T - 1 for path in annotated}
        for first, second in itertools.permutations(annotated, 2):
            pair = KeypointPair(
                source=first.with_suffix(".png"),
                target=second.with_suffix(".png"),
                category=folder.name.split("(")[0],
                source_points=points[first],
                target_points=points[second],
                source_box=_extent(points[first]),
                target_box=_extent(points[second]),
            )
            items.append(Item(f"{folder.name}/{first.stem}-{second.stem}", folder.name, pair))
    if not items:
        raise PF_WILLOW.error(f"{root} has no class folder with annotated pictures" + (f" named {split}" * bool(split)))
    return items


def pf_pascal(root: Path, split: str, _count: int, _seed: int) -> list[Item]:
    """PF-PASCAL: pairs and keypoints of the lists that the field uses; boxes are the keypoints' extents."""
    root = root / "PF-dataset-PASCAL" if (root / "PF-dataset-PASCAL").is_dir() else root
    name = f"{split or 'test'}_pairs_pf_pascal.csv"
    table = next((path for path in (root / name, root.parent / name) if path.exists()), root / name)
    PF_PASCAL.require([root / "JPEGImages", table])
    items = []
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            try:
                label = PASCAL_CLASSES[int(float(row["class"])) - 1]
                source, target = (root / "JPEGImages" / Path(row[key]).name for key in ("source_image", "target_image"))
                points = [
                    np.array([[float(value) for value in row[key].split(";")] for key in keys]).T - 1
                    for keys in (("XA", "YA"), ("XB", "YB"))
                ]
            except (KeyError, ValueError, IndexError) as error:
                raise PF_PASCAL.error(f"{table} has a row that cannot be read ({error!r})") from error
            pair = KeypointPair(
                source=source, target=target, category=label, source_points=points[0], target_points=points[1],
                source_box=_extent(points[0]), target_box=_extent(points[1]),
            )  # fmt: skip
            items.append(Item(f"{source.stem}-{target.stem}", label, pair))
    return items


def cub(root: Path, split: str, count: int, seed: int) -> list[Item]:
    """CUB-200-2011: random pairs of the test (or train) pictures, or all pairs of the pictures that a file lists."""
    root = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    tables = {name: root / f"{name}.txt" for name in ("images", "train_test_split", "image_class_labels")}
    boxes_path, parts_path = root / "bounding_boxes.txt", root / "parts" / "part_locs.txt"
    CUB.require([*tables.values(), boxes_path, parts_path, root / "images"])
    names, training, classes = (
        dict(line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip())
        for path in tables.values()
    )
    boxes = {row.split()[0]: _corner_box(row.split()[1:5]) for row in boxes_path.read_text().splitlines()}
    parts: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for line in parts_path.read_text().splitlines():
        image, part, x, y, visible = line.split()
        if visible == "1":
            parts.setdefault(image, {})[part] = np.array([float(x), float(y)])
    listed = root / split
    if split and listed.is_file():
        wanted = set(listed.read_text().split())
        chosen = [image for image, name in names.items() if name in wanted]
        candidates = list(itertools.permutations(chosen, 2))
    else:
        flag = {"": "0", "test": "0", "train": "1"}.get(split)
        if flag is None:
            raise CUB.error(f"The split {split!r} is neither test, train nor a list of pictures under {root}")
        chosen = [image for image in names if training.get(image) == flag]
        drawn = np.random.default_rng(seed).integers(0, max(len(chosen), 1), (4 * count if len(chosen) > 1 else 0, 2))
        candidates = [(chosen[i], chosen[j]) for i, j in dict.fromkeys(map(tuple, drawn.tolist())) if i != j]
    items: list[Item] = []
    for first, second in candidates:
        common = sorted(parts.get(first, {}).keys() & parts.get(second, {}).keys(), key=int)
        if common:
            pair = KeypointPair(
                source=root / "images" / names[first],
                target=root / "images" / names[second],
                category="bird",
                source_points=np.stack([parts[first][part] for part in common]),
                target_points=np.stack([parts[second][part] for part in common]),
                source_box=boxes[first],
                target_box=boxes[second],
            )
            same = classes.get(first) == classes.get(second)
            items.append(Item(f"{first}-{second}", "same species" if same else "other species", pair))
        if not (split and listed.is_file()) and len(items) == count:
            break
    if not items:
        raise CUB.error(f"No two pictures of the split {split or 'test'!r} share a visible part")
    return sorted(items, key=lambda item: item.key)


def _corner_box(values: list[str]) -> npt.NDArray[np.float64]:
    """x, y, width, height as two corners."""
    x, y, width, height = map(float, values)
    return np.array([x, y, x + width, y + height])


Loader = Callable[[Path, str, int, int], list[Item]]
KEYPOINT_SETS: dict[str, tuple[Dataset, Loader]] = {
    "spair": (SPAIR, spair),
    "pf-willow": (PF_WILLOW, pf_willow),
    "pf-pascal": (PF_PASCAL, pf_pascal),
    "cub": (CUB, cub),
}
"""Name → where it comes from, and ``load(root, split, count, seed)``."""
