"""Features of EfficientNet-Lite2, the embedded classifier's network: small, quick and without noise."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dift_edit.errors import SettingsError
from dift_edit.features.base import ModelInfo
from dift_edit.features.efficientnet_lite import EfficientNetLite
from dift_edit.features.execution import Runtime, available_cores
from dift_edit.features.network import PixelFeaturizer
from dift_edit.features.sizing import SIZE_MODES, network_size
from dift_edit.features.weights import load_state_file, weight_files, weights_digest
from dift_edit.imaging.image import Image
from dift_edit.settings import Settings, option

__all__ = ["LiteFeaturizer", "LiteSettings"]

_LEARNED = {14: -5.1, 19: -6.3}
"""By how many pixels the trained kernels look further to the left and up than the middle of what they see: half of how
far photographs and their mirrored and upside-down images were matched beside each other, at 320 and at 384 pixels."""


@dataclass(frozen=True, kw_only=True)
class LiteSettings(Settings):
    """How features are taken from EfficientNet-Lite2.

    Attributes
    ----------
    image_size : int
        In pixels, see `size_mode`; edges become multiples of a cell.
    size_mode : str
        "square", "short" or "none", see `network_size`.
    blocks : tuple of int
        Numbers of the blocks, 0 to 19, whose outputs are taken. Each gets unit norm, is sampled at the middles of the
        finest grid's cells and put beside the others.
    flip : bool
        Average with the features of the mirrored picture.
    """

    image_size: int = option(384, "size in pixels of what the network sees", limits=(1, None))
    size_mode: str = option("short", "square, short (side) or none", choices=SIZE_MODES)
    blocks: tuple[int, ...] = option((14, 19), "blocks whose outputs are taken", limits=(0, None))
    flip: bool = option(False, "average with the mirrored image's features")


class LiteFeaturizer(PixelFeaturizer[LiteSettings]):
    """Inner features of EfficientNet-Lite2, which was trained to classify ImageNet.

    Parameters
    ----------
    network : EfficientNetLite
        With its weights.
    settings : LiteSettings
        What to take.
    model : ModelInfo
        The weights' identity.
    runtime : Runtime, optional
        Where and how to run.

    References
    ----------
    Long et al., Do Convnets Learn Correspondence?, NeurIPS 2014 (inner features of classifiers as descriptors).
    """

    settings_type = LiteSettings

    def __init__(
        self,
        network: EfficientNetLite,
        settings: LiteSettings,
        *,
        model: ModelInfo,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(settings, model=model, runtime=runtime)
        self.network: Any = self.runtime.prepare(network)
        self._batch = self.runtime.batches(self.network)
        self._follow_settings()
        if self.runtime.compile:
            self.network.forward = torch.compile(self.network.forward, dynamic=False)

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        settings: LiteSettings | None = None,
        *,
        name: str = "",
        runtime: Runtime | None = None,
        **options: Any,
    ) -> "LiteFeaturizer":
        """Load a folder with the weights.

        Parameters
        ----------
        folder : path
            Holds one ``.safetensors`` file.
        settings : LiteSettings, optional
            What to take.
        name : str
            Recorded as the model's identity.
        runtime : Runtime, optional
            Where and how to run.
        **options
            Fields of `LiteSettings` over `settings`, and of `Runtime` over `runtime`.

        Raises
        ------
        ModelError
            If the folder holds no such weights.
        """
        folder = Path(folder)
        settings, runtime = cls._options(settings, runtime, options)
        network = EfficientNetLite()
        load_state_file(network, weight_files(folder)[0])
        model = ModelInfo(id=name or str(folder), sha256=weights_digest(folder))
        return cls(network, settings, model=model, runtime=runtime)

    def _follow_settings(self) -> None:
        count = len(self.network.strides)
        if not all(0 <= block < count for block in self.settings.blocks):
            raise SettingsError(f"The blocks {self.settings.blocks} do not all exist: use 0 to {count - 1}.")
        strides = [self.network.strides[block] for block in self.settings.blocks]
        self._stride, self._multiple = min(strides), max(strides)

    @property
    def parallel(self) -> int:
        """How many threads may use it at a time: as many as there are cores on a CPU, else one."""
        return available_cores() if self.runtime.on_cpu and not self.runtime.compile else 1

    def _group(self, picture: Image) -> tuple[int, int]:
        settings = self.settings
        return network_size(picture.size, side=settings.image_size, mode=settings.size_mode, stride=self._stride)

    def from_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of images that have the network's size, see `PixelFeaturizer`."""
        pixels = pixels * 2 - 1
        maps = self._views(pixels)
        if self.settings.flip:
            mirrored = [one.flip(-1) for one in self._views(pixels.flip(-1))]
            maps = [F.normalize(one + other, dim=1) for one, other in zip(maps, mirrored, strict=True)]
        return torch.cat(maps, 1)

    def _views(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Unit features of each block at the middles of the finest grid's cells."""
        stride, (height, width) = self._stride, pixels.shape[-2:]
        # Whole cells of the coarsest block, so that the grids of all blocks cover the same area.
        padded = F.pad(pixels, (0, -width % self._multiple, 0, -height % self._multiple), mode="replicate")
        layout = torch.channels_last if self.runtime.channels_last else torch.contiguous_format
        sample = padded.to(self.runtime.device, self.runtime.torch_dtype, memory_format=layout)
        with torch.inference_mode(), self.runtime.arithmetic(self.network):
            outputs = self.network(sample, self.settings.blocks)
        maps = []
        for output, block in zip(outputs, self.settings.blocks, strict=True):
            shift = self.network.offsets[block] + _LEARNED.get(block, 0.0)
            axes = []
            for edge, cells in ((width, output.shape[-1]), (height, output.shape[-2])):
                middles = (torch.arange(edge // stride) + 0.5) * stride - shift
                axes.append(2 * middles / (cells * self.network.strides[block]) - 1)
            grid = torch.stack(torch.meshgrid(*axes, indexing="xy"), -1).expand(len(output), -1, -1, -1)
            unit = F.normalize(output.float(), dim=1)
            sampled = F.grid_sample(unit, grid.to(unit), padding_mode="border", align_corners=False)
            maps.append(F.normalize(sampled, dim=1))
        return maps
