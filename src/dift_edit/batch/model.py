"""How a worker gets its featurizer, and how the threads of a process share it."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from dift_edit.features.base import FeatureMap, Featurizer, ModelInfo, NoFeaturizer
from dift_edit.features.cache import CachedFeaturizer, FeatureCache
from dift_edit.features.registry import load_featurizer
from dift_edit.job.recipe import Job
from dift_edit.types import ImageLike

__all__ = ["ModelSpec", "SharedFeaturizer"]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """How a worker gets its featurizer: the arguments of `load_featurizer`.

    Attributes
    ----------
    name : str
        A model of the registry, a preset, or a folder; "none" where no features are needed.
    device : str
        "cpu", "cuda", "mps"…; several with commas run one process each.
    settings : dict
        Further arguments.
    cache : str
        Folder in which features are kept and looked for; "" for none.
    """

    name: str = "mini"
    device: str = "cpu"
    settings: dict[str, Any] = field(default_factory=dict)
    cache: str = ""

    @classmethod
    def of_job(cls, job: Job, cache: str = "") -> "ModelSpec":
        """What a recipe names, on the first of its devices; the number format is one for all of them."""
        devices = [part.strip() for part in job.device.split(",") if part.strip()] or ["cpu"]
        kinds = {device.partition(":")[0] for device in devices}
        settings = job.model_settings if len(kinds) == 1 else {"dtype": "float32", **job.model_settings}
        name = job.model if job.needs_model else "none"
        return cls(name=name, device=devices[0], settings=settings, cache=cache)

    def load(self, device: str | None = None) -> Featurizer:
        """The featurizer, on another device if one is named."""
        if self.name == "none":
            return NoFeaturizer()
        featurizer = load_featurizer(self.name, device=device or self.device, **self.settings)
        return CachedFeaturizer(featurizer, FeatureCache(self.cache)) if self.cache else featurizer


class SharedFeaturizer(Featurizer):
    """A featurizer for several threads, which computes the features of the source and of its further views once.

    As many images are in the network at a time as the featurizer's ``parallel`` says;
    meanwhile the other threads place, blend and encode.

    Parameters
    ----------
    featurizer : Featurizer
        Gives the features.
    *digests : str
        Of the contents of the source and of the further views.
    """

    def __init__(self, featurizer: Featurizer, *digests: str) -> None:
        self.featurizer = featurizer
        self._digests = set(digests)
        self._kept: dict[tuple[str, int], FeatureMap] = {}
        self._source = threading.Lock()
        self._network = threading.Semaphore(featurizer.parallel)
        self._local = threading.local()
        self._screening = self
        if featurizer.screening is not featurizer:
            self._screening = SharedFeaturizer(featurizer.screening, *digests)
            self._screening._local = self._local

    @property
    def fingerprint(self) -> str:
        """As the featurizer's."""
        return self.featurizer.fingerprint

    @property
    def model(self) -> ModelInfo:
        """As the featurizer's."""
        return self.featurizer.model

    @property
    def parallel(self) -> int:
        """As the featurizer's."""
        return self.featurizer.parallel

    @property
    def screening(self) -> "SharedFeaturizer":
        """The featurizer's, shared in the same way; its time counts as this one's."""
        return self._screening

    def keep(self, *digests: str) -> None:
        """Keep the features of further views, too."""
        self._digests.update(digests)

    def for_category(self, category: str) -> "SharedFeaturizer":
        """With the category in the featurizer's prompt; the source's features are computed anew."""
        return SharedFeaturizer(self.featurizer.for_category(category), *self._digests)

    def __call__(self, image: ImageLike, *, seed: int = 0) -> FeatureMap:
        """Features of a picture; those of the source and of the further views are kept."""
        digest = getattr(image, "digest", "")
        if digest not in self._digests:
            return self._target(image, seed)
        with self._source:
            if (digest, seed) not in self._kept:
                self._kept[digest, seed] = self._compute(image, seed)
            return self._kept[digest, seed]

    def _compute(self, image: ImageLike, seed: int) -> FeatureMap:
        asked = time.perf_counter()
        with self._network:
            begun = time.perf_counter()
            features = self.featurizer(image, seed=seed)
        self._add(begun - asked, time.perf_counter() - begun)
        return features

    def _target(self, image: ImageLike, seed: int) -> FeatureMap:
        features = self._compute(image, seed)
        if getattr(self._local, "first", None) is None:
            self._local.first = features
        return features

    def take_first(self) -> FeatureMap | None:
        """The first map of a target that this thread made since it last took one."""
        first: FeatureMap | None = getattr(self._local, "first", None)
        self._local.first = None
        return first

    def _add(self, waited: float, computed: float) -> None:
        before = self.spent
        self._local.seconds = (before[0] + waited, before[1] + computed)

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds that this thread has waited for the network, and used it."""
        seconds: tuple[float, float] = getattr(self._local, "seconds", (0.0, 0.0))
        return seconds
