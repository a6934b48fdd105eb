"""Fit the confidence of placements to known ones, and write ``src/dift_edit/placement/confidence.json``.

    python benchmarks/calibrate_confidence.py ../shared/data/pf_willow [--limit 300] [--warps 48]

Data: edits round PF-WILLOW's keypoints, the same edits looked for in pictures of other kinds (never right), and
pictures moved by known warps, placed by features alone. Right is an IoU of at least 0.5. The model is a logistic
regression on the signs of `dift_edit.placement.confidence`, with a small ridge; its quality is measured by leaving out
one kind of object (as source) at a time, also on targets of the same kind alone: to tell other kinds apart is the
easier part.
"""

import argparse
import json
import sys
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from transfer_quality import Features, Task, auroc, coverage, photographs, warps, willow

from dift_edit.atomic_files import write_text
from dift_edit.geometry.quad import quad_iou
from dift_edit.placement.confidence import Signs
from dift_edit.placement.placement import locate_features

NAMES = [item.name for item in fields(Signs)]
OUTPUT = Path(__file__).parents[1] / "src" / "dift_edit" / "placement" / "confidence.json"


def samples(root: Path, limit: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Signs (N, S), whether right (N,), the fold of each (N,), and whether the target is of the same kind (N,)."""
    rng = np.random.default_rng(seed)
    every = willow(root, seed)
    tasks = [every[k] for k in rng.permutation(len(every))[:limit]]
    features = Features("mini", "never")
    rows, right, folds, same = [], [], [], []
    groups = sorted({task.group for task in every})
    kind = {group: group.split("(")[0] for group in groups}

    def add(task: Task, fold: str, possible: bool) -> None:
        placed = locate_features(features(task.source), task.quad, features(task.target))
        if placed.signs is not None:
            rows.append(astuple(placed.signs))
            right.append(possible and quad_iou(placed.quad, task.truth) >= 0.5)
            folds.append(fold)
            same.append(possible)

    for number, task in enumerate(tasks):
        add(task, kind[task.group], True)
        if number % 3 == 0:
            others = [other for other in every if kind[other.group] != kind[task.group]]
            wrong = others[rng.integers(len(others))]
            add(
                Task(task.group, task.source, wrong.target, task.quad, task.truth, task.points, task.moved),
                kind[task.group],
                False,
            )
    for task in warps(photographs(None), count, seed):
        add(task, "warps", True)
    return np.array(rows), np.array(right), np.array(folds), np.array(same)


def fit(x: np.ndarray, y: np.ndarray, ridge: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Mean, scale, weights and bias of a logistic regression, by Newton's method."""
    mean, scale = x.mean(0), x.std(0) + 1e-9
    design = np.c_[(x - mean) / scale, np.ones(len(x))]
    penalty = ridge * np.diag([*np.ones(x.shape[1]), 0.0])
    w = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ w))
        gradient = design.T @ (p - y) + penalty @ w
        w -= np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]) + penalty, gradient)
    return mean, scale, w[:-1], float(w[-1])


def predict(model: tuple[np.ndarray, np.ndarray, np.ndarray, float], x: np.ndarray) -> np.ndarray:
    mean, scale, weights, bias = model
    return 1 / (1 + np.exp(-((x - mean) / scale @ weights + bias)))


def judged(x: np.ndarray, y: np.ndarray, folds: np.ndarray, same: np.ndarray) -> dict[str, object]:
    """The model fitted to all samples, and how well one does on kinds that it was not fitted to."""
    held_out = np.zeros(len(y))
    for fold in np.unique(folds):
        held_out[folds == fold] = predict(fit(x[folds != fold], y[folds != fold]), x[folds == fold])
    bins = np.minimum((held_out * 10).astype(int), 9)
    quality = {
        "AUROC": round(auroc(list(held_out), y), 4),
        "AUROC on targets of the same kind": round(auroc(list(held_out[same]), y[same]), 4),
        "coverage at 90 % precision": round(float(coverage(list(held_out), y)), 4),
        "expected calibration error": round(
            float(
                sum((bins == b).mean() * abs(held_out[bins == b].mean() - y[bins == b].mean()) for b in np.unique(bins))
            ),
            4,
        ),
    }
    mean, scale, weights, bias = fit(x, y)
    return {
        "about": "Logistic model of the probability that a placed quad has IoU >= 0.5 with the right one",
        "command": "",
        "data": {
            "samples": len(y),
            "right": int(y.sum()),
            "folds": {str(f): int((folds == f).sum()) for f in np.unique(folds)},
        },
        "left out kind by kind": quality,
        "bias": round(bias, 5),
        "signs": {
            name: {"weight": round(float(w), 5), "mean": round(float(m), 5), "scale": round(float(s), 5)}
            for name, w, m, s in zip(NAMES, weights, mean, scale, strict=True)
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("willow", type=Path)
    parser.add_argument("--limit", type=int, default=600)
    parser.add_argument("--warps", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--raw", type=Path, help=".npz file for the signs and the truth of each sample")
    args = parser.parse_args()
    if set(json.loads(OUTPUT.read_text(encoding="utf-8"))["signs"]) != set(NAMES):  # placements need some model
        neutral = {name: {"weight": 0, "mean": 0, "scale": 1} for name in NAMES}
        write_text(OUTPUT, json.dumps({"bias": 0, "signs": neutral}) + "\n")
    x, y, folds, same = samples(args.willow, args.limit, args.warps, args.seed)
    record = judged(x, y, folds, same)
    record["command"] = (
        "python benchmarks/calibrate_confidence.py PF-WILLOW "
        f"--limit {args.limit} --warps {args.warps} --seed {args.seed}"
    )
    write_text(OUTPUT, json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
    if args.raw:
        np.savez(args.raw, x=x, y=y, folds=folds, same=same, names=NAMES)


if __name__ == "__main__":
    main()
