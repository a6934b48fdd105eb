"""Placements on many kinds of objects in one table: what `transfer_quality.py suite` runs.

    python benchmarks/transfer_quality.py suite ../shared/data/keypoints ../shared/data/pf_willow \\
        --engines notebook,similarity --models mini,dift-mini --count 25 --mirrored 12 --before ../old-checkout

A folder with ``pairs.jsonl`` is a set of annotated pairs (the truth of an edit is its box moved by the similarity of
the annotated points; where the points are turned over, by the similarity with a reflection), one with
``homographies.jsonl`` a set of known homographies, one whose folders hold ``.mat`` files PF-WILLOW; any other folder is
searched for such sets. Of each set so many pairs that are not mirrored, and so many that are, are drawn by the seed.

Each engine runs with the mirror test (``--mirror auto``). Columns: share of right decisions of the mirror test; mean
IoU; share below 0.2; error of the centre (median, in sizes of the edit), of the scale (median of the factor, either
way) and of the turn (median, degrees); mean IoU if the right centre, the right scale, and the right scale, turn and
shape were given; mean IoU if the mirror test had always been right; AUROC of the confidence, its mean, the share that
is right (IoU ≥ 0.5) and the calibration error (expected difference of the two, over tenths of the confidence);
fold-overs.
"""

import hashlib
import importlib
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transfer_quality import Features, Task, auroc, boxed

from dift_edit.errors import ImageError
from dift_edit.features.base import FeatureMap
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.estimate import Correspondences, fit_similarity
from dift_edit.geometry.quad import quad_folds, quad_iou
from dift_edit.placement.placement import turned_features
from dift_edit.placement.second_look import Closer, closer_features

Array = np.ndarray


@dataclass
class Result:
    """What one engine made of one task."""

    group: str
    mirrored: bool
    turned: bool
    quad: Array
    truth: Array
    confidence: float
    confidence_features: Any = None
    decided: Array | None = None  # the quad under the right decision of the mirror test

    @property
    def iou(self) -> float:
        return 0.0 if quad_folds(self.quad) else quad_iou(self.quad, self.truth)

    @property
    def errors(self) -> tuple[float, float, float]:
        """Centre in sizes of the edit, scale as a factor of at least 1, turn in degrees (nan if turned over)."""
        size = math.sqrt(abs(_area(self.truth)))
        centre = float(np.linalg.norm(self.quad.mean(0) - self.truth.mean(0))) / size
        scale = math.sqrt(max(abs(_area(self.quad)), 1e-9)) / size
        turn = math.nan
        if _area(self.quad) * _area(self.truth) > 0:
            fitted = fit_similarity(Correspondences(self.truth, self.quad, np.ones(4))).matrix
            turn = abs(math.degrees(math.atan2(fitted[1, 0], fitted[0, 0])))
        return centre, max(scale, 1 / scale), turn

    @property
    def oracles(self) -> tuple[float, float, float, float]:
        """IoU if the centre, the scale, or scale, turn and shape were right, and if the mirror test were."""
        middle, right = self.quad.mean(0), self.truth.mean(0)
        scale = math.sqrt(abs(_area(self.truth)) / max(abs(_area(self.quad)), 1e-9))
        return (
            quad_iou(self.quad - middle + right, self.truth),
            quad_iou((self.quad - middle) * scale + middle, self.truth),
            quad_iou(self.truth - right + middle, self.truth),
            self.iou if self.decided is None else quad_iou(self.decided, self.truth),
        )


def _area(quad: Array) -> float:
    """Signed."""
    following = np.roll(quad, -1, 0)
    return float((quad[:, 0] * following[:, 1] - quad[:, 1] * following[:, 0]).sum()) / 2


def sets(folders: list[Path]) -> Iterator[Path]:
    """The folders that hold a set of pairs."""
    for folder in folders:
        if any((folder / name).is_file() for name in ("pairs.jsonl", "homographies.jsonl")) or any(
            folder.glob("*/*.mat")
        ):
            yield folder
        elif folder.is_dir():
            yield from sets(sorted(path for path in folder.iterdir() if path.is_dir()))


