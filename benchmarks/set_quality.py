"""How well an edit is placed on a set of targets of one kind: alone, learning from the set, and after corrections.

    python benchmarks/set_quality.py ../shared/data/keypoints --model mini --cache features

Of each kind so many pictures with named keypoints are drawn by the seed; one of them is the source, the others are the
targets. An edit is the box round 4 to 6 neighbouring keypoints; the truth is that box moved by the similarity of the
annotated keypoints, the reflected one where that fits better. A simulated user gives the true place of 1, 3 and 5
targets: those that `dift_edit.report.suggestions` names, or random ones. Then every other target that is not sure is
placed again with these as further views. Columns: mean IoU of all targets alone and with learning; gain of the mean IoU
over the targets that were not corrected, after k suggested and k random corrections; abstentions.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from transfer_quality import put

from dift_edit.batch.learning import TEACHES, KnownPlace, choose_views, improves
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.features.cache import CachedFeaturizer, FeatureCache
from dift_edit.features.registry import load_featurizer
from dift_edit.geometry.estimate import Correspondences, fit_similarity
from dift_edit.geometry.quad import quad_folds, quad_iou
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image
from dift_edit.placement.placement import Placement, locate_features
from dift_edit.placement.views import View
from dift_edit.report.suggestions import suggest
from dift_edit.results.looks import look_of
from dift_edit.results.manifest import Row
from dift_edit.settings import SURE, TransferSettings

Array = np.ndarray

KINDS = {
    "albatrosses": ("birds", "Sooty"),
    "anis": ("birds", "Groove"),
    "people": ("people", ""),
    "cows": ("animals", "cows"),
    "dog": ("animals", "dog"),
    "horses": ("livestock", "horse"),
    "sheep": ("livestock", "sheep"),
    "cattle": ("livestock", "cattle"),
    "salmon": ("fish", ""),
    "butterflies": ("butterflies", ""),
    "fly wings": ("fly_wings", ""),
    "bees": ("bees", ""),
    "ducks": ("things", "duck"),
    "bottles": ("things", "winebottle"),
}
"""Name → set and beginning of the files' names."""
LARGEST_ERROR = 0.25
"""Root mean square distance, in sizes of the box, of the keypoints from the similarity that is called the truth: above,
the picture shows the part from another side, and is left out."""


@dataclass
class Case:
    """A source, an edit, and targets with what is true."""

    kind: str
    source: Path
    quad: Array
    targets: list[Path]
    truths: list[Array]


