"""Dense features of DINOv3's ConvNeXt networks, from the stock class of transformers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dift_edit.errors import MissingDependencyError, ModelError
from dift_edit.features.base import FeatureMap, ModelInfo
from dift_edit.features.execution import Runtime
from dift_edit.features.hooks import run_until
from dift_edit.features.sizing import check_size_mode, network_size
from dift_edit.features.vit import IMAGENET
from dift_edit.features.weights import quiet_transformers, weights_digest
from dift_edit.imaging.image import Image, as_image
from dift_edit.settings import fingerprint, option

__all__ = ["ConvNextFeaturizer", "ConvNextSettings"]

_STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class ConvNextSettings:
    """How features are taken from a ConvNeXt.

    Attributes
    ----------
    image_size : int
        In pixels, see `size_mode`; edges become multiples of a cell.
    size_mode : str
        "square", "short" or "none", see `network_size`.
    stages : tuple of int
        Numbers of the stages, 0 to 3 (strides 4, 8, 16 and 32), whose outputs are taken. Several get unit norm each,
        are brought to the finest grid and put side by side.
    """

    image_size: int = option(512, "in pixels of what the network sees")
    size_mode: str = option("short", "square, short (side) or none", choices=("square", "short", "none"))
    stages: tuple[int, ...] = (2, 3)

    def __post_init__(self) -> None:
        check_size_mode(self.size_mode)
        stages = self.stages
        object.__setattr__(self, "stages", tuple(stages) if isinstance(stages, list | tuple) else (stages,))
        if self.image_size < 1 or not self.stages:
            raise ModelError("The image size of a ConvNeXt must be at least 1, and one stage is needed.")
        if not all(0 <= stage < len(_STRIDES) for stage in self.stages):
            raise ModelError(f"The stages {self.stages} do not all exist: use 0 to {len(_STRIDES) - 1}.")

    def fingerprint(self) -> str:
        """Digest of the settings."""
        return fingerprint(type(self).__name__, self)


class ConvNextFeaturizer:
    """Inner features of a ConvNeXt.

    Parameters
    ----------
    network : transformers.DINOv3ConvNextModel
        The network.
    settings : ConvNextSettings
        What to take.
    model : ModelInfo
        The weights' identity.
    mean, std : sequence of float
        Of the pictures' normalisation.
    runtime : Runtime, optional
        Where and how to run.

    References
    ----------
    Liu et al., A ConvNet for the 2020s, CVPR 2022. Siméoni et al., DINOv3, 2025, section 7 (its distilled ConvNeXts).
    """

    def __init__(
        self,
        network: Any,
        settings: ConvNextSettings,
        *,
        model: ModelInfo,
        mean: Sequence[float] = IMAGENET[0],
        std: Sequence[float] = IMAGENET[1],
        runtime: Runtime | None = None,
    ) -> None:
        self.runtime = runtime or Runtime()
        self.network: Any = self.runtime.prepare(network)
        self.settings = settings
        self.model = model
        self._mean, self._std = (torch.tensor(value)[:, None, None] for value in (mean, std))
        self._batch = self.runtime.batches(self.network)

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        settings: ConvNextSettings | None = None,
        *,
        name: str = "",
        revision: str = "",
        runtime: Runtime | None = None,
        **options: Any,
    ) -> "ConvNextFeaturizer":
        """Load a folder in transformers' layout; the network is never asked.

        Parameters
        ----------
        folder : path
            Holds ``config.json`` and the weights.
        settings : ConvNextSettings, optional
            What to take.
        name, revision : str
            Recorded as the model's identity.
        runtime : Runtime, optional
            Where and how to run.
        **options
            Fields of `ConvNextSettings` over `settings`, and of `Runtime` over `runtime`.

        Raises
        ------
        ModelError
            If the folder holds no such model.
        MissingDependencyError
            If transformers is not installed.
        """
        try:
            from transformers import DINOv3ConvNextModel
        except ImportError as error:
            raise MissingDependencyError("transformers", "transformers", "A ConvNeXt") from error
        folder = Path(folder)
        run = {key: options.pop(key) for key in list(options) if key in Runtime.__dataclass_fields__}
        try:
            with quiet_transformers():
                network = DINOv3ConvNextModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        except Exception as error:  # each library underneath has errors of its own
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ModelError(f"The model in {folder} cannot be loaded ({reason}): restore its files.") from error
        return cls(
            network,
            replace(settings or ConvNextSettings(), **options),
            model=ModelInfo(id=name or str(folder), revision=revision, sha256=weights_digest(folder)),
            runtime=replace(runtime or Runtime(), **run),
        )

    @property
    def fingerprint(self) -> str:
        """Digest of weights, settings and number format."""
        return fingerprint(self.model.sha256, self.settings.fingerprint(), self.runtime.dtype)

    def __call__(self, image: Any, *, seed: int = 0) -> FeatureMap:
        """Features of a picture; nothing is random, `seed` is there for the protocol."""
        return self.batch([image], seed=seed)[0]

    def batch(self, images: Sequence[Any], *, seed: int = 0) -> list[FeatureMap]:
        """Features of several pictures, together where their network sizes are equal; in the pictures' order."""
        pictures = [as_image(image) for image in images]
        groups: dict[tuple[int, int], list[int]] = {}
        for index, picture in enumerate(pictures):
            # Whole cells of the coarsest stage: what does not fill one would be cut off.
            stride = max(_STRIDES[stage] for stage in self.settings.stages)
            size = network_size(
                picture.size, side=self.settings.image_size, mode=self.settings.size_mode, stride=stride
            )
            groups.setdefault(size, []).append(index)
        maps: dict[int, FeatureMap] = {}
        for size, members in groups.items():
            group = [pictures[index] for index in members]
            for part, features in self._batch(len(group), partial(self._features, group, size)):
                for index, data in zip(members[part], features, strict=True):
                    picture = pictures[index]
                    maps[index] = FeatureMap(data.contiguous(), picture.size, self.fingerprint, picture.digest)
        return [maps[index] for index in range(len(pictures))]

    def _features(self, pictures: Sequence[Image], size: tuple[int, int], part: slice) -> torch.Tensor:
        """(B, C, h, w) float32 of some pictures."""
        pixels = torch.stack([picture.resized(size) for picture in pictures[part]])
        pixels = ((pixels - self._mean) / self._std).to(self.runtime.device, self.runtime.torch_dtype)
        names = [f"model.stages.{stage}" for stage in self.settings.stages]
        outputs = run_until(self.network, names, lambda: self.network(pixels))
        maps = [outputs[name].float() for name in names]
        if len(maps) == 1:
            return maps[0]
        fine = max((one.shape[-2:] for one in maps), key=math.prod)
        units = [F.normalize(one, dim=1) for one in maps]
        return torch.cat([
            unit if unit.shape[-2:] == fine
            else F.normalize(F.interpolate(unit, size=fine, mode="bilinear", align_corners=False), dim=1)
            for unit in units
        ], 1)  # fmt: skip
