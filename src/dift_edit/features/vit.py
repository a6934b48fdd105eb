"""The paper's baselines: dense features of vision transformers (DINO, DINOv2 with and without registers, CLIP).

Stock transformers classes with hooks; pictures are normalised here, so that torchvision is not needed.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from dift_edit.atomic_files import parse_object
from dift_edit.errors import MissingDependencyError, ModelError
from dift_edit.features.base import FeatureMap, ModelInfo
from dift_edit.features.execution import Runtime
from dift_edit.features.hooks import run_until
from dift_edit.features.sizing import check_size_mode, network_size
from dift_edit.features.weights import quiet_transformers, weights_digest
from dift_edit.imaging.image import Image, as_image
from dift_edit.settings import fingerprint, option
from dift_edit.types import ImageLike

__all__ = ["VIT_TYPES", "VisionTransformerFeaturizer", "VisionTransformerSettings"]

VIT_TYPES = {
    "vit": "ViTModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
}
"""``model_type`` of a configuration → class of transformers."""
FACETS = {"keys": ("k_proj", "key"), "queries": ("q_proj", "query"), "values": ("v_proj", "value")}
"""Facet → names of the projection in versions of transformers."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True, kw_only=True)
class VisionTransformerSettings:
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
        Pixels between patches; 0 for patches side by side. Less than a patch makes denser tokens.
    """

    image_size: int = option(518, "in pixels of what the network sees")
    size_mode: str = option("short", "square, short (side) or none", choices=("square", "short", "none"))
    layer: int = option(-1, "number of the layer; negative counts from the end")
    facet: str = option("tokens", "tokens, keys, queries or values", choices=("tokens", *FACETS))
    norm: bool = option(True, "tokens of the last layer pass the final norm")
    stride: int = option(0, "pixels between patches; 0 for side by side")

    def __post_init__(self) -> None:
        check_size_mode(self.size_mode)
        if self.facet != "tokens" and self.facet not in FACETS:
            raise ModelError(f"The facet is {self.facet!r}: use tokens, {', '.join(FACETS)}.")
        if self.image_size < 1 or self.stride < 0:
            raise ModelError("The image size of a vision transformer must be at least 1, and its stride at least 0.")

    def fingerprint(self) -> str:
        """Digest of the settings."""
        return fingerprint(type(self).__name__, self)


class VisionTransformerFeaturizer:
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
        self.runtime = runtime or Runtime()
        self.network: Any = self.runtime.prepare(network)
        self.settings = settings
        self.model = model
        self._mean, self._std = (torch.tensor(value)[:, None, None] for value in (mean, std))
        self._batch = self.runtime.batches(self.network)
        core = getattr(network, "vision_model", network)
        self._embeddings = core.embeddings
        self._projection = next(part for part in core.embeddings.modules() if isinstance(part, torch.nn.Conv2d))
        self._patch = int(self._projection.kernel_size[0])
        # Some stock classes interpolate their position encoding always, the others on demand.
        accepts = "interpolate_pos_encoding" in inspect.signature(core.embeddings.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if accepts else {}
        self._layer = self._layer_name()
        self._follow_stride()

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
        try:
            import transformers
        except ImportError as error:
            raise MissingDependencyError("transformers", "transformers", "A vision transformer") from error
        folder = Path(folder)
        run = {key: options.pop(key) for key in list(options) if key in Runtime.__dataclass_fields__}
        kind = _read(folder / "config.json").get("model_type")
        if kind not in VIT_TYPES:
            raise ModelError(f"{folder} holds a model of type {kind!r}: use one of {', '.join(VIT_TYPES)}.")
        try:
            with quiet_transformers():
                network = getattr(transformers, VIT_TYPES[kind]).from_pretrained(
                    folder, local_files_only=True, dtype=torch.float32
                )
        except Exception as error:  # each library underneath has errors of its own
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ModelError(f"The model in {folder} cannot be loaded ({reason}): restore its files.") from error
        given = _read(folder / "preprocessor_config.json") if (folder / "preprocessor_config.json").is_file() else {}
        usual = OPENAI if kind.startswith("clip") else IMAGENET
        return cls(
            network,
            replace(settings or VisionTransformerSettings(), **options),
            model=ModelInfo(id=name or str(folder), revision=revision, sha256=weights_digest(folder)),
            mean=given.get("image_mean", usual[0]),
            std=given.get("image_std", usual[1]),
            runtime=replace(runtime or Runtime(), **run),
        )

    @property
    def stride(self) -> int:
        """Pixels of the network's picture a cell."""
        return self.settings.stride or self._patch

    @property
    def fingerprint(self) -> str:
        """Digest of weights, settings and number format."""
        return fingerprint(self.model.sha256, self.settings.fingerprint(), self.runtime.dtype)

    def __call__(self, image: ImageLike, *, seed: int = 0) -> FeatureMap:
        """Features of a picture; nothing is random, `seed` is there for the protocol."""
        return self.batch([image], seed=seed)[0]

    def batch(self, images: Sequence[ImageLike], *, seed: int = 0) -> list[FeatureMap]:
        """Features of several pictures, together where their network sizes are equal; in the pictures' order."""
        pictures = [as_image(image) for image in images]
        groups: dict[tuple[int, int], list[int]] = {}
        for index, picture in enumerate(pictures):
            size = network_size(
                picture.size, side=self.settings.image_size, mode=self.settings.size_mode, stride=self.stride
            )
            groups.setdefault(size, []).append(index)
        maps: dict[int, FeatureMap] = {}
        for size, members in groups.items():
            rows, columns = size[1] // self.stride, size[0] // self.stride
            group = [pictures[index] for index in members]
            for part, tokens in self._batch(len(group), partial(self._tokens, group, size)):
                for index, data in zip(
                    members[part], tokens.transpose(1, 2).unflatten(2, (rows, columns)), strict=True
                ):
                    picture = pictures[index]
                    maps[index] = FeatureMap(data.float().contiguous(), picture.size, self.fingerprint, picture.digest)
        return [maps[index] for index in range(len(pictures))]

    def _tokens(self, pictures: Sequence[Image], size: tuple[int, int], part: slice) -> torch.Tensor:
        """(B, patches, C) of some pictures."""
        # Patches overlap when the stride is less than a patch: the border is repeated to centre each on its cell.
        before = (self._patch - self.stride) // 2
        after = self._patch - self.stride - before
        pixels = torch.stack([picture.resized(size) for picture in pictures[part]])
        pixels = F.pad((pixels - self._mean) / self._std, (before, after, before, after), mode="replicate")
        pixels = pixels.to(self.runtime.device, self.runtime.torch_dtype)
        with self.runtime.arithmetic(self.network):
            outputs = run_until(self.network, [self._layer], lambda: self.network(pixels, **self._options))
        # The class token and registers come first.
        return outputs[self._layer][:, -(size[0] // self.stride) * (size[1] // self.stride) :]

    def _layer_name(self) -> str:
        """Name of the module whose output is wanted."""
        names = dict(self.network.named_modules())
        lists = {name: len(part) for name, part in names.items() if isinstance(part, torch.nn.ModuleList)}
        layers = max(lists, key=lambda name: lists[name])
        count = lists[layers]
        settings = self.settings
        if not -count <= settings.layer < count:
            raise ModelError(f"The layer {settings.layer} does not exist: use 0 to {count - 1}, or -1 for the last.")
        layer = settings.layer % count
        if settings.facet != "tokens":
            wanted = FACETS[settings.facet]
            inside = f"{layers}.{layer}."
            return next(str(name) for name in names if name.startswith(inside) and name.rpartition(".")[2] in wanted)
        last = settings.norm and layer == count - 1 and "layernorm" in names
        return "layernorm" if last else f"{layers}.{layer}"

    def _follow_stride(self) -> None:
        """Move the patches by the stride, and let the position encoding be interpolated to as many patches."""
        stride, patch, embeddings = self.stride, self._patch, self._embeddings
        if not 1 <= stride <= patch:
            raise ModelError(f"The stride {stride} does not suit patches of {patch} pixels: use 1 to {patch}.")
        self._projection.stride = (stride, stride)
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
