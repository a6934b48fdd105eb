"""How well an edit is placed on a set of targets of one kind: alone, learning from the set, and after corrections.

    python benchmarks/set_quality.py ../shared/data/keypoints --model mini --cache features --keep results

Of each kind so many pictures with named keypoints are drawn by the seed; one of them is the source, the others are
the targets. An edit is the box round 4 to 6 neighbouring keypoints; the truth is that box moved by the similarity of
the annotated keypoints, the reflected one where that fits better. A simulated user gives the true place of 1, 3 and 5
targets: those that `dift_edit.report.suggestions` names, three at a time with learning in between, or random ones,
drawn several times. Then every other target that is not sure is placed again with these as further views.

With `--poison` so many pictures of other kinds are among the targets, and the user accepts one result that is wrong:
the most confident wrong one, or, where none is wrong, one that is moved aside. Its figures are of the other targets.

Columns: mean IoU of all targets alone and with learning; gain of the mean IoU over the targets that were not
corrected, after k suggested and k random corrections; gain over all targets, the corrected ones, which are right now,
included; the same with strangers among the targets and with a wrong result accepted; abstentions; processor time of
placing with learning over placing alone (features kept). What was measured of a set is kept in a folder, and not
measured again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from transfer_quality import put

from dift_edit.atomic_files import write_text
from dift_edit.batch.learning import ROUNDS, TEACHES, KnownPlace, Teachers, improves, least_sure, most_alike
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.features.cache import CachedFeaturizer, FeatureCache
from dift_edit.features.registry import load_featurizer
from dift_edit.geometry.estimate import Correspondences, fit_similarity
from dift_edit.geometry.quad import quad_folds, quad_iou
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image
from dift_edit.placement.placement import Placement, locate_features
from dift_edit.placement.second_look import closer_features
from dift_edit.placement.views import SeenView, View
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


def strangers(root: Path, kind: str, count: int, seed: int) -> list[Path]:
    """Pictures of other kinds, each of another set."""
    folders = sorted({folder for folder, _ in KINDS.values()} - {KINDS[kind][0]})
    rng, found = np.random.default_rng(seed), []
    for folder in rng.permutation(folders)[:count]:
        found.append(rng.choice(sorted((root / folder).glob("*.jpg")) or sorted((root / folder).glob("*.png"))))
    return found


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

    def __init__(self, case: Case, pictures: Pictures, strangers: Sequence[Path] = ()) -> None:
        self.case, self.pictures = case, pictures
        self.source = pictures.features(case.source)
        self.targets = [*case.targets, *strangers]
        self.seen: dict[KnownPlace, SeenView] = {}
        for path in self.targets:  # not to be timed
            pictures.features(path), pictures.features(path, mirrored=True)
        start = time.process_time()
        self.alone = [self.place(k) for k in range(len(self.targets))]
        self.seconds = time.process_time() - start
        self.looks = {f"{k:04}": look_of(pictures.features(path), self.source) for k, path in enumerate(self.targets)}

    def place(self, k: int, taught: Sequence[KnownPlace] = ()) -> Placement:
        """A target, alone or with further views."""
        path, pictures = self.targets[k], self.pictures
        for place in taught:
            if place not in self.seen:
                self.seen[place] = self.look(place).seen(pictures.featurizer)
        return locate_features(
            self.source, self.case.quad, pictures.features(path), lambda: pictures.features(path, mirrored=True),
            closer=closer_features(
                pictures.featurizer, pictures.image(self.case.source), self.source, pictures.image(path)
            ),
            views=[self.seen[place] for place in taught],
        )  # fmt: skip

    def look(self, place: KnownPlace) -> View:
        image = self.pictures.image(self.targets[int(place.id)])
        return View(image=image, quad=place.quad, weight=place.weight).facing(self.case.quad)

    def truths(self, corrected: Sequence[int]) -> dict[int, Array]:
        return {k: self.case.truths[k] for k in corrected}

    def learn(self, decided: dict[int, Array] | None = None) -> list[Placement]:
        """The placements after learning, with the places of some targets that a person decided."""
        held, found, used = decided or {}, list(self.alone), dict[int, list[str]]()

        def known() -> list[KnownPlace]:
            places = [KnownPlace(id=f"{k:04}", quad=_plain(quad), weight=1.0, decided=True) for k, quad in held.items()]
            for k in sorted(range(len(found)), key=lambda k: -found[k].confidence):
                if found[k].confidence >= TEACHES and k not in held and not found[k].reason:
                    places.append(KnownPlace(id=f"{k:04}", quad=_plain(found[k].quad), weight=found[k].confidence))
            return places

        least = least_sure({f"{k:04}": each.confidence for k, each in enumerate(self.alone)})
        teachers = Teachers(self.look, self.pictures.featurizer)
        for _ in range(ROUNDS if held else 1):
            chosen = teachers.choose(known())
            unsure = [k for k in range(len(found)) if found[k].confidence < SURE and k not in held]
            unsure = [k for k in unsure if held or f"{k:04}" in least]
            again = {k: most_alike(chosen, self.looks, f"{k:04}") for k in unsure}
            again = {k: taught for k, taught in again.items() if taught and used.get(k) != [each.id for each in taught]}
            if not again:
                break
            used.update({k: [place.id for place in taught] for k, taught in again.items()})
            placed = {k: self.place(k, taught) for k, taught in again.items()}
            for k, after in placed.items():
                if improves(after, found[k].confidence, TransferSettings().min_confidence, again[k]):
                    found[k] = after
        return found

    def suggested(self, count: int) -> list[int]:
        """The targets that the review page would name, three at a time, with learning in between."""
        chosen: list[int] = []
        while len(chosen) < count:
            found = self.learn(self.truths(chosen)) if chosen else self.alone
            more = self._named(found, chosen, min(3, count - len(chosen)))
            if not more:
                break
            chosen += more
        return chosen

    def _named(self, found: Sequence[Placement], corrected: Sequence[int], count: int) -> list[int]:
        rows = [
            Row(
                id=f"{k:04}", target="", status="applied", confidence=found.confidence,
                look=self.looks[f"{k:04}"],
                review="accepted" if k in corrected else "", views=[f"{each:04}" for each in corrected],
            )
            for k, found in enumerate(found)
        ]  # fmt: skip
        return [int(key) for key in suggest(rows, count)]

    def iou(self, found: Sequence[Placement], left_out: Sequence[int] = ()) -> list[float]:
        """Of the targets that were not corrected."""
        return [
            0.0 if quad_folds(each.quad) else quad_iou(each.quad, truth)
            for k, (each, truth) in enumerate(zip(found, self.case.truths, strict=False))  # strangers have none
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


class Measurements:
    """What is measured of one case, part by part: those that a file keeps are not measured again."""

    def __init__(
        self, case: Case, pictures: Pictures, *, seed: int, draws: int, strangers: Sequence[Path], kept: Path | None
    ) -> None:
        self.case, self.pictures, self.seed, self.strangers, self.kept = case, pictures, seed, strangers, kept
        rng = np.random.default_rng(seed)
        self.orders = [rng.permutation(len(case.targets)).tolist() for _ in range(draws)]
        self.parts: dict[str, dict[str, list[float]]] = {}
        if kept and kept.exists():
            self.parts = json.loads(kept.read_text(encoding="utf-8"))

    def take(self) -> dict[str, dict[str, list[float]]]:
        """Part → name → a value for each target."""
        wanted = {"learning": self.learning}
        if self.strangers:
            wanted |= {"strangers": self.with_strangers, "wrong": self.wrong}
        for count in (3, 1, 5):
            for how in ("suggested", "random"):
                wanted[f"{how} {count}"] = partial(self.corrected, how, count)
        for name, measured in wanted.items():
            if name not in self.parts:
                self.parts[name] = measured()
                if self.kept:
                    self.kept.parent.mkdir(parents=True, exist_ok=True)
                    write_text(self.kept, json.dumps(self.parts))
        return self.parts

    @cached_property
    def run(self) -> Run:
        return Run(self.case, self.pictures)

    @cached_property
    def poisoned(self) -> Run:
        return Run(self.case, self.pictures, self.strangers)

    def learning(self) -> dict[str, list[float]]:
        run, abstains, values = self.run, TransferSettings().min_confidence, dict[str, list[float]]()
        start = time.process_time()
        learned = run.learn()
        values["time"] = [(run.seconds + time.process_time() - start) / run.seconds]
        for name, found in (("alone", run.alone), ("learned", learned)):
            values[name] = run.iou(found)
            values[f"{name} abstained"] = [float(each.confidence < abstains) for each in found]
            values[f"{name} right"] = [float(iou >= 0.5) for iou in run.iou(found)]
        return values

    def corrected(self, how: str, count: int) -> dict[str, list[float]]:
        """What the other targets gain from the true places of some, and what all gain."""
        run, gains, of_all = self.run, list[float](), list[float]()
        for chosen in [run.suggested(count)] if how == "suggested" else [order[:count] for order in self.orders]:
            found = run.learn(run.truths(chosen)) if chosen else run.alone
            if chosen:
                gains += (np.array(run.iou(found, chosen)) - run.iou(run.alone, chosen)).tolist()
                right = np.where(np.isin(range(len(self.case.targets)), chosen), 1.0, run.iou(found))
                of_all += (right - run.iou(run.alone)).tolist()
        return {f"{how} {count}": gains, f"all, {how} {count}": of_all} if gains else {}

    def with_strangers(self) -> dict[str, list[float]]:
        """What learning gains with pictures of other kinds among the targets."""
        run, abstains, learned = self.poisoned, TransferSettings().min_confidence, self.poisoned.learn()
        values = {"strangers": (np.array(run.iou(learned)) - run.iou(run.alone)).tolist()}
        for name, found in (("before", run.alone), ("after", learned)):
            strangers = found[len(self.case.targets) :]
            values[f"strangers {name}"] = [float(each.confidence >= abstains) for each in strangers]
        return values

    def wrong(self) -> dict[str, list[float]]:
        """What the others gain when, besides, one wrong result is accepted."""
        run, overlaps = self.poisoned, self.poisoned.iou(self.poisoned.alone)
        wrong = [k for k, overlap in enumerate(overlaps) if overlap < 0.3]
        if wrong:
            accepted = max(wrong, key=lambda k: run.alone[k].confidence)
            quad = run.alone[accepted].quad
        else:
            accepted = int(np.random.default_rng(self.seed).integers(len(overlaps)))
            quad = _aside(self.case.truths[accepted], self.pictures.image(self.case.targets[accepted]).size)
        found = run.learn({accepted: quad})
        return {"wrong": (np.array(run.iou(found, [accepted])) - run.iou(run.alone, [accepted])).tolist()}


def _aside(quad: Array, size: tuple[int, int]) -> Array:
    """A quad moved by its own width, to where there is more room."""
    low, high = quad.min(0), quad.max(0)
    way = 1 if size[0] - 1 - high[0] > low[0] else -1
    return np.clip(quad + (way * (high[0] - low[0]), 0), 0, np.array(size) - 1.0)


def _plain(quad: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, quad.tolist()))


COLUMNS = {
    "gain": "learned", **{f"{k} {how[0]}.": f"{how} {k}" for k in (1, 3, 5) for how in ("suggested", "random")},
    **{f"all, {k} {how[0]}.": f"all, {how} {k}" for k in (1, 3, 5) for how in ("suggested", "random")},
    "strangers": "strangers", "wrong": "wrong",
}  # fmt: skip
"""Heading → name of the scores; gains."""


def table(scores: dict[str, Scores]) -> Iterator[str]:
    heads = ("set", "targets", "alone", *COLUMNS, "strangers applied", "abstained", "right", "time")
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    lines = []
    for kind, each in scores.items():
        gains = [each.mean(name) for name in COLUMNS.values()]
        gains[0] -= each.mean("alone")
        pairs = [(each.mean("strangers before"), each.mean("strangers after"))]
        pairs += [(each.mean(f"alone {name}"), each.mean(f"learned {name}")) for name in ("abstained", "right")]
        lines.append([each.mean("alone"), *gains, *(value for pair in pairs for value in pair), each.mean("time")])
        yield _line(kind, str(len(each.values["alone"])), lines[-1])
    total = sum(len(each.values["alone"]) for each in scores.values())
    columns = ([value for value in column if not np.isnan(value)] for column in zip(*lines, strict=True))
    yield _line("**mean**", str(total), [float(np.mean(column)) if column else float("nan") for column in columns])


def _line(kind: str, count: str, mean: Sequence[float]) -> str:
    split = 1 + len(COLUMNS)
    gains = " | ".join("" if np.isnan(value) else f"{value:+.3f}" for value in mean[1:split])
    pairs = " | ".join(
        "" if np.isnan(before) else f"{before:.2f} → {after:.2f}"
        for before, after in zip(mean[split:-1:2], mean[split + 1 : -1 : 2], strict=True)
    )
    return f"| {kind} | {count} | {mean[0]:.3f} | {gains} | {pairs} | {mean[-1]:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the annotated sets")
    parser.add_argument("--kinds", default=",".join(KINDS), help="names with commas between them")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=15, help="targets of a set")
    parser.add_argument("--sources", type=int, default=1, help="cases of a set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=2, help="of the random corrections")
    parser.add_argument("--poison", type=int, default=0, help="pictures of other kinds among the targets")
    parser.add_argument("--cache", type=Path, default=Path("features"), help="folder for features")
    parser.add_argument("--keep", type=Path, help="folder for what was measured of each set")
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    parser.add_argument("--title", default="Sets")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures, scores = Pictures(args.model, args.cache), dict[str, Scores]()
    for kind in args.kinds.split(","):
        found = cases(args.folder, kind, count=args.count, sources=args.sources, seed=args.seed)
        for number, case in enumerate(found):
            name = f"{args.model}-{kind.replace(' ', '_')}-{args.count}-{args.seed}-{args.draws}-{args.poison}-{number}"
            parts = Measurements(
                case, pictures, seed=args.seed, draws=args.draws, kept=args.keep and args.keep / f"{name}.json",
                strangers=strangers(args.folder, kind, args.poison, args.seed),
            ).take()  # fmt: skip
            for values in parts.values():
                for key, value in values.items():
                    scores.setdefault(kind, Scores()).add(key, value)
        if found:
            print(list(table({kind: scores[kind]}))[2], file=sys.stderr, flush=True)
    lines = list(table(scores))
    print("\n".join(lines))
    if args.markdown:
        put(args.markdown, args.title, lines)


if __name__ == "__main__":
    main()