def draw(folder: Path, *, count: int, mirrored: int, seed: int, skip: int = 0) -> list[Task]:
    """Tasks of a set: at most so many of each sort, the same for a seed; `skip` leaves so many others out before."""
    if (folder / "homographies.jsonl").is_file():
        return list(_planes(folder, count, seed))
    if (folder / "pairs.jsonl").is_file():
        lines = (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
        pairs = [
            (
                folder / row["source"], folder / row["target"], bool(row.get("mirrored", False)),
                np.asarray(row["source_points"], float), np.asarray(row["target_points"], float),
            )
            for row in map(json.loads, lines)
        ]  # fmt: skip
    else:
        pairs = list(_willow(folder))
    tasks = []
    for kind, wanted in ((False, count), (True, mirrored)):
        chosen = [k for k, pair in enumerate(pairs) if pair[2] == kind]
        order = np.random.default_rng([seed, kind]).permutation(len(chosen))
        start = min(skip, max(len(order) - wanted, 0))
        for k in order[start : start + wanted]:
            first, second, turned, p, q = pairs[chosen[k]]
            rng = np.random.default_rng([seed, chosen[k]])
            tasks += boxed(rng, folder.name, first, second, p, q, mirrored=turned)
    return tasks


def _willow(folder: Path) -> Iterator[tuple[Path, Path, bool, Array, Array]]:
    from scipy.io import loadmat

    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        known = [(p, loadmat(p.with_suffix(".mat"))["pts_coord"].T[:, :2] - 1.0) for p in sorted(inner.glob("*.png"))]
        yield from ((a, b, False, p, q) for a, p in known for b, q in known if a != b)


def _planes(folder: Path, count: int, seed: int) -> Iterator[Task]:
    """Boxes of a fifth to two fifths of the source that lie within the target, moved by known homographies."""
    from dift_edit.imaging.files import load_image

    rows = [json.loads(line) for line in (folder / "homographies.jsonl").read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows[:count]):
        rng = np.random.default_rng([seed, number])
        first, second = folder / row["source"], folder / row["target"]
        homography = MatrixTransform(np.array(row["homography"]))
        (width, height), limits = load_image(first).size, np.asarray(load_image(second).size)
        for _ in range(200):
            extent = rng.uniform(0.2, 0.4, 2) * (width, height)
            low = rng.uniform(0, 1, 2) * (np.array([width, height]) - extent)
            quad = np.array([low, low + extent * [1, 0], low + extent, low + extent * [0, 1]])
            truth = homography(quad)
            if (truth > 0).all() and (truth < limits).all() and not quad_folds(truth) and abs(_area(truth)) > 400:
                yield Task(folder.name, first, second, quad, truth, quad, truth)
                break


class StoredFeatures(Features):
    """`Features` that keep the maps of files in a folder, in half precision."""

    def __init__(self, model: str, mirror: str, folder: Path | None) -> None:
        super().__init__(model, mirror)
        self._folder = folder

    def __call__(self, picture: Any, *, mirrored: bool = False, quarters: int = 0) -> FeatureMap:
        """Of a picture, its mirror image, or the turned picture in the frame of the picture."""
        name = f"{self._featurizer.fingerprint} {Path(picture).resolve()} {mirrored} {quarters}"
        key = hashlib.sha256(name.encode()).hexdigest()[:24]
        if key not in self._known:
            if len(self._known) > 60:
                self._known.clear()
            self._known[key] = self._read(key) or self._computed(key, picture, mirrored, quarters)
        return self._known[key]

    def _read(self, key: str) -> FeatureMap | None:
        if self._folder is None or not (self._folder / f"{key}.npz").is_file():
            return None
        with np.load(self._folder / f"{key}.npz") as stored:
            data, size = torch.from_numpy(stored["data"]).float(), tuple(int(edge) for edge in stored["size"])
        return FeatureMap(data, size, self._featurizer.fingerprint, key)

    def _computed(self, key: str, picture: Any, mirrored: bool, quarters: int) -> FeatureMap:
        image = self.image(picture)
        if quarters:
            found = turned_features(self._featurizer, image, self(picture), quarters)
        else:
            found = self._featurizer(image.mirrored() if mirrored else image)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft = self._folder / f"{key}.{os.getpid()}.part.npz"
            np.savez(draft, data=found.data.half().cpu().numpy(), size=found.image_size)
            draft.replace(self._folder / f"{key}.npz")
        return found

    def closer(self, source: Any, target: Any) -> Closer:
        """Features of cuts of a task's pictures; these are not kept."""
        return closer_features(self._featurizer, self.image(source), self(source), self.image(target))

    def image(self, picture: Any) -> Any:
        if len(self._images) > 40:
            self._images.clear()
        return super().image(picture)


Locate = Callable[..., Any]


def older_engine(checkout: Path) -> Locate:
    """`locate_features` of another checkout of this project, beside the one that is imported."""
    mine = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "dift_edit"}
    sys.path.insert(0, str(checkout / "src"))
    try:
        package = (checkout / "src" / "dift_edit" / "placement").is_dir()
        module = importlib.import_module("dift_edit.placement.placement" if package else "dift_edit.placement")
        found: Locate = module.locate_features
        made = importlib.import_module("dift_edit.features.base").FeatureMap
        noise = made(torch.randn(4, 12, 12, generator=torch.Generator().manual_seed(0)), (96, 96))
        box = np.array([[30.0, 30], [60, 30], [60, 60], [30, 60]])
        found(noise, box, noise)  # now, while its files are found, it reads them
    finally:
        sys.path.remove(str(checkout / "src"))
        for name in [name for name in sys.modules if name.split(".")[0] == "dift_edit"]:
            del sys.modules[name]
        sys.modules.update(mine)
    return found


