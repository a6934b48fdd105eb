"""What every featurizer shares: the map it returns, its identity, and its noise."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F

from dift_edit.errors import IncomparableError, ModelError
from dift_edit.geometry.coords import Points, to_grid
from dift_edit.types import ImageLike

__all__ = [
    "FeatureMap",
    "Featurizer",
    "ModelInfo",
    "NoFeaturizer",
    "check_comparable",
    "image_seed",
    "make_noise",
]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Dense features of one picture. The grid covers exactly the picture's area.

    Attributes
    ----------
    data : torch.Tensor
        (C, h, w) floating point, on any device.
    image_size : (W, H)
        Size in pixels of the picture as displayed; its pixel p lies at ``(p + 0.5) * (w / W) - 0.5`` of the grid.
    fingerprint : str
        Of the featurizer and all its settings: maps can be compared only when it is equal.
    digest : str
        Of the picture's content.
    """

    data: torch.Tensor
    image_size: tuple[int, int]
    fingerprint: str = ""
    digest: str = ""

    @property
    def grid_size(self) -> tuple[int, int]:
        """(w, h) in cells."""
        return self.data.shape[2], self.data.shape[1]

    @cached_property
    def unit(self) -> torch.Tensor:
        """(C, h, w) float32 with Euclidean norm 1 at every cell."""
        return F.normalize(self.data.float(), dim=0)

    def sample(self, points: Points) -> torch.Tensor:
        """Features at points, bilinear between unit features, normalised again.

        Parameters
        ----------
        points : ndarray
            (N, 2) in pixels of the picture; outside points take the border's value.

        Returns
        -------
        torch.Tensor
            (N, C) float32 with norm 1.
        """
        grid = to_grid(points, self.image_size).to(self.unit.device)[None, None]
        sampled = F.grid_sample(self.unit[None], grid, align_corners=False, padding_mode="border")
        return F.normalize(sampled[0, :, 0].T, dim=1)

    def to(self, *args: Any, **kwargs: Any) -> "FeatureMap":
        """The map with its tensor moved or cast, as by ``torch.Tensor.to``."""
        return replace(self, data=self.data.to(*args, **kwargs))


def check_comparable(source: FeatureMap, target: FeatureMap) -> None:
    """Refuse two maps that cannot be compared.

    Raises
    ------
    IncomparableError
        If they have another number of channels, or come from different featurizers or settings (`fingerprint`).
    """
    if source.data.shape[0] != target.data.shape[0] or (
        source.fingerprint and target.fingerprint and source.fingerprint != target.fingerprint
    ):
        raise IncomparableError(
            "The two feature maps come from different featurizers or settings: make both with the same one."
        )


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Which weights made a result.

    Attributes
    ----------
    id : str
        Name in the registry or on a hub, or the folder.
    revision : str
        Version or commit; empty when unknown.
    sha256 : str
        Digest of the weight file, or of the list of digests when there are several.
    """

    id: str
    revision: str = ""
    sha256: str = ""


@runtime_checkable
class Featurizer(Protocol):
    """An image in, a `FeatureMap` out; deterministic for a seed.

    A class of your own that derives from this one has to give `fingerprint`, `model` and ``__call__``; the rest it
    inherits.
    """

    @property
    def fingerprint(self) -> str:
        """Digest of the weights and of all settings that change the features."""
        raise NotImplementedError

    @property
    def model(self) -> ModelInfo:
        """The weights' identity."""
        raise NotImplementedError

    @property
    def parallel(self) -> int:
        """How many threads may use it at a time; 1 unless a subclass knows better."""
        return 1

    def __call__(self, image: ImageLike, *, seed: int = 0) -> FeatureMap:
        """Features of an image or a path."""
        raise NotImplementedError

    def batch(self, images: Sequence[Any], *, seed: int = 0) -> list[FeatureMap]:
        """Features of several images, in their order; one after another unless a subclass runs them together."""
        return [self(image, seed=seed) for image in images]

    @property
    def screening(self) -> "Featurizer":
        """A quicker featurizer that is good enough to tell where a closer look is worth its time; itself, unless a
        subclass knows one.
        """
        return self

    def for_category(self, category: str) -> "Featurizer":
        """The featurizer for images of a category such as "cat"; itself unless it has a prompt."""
        return self


class NoFeaturizer(Featurizer):
    """Stands where no features are needed: every place is fixed or known."""

    fingerprint = "none"
    model = ModelInfo(id="none")

    @property
    def parallel(self) -> int:
        """As many threads as there are."""
        return 1 << 16

    def __call__(self, image: ImageLike, *, seed: int = 0) -> FeatureMap:
        """No features.

        Raises
        ------
        ModelError
            Always.
        """
        raise ModelError("Without a featurizer an edit has no place: give one, use the engine 'fixed', or a placement.")


def image_seed(digest: str, seed: int) -> int:
    """The seed of one picture: it follows from its content, so that order and workers do not matter."""
    return int.from_bytes(hashlib.sha256(f"{digest} {seed}".encode()).digest()[:8], "big") >> 1


def make_noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Standard normal noise, float32, drawn on the CPU so that every device sees the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
