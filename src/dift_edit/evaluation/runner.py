"""Predict, then score: predictions are kept, so that a run can be resumed and scored again."""

import json
import logging
import math
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dift_edit._version import __version__
from dift_edit.atomic_files import parse_object, write_text
from dift_edit.errors import OutputError
from dift_edit.evaluation.base import (
    Benchmark,
    BenchmarkOptions,
    DatasetError,
    DrawsResults,
    Item,
    Maps,
    Prediction,
    Score,
)
from dift_edit.evaluation.homographies import HPatchesBenchmark
from dift_edit.evaluation.keypoints import KeypointBenchmark, TransferBenchmark
from dift_edit.evaluation.tss import TssBenchmark
from dift_edit.evaluation.videos import DavisBenchmark, JhmdbBenchmark
from dift_edit.features.base import Featurizer
from dift_edit.imaging.writing import save_image

__all__ = ["BENCHMARKS", "Report", "load_benchmark", "load_report", "run_benchmark"]

_log = logging.getLogger(__name__)

Maker = Callable[[Path, BenchmarkOptions, int], Benchmark]


def _keypoints(name: str) -> Maker:
    return lambda root, options, seed: KeypointBenchmark(name, root, options, seed)


BENCHMARKS: dict[str, Maker] = {
    "spair": _keypoints("spair"),
    "pf-willow": _keypoints("pf-willow"),
    "pf-pascal": _keypoints("pf-pascal"),
    "cub": _keypoints("cub"),
    "tss": TssBenchmark,
    "hpatches": HPatchesBenchmark,
    "davis": DavisBenchmark,
    "jhmdb": JhmdbBenchmark,
    "transfer": TransferBenchmark,
}
"""Name → ``make(root, options, seed)``."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of one benchmark with one featurizer.

    Attributes
    ----------
    benchmark : str
        Its name.
    headline : str
        The number that ranks models.
    settings : dict
        Everything that must be equal for predictions to be mixed: model, weights, fingerprint, options, seed.
    rows : dict
        Category → numbers; the last row, "all", is over everything.
    scores : dict
        Item → its score.
    seconds : float
        Time spent on predictions in this run.
    predicted : int
        Items that were predicted in this run; the others were there already.
    version : str
        Of the package.
    """

    benchmark: str
    headline: str
    settings: dict[str, Any]
    rows: dict[str, dict[str, float]]
    scores: dict[str, Score]
    seconds: float = 0.0
    predicted: int = 0
    version: str = field(default=__version__)

    @property
    def value(self) -> float:
        """The headline's number over everything."""
        return self.rows["all"][self.headline]

    def save(self, path: Path | str) -> None:
        """Write as JSON; numbers that do not exist become null."""
        write_text(path, json.dumps(_plain(asdict(self)), indent=1))


def load_report(path: Path | str) -> Report:
    """Read what `Report.save` wrote.

    Raises
    ------
    DatasetError
        If the file is no report.
    """
    try:
        record = parse_object(Path(path).read_text())
        rows = {
            name: {key: math.nan if value is None else value for key, value in row.items()}
            for name, row in record["rows"].items()
        }
        return Report(**{**record, "rows": rows})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is not a result of dift-edit evaluate: give its -o file.") from error


def load_benchmark(name: str, root: Path | str, options: BenchmarkOptions | None = None, seed: int = 0) -> Benchmark:
    """A benchmark by name.

    Raises
    ------
    DatasetError
        If the name is unknown or the root is no folder.
    """
    if name not in BENCHMARKS:
        raise DatasetError(f"There is no benchmark {name!r}: use one of {', '.join(BENCHMARKS)}.")
    benchmark = BENCHMARKS[name](Path(root), options or BenchmarkOptions(), seed)
    benchmark.dataset.require([Path(root)])
    return benchmark


