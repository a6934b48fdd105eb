"""Dense features of vision transformers (DINO, DINOv2 with and without registers, DINOv3, CLIP, C-RADIO).

Stock transformers classes with hooks; pictures are normalised here, so that torchvision is not needed.
"""

import inspect
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dift_edit.atomic_files import parse_object
from dift_edit.errors import ModelError, SettingsError
from dift_edit.features.base import ModelInfo
from dift_edit.features.execution import Runtime
from dift_edit.features.hooks import run_until
from dift_edit.features.network import PixelFeaturizer
from dift_edit.features.sizing import SIZE_MODES, network_size
from dift_edit.features.weights import load_transformers_model, weights_digest
from dift_edit.imaging.image import Image
from dift_edit.settings import Settings, option

__all__ = ["VIT_TYPES", "VisionTransformerFeaturizer", "VisionTransformerSettings"]

VIT_TYPES = {
    "vit": "ViTModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
    "radio": "RadioModel",
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
}
"""``model_type`` of a configuration → class of transformers."""
FACETS = {"keys": ("k_proj", "key"), "queries": ("q_proj", "query"), "values": ("v_proj", "value")}
"""Facet → names of the projection in versions of transformers."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Of networks that normalise what they are given themselves."""


@dataclass(frozen=True, kw_only=True)
class VisionTransformerSettings(Settings):
    """How features are taken from a vision transformer.

    Attributes
    ----------
    image_size : int
        In pixels, see `size_mode`; edges become multiples of a cell.
    size_mode : str
        "square", "short" or "none", see `network_size`.
    layer : int
        Number of the layer from 0; negative counts from the end.
    facet : str
        "tokens": the layer's output. "keys", "queries" or "values": of its attention.
    norm : bool
        Tokens of the last layer pass the model's final norm.
    stride : int
        Pixels between patches; 0 for patches side by side. Less than a patch makes denser tokens (not of C-RADIO).
    """

    image_size: int = option(518, "size in pixels of what the network sees", limits=(1, None))
    size_mode: str = option("short", "square, short (side) or none", choices=SIZE_MODES)
    layer: int = option(-1, "number of the layer; negative counts from the end")
    facet: str = option("tokens", "tokens, keys, queries or values", choices=("tokens", *FACETS))
    norm: bool = option(True, "tokens of the last layer pass the final norm")
    stride: int = option(0, "pixels between patches; 0 for side by side", limits=(0, None))


