"""How exactly landmarks are found, on annotated pairs of many kinds; and the fit of their confidence.

    python benchmarks/landmarks.py ../shared/data/keypoints --cache features
    python benchmarks/landmarks.py ../shared/data/keypoints --skip 25 --pairs 6 --unrelated 4 --samples samples.jsonl
    python benchmarks/landmarks.py --fit samples.jsonl

A folder with ``pairs.jsonl`` is a set, any other is searched for sets. Of each so many pairs that are not mirrored are
drawn by the seed. Three ways in one run: plain nearest neighbours (``match_points(consensus=0)``), `match_points`, and
the landmark engine. For each set: median error in % of the longer side of the box of the target's keypoints, and PCK at
0.02, 0.05 and 0.1 of it; for the engine also how well its confidence tells the landmarks within 0.05 from the others
(area under the ROC curve; mean confidence and share that is right), the mean confidence of the object, and the
processor time of a target (median).

``--unrelated`` adds targets that do not show the object at all: pictures of other sets. They are left out of the
errors; the column "object" says how sure the engine is that the object is there.

``--samples`` keeps what the confidence is made from, so that ``--fit`` can fit it to the samples of all sets and judge
it on each set by a fit to the others; what it finds goes to ``src/dift_edit/landmarks/confidence.json``. Use pairs for
it that the table does not show (``--skip``).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from calibrate_confidence import fit, predict
from transfer_quality import auroc
from transfer_suite import calibration_error, sets

import dift_edit as de
from dift_edit.atomic_files import write_text
from dift_edit.features.cache import CachedFeaturizer, FeatureCache
from dift_edit.features.registry import load_featurizer
from dift_edit.landmarks.confidence import LANDMARK_SIGNS, OBJECT_SIGNS
from dift_edit.landmarks.matcher import LandmarkMatcher

OUTPUT = Path(__file__).parents[1] / "src" / "dift_edit" / "landmarks" / "confidence.json"
NOWHERE = 9.0
"""Error, in extents, of landmarks that the target does not show."""
WAYS = ("nearest neighbours", "match_points", "landmarks")
ALPHAS = (0.02, 0.05, 0.1)
ALIKE = ({"animals", "assorted", "livestock"},)
"""Sets that show the same kinds: their pictures are not unrelated."""


def draw(folder: Path, count: int, skip: int, seed: int) -> Iterator[dict[str, Any]]:
    """Pairs of a set that are not mirrored, with whole paths."""
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if not row.get("mirrored")]
    start = min(skip, max(len(rows) - count, 0))
    for k in np.random.default_rng(seed).permutation(len(rows))[start : start + count]:
        points = {key: np.asarray(rows[k][key], float) for key in ("source_points", "target_points")}
        yield {"source": folder / rows[k]["source"], "target": folder / rows[k]["target"], **points}


def unrelated(folder: Path, folders: list[Path], count: int, skip: int, seed: int) -> Iterator[dict[str, Any]]:
    """Sources of a set with targets of others."""
    kin = next((group for group in ALIKE if folder.name in group), {folder.name})
    others = [other for other in folders if other.name not in kin]
    start = folders.index(folder)
    for k, pair in enumerate(draw(folder, count, skip, seed)):
        (other,) = draw(others[(start + k) % len(others)], 1, skip + k, seed + 1)
        yield {**pair, "target": other["target"], "target_points": None}


def measure(pair: dict[str, Any], featurizer: de.Featurizer, mirror: Any) -> dict[str, Any]:
    """Errors of one pair's landmarks in extents of the target's, by each way; and what the confidence is made from."""
    source, target = (de.load_image(pair[key]) for key in ("source", "target"))
    points, truth = np.clip(pair["source_points"], 0, np.array(source.size) - 1), pair["target_points"]
    matcher = LandmarkMatcher(source, points, featurizer=featurizer, mirror=mirror)
    start = time.process_time()
    found = matcher(target)
    seconds = time.process_time() - start
    errors = {"landmarks": [NOWHERE] * len(points)}
    if truth is not None:
        near, far = featurizer(source), featurizer(target)
        places = (
            de.match_points(near, points, far, consensus=0.0).points, de.match_points(near, points, far).points,
            found.points,
        )  # fmt: skip
        extent = float(np.ptp(truth, axis=0).max())
        errors = {
            way: np.round(np.linalg.norm(place - truth, axis=1) / extent, 5).tolist()
            for way, place in zip(WAYS, places, strict=True)
        }
    return {
        "errors": errors,
        "unrelated": truth is None,
        "seconds": round(seconds, 2),
        "confidence": np.round(found.confidence, 5).tolist(),
        "object confidence": round(found.object_confidence, 5),
        "landmark": np.round(found.signs["landmark"], 5).tolist(),
        "object": np.round(found.signs["object"], 5).tolist(),
        "mirrored": found.mirrored,
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One line a set."""
    yield "| set | " + " | ".join(WAYS) + " | AUROC | confidence / right | object: there / not | seconds |"
    yield "|---|" + "---|" * (len(WAYS) + 4)
    for name in dict.fromkeys(row["set"] for row in rows):
        chosen = [row for row in rows if row["set"] == name and not row["unrelated"]]
        there, absent = (
            np.mean(
                [row["object confidence"] for row in rows if row["set"] == name and row["unrelated"] == flag] or np.nan
            )
            for flag in (False, True)
        )
        cells = []
        for way in WAYS:
            error = np.concatenate([row["errors"][way] for row in chosen])
            shares = " / ".join(f"{100 * (error < alpha).mean():.1f}" for alpha in ALPHAS)
            cells.append(f"{100 * np.median(error):.2f} %, {shares}")
        right = np.concatenate([row["errors"]["landmarks"] for row in chosen]) < 0.05
        sure = np.concatenate([row["confidence"] for row in chosen])
        cells += [f"{auroc(list(sure), right):.3f}", f"{sure.mean():.2f} / {right.mean():.2f}"]
        cells += [f"{there:.2f} / {absent:.2f}", f"{np.median([row['seconds'] for row in chosen]):.1f}"]
        yield f"| {name} ({len(chosen)}) | " + " | ".join(cells) + " |"