def run_benchmark(
    name: str,
    root: Path | str,
    featurizer: Featurizer,
    *,
    options: BenchmarkOptions | None = None,
    folder: Path | str,
    limit: int = 0,
    seed: int = 0,
    restart: bool = False,
    pictures: Path | str | None = None,
    progress: Callable[[Sequence[Item]], Any] = iter,
) -> Report:
    """Predict what is not predicted yet, then score everything.

    Parameters
    ----------
    name : str
        A key of `BENCHMARKS`.
    root : path
        The data set.
    featurizer : Featurizer
        Gives the features.
    options : BenchmarkOptions, optional
        How it is run.
    folder : path
        Where predictions are kept.
    limit : int
        If not 0: so many items, spread evenly over the whole list.
    seed : int
        Random seed.
    restart : bool
        Throw away predictions that were made before.
    pictures : path, optional
        A folder for an image of every item: what was predicted beside what is annotated.
    progress : callable
        Wraps the list of items that are predicted, as ``tqdm`` does.

    Returns
    -------
    Report

    Raises
    ------
    DatasetError
        If files are missing, or the folder holds predictions made with other settings.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> import dift_edit as de
    >>> from dift_edit.evaluation import run_benchmark
    >>> from dift_edit.samples import FOLDER
    >>> # One pair in the layout of SPair-71k: two parts of one photograph, 100 pixels apart.
    >>> photo = de.load_image(FOLDER / "cat.jpg")
    >>> pictures, pairs = Path("SPair-71k/JPEGImages/cat"), Path("SPair-71k/PairAnnotation/test")
    >>> pictures.mkdir(parents=True), pairs.mkdir(parents=True)
    (None, None)
    >>> written = photo.crop((0, 0, 800, 600)).save(pictures / "a.jpg")
    >>> written = photo.crop((100, 0, 900, 600)).save(pictures / "b.jpg")
    >>> pair = {"src_imname": "a.jpg", "trg_imname": "b.jpg", "category": "cat"}
    >>> pair |= {"src_kps": [[400, 300], [500, 200]], "trg_kps": [[300, 300], [400, 200]]}
    >>> pair |= {"src_bndbox": [200, 100, 700, 500], "trg_bndbox": [100, 100, 600, 500]}
    >>> length = (pairs / "000000-a-b:cat.json").write_text(json.dumps(pair))
    >>> report = run_benchmark("spair", "SPair-71k", de.load_featurizer("lite"), folder="predictions")
    >>> report.headline, report.value
    ('PCK@0.1 per image', 100.0)
    """
    options = options or BenchmarkOptions()
    benchmark = load_benchmark(name, root, options, seed)
    if pictures is not None and not isinstance(benchmark, DrawsResults):
        raise DatasetError(f"Results of {name} cannot be drawn: leave the folder for pictures out.")
    items = spread(benchmark.items(), limit)
    settings = {
        "benchmark": name,
        "root": str(Path(root).resolve()),
        "model": asdict(featurizer.model),
        "fingerprint": featurizer.fingerprint,
        "options": asdict(options),
        "seed": seed,
    }
    store = Predictions(Path(folder), settings, restart=restart)
    maps = Maps(featurizer, seed=seed)
    todo = [item for item in items if item.key not in store.done]
    if len(todo) < len(items):
        _log.info("%d of %d items of %s were predicted before.", len(items) - len(todo), len(items), name)
    start = time.perf_counter()
    for item in progress(todo):
        store.add(item.key, benchmark.predict(item, maps, store.folder))
    seconds = time.perf_counter() - start
    scores = {item.key: benchmark.score(item, store.done[item.key], store.folder) for item in items}
    if pictures is not None and isinstance(benchmark, DrawsResults):
        Path(pictures).mkdir(parents=True, exist_ok=True)
        for item in items:
            name_of_file = re.sub(r"[^\w.-]+", "_", item.key) + ".jpg"
            save_image(benchmark.draw(item, store.done[item.key], store.folder), Path(pictures) / name_of_file)
    return Report(
        benchmark=name,
        headline=benchmark.headline,
        settings=settings,
        rows=tabulate(benchmark, items, scores),
        scores=scores,
        seconds=round(seconds, 2),
        predicted=len(todo),
    )


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """`limit` of the items at even distances, so that every category is hit; all when it is 0."""
    if not limit or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def tabulate(benchmark: Benchmark, items: Sequence[Item], scores: dict[str, Score]) -> dict[str, dict[str, float]]:
    """Numbers of each group, then of each tag, then of all."""
    groups: dict[str, list[Score]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(scores[item.key])
    tags: dict[str, list[Score]] = {}
    for item in items:
        for tag in item.tags:
            tags.setdefault(tag, []).append(scores[item.key])
    named = {**dict(sorted(groups.items())), **dict(sorted(tags.items())), "all": list(scores.values())}
    return {name: benchmark.summarise(part) for name, part in named.items()}


class Predictions:
    """A folder with ``settings.json`` and one line a prediction in ``predictions.jsonl``.

    Parameters
    ----------
    folder : Path
        Made when it does not exist.
    settings : dict
        Of this run.
    restart : bool
        Throw away what is there.

    Raises
    ------
    DatasetError
        If the folder was made with other settings.
    OutputError
        If it cannot be written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, restart: bool = False) -> None:
        self.folder = folder
        self.done: dict[str, Prediction] = {}
        self._lines = folder / "predictions.jsonl"
        settings_path = folder / "settings.json"
        plain = json.loads(json.dumps(settings))
        if restart and settings_path.exists():
            shutil.rmtree(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made ({error.strerror}): choose another one.") from error
        if settings_path.exists():
            try:
                before = parse_object(settings_path.read_text())
            except (OSError, ValueError) as error:
                raise DatasetError(f"{settings_path} is damaged: choose another output file.") from error
            self._check(before, plain)
            self._load()
        elif any(folder.iterdir()):
            raise DatasetError(f"{folder} is not empty and holds no predictions: choose another output file.")
        else:
            write_text(settings_path, json.dumps(plain, indent=1))

    def _check(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        flat = [{**record, **record.get("options", {})} for record in (before, now)]
        different = [
            f"{key} ({flat[0].get(key)!r} → {flat[1].get(key)!r})"
            for key in sorted(flat[0].keys() | flat[1].keys())
            if key not in ("options", "model") and flat[0].get(key) != flat[1].get(key)
        ]
        if different:
            raise DatasetError(
                f"{self.folder} holds predictions made with other settings, {', '.join(different)}: choose another "
                "output file, or start anew with --restart."
            )

    def _load(self) -> None:
        if not self._lines.exists():
            return
        whole = 0
        raw = self._lines.read_bytes()
        for line in raw.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                record = parse_object(line)
                self.done[record["key"]] = record["prediction"]
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
        if whole < len(raw):  # a run was killed while it wrote: what follows is predicted again
            with self._lines.open("r+b") as file:
                file.truncate(whole)

    def add(self, key: str, prediction: Prediction) -> None:
        """Append a prediction."""
        self.done[key] = json.loads(json.dumps(prediction))
        try:
            with self._lines.open("a") as file:
                file.write(json.dumps({"key": key, "prediction": prediction}) + "\n")
        except OSError as error:
            raise OutputError(f"{self._lines} cannot be written: {error.strerror}.") from error


def _plain(value: Any) -> Any:
    """The same with null for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