class VisionTransformerFeaturizer(PixelFeaturizer[VisionTransformerSettings]):
    """Patch features of a vision transformer.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        One of `VIT_TYPES`.
    settings : VisionTransformerSettings
        What to take.
    model : ModelInfo
        The weights' identity.
    mean, std : sequence of float
        Of the pictures' normalisation.
    runtime : Runtime, optional
        Where and how to run.

    References
    ----------
    Amir et al., Deep ViT Features as Dense Visual Descriptors, 2021 (keys, and the stride of patches).
    Tang et al., Emergent Correspondence from Image Diffusion, NeurIPS 2023, section 5.1 (as baselines).
    """

    settings_type = VisionTransformerSettings

    def __init__(
        self,
        network: Any,
        settings: VisionTransformerSettings,
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
        self._given_stride = 0
        self._follow_settings()

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        settings: VisionTransformerSettings | None = None,
        *,
        name: str = "",
        revision: str = "",
        runtime: Runtime | None = None,
        **options: Any,
    ) -> "VisionTransformerFeaturizer":
        """Load a folder in transformers' layout; the network is never asked.

        Parameters
        ----------
        folder : path
            Holds ``config.json`` and the weights; ``preprocessor_config.json`` says how pictures are normalised.
        settings : VisionTransformerSettings, optional
            What to take.
        name, revision : str
            Recorded as the model's identity.
        runtime : Runtime, optional
            Where and how to run.
        **options
            Fields of `VisionTransformerSettings` over `settings`, and of `Runtime` over `runtime`.

        Raises
        ------
        ModelError
            If the folder holds no such model.
        MissingDependencyError
            If transformers is not installed.
        """
        folder = Path(folder)
        settings, runtime = cls._options(settings, runtime, options)
        kind = _read(folder / "config.json").get("model_type")
        if kind not in VIT_TYPES:
            raise ModelError(f"{folder} holds a model of type {kind!r}: use one of {', '.join(VIT_TYPES)}.")
        network = load_transformers_model(VIT_TYPES[kind], folder, "A vision transformer")
        given = _read(folder / "preprocessor_config.json") if (folder / "preprocessor_config.json").is_file() else {}
        usual = OPENAI if kind.startswith("clip") else IMAGENET
        if kind == "radio":
            usual, given = UNIT, {}
        return cls(
            network,
            settings,
            model=ModelInfo(id=name or str(folder), revision=revision, sha256=weights_digest(folder)),
            mean=given.get("image_mean", usual[0]),
            std=given.get("image_std", usual[1]),
            runtime=runtime,
        )

    @property
    def stride(self) -> int:
        """Pixels of the network's picture a cell."""
        return self.settings.stride or self._patch

    @property
    def _patch(self) -> int:
        return int(self.network.config.patch_size)

    def _follow_settings(self) -> None:
        if self._given_stride and self._given_stride != self.stride:
            self.network = deepcopy(self.network)  # the featurizer that shares it goes on with its own stride
        core = getattr(self.network, "vision_model", self.network)
        self._embeddings = core.embeddings
        self._projection = next((part for part in core.embeddings.modules() if isinstance(part, torch.nn.Conv2d)), None)
        # Some stock classes interpolate their position encoding always, the others on demand.
        accepts = "interpolate_pos_encoding" in inspect.signature(core.embeddings.forward).parameters
        self._more = {"interpolate_pos_encoding": True} if accepts else {}
        self._layer = self._layer_name()
        self._follow_stride()

    def _group(self, picture: Image) -> tuple[int, int]:
        settings = self.settings
        return network_size(picture.size, side=settings.image_size, mode=settings.size_mode, stride=self.stride)

    def from_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of images that have the network's size, see `PixelFeaturizer`."""
        rows, columns = (edge // self.stride for edge in pixels.shape[2:])
        # Patches overlap when the stride is less than a patch: the border is repeated to centre each on its cell.
        before = (self._patch - self.stride) // 2
        after = self._patch - self.stride - before
        pixels = F.pad((pixels - self._mean) / self._std, (before, after, before, after), mode="replicate")
        pixels = pixels.to(self.runtime.device, self.runtime.torch_dtype)
        with self.runtime.arithmetic(self.network):
            outputs = run_until(self.network, [self._layer], lambda: self.network(pixels, **self._more))
        # The class token and registers come first.
        tokens = outputs[self._layer][:, -rows * columns :].transpose(1, 2)
        return tokens.reshape(*tokens.shape[:2], rows, columns).float()

    def _layer_name(self) -> str:
        """Name of the module whose output is wanted."""
        names = dict(self.network.named_modules())
        lists = {name: len(part) for name, part in names.items() if isinstance(part, torch.nn.ModuleList)}
        layers = max(lists, key=lambda name: lists[name])
        count = lists[layers]
        settings = self.settings
        if not -count <= settings.layer < count:
            raise SettingsError(f"The layer {settings.layer} does not exist: use 0 to {count - 1}, or -1 for the last.")
        layer = settings.layer % count
        if settings.facet != "tokens":
            wanted = FACETS[settings.facet]
            inside = f"{layers}.{layer}."
            return next(str(name) for name in names if name.startswith(inside) and name.rpartition(".")[2] in wanted)
        final = next((name for name in ("layernorm", "norm") if name in names), "")
        return final if settings.norm and final and layer == count - 1 else f"{layers}.{layer}"

    def _follow_stride(self) -> None:
        """Move the patches by the stride, and let the position encoding be interpolated to as many patches."""
        stride, patch, embeddings = self.stride, self._patch, self._embeddings
        if not 1 <= stride <= patch:
            raise SettingsError(f"The stride {stride} does not suit patches of {patch} pixels: use 1 to {patch}.")
        if self._projection is None:  # C-RADIO cuts its patches itself, side by side
            if stride != patch:
                raise SettingsError(f"The patches of this network lie side by side: leave out stride, or use {patch}.")
            return
        self._projection.stride = (stride, stride)
        self._given_stride = stride
        if (rotary := getattr(self.network, "rope_embeddings", None)) is not None:  # DINOv3
            turn = type(rotary).forward

            def rotate(pixels: torch.Tensor) -> Any:
                rows, columns = ((edge - patch) // stride + 1 for edge in pixels.shape[2:])
                return turn(rotary, pixels[:1, :1, :1, :1].expand(1, 1, rows * patch, columns * patch))

            rotary.forward = rotate
            return
        stock = type(embeddings).interpolate_pos_encoding

        def interpolate(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
            rows, columns = ((edge - patch) // stride + 1 for edge in (height, width))
            encoding: torch.Tensor = stock(embeddings, tokens, rows * patch, columns * patch)
            return encoding

        embeddings.interpolate_pos_encoding = interpolate


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = parse_object(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: give a model folder in the layout of transformers.") from error
    return content