def fitted(rows: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The model of landmarks or objects, and how well one does on sets that it was not fitted to."""
    x, y, group = [], [], []
    for row in rows:
        error = np.array(row["errors"]["landmarks"])
        if kind == "landmark":
            x += row["landmark"]
            y += list(error < 0.05)
            group += [row["set"]] * len(error)
        elif not row["unrelated"]:  # see object_probability
            x.append(row["object"])
            y.append(float(np.median(error)) < 0.15)
            group.append(row["set"])
    signs, right, sets_of = np.array(x), np.array(y), np.array(group)
    held_out = np.zeros(len(right))
    for name in np.unique(sets_of):
        out = sets_of == name
        held_out[out] = predict(fit(signs[~out], right[~out]), signs[out])
    quality = {
        str(name): {
            "samples": int(part.sum()),
            "right": round(float(right[part].mean()), 3),
            "confidence": round(float(held_out[part].mean()), 3),
            "AUROC": round(auroc(list(held_out[part]), right[part]), 3) if 0 < right[part].mean() < 1 else None,
        }
        for name in np.unique(sets_of)
        for part in [sets_of == name]
    }
    mean, scale, weight, bias = fit(signs, right)
    names = (*LANDMARK_SIGNS, *OBJECT_SIGNS) if kind == "landmark" else OBJECT_SIGNS
    return {
        "signs": list(names),
        **{
            key: [round(float(v), 5) for v in values]
            for key, values in (("mean", mean), ("scale", scale), ("weight", weight))
        },
        "bias": round(bias, 5),
        "left out": {
            "all": {
                "samples": len(right),
                "AUROC": round(auroc(list(held_out), right), 4),
                "calibration error": round(calibration_error(held_out, right), 4),
            },
            "each set": quality,
        },
    }


def write_fit(samples: Path) -> None:
    """Fit the confidence of all models in a file of samples."""
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    models = sorted({row["model"] for row in rows}, key=lambda name: (name != "mini", name))  # the first is for others
    record = {
        "about": "Logistic models: landmarks within 5 % of the extent; objects with a median error below 15 % of it",
        "command": "python benchmarks/landmarks.py --fit SAMPLES",
        "models": {
            model: {
                "fingerprint": load_featurizer(model).fingerprint,
                **{
                    kind: fitted([row for row in rows if row["model"] == model], kind)
                    for kind in ("landmark", "object")
                },
            }
            for model in models
        },
    }
    write_text(OUTPUT, json.dumps(record, indent=1) + "\n")
    for model in models:
        for kind in ("landmark", "object"):
            print(model, kind, json.dumps(record["models"][model][kind]["left out"]))  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="*", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--pairs", type=int, default=25, help="of each set")
    parser.add_argument("--skip", type=int, default=0, help="leave so many pairs out before")
    parser.add_argument("--unrelated", type=int, default=0, help="targets that do not show the object, of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mirror", default="auto", choices=("auto", "never"))
    parser.add_argument("--only", default="", help="names of sets, with commas")
    parser.add_argument("--cache", type=Path, help="folder that keeps the features between runs")
    parser.add_argument("--samples", type=Path, help="file that keeps what was measured")
    parser.add_argument("--fit", type=Path, help="fit the confidence to such a file, and do nothing else")
    args = parser.parse_args()
    if args.fit:
        write_fit(args.fit)
        return
    featurizer = load_featurizer(args.model)
    if args.cache:
        featurizer = CachedFeaturizer(featurizer, FeatureCache(args.cache, max_bytes=40 << 30))
    rows = []
    folders = [folder for folder in sets(args.folder) if (folder / "pairs.jsonl").is_file()]
    for folder in folders:
        if args.only and folder.name not in args.only.split(","):
            continue
        pairs = [
            *draw(folder, args.pairs, args.skip, args.seed),
            *unrelated(folder, folders, args.unrelated, args.skip, args.seed),
        ]
        for pair in pairs:
            rows.append({"set": folder.name, "model": args.model, **measure(pair, featurizer, args.mirror)})
            if args.samples:
                with args.samples.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
        print(list(table(rows))[-1], file=sys.stderr, flush=True)
    print(*table(rows), sep="\n")


if __name__ == "__main__":
    main()
