"""Features from a pixel-space diffusion U-Net: the embedded dift-mini, ADM, any diffusers ``UNet2DModel``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dift_edit.errors import ModelError, SettingsError
from dift_edit.features.adm_checkpoint import output_block_name
from dift_edit.features.base import FeatureMap, ModelInfo, image_seed, make_noise
from dift_edit.features.execution import Runtime, available_cores, is_small
from dift_edit.features.hooks import mean_outputs, run_until
from dift_edit.features.network import NetworkFeaturizer
from dift_edit.features.sizing import network_size
from dift_edit.features.weights import load_diffusers_part, weights_digest
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.settings import Settings, option
from dift_edit.types import ImageLike

__all__ = ["PixelDiffusionFeaturizer", "PixelDiffusionSettings"]


@dataclass(frozen=True, kw_only=True)
class PixelDiffusionSettings(Settings):
    """How features are taken from a pixel-space U-Net.

    Attributes
    ----------
    short_sides : tuple of int
        Sizes in pixels to which the picture's short side is brought; maps of several sizes are concatenated.
    square : bool
        Resize to a square of each size instead, whatever the aspect ratio (as the released DIFT code does).
    floor_to : int
        If not 0: edges become multiples of this, rounded down (DIFT's video protocol uses 32).
    timestep : int
        Diffusion timestep t of the noise.
    layers : tuple of str or int
        The U-Net's modules, as diffusers names ("up_blocks.1") or as ADM's ("output_blocks.4", or just 4). Outputs of
        several, each with unit norm, are concatenated on the finest grid.
    ensemble : int
        Number of noises whose features are averaged.
    flip : bool
        Average with the features of the mirrored picture.
    normalize : bool
        Give every cell unit norm. False, with one layer and one size: the mean output as it is.
    """

    short_sides: tuple[int, ...] = option((144,), "sizes of the short side in pixels", limits=(1, None))
    square: bool = option(False, "resize to a square of each size instead")
    floor_to: int = option(0, "round edges down to multiples of this, if not 0", limits=(0, None))
    timestep: int = option(5, "diffusion timestep", limits=(0, None))
    layers: tuple[str | int, ...] = option(("up_blocks.0", "up_blocks.1"), "modules whose outputs are taken")
    ensemble: int = option(1, "number of noise samples whose features are averaged", limits=(1, None))
    flip: bool = option(False, "average with the mirrored image's features")
    normalize: bool = option(True, "give every cell unit norm")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.normalize and (len(self.layers) > 1 or len(self.short_sides) > 1):
            raise SettingsError("Features of several layers or sizes are always normalised: leave normalize as it is.")


@dataclass(frozen=True, eq=False)
class _Input:
    """One picture at one size, as the network gets it.

    Attributes
    ----------
    noisy : torch.Tensor
        (views · draws, C, h, w).
    size, padded : (W, H)
        In pixels of the network's picture, before and after padding.
    """

    noisy: torch.Tensor
    size: tuple[int, int]
    padded: tuple[int, int]


class PixelDiffusionFeaturizer(NetworkFeaturizer[PixelDiffusionSettings]):
    """DIFT features of a pixel-space diffusion model.

    Parameters
    ----------
    unet : diffusers.UNet2DModel
        The network. With 3·k² input channels the picture is given through ``pixel_unshuffle(k)``.
    scheduler : diffusers scheduler
        Its ``add_noise`` puts the noise of timestep t on the picture.
    settings : PixelDiffusionSettings
        What to take.
    model : ModelInfo
        The weights' identity.
    runtime : Runtime, optional
        Where and how to run.

    References
    ----------
    Tang et al., Emergent Correspondence from Image Diffusion, NeurIPS 2023, section 4.1.
    """

    settings_type = PixelDiffusionSettings

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        settings: PixelDiffusionSettings,
        *,
        model: ModelInfo,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__(settings, model=model, runtime=runtime)
        self.unet: Any = self.runtime.prepare(unet)
        self.scheduler = scheduler
        self._unshuffle = math.isqrt(max(unet.config.in_channels // 3, 1))
        self._multiple = self._unshuffle * 2 ** (len(unet.config.block_out_channels) - 1)
        self._batch = self.runtime.batches(self.unet)
        self._follow_settings()
        self.runtime.compile_blocks(self.unet, self._layers)

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        settings: PixelDiffusionSettings | None = None,
        *,
        name: str = "",
        runtime: Runtime | None = None,
        **options: Any,
    ) -> "PixelDiffusionFeaturizer":
        """Load a diffusers folder with ``unet/`` and ``scheduler/`` from the disk; the network is never asked.

        Parameters
        ----------
        folder : path
            The folder.
        settings : PixelDiffusionSettings, optional
            What to take.
        name : str
            Recorded as the model's identity.
        runtime : Runtime, optional
            Where and how to run.
        **options
            Fields of `PixelDiffusionSettings` over `settings`, and of `Runtime` over `runtime`.

        Raises
        ------
        ModelError
            If the folder is not such a folder or its weights cannot be read.
        """
        from dift_edit.features.unet_2d import UNet2DModel, load_scheduler

        folder = Path(folder)
        settings, runtime = cls._options(settings, runtime, options)
        unet = load_diffusers_part(UNet2DModel, folder / "unet")
        try:
            scheduler = load_scheduler(folder / "scheduler")
        except Exception as error:  # diffusers has many kinds of errors here
            raise ModelError(f"{folder / 'scheduler'} cannot be read: restore the model's files.") from error
        model = ModelInfo(id=name or str(folder), sha256=weights_digest(folder / "unet"))
        return cls(unet, scheduler, settings, model=model, runtime=runtime)

    def _follow_settings(self) -> None:
        steps = self.scheduler.config.num_train_timesteps
        if not 0 <= self.settings.timestep < steps:
            raise SettingsError(f"The timestep {self.settings.timestep} does not exist: use 0 to {steps - 1}.")
        self._layers = tuple(output_block_name(layer, self.unet.config) for layer in self.settings.layers)

    @property
    def parallel(self) -> int:
        """How many threads may use it at a time: as many as there are cores for a small network on a CPU, else one."""
        several = self.runtime.on_cpu and not self.runtime.compile and is_small(self.unet)
        return available_cores() if several else 1

    def extract(self, image: ImageLike, noise: torch.Tensor | None = None, *, seed: int = 0) -> FeatureMap:
        """Features with a given noise.

        Parameters
        ----------
        image : Image, path, array or tensor
            The picture.
        noise : torch.Tensor, optional
            (ensemble, in_channels, h, w) for the network's input; only with one size.
        seed : int
            Makes the noise when none is given.

        Returns
        -------
        FeatureMap
        """
        picture = as_image(image)
        return self._map(self._features([picture], [image_seed(picture.digest, seed)], noise)[0], picture)

    def _group(self, picture: Image) -> tuple[tuple[int, int], ...]:
        return tuple(self._network_size(picture, side) for side in self.settings.short_sides)

    def _extract(self, pictures: Sequence[Image], seed: int) -> list[torch.Tensor]:
        return self._features(pictures, [image_seed(picture.digest, seed) for picture in pictures], None)

    def _features(
        self, pictures: Sequence[Image], seeds: Sequence[int], noise: torch.Tensor | None
    ) -> list[torch.Tensor]:
        """Features of pictures whose network sizes are equal."""
        scales = []
        for side in self.settings.short_sides:
            inputs = [self._input(picture, side, one, noise) for picture, one in zip(pictures, seeds, strict=True)]
            scales.append(self._run(inputs))
        if len(scales) == 1:
            return scales[0]
        maps = []
        for parts in zip(*scales, strict=True):
            height, width = (max(data.shape[axis] for data in parts) for axis in (1, 2))
            maps.append(torch.cat([_resize(unit, (height, width)) for unit in parts]) / math.sqrt(len(parts)))
        return maps

    def _network_size(self, picture: Image, side: int) -> tuple[int, int]:
        settings = self.settings
        mode, stride = "square" if settings.square else "short", self._finest_stride()
        return network_size(picture.size, side=side, mode=mode, stride=stride, floor_to=settings.floor_to)

    def _input(self, picture: Image, side: int, seed: int, noise: torch.Tensor | None) -> _Input:
        """One picture at one size, padded and noisy."""
        settings, size = self.settings, self._network_size(picture, side)
        pixels = picture.resized(size, exact=settings.square or bool(settings.floor_to))
        if noise is None:
            noise = make_noise((settings.ensemble, *self.noise_shape(size)), seed)
        return self._noisy(pixels, noise)

    def noise_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, h, w) of the noise for an image that the network sees at a size (W, H)."""
        columns, rows = (math.ceil(edge / self._multiple) * self._multiple // self._unshuffle for edge in size)
        return 3 * self._unshuffle**2, rows, columns

    def _noisy(self, pixels: torch.Tensor, noise: torch.Tensor) -> _Input:
        """An image (3, H, W) in [0, 1], padded, with (ensemble, C, h, w) noise."""
        settings, pixels = self.settings, pixels * 2 - 1
        size = (pixels.shape[-1], pixels.shape[-2])
        views = torch.stack([pixels, pixels.flip(-1)] if settings.flip else [pixels])
        padded = F.pad(views, (0, -size[0] % self._multiple, 0, -size[1] % self._multiple), mode="replicate")
        clean = F.pixel_unshuffle(padded, self._unshuffle) if self._unshuffle > 1 else padded
        if noise.shape[1:] != clean.shape[1:]:
            raise ModelError(
                f"The noise must be (ensemble, {', '.join(map(str, clean.shape[1:]))}), not {tuple(noise.shape)}."
            )
        timestep = torch.full((len(noise) * len(views),), settings.timestep, dtype=torch.long)
        batch = clean.repeat_interleave(len(noise), 0)
        noisy = self.scheduler.add_noise(batch, noise.cpu().float().repeat(len(views), 1, 1, 1), timestep)
        return _Input(noisy, size, (padded.shape[-1], padded.shape[-2]))

    def from_pixels(self, pixels: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Features of one image that has the network's size.

        Parameters
        ----------
        pixels : torch.Tensor
            (3, H, W) RGB in [0, 1], on the CPU.
        noise : torch.Tensor
            (ensemble, C, h, w), see `noise_shape`.

        Returns
        -------
        torch.Tensor
            (C, h, w) float32, on the network's device.
        """
        return self._run([self._noisy(pixels, noise)])[0]

    def _run(self, inputs: Sequence[_Input]) -> list[torch.Tensor]:
        """(C, h, w) of each input; all have one shape."""
        views = 2 if self.settings.flip else 1
        layout = torch.channels_last if self.runtime.channels_last else torch.contiguous_format

        def run(part: torch.Tensor) -> dict[str, torch.Tensor]:
            sample = part.to(self.runtime.device, self.runtime.torch_dtype, memory_format=layout)
            timestep = torch.full((len(sample),), self.settings.timestep, dtype=torch.long, device=sample.device)
            with self.runtime.arithmetic(self.unet):
                return run_until(self.unet, self._layers, lambda: self.unet(sample, timestep))

        noisy = torch.cat([item.noisy for item in inputs])
        outputs = mean_outputs(noisy, len(inputs[0].noisy) // views, self._batch, run)
        means = [outputs[name].reshape(len(inputs), views, *outputs[name].shape[1:]) for name in self._layers]
        return [self._finish([mean[index] for mean in means], item) for index, item in enumerate(inputs)]

    def _finish(self, means: Sequence[torch.Tensor], item: _Input) -> torch.Tensor:
        """One map of the (views, C, h, w) means of all layers, cropped to the picture's area."""
        fine = max(means, key=lambda mean: mean.shape[-1]).shape[-2:]
        parts = []
        for mean in means:
            views = mean.contiguous()
            if self.settings.flip:
                views = torch.stack([views[0], self._unflip(views[1], item.size[0], item.padded[0])])
            if not self.settings.normalize:
                parts.append(views.mean(0))
                continue
            unit = F.normalize(views, dim=1).mean(0)
            parts.append(_resize(F.normalize(unit, dim=0), fine))
        cell_x, cell_y = item.padded[0] // fine[1], item.padded[1] // fine[0]
        return torch.cat(parts)[:, : item.size[1] // cell_y, : item.size[0] // cell_x]

    def _unflip(self, data: torch.Tensor, width: int, padded_width: int) -> torch.Tensor:
        """Mirror the map of a mirrored, right-padded picture back into place."""
        cells = width * data.shape[-1] / padded_width
        mirrored = data.flip(-1)
        shift = data.shape[-1] - cells
        whole = round(shift)
        rolled = torch.roll(mirrored, -whole, -1)
        if abs(shift - whole) > 1e-6:
            rolled = torch.lerp(rolled, torch.roll(rolled, -1, -1), shift - whole)
        return rolled

    def _finest_stride(self) -> int:
        """Pixels a cell of the finest wanted layer: blocks of the way up halve the stride."""
        levels = len(self.unet.config.block_out_channels) - 1
        strides = []
        for name in self._layers:
            kind, _, rest = name.partition(".")
            if kind == "up_blocks":
                block = int(rest.split(".")[0])
                inner = rest.split(".")[1:2]
                doubled = not inner or inner[0] == "upsamplers"
                strides.append(2 ** max(levels - block - doubled, 0))
            elif kind == "down_blocks":
                block = int(rest.split(".")[0])
                inner = rest.split(".")[1:2]
                strides.append(2 ** min(block + (not inner or inner[0] == "downsamplers"), levels))
            else:
                strides.append(2**levels)
        return int(self._unshuffle * min(strides))


def _resize(data: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Bilinear between cell centres; unit length is restored at every cell."""
    if tuple(data.shape[-2:]) == tuple(size):
        return data
    resized = F.interpolate(data[None], size=tuple(size), mode="bilinear", align_corners=False)[0]
    return F.normalize(resized, dim=0)
