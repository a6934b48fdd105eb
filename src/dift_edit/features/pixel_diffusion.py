"""Features from a pixel-space diffusion U-Net: the embedded dift-mini, ADM, any diffusers ``UNet2DModel``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dift_edit.errors import ModelError
from dift_edit.features.base import FeatureMap, ModelInfo, file_sha256, fingerprint, image_seed, make_noise
from dift_edit.features.hooks import run_until
from dift_edit.image import Image, as_image

__all__ = ["PixelDiffusionFeaturizer", "PixelDiffusionSettings"]


@dataclass(frozen=True, kw_only=True)
class PixelDiffusionSettings:
    """How features are taken from a pixel-space U-Net.

    Attributes
    ----------
    short_sides : tuple of int
        Sizes in pixels to which the picture's short side is brought; maps of several sizes are concatenated.
    square : bool
        Resize to a square of each size instead, whatever the aspect ratio (as the released DIFT code does).
    timestep : int
        Diffusion timestep t of the noise.
    layers : tuple of str
        Names of the U-Net's modules; their outputs, each with unit norm, are concatenated on the finest grid.
    ensemble : int
        Number of noises whose features are averaged.
    flip : bool
        Average with the features of the mirrored picture.
    """

    short_sides: tuple[int, ...] = (160,)
    square: bool = False
    timestep: int = 5
    layers: tuple[str, ...] = ("up_blocks.0", "up_blocks.1")
    ensemble: int = 1
    flip: bool = False

    def fingerprint(self) -> str:
        """Digest of the settings."""
        return fingerprint(type(self).__name__, self)


class PixelDiffusionFeaturizer:
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
    device : str or torch.device
        Where to run.

    References
    ----------
    Tang et al., Emergent Correspondence from Image Diffusion, NeurIPS 2023, section 4.1.
    """

    def __init__(
        self, unet: Any, scheduler: Any, settings: PixelDiffusionSettings, *, model: ModelInfo, device: Any = "cpu"
    ) -> None:
        self.unet = unet.to(device).eval().requires_grad_(False)
        self.scheduler = scheduler
        self.settings = settings
        self.model = model
        self.device = torch.device(device)
        self._unshuffle = math.isqrt(max(unet.config.in_channels // 3, 1))
        self._multiple = self._unshuffle * 2 ** (len(unet.config.block_out_channels) - 1)

    @classmethod
    def from_pretrained(
        cls, folder: Path | str, settings: PixelDiffusionSettings, *, name: str = "", device: Any = "cpu"
    ) -> "PixelDiffusionFeaturizer":
        """Load a diffusers folder with ``unet/`` and ``scheduler/`` from the disk; the network is never asked.

        Raises
        ------
        ModelError
            If the folder is not such a folder or its weights cannot be read.
        """
        from diffusers.models.unets.unet_2d import UNet2DModel
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        folder = Path(folder)
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        if not weights.is_file():
            raise ModelError(f"{weights} does not exist: give a diffusers folder that has unet/ and scheduler/.")
        try:
            unet = UNet2DModel.from_pretrained(
                folder / "unet", local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False,
                torch_dtype=torch.float32,
            )  # fmt: skip
            scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        except Exception as error:  # each library underneath has errors of its own
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ModelError(f"The model in {folder} cannot be loaded ({reason}): restore its files.") from error
        model = ModelInfo(id=name or str(folder), sha256=file_sha256(weights))
        return cls(unet, scheduler, settings, model=model, device=device)

    @property
    def fingerprint(self) -> str:
        """Digest of weights and settings."""
        return fingerprint(self.model.sha256, self.settings.fingerprint())

    def __call__(self, image: Any, *, seed: int = 0) -> FeatureMap:
        """Features of a picture.

        Parameters
        ----------
        image : Image, path, array or tensor
            The picture, see `as_image`.
        seed : int
            The noise follows from it and from the picture's content.

        Returns
        -------
        FeatureMap
            float32 on the finest grid of all sizes and layers.
        """
        return self.extract(image, seed=seed)

    def extract(self, image: Any, *, seed: int = 0, noise: torch.Tensor | None = None) -> FeatureMap:
        """Features with a given noise.

        Parameters
        ----------
        image : Image, path, array or tensor
            The picture.
        seed : int
            Makes the noise when none is given.
        noise : torch.Tensor, optional
            (ensemble, in_channels, h, w) for the network's input; only with one size.

        Returns
        -------
        FeatureMap
        """
        picture = as_image(image)
        maps = [
            self._at_size(picture, side, image_seed(picture.digest, seed), noise) for side in self.settings.short_sides
        ]
        height, width = (max(data.shape[axis] for data in maps) for axis in (1, 2))
        data = torch.cat([_resize(unit, (height, width)) for unit in maps]) / math.sqrt(len(maps))
        return FeatureMap(data, picture.size, self.fingerprint, picture.digest)

    def _at_size(self, picture: Image, side: int, seed: int, noise: torch.Tensor | None) -> torch.Tensor:
        """(C, h, w) of one size, cropped to the picture's area."""
        settings = self.settings
        stride = self._unshuffle
        width, height = self._network_size(picture.size, side)
        pixels = picture.resized((width, height)).to(self.device) * 2 - 1
        views = torch.stack([pixels, pixels.flip(-1)] if settings.flip else [pixels])
        pad_x, pad_y = -width % self._multiple, -height % self._multiple
        padded = F.pad(views, (0, pad_x, 0, pad_y), mode="replicate")
        clean = F.pixel_unshuffle(padded, stride) if stride > 1 else padded
        if noise is None:
            noise = make_noise((settings.ensemble, *clean.shape[1:]), seed)
        elif noise.shape[1:] != clean.shape[1:]:
            raise ModelError(
                f"The noise must be (ensemble, {', '.join(map(str, clean.shape[1:]))}), not {tuple(noise.shape)}."
            )
        count = len(noise)
        timestep = torch.full((count * len(views),), settings.timestep, dtype=torch.long)
        batch = clean.repeat_interleave(count, 0)
        noisy = self.scheduler.add_noise(batch, noise.to(self.device).repeat(len(views), 1, 1, 1), timestep)
        outputs = run_until(self.unet, settings.layers, lambda: self.unet(noisy, timestep.to(self.device)))
        ordered = [outputs[name].float() for name in settings.layers]
        fine = max(ordered, key=lambda output: output.shape[-1]).shape[-2:]
        parts = []
        for output in ordered:
            mean = output.reshape(len(views), count, *output.shape[1:]).mean(1)
            if settings.flip:
                mean = torch.stack([mean[0], self._unflip(mean[1], width, padded.shape[-1])])
            unit = F.normalize(mean, dim=1).mean(0)
            parts.append(_resize(F.normalize(unit, dim=0), fine))
        cell_x, cell_y = padded.shape[-1] // fine[1], padded.shape[-2] // fine[0]
        return torch.cat(parts)[:, : height // cell_y, : width // cell_x]

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

    def _network_size(self, size: Sequence[int], side: int) -> tuple[int, int]:
        """Size for the network before padding: whole cells of the finest layer, so that a map can be cropped to it."""
        stride = self._finest_stride()
        if self.settings.square:
            return max(stride, round(side / stride) * stride), max(stride, round(side / stride) * stride)
        scale = side / min(size)
        width, height = (max(stride, round(edge * scale / stride) * stride) for edge in size)
        return width, height

    def _finest_stride(self) -> int:
        """Pixels a cell of the finest wanted layer: blocks of the way up halve the stride."""
        levels = len(self.unet.config.block_out_channels) - 1
        strides = []
        for name in self.settings.layers:
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