def place(locate: Locate, engine: str, task: Task, features: StoredFeatures, mirror: str) -> Result:
    """One engine on one task; where the mirror test is wrong, also what the right decision would have given."""
    try:
        near, far = features(task.source), features(task.target)
        pictures = (features.image(task.source), features.image(task.target))
    except ImageError as error:
        raise SystemExit(str(error)) from error

    more: dict[str, Any] = {}
    if "turned_source" in inspect.signature(locate).parameters:
        more["turned_source"] = lambda quarters: features(task.source, quarters=quarters)
    if "closer" in inspect.signature(locate).parameters:
        more["closer"] = features.closer(task.source, task.target)

    def located(how: str) -> Any:
        return locate(
            near, task.quad, far, lambda: features(task.target, mirrored=True), engine=engine, mirror=how,
            pictures=pictures, **more,
        )  # fmt: skip

    found = located(mirror)
    decided = None
    if found.mirrored != task.mirrored:
        decided = located("always" if task.mirrored else "never").quad
    return Result(
        task.group,
        task.mirrored,
        found.mirrored,
        found.quad,
        task.truth,
        found.confidence,
        getattr(found, "confidence_features", None),
        decided,
    )


def calibration_error(confidence: Array, right: Array) -> float:
    """Mean difference of confidence and share right over tenths of the confidence, weighted by their placements."""
    tenth = np.minimum((confidence * 10).astype(int), 9)
    chosen = [tenth == k for k in np.unique(tenth)]
    return float(sum(part.mean() * abs(confidence[part].mean() - right[part].mean()) for part in chosen))


HEADS = (
    "set", "pairs", "", "edits", "mirror right", "IoU", "below 0.2", "centre", "scale", "turn", "right centre",
    "right scale", "right scale, turn, shape", "right mirror", "AUROC", "confidence", "right", "calibration error",
    "fold-overs",
)  # fmt: skip


