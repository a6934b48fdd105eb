"""Where the engines place edits, against annotated and synthetic truth; and how far the confidence can be trusted.

    python benchmarks/transfer_quality.py willow ../shared/data/pf_willow
    python benchmarks/transfer_quality.py warps [FOLDER] --count 60      # scikit-image's photographs without FOLDER
    python benchmarks/transfer_quality.py pairs FOLDER                      # your own annotated pairs
    python benchmarks/transfer_quality.py ablations ../shared/data/pf_willow --limit 150
    python benchmarks/transfer_quality.py suite ../shared/data/keypoints ../shared/data/pf_willow   # many kinds
    … --limit N --engines similarity,mesh,notebook --model mini --markdown docs/transfer_quality.md --title "…"

An edit is the box round 4 to 6 neighbouring keypoints; the truth is that box moved by the similarity of the annotated
keypoints ("willow": PF-WILLOW's ten folders, each picture NAME.png with NAME.mat; all ordered pairs in a folder).
"pairs" reads FOLDER/pairs.jsonl, one pair a line: {"source": "a.jpg", "target": "b.jpg", "source_points": [[x, y], …],
"target_points": [[x, y], …]}, points in order, at least four. "warps" move pictures by known homographies, bends, light
and noise. "suite" makes one table of many sets, see `transfer_suite.py`. With --markdown the table goes into the part
of the page that has the same title.
"""

import argparse
import json
import re
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import dift_edit.placement.similarities
import dift_edit.placement.votes
from dift_edit.atomic_files import write_text
from dift_edit.features.base import FeatureMap
from dift_edit.features.registry import load_featurizer
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.estimate import Correspondences, fit_similarity
from dift_edit.geometry.mesh import PiecewiseAffine, triangulate
from dift_edit.geometry.quad import quad_folds, quad_iou
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image
from dift_edit.placement.confidence import ConfidenceFeatures
from dift_edit.placement.placement import Placement, locate_features
from dift_edit.placement.second_look import closer_features
from dift_edit.rendering.warp import warp_image

ENGINES = ("notebook", "similarity", "affine", "homography", "mesh", "spline", "auto")


@dataclass
class Task:
    """An edit, a target, and where the edit's points belong."""

    group: str
    source: Any
    target: Any
    quad: np.ndarray
    truth: np.ndarray
    points: np.ndarray
    moved: np.ndarray
    mirrored: bool = False
    every: tuple[np.ndarray, np.ndarray] | None = None  # all points of an annotated pair, in source and target


@dataclass
class Outcome:
    """What one engine made of the tasks."""

    iou: list[float] = field(default_factory=list)
    hull: list[float] = field(default_factory=list)
    error: list[float] = field(default_factory=list)
    folds: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    confidence_features: list[ConfidenceFeatures | None] = field(default_factory=list)


def willow(root: Path, seed: int = 0) -> list[Task]:
    """All ordered pairs of pictures in each of PF-WILLOW's folders; which keypoints are boxed follows from the seed."""
    from scipy.io import loadmat

    rng = np.random.default_rng(seed)
    tasks = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        known = [(p, loadmat(p.with_suffix(".mat"))["pts_coord"].T[:, :2] - 1.0) for p in sorted(folder.glob("*.png"))]
        for first, p in known:
            for second, q in known:
                if first == second:
                    continue
                tasks += boxed(rng, folder.name, first, second, p, q)
    return tasks


