"""Fit and check the confidence of point matches on annotated pairs (PF-WILLOW), and on pairs of other things.

    python benchmarks/match_confidence.py ../shared/data/pf_willow

A match counts as right within 0.1 of the longer side of the box of the target's keypoints; on a picture of another kind
of thing (a car's point on a bottle) none is. Printed for matches that neighbours support and for those taken by
themselves: the weights of `dift_edit.matching.points`, the area under the ROC curve, and for each tenth of predicted
confidence how often the matches were right. All predictions are for sub-classes of source pictures that were left out
of the fit.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.io
from scipy.optimize import minimize
from scipy.special import expit

import dift_edit as de
from dift_edit.matching.consensus import consensus
from dift_edit.matching.points import match_signs


def collect(root: Path, count: int, model: str, *, together: bool) -> np.ndarray:
    """(N, 7) of right, related, confidence as of now, sub-class and the three signs."""
    featurizer, rng, rows = de.load_featurizer(model), np.random.default_rng(0), []
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    files = [(file, number) for number, folder in enumerate(folders) for file in sorted(folder.glob("*.png"))]
    maps = {file: featurizer(file) for file, _ in files}
    marks = {file: scipy.io.loadmat(file.with_suffix(".mat"))["pts_coord"].T[:, :2] - 1.0 for file, _ in files}
    kind = {file: folders[number].name.partition("(")[0] for file, number in files}
    for first, number in files:
        alike = [file for file, other in files if other == number and file != first]
        strange = [file for file, _ in files if kind[file] != kind[first]]
        for related, others in ((True, alike), (False, strange)):
            for second in rng.permutation(np.array(others, dtype=object))[:count]:
                source, target = maps[first], maps[second]
                points = np.clip(marks[first], 0, np.array(source.image_size) - 1)
                found = de.match_points(source, points, target, consensus=None if together else 0.0)
                distinct = consensus(source, target).match(points)[1] if together else None
                limit = 0.1 * np.ptp(marks[second], axis=0).max()
                right = (np.linalg.norm(found.points - marks[second], axis=1) <= limit) & related
                signs = match_signs(source, target, points, found.points, found.cycle_error, distinct)
                known = [right, np.full(len(right), related), found.confidence, np.full(len(right), number)]
                rows.append(np.column_stack([*known, signs]))
    return np.concatenate(rows)


def fit(signs: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Weights of a logistic regression, constant first."""
    inputs = np.column_stack([np.ones(len(signs)), signs])

    def loss(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -(2 * right - 1) * (inputs @ weights)).mean() + 1e-5 * (weights[1:] ** 2).sum())

    return np.asarray(minimize(loss, np.zeros(inputs.shape[1])).x)


def fit_both(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of being right on related pictures, and of being on a related picture."""
    related = rows[:, 1] == 1
    return fit(rows[related, 4:6], rows[related, 0]), fit(rows[:, 6:], rows[:, 1])


def predict(rows: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The confidence."""
    place, kind = weights
    return expit(place[0] + rows[:, 4:6] @ place[1:]) * expit(kind[0] + rows[:, 6:] @ kind[1:])


def area(score: np.ndarray, right: np.ndarray) -> float:
    """Area under the ROC curve."""
    rank = np.argsort(np.argsort(score))
    positive = right.sum()
    return float((rank[right == 1].sum() - positive * (positive - 1) / 2) / (positive * (len(right) - positive)))


def report(rows: np.ndarray) -> None:
    """Print weights and how good they are."""
    right, related, current, group = rows[:, :4].T
    confidence = np.zeros(len(rows))
    for number in np.unique(group):
        confidence[group == number] = predict(rows[group == number], fit_both(rows[group != number]))
    print(f"{len(rows)} matches; {right[related == 1].mean():.3f} of those on related pictures right")
    print("weights:", *(np.round(weights, 2).tolist() for weights in fit_both(rows)))
    for name, scores in (("left out", confidence), ("shipped", current)):
        alone = related == 1
        print(
            f"{name}: area under the ROC curve {area(scores, right):.3f}, on related pictures "
            f"{area(scores[alone], right[alone]):.3f}; mean on unrelated ones {scores[~alone].mean():.3f}, "
            f"1 in 10 above {np.quantile(scores[~alone], 0.9):.2f}"
        )
    print("confidence   matches   mean confidence   right")
    for low in np.arange(0, 1, 0.1):
        part = (confidence >= low) & (confidence < low + 0.1)
        if part.sum() >= 20:
            mean, share = confidence[part].mean(), right[part].mean()
            print(f"{low:.1f}–{low + 0.1:.1f}      {part.sum():7d}   {mean:15.2f}   {share:5.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--count", type=int, default=3, help="targets of each kind for a source")
    parser.add_argument("--model", default="mini")
    args = parser.parse_args()
    for together in (True, False):
        print("supported by neighbours" if together else "\nby themselves")
        report(collect(args.root, args.count, args.model, together=together))


if __name__ == "__main__":
    main()
