"""Fit and check the confidence of point matches on annotated pairs (PF-WILLOW).

    python benchmarks/match_confidence.py ../shared/data/pf_willow

A match counts as right within 0.1 of the longer side of the box of the target's keypoints. Printed: the coefficients
of the logistic regression of `dift_edit.matching`, the area under the ROC curve, and for each tenth of predicted
confidence how often the matches were right; all predictions are for sub-classes that were left out of the fit.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.io
from scipy.optimize import minimize

import dift_edit as de
from dift_edit import matching


def collect(root: Path, share: float, model: str) -> np.ndarray:
    """(N, 5) of right, distinctness, relative round-trip error, confidence as of now, sub-class."""
    featurizer, rng, rows = de.load_featurizer(model), np.random.default_rng(0), []
    for number, folder in enumerate(sorted(path for path in root.iterdir() if path.is_dir())):
        files = sorted(folder.glob("*.png"))
        maps = [featurizer(file) for file in files]
        marks = [scipy.io.loadmat(file.with_suffix(".mat"))["pts_coord"].T[:, :2] - 1.0 for file in files]
        for i, source in enumerate(maps):
            for j, target in enumerate(maps):
                if i == j or rng.random() > share:
                    continue
                points = np.clip(marks[i], 0, np.array(source.image_size) - 1)
                found = matching.match_points(source, target, points)
                distinct, relative = matching._distinctness(source, target, points, found.cycle_error)
                limit = 0.1 * np.ptp(marks[j], axis=0).max()
                right = np.linalg.norm(found.points - marks[j], axis=1) <= limit
                rows.append(np.stack([right, distinct, relative, found.confidence, np.full(len(right), number)], 1))
    return np.concatenate(rows)


def fit(inputs: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Coefficients of a logistic regression, constant first."""

    def loss(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -(2 * right - 1) * (inputs @ weights)).mean() + 1e-4 * (weights[1:] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(inputs.shape[1])).x)


def area(score: np.ndarray, right: np.ndarray) -> float:
    """Area under the ROC curve."""
    rank = np.argsort(np.argsort(score))
    positive = right.sum()
    return float((rank[right == 1].sum() - positive * (positive - 1) / 2) / (positive * (len(right) - positive)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the ordered pairs")
    parser.add_argument("--model", default="mini")
    args = parser.parse_args()
    right, distinct, relative, current, group = collect(args.root, args.share, args.model).T
    inputs = np.stack([np.ones_like(distinct), distinct, np.log1p(relative / 0.03)], 1)
    score = np.zeros_like(distinct)
    for number in np.unique(group):
        score[group == number] = inputs[group == number] @ fit(inputs[group != number], right[group != number])
    confidence = 1 / (1 + np.exp(-score))
    print(f"{len(right)} matches, {right.mean():.3f} right; coefficients {np.round(fit(inputs, right), 3).tolist()}")
    print(
        f"area under the ROC curve: left out {area(score, right):.3f}, shipped coefficients {area(current, right):.3f}"
    )
    print("confidence   matches   mean confidence   right   (shipped coefficients: mean, right)")
    for low in np.arange(0, 1, 0.1):
        part, shipped = ((v >= low) & (v < low + 0.1) for v in (confidence, current))
        if part.sum() >= 20:
            extra = f"({current[shipped].mean():.2f}, {right[shipped].mean():.2f})" if shipped.sum() else ""
            print(
                f"{low:.1f}–{low + 0.1:.1f}      {part.sum():7d}   {confidence[part].mean():15.2f}   "
                f"{right[part].mean():5.2f}   {extra}"
            )


if __name__ == "__main__":
    main()