def pairs(root: Path, seed: int = 0) -> list[Task]:
    """The pairs of a folder's pairs.jsonl."""
    rng = np.random.default_rng(seed)
    tasks = []
    for line in (root / "pairs.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        p, q = (np.asarray(row[key], dtype=np.float64) for key in ("source_points", "target_points"))
        if len(p) != len(q) or len(p) < 4:
            raise SystemExit(f"{row['source']} → {row['target']}: give at least four points, as many on both sides.")
        tasks += boxed(rng, root.name, root / row["source"], root / row["target"], p, q)
    return tasks


def boxed(
    rng: np.random.Generator, group: str, first: Path, second: Path, p: np.ndarray, q: np.ndarray, *,
    mirrored: bool = False,
) -> Iterator[Task]:  # fmt: skip
    """The task of a box round 4 to 6 neighbouring keypoints, unless it is tiny; mirrored: by a reflected similarity."""
    centre, count = p[rng.integers(len(p))], min(rng.integers(4, 7), len(p))
    chosen = np.argsort(np.linalg.norm(p - centre, axis=1))[:count]
    low, high = p[chosen].min(0), p[chosen].max(0)
    margin = 0.1 * (high - low).max()
    low, high = low - margin, high + margin
    if (high - low).min() >= 8:
        quad = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
        flip = np.array([-1.0 if mirrored else 1.0, 1.0])
        truth = fit_similarity(Correspondences(p[chosen], q[chosen] * flip, np.ones(count)))(quad) * flip
        yield Task(group, first, second, quad, truth, p[chosen], q[chosen], mirrored, (p, q))


def photographs(root: Path | None) -> list[Image]:
    """Pictures of a folder, or those of scikit-image."""
    if root is not None:
        files = sorted(path for path in root.rglob("*") if path.suffix.lower() in {".jpg", ".png", ".jpeg"})
        return [load_image(path) for path in files]
    from skimage import data

    return [Image(np.ascontiguousarray(make())) for make in (data.astronaut, data.chelsea, data.coffee, data.rocket)]


def warps(pictures: list[Image], count: int, seed: int = 0) -> list[Task]:
    """Pictures moved by known maps: "homography", "bent", and "light" (a homography with other light and noise)."""
    rng = np.random.default_rng(seed)
    tasks = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        kind = ("homography", "bent", "light")[number // len(pictures) % 3]
        size = np.asarray(picture.size, dtype=np.float64)
        extent = size * rng.uniform(0.22, 0.4, 2)
        low = size * 0.5 - extent / 2 + rng.uniform(-0.15, 0.15, 2) * size
        quad = np.array([low, low + extent * [1, 0], low + extent, low + extent * [0, 1]])
        transform = _homography(rng, size) if kind != "bent" else _bent(rng, size)
        target = Image(warp_image(picture, transform, picture.size).pixels)
        if kind == "light":
            target = _relit(rng, target)
        x, y = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 5))
        inner = low + np.stack([x.ravel(), y.ravel()], 1) * extent
        tasks.append(Task(kind, picture, target, quad, transform(quad), inner, transform(inner)))
    return tasks


def _homography(rng: np.random.Generator, size: np.ndarray) -> MatrixTransform:
    turn, scale = rng.normal(0, 0.2), np.exp(rng.normal(0, 0.2))
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    centre = (size - 1) / 2
    tilt = rng.normal(0, 0.12, 2) / size
    inner = np.array([[c, -s, 0], [s, c, 0], [*tilt, 1]])
    away, back = np.eye(3), np.eye(3)
    away[:2, 2], back[:2, 2] = -centre, centre + rng.normal(0, 0.04, 2) * size
    return MatrixTransform(back @ inner @ away)


def _bent(rng: np.random.Generator, size: np.ndarray) -> PiecewiseAffine:
    x, y = np.meshgrid(np.linspace(0, size[0] - 1, 13), np.linspace(0, size[1] - 1, 13))
    grid = np.stack([x.ravel(), y.ravel()], 1)
    waves = rng.uniform(4, 7, 2) / size.min(), rng.uniform(0, 6, 2)
    shift = 0.045 * size.min() * np.stack([
        np.sin(waves[0][0] * grid[:, 1] * 2 + waves[1][0]), np.sin(waves[0][1] * grid[:, 0] * 2 + waves[1][1]),
    ], 1)  # fmt: skip
    inward = np.minimum(grid, size - 1 - grid).min(1) / (0.15 * size.min())
    moved = grid + np.clip(inward, 0, 1)[:, None] * shift
    return PiecewiseAffine(grid, moved, triangulate(grid), MatrixTransform(np.eye(3)))


def _relit(rng: np.random.Generator, picture: Image) -> Image:
    values = picture.pixels.astype(np.float64) / 255
    values = values ** np.exp(rng.normal(0, 0.3)) * rng.uniform(0.7, 1.2, 3)
    noisy = values + rng.normal(0, 0.03, values.shape)
    return Image((np.clip(noisy, 0, 1) * 255).round().astype(np.uint8))


class Features:
    """Features of pictures and of their mirror images, each computed once."""

    def __init__(self, model: str, mirror: str) -> None:
        self._featurizer, self._mirror = load_featurizer(model), mirror
        self._known, self._images = {}, {}

    def __call__(self, picture: Any, *, mirrored: bool = False) -> FeatureMap:
        key = (picture if isinstance(picture, Path) else id(picture), mirrored)
        if key not in self._known:
            image = self.image(picture)
            self._known[key] = self._featurizer(image.mirrored() if mirrored else image)
        return self._known[key]

    def image(self, picture: Any) -> Image:
        """A picture of a task, read once."""
        if not isinstance(picture, Path):
            return picture
        if picture not in self._images:
            self._images[picture] = load_image(picture)
        return self._images[picture]

    def locate(self, task: Task, engine: str) -> Placement:
        pictures, source = (self.image(task.source), self.image(task.target)), self(task.source)
        return locate_features(
            source, task.quad, self(task.target), lambda: self(task.target, mirrored=True),
            closer=closer_features(self._featurizer, pictures[0], source, pictures[1]),
            engine=engine, mirror=self._mirror, pictures=pictures,
        )  # fmt: skip


