"""Dense features of DINOv3's ConvNeXt networks, from the stock class of transformers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dift_edit.features.base import ModelInfo
from dift_edit.features.execution import Runtime
from dift_edit.features.hooks import run_until
from dift_edit.features.network import PixelFeaturizer
from dift_edit.features.sizing import SIZE_MODES, network_size
from dift_edit.features.vit import IMAGENET
from dift_edit.features.weights import load_transformers_model, weights_digest
from dift_edit.imaging.image import Image
from dift_edit.settings import Settings, option

__all__ = ["ConvNextFeaturizer", "ConvNextSettings"]

_STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class ConvNextSettings(Settings):
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

    image_size: int = option(512, "size in pixels of what the network sees", limits=(1, None))
    size_mode: str = option("short", "square, short (side) or none", choices=SIZE_MODES)
    stages: tuple[int, ...] = option((2, 3), "stages whose outputs are taken", choices=(0, 1, 2, 3))


class ConvNextFeaturizer(PixelFeaturizer[ConvNextSettings]):
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

    settings_type = ConvNextSettings

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
        super().__init__(settings, model=model, runtime=runtime)
        self.network: Any = self.runtime.prepare(network)
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
        folder = Path(folder)
        settings, runtime = cls._options(settings, runtime, options)
        network = load_transformers_model("DINOv3ConvNextModel", folder, "A ConvNeXt")
        return cls(
            network,
            settings,
            model=ModelInfo(id=name or str(folder), revision=revision, sha256=weights_digest(folder)),
            runtime=runtime,
        )

    def _group(self, picture: Image) -> tuple[int, int]:
        # Whole cells of the coarsest stage: what does not fill one would be cut off.
        stride, settings = max(_STRIDES[stage] for stage in self.settings.stages), self.settings
        return network_size(picture.size, side=settings.image_size, mode=settings.size_mode, stride=stride)

    def from_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of images that have the network's size, see `PixelFeaturizer`."""
        pixels = ((pixels - self._mean) / self._std).to(self.runtime.device, self.runtime.torch_dtype)
        names = [f"model.stages.{stage}" for stage in self.settings.stages]
        with self.runtime.arithmetic(self.network):
            outputs = run_until(self.network, names, lambda: self.network(pixels))
        maps = [outputs[name].float() for name in names]
        if len(maps) == 1:
            return maps[0]
        fine = max((one.shape[-2:] for one in maps), key=math.prod)
        units = [F.normalize(one, dim=1) for one in maps]
        units = [
            F.normalize(F.interpolate(unit, size=fine, mode="bilinear", align_corners=False), dim=1)
            if unit.shape[-2:] != fine
            else unit
            for unit in units
        ]
        return torch.cat(units, 1)
