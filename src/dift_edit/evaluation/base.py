"""What all benchmarks share: items, the protocol of a benchmark, missing files, and the supply of features."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch.nn.functional as F

from dift_edit.errors import DatasetError
from dift_edit.evaluation.options import BenchmarkOptions
from dift_edit.features.base import FeatureMap, Featurizer
from dift_edit.geometry.coords import Points, to_grid
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.matching.points import MatchSettings, match_points
from dift_edit.matching.search import FullResolutionSearch

__all__ = [
    "Benchmark",
    "BenchmarkOptions",
    "Dataset",
    "DatasetError",
    "DrawsResults",
    "Item",
    "Maps",
    "Prediction",
    "Score",
    "mean",
]

Prediction = dict[str, Any]
"""What was predicted for an item: plain data for JSON."""
Score = dict[str, Any]
"""What an item scored: plain data; ``value`` is the number that comparisons use (None where nothing was scored)."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Where a data set comes from, for messages and documentation.

    Attributes
    ----------
    name : str
        Its usual name.
    page : str
        Its official page.
    layout : str
        Files that are expected under the root.
    """

    name: str
    page: str
    layout: str

    def require(self, paths: Iterable[Path]) -> None:
        """Check that files or folders exist.

        Raises
        ------
        DatasetError
            Names the missing ones, the official page and the layout.
        """
        missing = [path for path in dict.fromkeys(paths) if not path.exists()]
        if missing:
            named = ", ".join(str(path) for path in missing[:3])
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise self.error(f"{named}{more} {'is' if len(missing) == 1 else 'are'} missing")

    def error(self, problem: str) -> DatasetError:
        """An error that says the problem, the official page and the layout."""
        return DatasetError(f"{problem}: get {self.name} from {self.page} ; expected under the root: {self.layout}.")


@dataclass(frozen=True, eq=False)
class Item:
    """One thing to predict and score: a pair of images, or a sequence.

    Attributes
    ----------
    key : str
        Unique in the benchmark; the same for every model.
    group : str
        Row of the table: a category.
    data : Any
        What the benchmark needs.
    tags : tuple of str
        Further rows to which it counts.
    """

    key: str
    group: str
    data: Any
    tags: tuple[str, ...] = ()


_SEARCHES = 16
"""Prepared searches that are kept in memory (chosen)."""


class Maps:
    """Features of images on demand, with the last ones kept in memory.

    Parameters
    ----------
    featurizer : Featurizer
        Makes them; its ``for_category`` gives the featurizer of a category's prompt.
    seed : int
        Of the noise.
    max_bytes : int
        Bound of the memory that the kept features take; at least two images are kept.
    """

    def __init__(self, featurizer: Featurizer, *, seed: int = 0, max_bytes: int = 1 << 30) -> None:
        self.featurizer = featurizer
        self.seed = seed
        self.max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, str, bool], FeatureMap] = OrderedDict()
        self._by_category: dict[str, Featurizer] = {}
        self._searches: OrderedDict[tuple[str, str, str, bool], FullResolutionSearch] = OrderedDict()

    def __call__(self, path: Path, *, category: str = "", mirrored: bool = False) -> FeatureMap:
        """Features of a picture's file."""
        key = (str(path), category, mirrored)
        if key not in self._kept:
            picture = as_image(path)
            self._kept[key] = self.for_category(category)(picture.mirrored() if mirrored else picture, seed=self.seed)
            self._evict()
        self._kept.move_to_end(key)
        return self._kept[key]

    def for_category(self, category: str) -> Featurizer:
        """The featurizer with a category's prompt, where it has prompts."""
        if not category:
            return self.featurizer
        if category not in self._by_category:
            self._by_category[category] = self.featurizer.for_category(category)
        return self._by_category[category]

    def nearest(
        self, source: FeatureMap, points: Points, path: Path, options: BenchmarkOptions, **which: Any
    ) -> Points:
        """Where points of an image are found in another one's file, forth only; searches are kept between calls.

        Parameters
        ----------
        source : FeatureMap
            Of the image with the points.
        points : ndarray
            (N, 2) in its pixels.
        path : Path
            The other image.
        options : BenchmarkOptions
            Raw features are interpolated as released, unit ones as corrected.
        **which
            ``category`` and ``mirrored``, as for a call.

        Returns
        -------
        ndarray
            (N, 2) in pixels of the other image.
        """
        target = self(path, **which)
        unit = options.protocol == "corrected"
        if options.consensus:
            settings = MatchSettings(metric=options.metric, consensus=options.consensus)
            return match_points(source, points, target, settings=settings).points
        key = (target.fingerprint, target.digest, options.metric, unit)
        if key not in self._searches:
            data = target.unit if unit else target.data.float()
            self._searches[key] = FullResolutionSearch(data, target.image_size, metric=options.metric)
            while len(self._searches) > _SEARCHES:
                self._searches.popitem(last=False)
        self._searches.move_to_end(key)
        data = source.unit if unit else source.data.float()
        grid = to_grid(points, source.image_size).to(data.device)[None, None]
        queries = F.grid_sample(data[None], grid, align_corners=False, padding_mode="border")[0, :, 0].T
        found, _ = self._searches[key](queries)
        return found

    def _evict(self) -> None:
        sizes = {key: kept.data.numel() * kept.data.element_size() * 2 for key, kept in self._kept.items()}
        total = sum(sizes.values())
        for key in list(self._kept)[:-2]:
            if total <= self.max_bytes:
                return
            del self._kept[key]
            total -= sizes[key]


class Benchmark(Protocol):
    """A data set with its way of predicting and scoring.

    Attributes
    ----------
    name : str
        On the command line.
    dataset : Dataset
        Where it comes from.
    headline : str
        The summary's number that ranks models.
    """

    name: str
    dataset: Dataset
    headline: str

    def items(self) -> list[Item]:
        """All items of the split, in a fixed order.

        Raises
        ------
        DatasetError
            If files are missing.
        """

    def predict(self, item: Item, maps: Maps, folder: Path) -> Prediction:
        """Predict one item without looking at its annotation; large results are written below `folder`."""

    def score(self, item: Item, prediction: Prediction, folder: Path) -> Score:
        """Score one prediction."""

    def summarise(self, scores: Sequence[Score]) -> dict[str, float]:
        """Numbers of one table row: per cent where they are rates."""


@runtime_checkable
class DrawsResults(Protocol):
    """A benchmark whose results can be looked at."""

    def draw(self, item: Item, prediction: Prediction, folder: Path) -> Image:
        """What was predicted for an item beside what is annotated."""


def mean(values: Iterable[float | None]) -> float:
    """Mean of the numbers that are there; NaN when there is none."""
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else float("nan")