def cases(root: Path, kind: str, *, count: int, sources: int, seed: int) -> list[Case]:
    """Cases of a kind: as many as sources, each with an edit of its own, on one draw of pictures."""
    folder, prefix = KINDS[kind]
    known: dict[str, dict[str, list[float]]] = {}
    for line in (root / folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for side in ("source", "target"):
            known.setdefault(row[side], {}).update(zip(row["names"], row[f"{side}_points"], strict=True))
    names = sorted(name for name in known if name.startswith(prefix))
    rng = np.random.default_rng(seed)
    names = sorted(rng.permutation(names)[: count + 1].tolist())
    made = []
    for source in rng.permutation(names):
        parts = np.array(list(known[source].values()), dtype=float)
        labels = list(known[source])
        chosen = np.argsort(np.linalg.norm(parts - parts[rng.integers(len(parts))], axis=1))[: rng.integers(4, 7)]
        low, high = parts[chosen].min(0), parts[chosen].max(0)
        margin = 0.1 * (high - low).max()
        low, high = low - margin, high + margin
        if (high - low).min() < 8:
            continue
        quad = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
        targets, truths = [], []
        for name in names:
            common = [k for k in chosen if labels[k] in known[name]]
            if name == source or len(common) < 3:
                continue
            moved = np.array([known[name][labels[k]] for k in common], dtype=float)
            truth = _truth(parts[common], moved, quad)
            if truth is not None:
                targets.append(root / folder / name)
                truths.append(truth)
        if len(targets) >= 8:
            made.append(Case(kind, root / folder / source, quad, targets, truths))
        if len(made) == sources:
            break
    return made


def _truth(points: Array, moved: Array, quad: Array) -> Array | None:
    """Where the quad belongs, by the better of the two similarities; None where neither fits."""
    found = []
    for flip in (np.array([1.0, 1.0]), np.array([-1.0, 1.0])):
        similarity = fit_similarity(Correspondences(points, moved * flip, np.ones(len(points))))
        placed = similarity(quad)
        error = np.sqrt(((similarity(points) - moved * flip) ** 2).sum(1).mean())
        size = np.sqrt(abs(np.linalg.det(similarity.matrix[:2, :2])) * np.prod(np.ptp(quad, axis=0)))
        found.append((error / size, placed * flip))
    error, placed = min(found, key=lambda each: each[0])
    return placed if error < LARGEST_ERROR else None


class Pictures:
    """Pictures by path, and a featurizer that keeps what it made."""

    def __init__(self, model: str, cache: Path) -> None:
        self.featurizer: Featurizer = CachedFeaturizer(load_featurizer(model), FeatureCache(cache), dtype="float16")
        self._images: dict[Path, Image] = {}
        self._maps: dict[tuple[Path, bool], FeatureMap] = {}

    def image(self, path: Path) -> Image:
        if path not in self._images:
            self._images[path] = load_image(path)
        return self._images[path]

    def features(self, path: Path, *, mirrored: bool = False) -> FeatureMap:
        if (path, mirrored) not in self._maps:
            if len(self._maps) > 100:
                self._maps.clear()
            image = self.image(path)
            self._maps[path, mirrored] = self.featurizer(image.mirrored() if mirrored else image)
        return self._maps[path, mirrored]


class Run:
    """One case: what is found alone, and what the set or a user teaches."""

    def __init__(self, case: Case, pictures: Pictures) -> None:
        self.case, self.pictures = case, pictures
        self.source = pictures.features(case.source)
        start = time.process_time()
        self.alone = [self.place(k, []) for k in range(len(case.targets))]
        self.seconds = time.process_time() - start

    def place(self, k: int, views: Sequence[View]) -> Placement:
        """A target, alone or with further views."""
        path, pictures = self.case.targets[k], self.pictures
        seen = [view.seen(pictures.featurizer) for view in views]
        return locate_features(
            self.source, self.case.quad, pictures.features(path), lambda: pictures.features(path, mirrored=True),
            views=seen,
        )  # fmt: skip

    def look(self, place: KnownPlace) -> View:
        image = self.pictures.image(self.case.targets[int(place.id)])
        return View(image=image, quad=place.quad, weight=place.weight).facing(self.case.quad)

    def learn(self, corrected: Sequence[int] = ()) -> list[Placement]:
        """The placements after learning, with the true places of some targets."""
        places = [
            KnownPlace(id=f"{k:04}", quad=tuple(map(tuple, self.case.truths[k].tolist())), weight=1.0, decided=True)
            for k in corrected
        ]
        sure = [k for k, found in enumerate(self.alone) if found.confidence >= TEACHES and k not in corrected]
        for k in sorted(sure, key=lambda k: -self.alone[k].confidence):
            quad = tuple(map(tuple, self.alone[k].quad.tolist()))
            places.append(KnownPlace(id=f"{k:04}", quad=quad, weight=self.alone[k].confidence))
        chosen = choose_views(places, self.look, featurizer=self.pictures.featurizer)
        views = [self.look(place) for place in chosen]
        found, ids = list(self.alone), {place.id for place in chosen}
        for k, before in enumerate(self.alone):
            if views and before.confidence < SURE and f"{k:04}" not in ids:
                after = self.place(k, views)
                if improves(after, before.confidence, TransferSettings().min_confidence, decided=bool(corrected)):
                    found[k] = after
        return found

    def suggested(self, count: int) -> list[int]:
        """The targets that the review page would name."""
        rows = [
            Row(
                id=f"{k:04}", target="", status="applied", confidence=found.confidence,
                look=look_of(self.pictures.features(self.case.targets[k]), self.source),
            )
            for k, found in enumerate(self.alone)
        ]  # fmt: skip
        return [int(key) for key in suggest(rows, count)]

    def iou(self, found: Sequence[Placement], left_out: Sequence[int] = ()) -> list[float]:
        """Of the targets that were not corrected."""
        return [
            0.0 if quad_folds(each.quad) else quad_iou(each.quad, truth)
            for k, (each, truth) in enumerate(zip(found, self.case.truths, strict=True))
            if k not in left_out
        ]


@dataclass
class Scores:
    """Of one kind, over its cases: name → a value for each target."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, values: Sequence[float]) -> None:
        self.values.setdefault(name, []).extend(values)

    def mean(self, name: str) -> float:
        return float(np.mean(self.values.get(name, [float("nan")])))


def measure(case: Case, pictures: Pictures, scores: Scores, seed: int) -> None:
    run, abstains = Run(case, pictures), TransferSettings().min_confidence
    start = time.process_time()
    learned = run.learn()
    scores.add("time", [(run.seconds + time.process_time() - start) / run.seconds])
    for name, found in (("alone", run.alone), ("learned", learned)):
        scores.add(name, run.iou(found))
        scores.add(f"{name} abstained", [float(each.confidence < abstains) for each in found])
        scores.add(f"{name} confidence", [each.confidence for each in found])
        scores.add(f"{name} right", [float(iou >= 0.5) for iou in run.iou(found)])
    rng = np.random.default_rng(seed)
    for count in (1, 3, 5):
        for name, chosen in (
            ("suggested", run.suggested(count)),
            ("random", rng.permutation(len(case.targets))[:count].tolist()),
        ):
            if chosen:
                found = run.learn(chosen)
                gain = np.array(run.iou(found, chosen)) - run.iou(run.alone, chosen)
                scores.add(f"{name} {count}", gain.tolist())


def table(scores: dict[str, Scores]) -> Iterator[str]:
    heads = ("set", "targets", "alone", "learning", "gain", *(f"{k} {how}" for k in (1, 3, 5) for how in ("s.", "r.")))
    yield "| " + " | ".join([*heads, "abstained", "confidence", "right"]) + " |"
    yield "|---" * (len(heads) + 3) + "|"
    lines = []
    for kind, each in scores.items():
        gains = [each.mean(f"{how} {k}") for k in (1, 3, 5) for how in ("suggested", "random")]
        mean = [
            each.mean("alone"), each.mean("learned"), each.mean("learned") - each.mean("alone"), *gains,
            each.mean("alone abstained"), each.mean("learned abstained"), each.mean("alone confidence"),
            each.mean("learned confidence"), each.mean("alone right"), each.mean("learned right"),
        ]  # fmt: skip
        lines.append(mean)
        yield _line(kind, str(len(each.values["alone"])), mean)
    total = sum(len(each.values["alone"]) for each in scores.values())
    columns = ([value for value in column if not np.isnan(value)] for column in zip(*lines, strict=True))
    yield _line("**mean**", str(total), [float(np.mean(column)) if column else float("nan") for column in columns])


def _line(kind: str, count: str, mean: Sequence[float]) -> str:
    gains = " | ".join("" if np.isnan(value) else f"{value:+.3f}" for value in mean[2:9])
    pairs = " | ".join(f"{before:.2f} → {after:.2f}" for before, after in zip(mean[9::2], mean[10::2], strict=True))
    return f"| {kind} | {count} | {mean[0]:.3f} | {mean[1]:.3f} | {gains} | {pairs} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the annotated sets")
    parser.add_argument("--kinds", default=",".join(KINDS), help="names with commas between them")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=15, help="targets of a set")
    parser.add_argument("--sources", type=int, default=1, help="cases of a set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("features"), help="folder for features")
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    parser.add_argument("--title", default="Sets")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures, scores = Pictures(args.model, args.cache), dict[str, Scores]()
    for kind in args.kinds.split(","):
        for case in cases(args.folder, kind, count=args.count, sources=args.sources, seed=args.seed):
            measure(case, pictures, scores.setdefault(kind, Scores()), args.seed)
        if kind in scores:
            print(list(table({kind: scores[kind]}))[2], file=sys.stderr, flush=True)
    lines = list(table(scores))
    times = np.concatenate([each.values["time"] for each in scores.values()])
    lines.append(f"\nProcessor time of placing with learning over placing alone (features kept): {times.mean():.1f}.")
    print("\n".join(lines))
    if args.markdown:
        put(args.markdown, args.title, lines)


if __name__ == "__main__":
    main()
