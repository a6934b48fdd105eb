"""DIFT features of Stable Diffusion (1.5, 2.1, Turbo, XL) and CleanDIFT, over stock diffusers modules."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dift_edit.atomic_files import parse_object
from dift_edit.errors import ModelError, SettingsError
from dift_edit.features.base import FeatureMap, ModelInfo, image_seed
from dift_edit.features.execution import Runtime, upcast_attention
from dift_edit.features.hooks import mean_outputs, run_until
from dift_edit.features.network import NetworkFeaturizer
from dift_edit.features.prompts import PromptEmbedding, encode_prompt
from dift_edit.features.sizing import SIZE_MODES, network_size
from dift_edit.features.weights import load_diffusers_part, load_state_file, weights_digest
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.settings import Settings, fingerprint, option
from dift_edit.types import ImageLike

__all__ = ["StableDiffusionFeaturizer", "StableDiffusionSettings"]


@dataclass(frozen=True, kw_only=True)
class StableDiffusionSettings(Settings):
    """How features are taken from a latent diffusion model.

    Attributes
    ----------
    image_size : int or None
        Side in pixels of what the network sees, see `size_mode`. None means the mode "none".
    size_mode : str
        "square" (whatever the aspect ratio, as the released code), "short" (of the short side) or "none" (the
        picture's own size). Edges become multiples of a cell, see `network_size`.
    floor_to : int
        If not 0: edges become multiples of this, rounded down.
    timestep : int
        t of the noise and of the network's input.
    up_block : int or tuple of int
        Blocks of the way up. One: its output as it is. Several: unit features, concatenated on the finest grid.
    ensemble : int
        Number of draws (of the posterior and of the noise) whose features are averaged.
    prompt : str
        The text; ``{category}`` is filled in by `for_category`. Until then the empty prompt is used.
    posterior : str
        "sample" the encoder's distribution (as the released code) or take its "mean".
    add_noise : bool
        False for CleanDIFT: clean latents.
    """

    image_size: int | None = option(768, "side in pixels of what the network sees", limits=(1, None))
    size_mode: str = option("square", "square, short (side) or none", choices=SIZE_MODES)
    floor_to: int = option(0, "round edges down to multiples of this, if not 0", limits=(0, None))
    timestep: int = option(261, "diffusion timestep", limits=(0, None))
    up_block: int | tuple[int, ...] = option(1, "block of the way up, or several", limits=(0, None))
    ensemble: int = option(8, "number of noise samples whose features are averaged", limits=(1, None))
    prompt: str = option("", "text given to the network")
    posterior: str = option("sample", "how the encoder's distribution is used", choices=("sample", "mean"))
    add_noise: bool = option(True, "add the noise of the timestep")

    def __post_init__(self) -> None:
        blocks = self.up_block if isinstance(self.up_block, Sequence) else (self.up_block,)
        object.__setattr__(self, "up_block", blocks[0] if len(blocks) == 1 else tuple(blocks))
        if self.image_size is None:
            object.__setattr__(self, "size_mode", "none")
        super().__post_init__()

    @property
    def up_blocks(self) -> tuple[int, ...]:
        """The blocks as a tuple."""
        return (self.up_block,) if isinstance(self.up_block, int) else self.up_block

    @property
    def draws(self) -> int:
        """Number of different inputs of one picture: 1 where nothing is random."""
        return self.ensemble if self.add_noise or self.posterior == "sample" else 1


class StableDiffusionFeaturizer(NetworkFeaturizer[StableDiffusionSettings]):
    """DIFT features of a latent diffusion model.

    Parameters
    ----------
    unet : diffusers.UNet2DConditionModel
        The network.
    vae : diffusers.AutoencoderKL
        Its encoder makes the latents; the decoder is dropped.
    scheduler : diffusers.DDIMScheduler
        Its ``add_noise`` puts the noise of timestep t on the latents.
    settings : StableDiffusionSettings
        What to take.
    model : ModelInfo
        The weights' identity.
    runtime : Runtime, optional
        Where and how to run.
    folder : path, optional
        Where the text encoders are, for prompts.
    prompt_embedding : PromptEmbedding, optional
        Of the settings' prompt, where there is no folder.

    References
    ----------
    Tang et al., Emergent Correspondence from Image Diffusion, NeurIPS 2023, section 4.
    Stracke et al., CleanDIFT: Diffusion Features without Noise, CVPR 2025.
    """

    settings_type = StableDiffusionSettings

    def __init__(
        self,
        unet: Any,
        vae: Any,
        scheduler: Any,
        settings: StableDiffusionSettings,
        *,
        model: ModelInfo,
        runtime: Runtime | None = None,
        folder: Path | None = None,
        prompt_embedding: PromptEmbedding | None = None,
    ) -> None:
        super().__init__(settings, model=model, runtime=runtime)
        self.scheduler = scheduler
        self.unet: Any = self.runtime.prepare(unet)
        vae.decoder = vae.post_quant_conv = None
        # Latents need more precision than half formats give (and overflow in some models).
        self.vae: Any = self.runtime.prepare(vae, dtype=torch.float32)
        self._folder = folder
        self._prompts = {} if prompt_embedding is None else {settings.prompt: prompt_embedding}
        self._batch = self.runtime.batches(self.unet)
        self._follow_settings()
        if self.runtime.dtype == "float16" and not self.runtime.on_cuda and unet.config.get("upcast_attention"):
            upcast_attention(self.unet)
        self.runtime.compile_blocks(self.unet)
        self.runtime.compile_blocks(vae.encoder)

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        settings: StableDiffusionSettings | None = None,
        *,
        unet_weights: Path | str | None = None,
        name: str = "",
        revision: str = "",
        runtime: Runtime | None = None,
        **options: Any,
    ) -> "StableDiffusionFeaturizer":
        """Load a diffusers folder (or a model id, see `find_model`).

        Parameters
        ----------
        folder : path or str
            Holds ``unet/``, ``vae/``, ``scheduler/`` and the text encoder; or an id on the hub.
        settings : StableDiffusionSettings, optional
            What to take.
        unet_weights : path, optional
            A safetensors file that replaces the U-Net's weights (CleanDIFT).
        name, revision : str
            Recorded as the model's identity.
        runtime : Runtime, optional
            Where and how to run.
        **options
            Fields of `StableDiffusionSettings` over `settings`, and of `Runtime` over `runtime`.

        Raises
        ------
        ModelError
            If a part is missing or its weights cannot be read.
        """
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        from dift_edit.features.sources import find_model

        if not Path(folder).is_dir():
            found = find_model(str(folder))
            folder, name, revision = found.folder, name or found.id, revision or found.revision
        folder = Path(folder)
        settings, runtime = cls._options(settings, runtime, options)
        unet = load_diffusers_part(UNet2DConditionModel, folder / "unet", dtype=runtime.torch_dtype)
        digests = [weights_digest(folder / part) for part in ("unet", "vae")]
        if unet_weights is not None:
            digests[0] = load_state_file(unet, Path(unet_weights))
        vae = load_diffusers_part(AutoencoderKL, folder / "vae")
        model = ModelInfo(id=name or str(folder), revision=revision, sha256=fingerprint(*digests))
        scheduler = DDIMScheduler.from_config(_config(folder))
        return cls(unet, vae, scheduler, settings, model=model, runtime=runtime, folder=folder)

    def _follow_settings(self) -> None:
        count, steps = len(self.unet.up_blocks), self.scheduler.config.num_train_timesteps
        if not all(0 <= block < count for block in self.settings.up_blocks):
            raise SettingsError(f"The up block {self.settings.up_block} does not exist: use 0 to {count - 1}.")
        if not 0 <= self.settings.timestep < steps:
            raise SettingsError(f"The timestep {self.settings.timestep} does not exist: use 0 to {steps - 1}.")

    def for_category(self, category: str) -> "StableDiffusionFeaturizer":
        """With ``{category}`` of the prompt filled in ("a photo of a {category}" → "a photo of a cat")."""
        return self.with_settings(prompt=self.settings.prompt.replace("{category}", category))

    def extract(
        self, image: ImageLike, latents: torch.Tensor | None = None, noise: torch.Tensor | None = None, *, seed: int = 0
    ) -> FeatureMap:
        """Features with given latents or noise, to compare with other implementations.

        Parameters
        ----------
        image : Image, path or array
            The picture; where `latents` are given only its size matters.
        latents : torch.Tensor, optional
            (C, h, w), (1, C, h, w) or (ensemble, C, h, w): already multiplied with the VAE's scaling factor. The grid
            of the map is then what the network makes of h × w, and the map says that it covers the picture.
        noise : torch.Tensor, optional
            (C, h, w), (1, C, h, w) or (ensemble, C, h, w), standard normal.
        seed : int
            Of what is not given. The posterior is drawn before the noise, as in the released code.

        Returns
        -------
        FeatureMap
            float32; the number of draws is that of what is given, if it is more than one.

        Raises
        ------
        ModelError
            If shapes do not fit.
        """
        picture = as_image(image)
        given = [_as_batch(tensor, name) for tensor, name in ((latents, "latents"), (noise, "noise"))]
        count = max([self.settings.draws if noise is None else 1, *(len(t) for t in given if t is not None)])
        generator = torch.Generator().manual_seed(image_seed(picture.digest, seed))
        clean, drawn = given
        if clean is None:
            mean, std = self._encode([picture])[0]
            clean = self._sample_posterior(mean, std, count, generator)
        if drawn is None and self.settings.add_noise:
            drawn = torch.randn((count, *clean.shape[1:]), generator=generator)
        for tensor, name in ((clean, "latents"), (drawn, "noise")):
            if tensor is not None and (tensor.shape[1:] != clean.shape[1:] or len(tensor) not in (1, count)):
                raise ModelError(
                    f"The {name} have shape {tuple(tensor.shape)}, which does not fit {count} draws of "
                    f"{tuple(clean.shape[1:])}: give (ensemble, C, h, w)."
                )
        noisy = self._noisy(clean.expand(count, *clean.shape[1:]), drawn)
        return self._map(next(iter(self._features(noisy, 1))), picture)

    def _group(self, picture: Image) -> tuple[int, int]:
        levels = len(self.unet.config.block_out_channels) - 1
        scale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        stride = scale * 2 ** max(levels - 1 - min(self.settings.up_blocks), 0)
        settings = self.settings
        return network_size(
            picture.size,
            side=settings.image_size or 1,
            mode=settings.size_mode,
            stride=stride,
            floor_to=settings.floor_to,
        )

    def _extract(self, pictures: Sequence[Image], seed: int) -> list[torch.Tensor]:
        moments = self._encode(pictures)
        seeds = [image_seed(picture.digest, seed) for picture in pictures]
        draws = [self._draw(*moment, one) for moment, one in zip(moments, seeds, strict=True)]
        return list(self._features(torch.cat(draws), len(pictures)))

    def _encode(self, pictures: Sequence[Image]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(1, C, h, w) mean and standard deviation of the latents, not scaled, of pictures of one network size."""
        size = self._group(pictures[0])
        moments: list[tuple[torch.Tensor, torch.Tensor]] = []

        def run(part: slice) -> Any:
            pixels = torch.stack([picture.resized(size, exact=True) for picture in pictures[part]]) * 2 - 1
            layout = torch.channels_last if self.runtime.channels_last else torch.contiguous_format
            with torch.inference_mode(), self.runtime.arithmetic(self.vae):
                return self.vae.encode(pixels.to(self.runtime.device, memory_format=layout)).latent_dist

        for _, posterior in copy(self._batch)(len(pictures), run):
            moments += zip(posterior.mean.cpu().split(1), posterior.std.cpu().split(1), strict=True)
        return moments

    def _sample_posterior(
        self, mean: torch.Tensor, std: torch.Tensor, count: int, generator: torch.Generator
    ) -> torch.Tensor:
        """(count or 1, C, h, w) scaled latents."""
        scaling = float(self.vae.config.scaling_factor)
        if self.settings.posterior == "mean":
            return mean * scaling
        return (mean + std * torch.randn((count, *mean.shape[1:]), generator=generator)) * scaling

    def _draw(self, mean: torch.Tensor, std: torch.Tensor, seed: int) -> torch.Tensor:
        """(draws, C, h, w) inputs of the network."""
        generator, count = torch.Generator().manual_seed(seed), self.settings.draws
        clean = self._sample_posterior(mean, std, count, generator)
        noise = torch.randn((count, *mean.shape[1:]), generator=generator) if self.settings.add_noise else None
        return self._noisy(clean.expand(count, *clean.shape[1:]), noise)

    def _noisy(self, clean: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        if noise is None:
            return clean.float()
        timestep = torch.full((len(clean),), self.settings.timestep, dtype=torch.long)
        noisy: torch.Tensor = self.scheduler.add_noise(clean.float().cpu(), noise.float().cpu(), timestep)
        return noisy

    def _features(self, inputs: torch.Tensor, pictures: int) -> torch.Tensor:
        """(pictures, C, h, w) mean over each picture's draws, from (pictures · draws, C, h, w)."""
        settings, draws = self.settings, len(inputs) // pictures
        names = [f"up_blocks.{block}" for block in settings.up_blocks]
        layout = torch.channels_last if self.runtime.channels_last else torch.contiguous_format
        condition = self._condition(inputs.shape[-2:])

        def run(part: torch.Tensor) -> dict[str, torch.Tensor]:
            sample = part.to(self.runtime.device, self.runtime.torch_dtype, memory_format=layout)
            given = {key: value.expand(len(sample), *value.shape[1:]) for key, value in condition.items()}
            states = given.pop("encoder_hidden_states")
            timestep = torch.tensor(settings.timestep, device=sample.device)
            with self.runtime.arithmetic(self.unet):
                return run_until(
                    self.unet,
                    names,
                    lambda: self.unet(sample, timestep, encoder_hidden_states=states, added_cond_kwargs=given or None),
                )

        outputs = mean_outputs(inputs, draws, self._batch, run)
        means = [outputs[name].contiguous() for name in names]
        if len(means) == 1:
            return means[0]
        fine = max((mean.shape[-2:] for mean in means), key=lambda grid: grid[0] * grid[1])
        units = [F.interpolate(F.normalize(mean, dim=1), size=fine, mode="bilinear") for mean in means]
        return torch.cat([F.normalize(unit, dim=1) for unit in units], 1)

    def _condition(self, latent_size: Sequence[int]) -> dict[str, torch.Tensor]:
        """The network's conditioning on the prompt; for SDXL also the pooled prompt and the picture's size."""
        # A category that nobody named says nothing: the empty prompt is better than the braces.
        prompt = "" if "{category}" in self.settings.prompt else self.settings.prompt
        if prompt not in self._prompts:
            if self._folder is None:
                raise ModelError("There is no text encoder for the prompt: load the featurizer from a model folder.")
            self._prompts[prompt] = encode_prompt(self._folder, prompt)
        embedding, target = self._prompts[prompt], (self.runtime.device, self.runtime.torch_dtype)
        condition = {"encoder_hidden_states": embedding.tokens.to(*target)}
        if embedding.pooled is not None:
            scale = 2 ** (len(self.vae.config.block_out_channels) - 1)
            height, width = (edge * scale for edge in latent_size)
            condition["text_embeds"] = embedding.pooled.to(*target)
            condition["time_ids"] = torch.tensor([[height, width, 0, 0, height, width]]).to(*target)
        return condition


def _as_batch(tensor: torch.Tensor | None, name: str) -> torch.Tensor | None:
    if tensor is None:
        return None
    if tensor.ndim not in (3, 4):
        raise ModelError(f"The {name} have shape {tuple(tensor.shape)}: give (ensemble, C, h, w).")
    return tensor[None] if tensor.ndim == 3 else tensor


def _config(folder: Path) -> dict[str, Any]:
    """The scheduler's configuration; only its betas matter, so that any kind of scheduler will do."""
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        config = parse_object(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read: give a diffusers folder that has unet/, vae/ and scheduler/."
        ) from error
    keys = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    return {key: config[key] for key in keys if key in config}