def run(tasks: list[Task], features: Features, engines: list[str]) -> dict[str, Outcome]:
    outcomes = {engine: Outcome() for engine in engines}
    for done, task in enumerate(tasks):
        for engine in engines:
            features(task.source), features(task.target), features.image(task.source), features.image(task.target)
            start = time.perf_counter()
            _add(outcomes[engine], task, features.locate(task, engine), start)
        if done % 50 == 49:
            print(f"{done + 1}/{len(tasks)}", file=sys.stderr, flush=True)
    return outcomes


def _add(outcome: Outcome, task: Task, placed: Placement, start: float) -> None:
    outcome.seconds.append(time.perf_counter() - start)
    folds = quad_folds(placed.quad)
    outcome.folds.append(folds)
    outcome.iou.append(0.0 if folds else quad_iou(placed.quad, task.truth))
    carried = placed.transform(task.points)
    size = float(np.ptp(task.moved, axis=0).max())
    outcome.error.append(float(np.linalg.norm(carried - task.moved, axis=1).mean()) / size)
    outcome.hull.append(_hull_iou(carried, task.moved))
    outcome.confidence.append(placed.confidence)
    outcome.confidence_features.append(placed.confidence_features)


def _hull_iou(first: np.ndarray, second: np.ndarray) -> float:
    import cv2

    hulls = [cv2.convexHull(points.astype(np.float32)) for points in (first, second)]
    areas = [float(cv2.contourArea(hull)) for hull in hulls]
    if min(areas) <= 0:
        return 0.0
    common = float(cv2.intersectConvexConvex(*hulls)[0])
    return common / max(sum(areas) - common, 1e-12)


def table(outcomes: dict[str, Outcome]) -> Iterator[str]:
    heads = ("engine", "IoU mean", "median", "below 0.2", "hull IoU", "point error", "fold-overs", "ms", "AUROC")
    yield "| " + " | ".join([*heads, "at 90 % precision"]) + " |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, outcome in outcomes.items():
        iou, good = np.array(outcome.iou), np.array(outcome.iou) >= 0.5
        yield (
            f"| {name} | {iou.mean():.3f} | {np.median(iou):.3f} | {100 * (iou < 0.2).mean():.1f} % "
            f"| {np.mean(outcome.hull):.3f} | {100 * np.median(outcome.error):.1f} % | {sum(outcome.folds)} "
            f"| {1000 * np.median(outcome.seconds):.0f} | {auroc(outcome.confidence, good):.3f} "
            f"| {100 * coverage(outcome.confidence, good):.0f} % |"
        )


def auroc(confidence: list[float], good: np.ndarray) -> float:
    """Probability that a right placement gets more confidence than a wrong one."""
    values = np.asarray(confidence)
    right, wrong = values[good], values[~good]
    if not len(right) or not len(wrong):
        return float("nan")
    return float(((right[:, None] > wrong) + 0.5 * (right[:, None] == wrong)).mean())