def table(runs: dict[str, list[Result]]) -> Iterator[str]:
    """One row per set, sort of pairs and engine; the mean over the sets last."""
    yield "| " + " | ".join(HEADS) + " |"
    yield "|" + "---|" * len(HEADS)
    groups = list(dict.fromkeys(result.group for results in runs.values() for result in results))
    for mirrored in (False, True):
        means: dict[str, list[Array]] = {}
        for group in groups:
            for name, results in runs.items():
                chosen = [result for result in results if result.group == group and result.mirrored == mirrored]
                if chosen:
                    values = figures(chosen)
                    means.setdefault(name, []).append(values)
                    yield _row(group, mirrored, name, values)
        for name, rows in means.items():
            known = [[row[k] for row in rows if np.isfinite(row[k])] for k in range(len(rows[0]))]
            mean = np.array([np.mean(column) if column else np.nan for column in known])
            mean[0], mean[-1] = sum(row[0] for row in rows), sum(row[-1] for row in rows)
            yield _row("**mean over the sets**", mirrored, name, mean)


def figures(results: list[Result]) -> Array:
    """The numbers of a row."""
    iou = np.array([result.iou for result in results])
    confidence, right = np.array([result.confidence for result in results]), iou >= 0.5
    centre, scale, turn = np.array([result.errors for result in results]).T
    oracles = np.array([result.oracles for result in results]).mean(0)
    return np.array([
        len(results), np.mean([result.turned == result.mirrored for result in results]), iou.mean(),
        (iou < 0.2).mean(), np.median(centre), np.median(scale),
        np.nanmedian(turn) if np.isfinite(turn).any() else np.nan, *oracles, auroc(list(confidence), right),
        confidence.mean(), right.mean(), calibration_error(confidence, right),
        sum(quad_folds(result.quad) for result in results),
    ])  # fmt: skip


def _row(group: str, mirrored: bool, name: str, values: Array) -> str:
    shown = [
        f"{values[0]:.0f}", f"{100 * values[1]:.0f} %", f"{values[2]:.3f}", f"{100 * values[3]:.0f} %",
        f"{values[4]:.2f}", f"{values[5]:.2f}", f"{values[6]:.0f}°", *(f"{value:.3f}" for value in values[7:12]),
        f"{values[12]:.2f}", f"{values[13]:.2f}", f"{values[14]:.3f}", f"{values[15]:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join([group, "mirrored" if mirrored else "plain", name, *shown]) + " |"


def run_suite(args: Any) -> Iterator[str]:
    """The table of the command line's sets, engines and models."""
    engines: list[tuple[str, Locate, str]] = [
        (engine, importlib.import_module("dift_edit.placement.placement").locate_features, engine)
        for engine in args.engines.split(",")
    ]
    if args.before is not None:
        engines.insert(0, ("similarity before", older_engine(args.before), "similarity"))
    tasks = [
        task
        for folder in sets(args.folder)
        for task in draw(folder, count=args.count, mirrored=args.mirrored, seed=args.seed, skip=args.skip)
    ]
    runs: dict[str, list[Result]] = {}
    for model in args.models.split(","):
        features = StoredFeatures(model, args.mirror, args.cache)
        for number, task in enumerate(tasks):
            for name, locate, engine in engines:
                result = place(locate, engine, task, features, args.mirror)
                runs.setdefault(f"{model}, {name}", []).append(result)
            if number % 50 == 49:
                print(f"{model}: {number + 1}/{len(tasks)}", file=sys.stderr, flush=True)
    yield from table(runs)
    if args.raw:
        rows = {
            name: [
                {
                    "set": result.group, "mirrored": result.mirrored, "turned": result.turned, "iou": result.iou,
                    "confidence": result.confidence, "source": str(task.source), "target": str(task.target),
                    "quad": result.quad.tolist(), "truth": result.truth.tolist(), "edit": task.quad.tolist(),
                    "decided": None if result.decided is None else result.decided.tolist(),
                }
                for task, result in zip(tasks, results, strict=True)
            ]
            for name, results in runs.items()
        }  # fmt: skip
        args.raw.write_text(json.dumps(rows), encoding="utf-8")
