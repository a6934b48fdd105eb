"""Fit the confidence of placements to known ones, and write ``src/dift_edit/placement/confidence.json``.

    python benchmarks/calibrate_confidence.py ../shared/data/keypoints ../shared/data/pf_willow \\
        --models mini,lite:16,dift-mini:16 --count 40 --samples samples.jsonl --cache features

Data: so many plain pairs of each set of `transfer_suite.py`, and for every fourth of them the same edit looked for in a
target of another set, which is never right; placed by features alone, without the mirror test. Right is an IoU of at
least 0.5. The model is a logistic regression on the features of `dift_edit.placement.confidence` with a ridge, in which
none may count against its meaning: one per model named, and one for all others, fitted to the samples of all. Its
quality is measured by leaving each set out in turn. ``--samples`` keeps what was measured, so that a run can go on
where it was interrupted; samples of features that have changed have to be deleted by hand.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).parent))
from transfer_quality import auroc, coverage
from transfer_suite import StoredFeatures, calibration_error, draw, sets

from dift_edit.atomic_files import write_text
from dift_edit.features.registry import load_featurizer
from dift_edit.geometry.quad import quad_iou
from dift_edit.placement.confidence import ConfidenceFeatures
from dift_edit.placement.placement import locate_features

NAMES = [item.name for item in fields(ConfidenceFeatures)]
AGAINST = ("scale", "turn", "spread")
"""Features that speak against a placement where they are large; all others speak for it."""
BOUNDS: list[tuple[float | None, float | None]] = [(None, 0) if name in AGAINST else (0, None) for name in NAMES]
"""Of the weights: no feature may speak against its meaning."""
OUTPUT = Path(__file__).parents[1] / "src" / "dift_edit" / "placement" / "confidence.json"

Fit = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def gather(args: argparse.Namespace, model: str, count: int, known: list[dict[str, Any]]) -> None:
    """Add the samples of a model that are not known yet to the file of samples."""
    tasks = [
        task
        for folder in sets(args.folder)
        if not (folder / "homographies.jsonl").is_file()
        for task in draw(folder, count=count, mirrored=0, seed=args.seed)
    ]
    others = np.random.default_rng(args.seed).permutation(len(tasks))
    features = StoredFeatures(model, "never", args.cache)
    done = {(row["number"], row["same"]) for row in known if row["model"] == model}
    with args.samples.open("a", encoding="utf-8") as file:
        for number, task in enumerate(tasks):
            other = tasks[others[number]]
            for same in (True, False) if number % 4 == 0 and other.group != task.group else (True,):
                if number % args.parts != args.part or (number, same) in done:
                    continue
                target = task.target if same else other.target
                closer = features.closer(task.source, target)
                placed = locate_features(features(task.source), task.quad, features(target), closer=closer)
                if placed.confidence_features is not None:
                    iou = quad_iou(placed.quad, task.truth) if same else 0.0
                    row = {
                        "model": model, "number": number, "set": task.group, "same": same, "iou": iou,
                        "instances": placed.instances,
                        "signs": asdict(placed.confidence_features),
                    }  # fmt: skip
                    file.write(json.dumps(row) + "\n")
                    file.flush()


def fit(
    x: np.ndarray, y: np.ndarray, bounds: Sequence[tuple[float | None, float | None]] = (), ridge: float = 10.0
) -> Fit:
    """Mean, scale, weights and bias of a logistic regression; the weights within bounds, if there are any."""
    mean, scale = x.mean(0), x.std(0) + 1e-9
    design = np.c_[(x - mean) / scale, np.ones(len(x))]
    penalty = ridge * np.array([*np.ones(x.shape[1]), 0.0])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = design @ w
        gradient = design.T @ (1 / (1 + np.exp(-z)) - y) + penalty * w
        return float(np.logaddexp(0, z).sum() - y @ z + penalty @ w**2 / 2), gradient

    limits = [*bounds, (None, None)] if bounds else None
    found = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B", bounds=limits)
    return mean, scale, found.x[:-1], float(found.x[-1])


def predict(model: Fit, x: np.ndarray) -> np.ndarray:
    mean, scale, weights, bias = model
    return 1 / (1 + np.exp(-((x - mean) / scale @ weights + bias)))


def judged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The model fitted to samples, and how well one does on sets that it was not fitted to."""
    x = np.array([[row["signs"][name] for name in NAMES] for row in rows])
    y = np.array([row["iou"] >= 0.5 for row in rows])
    group, same = np.array([row["set"] for row in rows]), np.array([row["same"] for row in rows])
    held_out = np.zeros(len(y))
    quality = {}
    for name in np.unique(group):
        out = group == name
        held_out[out] = predict(fit(x[~out], y[~out], BOUNDS), x[out])
        kind = out & same
        quality[str(name)] = _quality(held_out[kind], y[kind])
    mean, scale, weights, bias = fit(x, y, BOUNDS)
    return {
        "samples": len(y),
        "right": int(y.sum()),
        "bias": round(bias, 5),
        "signs": {
            name: {"weight": round(float(w), 5), "mean": round(float(m), 5), "scale": round(float(s), 5)}
            for name, w, m, s in zip(NAMES, weights, mean, scale, strict=True)
        },
        "left out": {
            "with unrelated targets": _quality(held_out, y),
            "all sets": _quality(held_out[same], y[same]),
            "each set": quality,
            "least confidence": _curve(held_out[same], y[same]),
        },
    }