def coverage(confidence: list[float], good: np.ndarray, precision: float = 0.9) -> float:
    """Largest share of the placements, most confident first, of which that share is right."""
    order = np.argsort(-np.asarray(confidence), kind="stable")
    share = np.cumsum(good[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= precision)
    return (enough[-1] + 1) / len(order) if len(enough) else 0.0


def reliability(outcome: Outcome) -> Iterator[str]:
    """The reliability diagram as a table: how often placements of each confidence are right."""
    values, good = np.array(outcome.confidence), np.array(outcome.iou) >= 0.5
    yield "| confidence | placements | right |"
    yield "|---|---|---|"
    for low in np.arange(0, 1, 0.1):
        chosen = (values >= low) & (values < low + 0.1 + 1e-9 * (low > 0.85))
        if chosen.any():
            bar = "█" * round(20 * good[chosen].mean())
            yield f"| {low:.1f}–{low + 0.1:.1f} | {chosen.sum()} | {100 * good[chosen].mean():.0f} % {bar} |"


ABLATIONS: dict[str, dict[str, float]] = {
    "as shipped": {},
    "no surroundings (reach 0.05)": {"REACH": 0.05},
    "the whole picture (reach 2)": {"REACH": 2.0},
    "no prior on the pose": {"PRIOR": 0.0},
    "no correction of the shrinking": {"STRETCH": 0.0},
    "equal tolerance at all scales": {"TOLERANCE_POWER": 0.0},
    "parts displaced half as much": {"TOLERANCE": 0.03},
    "parts displaced twice as much": {"TOLERANCE": 0.12},
    "equal tolerance at all distances": {"TOLERANCE_GROWTH": 0.0},
    "the pose of highest score": {"SHARPNESS": 1e4},
    "softer votes (temperature 0.1)": {"TEMPERATURE": 0.1},
    "sharper votes (temperature 0.025)": {"TEMPERATURE": 0.025},
}


def ablate(tasks: list[Task], features: Features) -> dict[str, Outcome]:
    outcomes = {}
    for name, changes in ABLATIONS.items():
        modules = {
            k: dift_edit.placement.similarities
            if hasattr(dift_edit.placement.similarities, k)
            else dift_edit.placement.votes
            for k in changes
        }
        before = {key: getattr(modules[key], key) for key in changes}
        try:
            for key, value in changes.items():
                setattr(modules[key], key, value)
            outcomes[name] = run(tasks, features, ["similarity"])["similarity"]
        finally:
            for key, value in before.items():
                setattr(modules[key], key, value)
    return outcomes


def put(page: Path, title: str, lines: list[str]) -> None:
    """Replace the part of a page under a heading, or append it."""
    text = page.read_text(encoding="utf-8") if page.is_file() else "# Transfer quality\n"
    part = f"## {title}\n\n" + "\n".join(lines) + "\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.M | re.S)
    text = pattern.sub(lambda _: part + "\n", text) if pattern.search(text) else text.rstrip() + "\n\n" + part
    write_text(page, text.rstrip() + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("willow", "pairs", "warps", "ablations", "suite"))
    parser.add_argument("folder", nargs="*", type=Path)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--models", default="mini", help="suite: one or more, joined by commas")
    parser.add_argument("--mirror", choices=("auto", "never", "always"), help="default: never; of the suite: auto")
    parser.add_argument("--limit", type=int, default=0, help="so many random tasks (default: all)")
    parser.add_argument("--count", type=int, default=60, help="synthetic tasks; plain tasks a set in the suite")
    parser.add_argument("--mirrored", type=int, default=12, help="suite: mirrored tasks a set")
    parser.add_argument("--skip", type=int, default=0, help="suite: so many others of the same draw are left out")
    parser.add_argument("--before", type=Path, help="suite: another checkout whose similarity engine is judged too")
    parser.add_argument("--cache", type=Path, help="suite: folder that keeps the features between runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--title", default="")
    parser.add_argument("--raw", type=Path, help="JSON file for the features and IoU of each task")
    args = parser.parse_args()
    args.mirror = args.mirror or ("auto" if args.data == "suite" else "never")
    if args.data == "suite":
        from transfer_suite import run_suite

        if not args.folder:
            parser.error("give the folders of the sets")
        lines = [f"`python benchmarks/transfer_quality.py {shlex.join(sys.argv[1:])}`", "", *run_suite(args)]
        print("\n".join(lines))
        if args.markdown:
            put(args.markdown, args.title or args.data, lines)
        return
    if len(args.folder) > 1 or (not args.folder and args.data != "warps"):
        parser.error("give one folder")
    folder = args.folder[0] if args.folder else None
    if args.data == "warps":
        tasks = warps(photographs(folder), args.count, args.seed)
    else:
        tasks = (pairs if args.data == "pairs" else willow)(folder, args.seed)
    if args.limit:
        tasks = [tasks[k] for k in np.random.default_rng(args.seed).permutation(len(tasks))[: args.limit]]
    features = Features(args.model, args.mirror)
    lines = [f"`python benchmarks/transfer_quality.py {shlex.join(sys.argv[1:])}`: {len(tasks)} edits.", ""]
    if args.data == "ablations":
        outcomes = ablate(tasks, features)
        lines += table(outcomes)
    else:
        engines = args.engines.split(",")
        outcomes = run(tasks, features, engines)
        for group in sorted({task.group for task in tasks}) if args.data == "warps" else [""]:
            chosen = [k for k, task in enumerate(tasks) if group in ("", task.group)]
            lines += [f"**{group}**", ""] if group else []
            lines += [*table({name: _some(outcome, chosen) for name, outcome in outcomes.items()}), ""]
        if args.data != "warps":
            lines += [f"Reliability of the confidence ({engines[-1]}):", "", *reliability(outcomes[engines[-1]])]
    print("\n".join(lines))
    if args.markdown:
        put(args.markdown, args.title or args.data, lines)
    if args.raw:
        last = list(outcomes.values())[-1]
        rows = [
            [*astuple(found), iou]
            for found, iou in zip(last.confidence_features, last.iou, strict=True)
            if found is not None
        ]
        write_text(args.raw, json.dumps(rows))


def _some(outcome: Outcome, chosen: list[int]) -> Outcome:
    def pick(values: list[Any]) -> list[Any]:
        return [values[k] for k in chosen]

    return Outcome(
        pick(outcome.iou), pick(outcome.hull), pick(outcome.error), pick(outcome.folds), pick(outcome.seconds),
        pick(outcome.confidence), pick(outcome.confidence_features),
    )  # fmt: skip


if __name__ == "__main__":
    main()
