"""The embedded networks, alone and fused, on annotated pairs: points, placements, time and size, in one run.

    python benchmarks/networks.py ../shared/data --pairs 25 --cache FOLDER -o docs/networks.md

Reads PF-WILLOW (folder ``pf_willow``) and each folder of ``keypoints`` with a pairs.jsonl (see `transfer_quality.py`);
mirrored pairs are left out. PCK: share of the points that are found within 0.1 of the longer side of the box of the
target's points, by plain nearest neighbour and with neighbourhood consensus. IoU: of the placed box round 4 to 6
points, by features alone. All numbers are means of a set, and then of the sets. Processor time: least of several
passes over one picture of 480 × 640 pixels, all rows in turn, with one thread and with two, relative to the first row.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from transfer_quality import Task, pairs, willow

import dift_edit as de
from dift_edit.atomic_files import write_text
from dift_edit.features.base import Featurizer
from dift_edit.features.cache import CachedFeaturizer, FeatureCache
from dift_edit.features.fusion import FusedFeaturizer
from dift_edit.features.sources import EMBEDDED
from dift_edit.geometry.quad import quad_folds, quad_iou
from dift_edit.matching.consensus import consensus
from dift_edit.matching.points import MatchSettings, _nearest
from dift_edit.placement import locate_features

PLAIN = MatchSettings(consensus=0.0)


@dataclass(frozen=True)
class Row:
    """A featurizer of the table: the short side for lite, and the share of dift-mini; 1 without lite."""

    side: int
    share: float

    @property
    def name(self) -> str:
        """As the table calls it."""
        if self.share == 1:
            return "dift-mini"
        return f"lite, {self.side} px" + (f" + {self.share:.2f} dift-mini" if self.share else "")

    @property
    def megabytes(self) -> float:
        """Of the weights."""
        names = (["lite"] if self.share < 1 else []) + (["dift-mini"] if self.share else [])
        return sum(file.stat().st_size for one in names for file in (EMBEDDED / one).rglob("*.safetensors")) / 1e6

    def load(self, cache: FeatureCache | None = None) -> Featurizer:
        """The featurizer; with a cache, each network's maps are kept on their own."""
        parts = []
        if self.share < 1:
            parts.append((de.load_featurizer("lite", image_size=self.side), 1 - self.share))
        if self.share:
            parts.append((de.load_featurizer("dift-mini"), self.share))
        made = [part if cache is None else CachedFeaturizer(part, cache, dtype="float16") for part, _ in parts]
        return made[0] if len(made) == 1 else FusedFeaturizer(made, [weight for _, weight in parts])


ROWS = [
    Row(0, 1),
    *(Row(side, 0) for side in (256, 320, 384)),
    *(Row(320, share) for share in (0.15, 0.3, 0.4, 0.5, 0.7)),
]


def read_sets(root: Path, count: int) -> dict[str, list[Task]]:
    """Name → at most so many tasks."""
    sets = {"PF-WILLOW": willow(root / "pf_willow")}
    for folder in sorted((root / "keypoints").iterdir()):
        if (folder / "pairs.jsonl").is_file() and folder.name != "same_surface":
            mirrored = {
                (folder / row["source"], folder / row["target"])
                for row in map(json.loads, (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines())
                if row.get("mirrored")
            }
            sets[folder.name] = [task for task in pairs(folder) if (task.source, task.target) not in mirrored]
    rng = np.random.default_rng(0)
    return {name: [tasks[k] for k in sorted(rng.permutation(len(tasks))[:count])] for name, tasks in sets.items()}


def judge(tasks: list[Task], featurizer: Featurizer) -> tuple[float, float, float]:
    """Means of PCK by nearest neighbour, of PCK with consensus, and of the IoU."""
    known, rows = {}, []

    def features(path: Path) -> de.features.FeatureMap:
        if path not in known:
            known[path] = featurizer(path)
        return known[path]

    for task in tasks:
        source, target = features(task.source), features(task.target)
        points, truth = task.every
        points = np.clip(points, 0, np.array(source.image_size) - 1)
        limit = 0.1 * float(np.ptp(truth, axis=0).max())
        found = (_nearest(source, target, points, PLAIN)[0], consensus(source, target).match(points)[0])
        shares = [float((np.linalg.norm(one - truth, axis=1) <= limit).mean()) for one in found]
        quad = locate_features(source, task.quad, target, mirror="never").quad
        rows.append((*shares, 0.0 if quad_folds(quad) else quad_iou(quad, task.truth)))
    return tuple(np.mean(rows, axis=0).tolist())


def seconds(rows: list[Row], threads: int, passes: int) -> list[float]:
    """Least processor seconds of a picture for each row."""
    torch.set_num_threads(threads)
    image = de.as_image(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8))
    loaded = [row.load() for row in rows]
    least = [float("inf")] * len(rows)
    for number in range(passes + 1):
        for index, featurizer in enumerate(loaded):
            start = time.process_time()
            featurizer(image)
            if number:
                least[index] = min(least[index], time.process_time() - start)
    torch.set_num_threads(1)
    return least


def page(rows: list[Row], sets: dict[str, list[Task]], cache: FeatureCache, passes: int) -> Iterator[str]:
    """The lines of the two tables."""
    print("timing", file=sys.stderr, flush=True)
    times = [seconds(rows, threads, passes) for threads in (1, 2)]
    results = {}
    for row in rows:
        results[row] = {name: judge(tasks, row.load(cache)) for name, tasks in sets.items()}
        means = np.mean(list(results[row].values()), axis=0)
        print(row.name, means.round(3), file=sys.stderr, flush=True)
    yield "| features | PCK@0.1 plain | with consensus | IoU | processor s | relative, 1 · 2 threads | MB |"
    yield "|---|---|---|---|---|---|---|"
    for index, row in enumerate(rows):
        plain, together, iou = np.mean(list(results[row].values()), axis=0)
        ratios = " · ".join(f"{one[index] / one[0]:.2f}" for one in times)
        yield (
            f"| {row.name} | {100 * plain:.1f} | {100 * together:.1f} | {iou:.3f} | {times[0][index]:.3f} "
            f"| {ratios} | {row.megabytes:.1f} |"
        )
    yield ""
    yield "PCK plain / with consensus / IoU of each set:"
    yield ""
    yield "| features | " + " | ".join(f"{name} ({len(tasks)})" for name, tasks in sets.items()) + " |"
    yield "|---|" + "---|" * len(sets)
    for row in rows:
        cells = (f"{100 * a:.0f} / {100 * b:.0f} / {c:.2f}" for a, b, c in results[row].values())
        yield f"| {row.name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--pairs", type=int, default=25, help="at most so many of each set")
    parser.add_argument("--cache", type=Path, default=None, help="folder for the features")
    parser.add_argument("--passes", type=int, default=7, help="timed passes of each row")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    command = shlex.join(["python", "benchmarks/networks.py", "DATA", *sys.argv[2:]])
    lines = [
        "# Embedded networks", "",
        f"Written by `{command}`: PF-WILLOW and twelve other sets of annotated pairs.",
        "", *page(ROWS, read_sets(args.root, args.pairs), FeatureCache(args.cache), args.passes),
    ]  # fmt: skip
    print("\n".join(lines))
    if args.output:
        write_text(args.output, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
