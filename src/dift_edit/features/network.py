"""The base of all featurizers that run a network: settings, identity, and images of one size run together."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch

from dift_edit.features.base import FeatureMap, Featurizer, ModelInfo
from dift_edit.features.execution import AdaptiveBatch, Runtime
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.settings import Settings, fingerprint
from dift_edit.types import ImageLike

__all__ = ["NetworkFeaturizer", "PixelFeaturizer"]

S = TypeVar("S", bound=Settings)


class NetworkFeaturizer(Featurizer, ABC, Generic[S]):
    """A featurizer that runs a network.

    A subclass names its settings in `settings_type`, and says by `_group` which images may be run together and by
    `_extract` what their features are. What it derives from its settings it derives in `_follow_settings`.

    Parameters
    ----------
    settings : Settings
        What to take; an instance of `settings_type`.
    model : ModelInfo
        The weights' identity.
    runtime : Runtime, optional
        Where and how to run.
    """

    settings_type: ClassVar[type[Settings]]

    def __init__(self, settings: S, *, model: ModelInfo, runtime: Runtime | None = None) -> None:
        self.settings: S = settings
        self.runtime = runtime or Runtime()
        self._model = model

    @classmethod
    def _options(cls, settings: S | None, runtime: Runtime | None, options: dict[str, Any]) -> tuple[S, Runtime]:
        """The settings and the runtime, with options over the fields of both."""
        names = {item.name for item in fields(Runtime)}
        run = {key: value for key, value in options.items() if key in names}
        take = {key: value for key, value in options.items() if key not in names}
        return replace(settings or cls.settings_type(), **take), replace(runtime or Runtime(), **run)  # type: ignore[type-var, return-value]

    @property
    def model(self) -> ModelInfo:
        """The weights' identity."""
        return self._model

    @property
    def fingerprint(self) -> str:
        """Digest of weights, settings and number format."""
        return fingerprint(self.model.sha256, self.settings.fingerprint(), self.runtime.dtype)

    def with_settings(self, **changes: Any) -> Self:
        """The same network with other settings; nothing is loaded again.

        Raises
        ------
        SettingsError
            If a setting is not one of its choices, out of its range, or does not suit the network.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, settings=replace(self.settings, **changes))  # type: ignore[type-var]
        other._follow_settings()
        return other

    def __call__(self, image: ImageLike, *, seed: int = 0) -> FeatureMap:
        """Features of an image.

        Parameters
        ----------
        image : Image, path, array or tensor
            See `as_image`.
        seed : int
            What is random follows from it and from the image's content.

        Returns
        -------
        FeatureMap
            float32, on the network's device.
        """
        return self.batch([image], seed=seed)[0]

    def batch(self, images: Sequence[ImageLike], *, seed: int = 0) -> list[FeatureMap]:
        """Features of several images, run together where their network sizes are equal.

        Parameters
        ----------
        images : sequence of Image, path, array or tensor
            The images.
        seed : int
            Random seed; each image's result is that of a single call, up to rounding.

        Returns
        -------
        list of FeatureMap
            In the order of the images.
        """
        pictures = [as_image(image) for image in images]
        groups: dict[Any, list[int]] = {}
        for index, picture in enumerate(pictures):
            groups.setdefault(self._group(picture), []).append(index)
        maps: dict[int, FeatureMap] = {}
        for members in groups.values():
            features = self._extract([pictures[index] for index in members], seed)
            for index, data in zip(members, features, strict=True):
                maps[index] = self._map(data, pictures[index])
        return [maps[index] for index in range(len(pictures))]

    def _map(self, data: torch.Tensor, picture: Image) -> FeatureMap:
        return FeatureMap(data, picture.size, self.fingerprint, picture.digest)

    def _follow_settings(self) -> None:
        """Check the settings against the network, and derive from them what running it needs."""

    @abstractmethod
    def _group(self, picture: Image) -> Hashable:
        """Images are run together where this is equal: the size in pixels that the network sees."""

    @abstractmethod
    def _extract(self, pictures: Sequence[Image], seed: int) -> Sequence[torch.Tensor]:
        """(C, h, w) float32 of each of some images, for all of which `_group` is equal."""


class PixelFeaturizer(NetworkFeaturizer[S]):
    """A featurizer whose features follow from the pixels alone, without noise or prompt.

    A subclass says by `from_pixels` what they are, and sets `network` and `_batch`.
    """

    network: Any
    _batch: AdaptiveBatch

    @abstractmethod
    def from_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of images that have the network's size.

        Parameters
        ----------
        pixels : torch.Tensor
            (B, 3, H, W) RGB in [0, 1], on the CPU.

        Returns
        -------
        torch.Tensor
            (B, C, h, w) float32, on the network's device.
        """

    def _extract(self, pictures: Sequence[Image], seed: int) -> list[torch.Tensor]:
        batches = self._batch(len(pictures), partial(self._resized, pictures, self._group(pictures[0])))
        return [data.contiguous() for _, features in batches for data in features]

    def _resized(self, pictures: Sequence[Image], size: tuple[int, int], part: slice) -> torch.Tensor:
        return self.from_pixels(torch.stack([picture.resized(size) for picture in pictures[part]]))

    @abstractmethod
    def _group(self, picture: Image) -> tuple[int, int]:
        """(W, H) that the network sees."""