def _quality(confidence: np.ndarray, right: np.ndarray) -> dict[str, float]:
    values = {
        "samples": float(len(right)),
        "right": right.mean(),
        "confidence": confidence.mean(),
        "AUROC": auroc(list(confidence), right),
        "calibration error": calibration_error(confidence, right),
        "coverage at 90 % precision": coverage(list(confidence), right),
    }
    return {name: round(float(value), 4) for name, value in values.items() if np.isfinite(value)}


def _curve(confidence: np.ndarray, right: np.ndarray) -> dict[str, dict[str, float]]:
    """Least confidence → share of the placements that are kept, and share of these that are right."""
    return {
        f"{least:.1f}": {
            "coverage": round(float(kept.mean()), 3),
            "precision": round(float(right[kept].mean()), 3) if kept.any() else 1.0,
        }
        for least in np.arange(0, 0.91, 0.1)
        for kept in [confidence >= least - 1e-9]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="+", type=Path)
    parser.add_argument("--models", default="mini,lite:16,dift-mini:16", help="each with its own count, if wished")
    parser.add_argument("--count", type=int, default=40, help="pairs of each set")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path, default=Path("samples.jsonl"), help="file that keeps the samples")
    parser.add_argument("--cache", type=Path, help="folder that keeps the features between runs")
    parser.add_argument("--parts", type=int, default=1, help="so many processes share the work; the last one fits")
    parser.add_argument("--part", type=int, default=0, help="which of these this one is")
    parser.add_argument("--only-gather", action="store_true", help="fit nothing")
    args = parser.parse_args()
    args.samples.touch()

    def known() -> list[dict[str, Any]]:
        return [json.loads(line) for line in args.samples.read_text(encoding="utf-8").splitlines()]

    counts = {name: int(own or args.count) for name, _, own in (part.partition(":") for part in args.models.split(","))}
    for model, count in counts.items():
        gather(args, model, count, known())
    if args.only_gather:
        return
    rows = known()
    record = {
        "about": "Logistic models of the probability that a placed quad has IoU >= 0.5 with the right one",
        "command": f"python benchmarks/calibrate_confidence.py KEYPOINTS PF-WILLOW --models {args.models} "
        f"--count {args.count} --seed {args.seed}",
        "models": {
            model: {
                "fingerprint": load_featurizer(model).fingerprint,
                **judged([row for row in rows if row["model"] == model]),
            }
            for model in counts
        },
        "other models": judged(rows),
    }
    write_text(OUTPUT, json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
