"""Featurizers by name: models of the catalogue, presets, folders, and fusions of them."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dift_edit.atomic_files import parse_object
from dift_edit.errors import ModelError
from dift_edit.features.base import Featurizer
from dift_edit.features.catalog import MODELS, ModelEntry
from dift_edit.features.device_defaults import device_defaults, folder_is_small
from dift_edit.features.execution import Runtime
from dift_edit.features.fusion import FusedFeaturizer
from dift_edit.features.presets import PRESETS
from dift_edit.features.sources import EMBEDDED, find_file, find_model, fusion_parts, unknown_model

if TYPE_CHECKING:
    import torch

__all__ = ["FEATURIZERS", "load_featurizer"]

Loader = Callable[..., Featurizer]


def _pixel() -> Any:
    from dift_edit.features.pixel_diffusion import PixelDiffusionFeaturizer, PixelDiffusionSettings

    return PixelDiffusionFeaturizer.from_pretrained, PixelDiffusionSettings


def _latent() -> Any:
    from dift_edit.features.stable_diffusion import StableDiffusionFeaturizer, StableDiffusionSettings

    return StableDiffusionFeaturizer.from_pretrained, StableDiffusionSettings


def _vit() -> Any:
    from dift_edit.features.vit import VisionTransformerFeaturizer, VisionTransformerSettings

    return VisionTransformerFeaturizer.from_pretrained, VisionTransformerSettings


def _convnext() -> Any:
    from dift_edit.features.convnext import ConvNextFeaturizer, ConvNextSettings

    return ConvNextFeaturizer.from_pretrained, ConvNextSettings


def _lite() -> Any:
    from dift_edit.features.lite import LiteFeaturizer, LiteSettings

    return LiteFeaturizer.from_pretrained, LiteSettings


FEATURIZERS: dict[str, Callable[[], tuple[Loader, Any]]] = {
    "pixel": _pixel, "latent": _latent, "vit": _vit, "convnext": _convnext, "lite": _lite,
}  # fmt: skip
"""Kind of model → what loads a folder of it, and its settings. Libraries are imported when it is called."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A model on the disk.

    Attributes
    ----------
    kind : str
        A key of `FEATURIZERS`.
    folder : Path
        Its files.
    options : dict
        Its usual settings and its identity.
    """

    kind: str
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)


def load_featurizer(name: str | Path = "mini", *, device: "str | torch.device" = "cpu", **settings: Any) -> Featurizer:
    """A featurizer by its name, or from a local folder.

    Parameters
    ----------
    name : str or path
        "mini" (both embedded networks), "lite" or "dift-mini" (one of them; no download); a model of the catalogue
        ("sd21", "dinov2", …, see ``dift-edit models``); a preset ("fast", "semantic-sd", …); a folder in the layout
        of diffusers or transformers; "owner/name" on the hub; or several of these joined with "+", whose features
        are fused, each with a weight after a colon if it shall not be 1: "dinov2:0.6+sd21:0.4".
    device : str or torch.device
        "cpu", "cuda", "mps", ….
    **settings
        Override the featurizer's settings (see `PixelDiffusionSettings`, `StableDiffusionSettings`,
        `VisionTransformerSettings`, `LiteSettings`) or how it runs (`Runtime`); of the latter, what is not given
        follows the device, see `dift_edit.features.device_defaults`. Of a fusion, each featurizer takes the settings
        that it has.

    Returns
    -------
    Featurizer

    Raises
    ------
    ModelError
        If the name is unknown, the model is not here and cannot be fetched, or a setting does not exist.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> featurizer = de.load_featurizer("lite")
    >>> features = featurizer(FOLDER / "cat.jpg")
    >>> tuple(features.data.shape), features.image_size
    ((328, 24, 36), (902, 600))
    """
    parts = fusion_parts(name)
    models = [_find(part.name) for part in parts]
    options = {**settings, "device": str(device)}
    known = [_option_names(model) for model in models]
    if wrong := sorted(options.keys() - set().union(*known)):
        raise ModelError(
            f"The model {str(name)!r} has no setting {wrong[0]!r}: use one of {', '.join(sorted(set().union(*known)))}."
        )
    loaded = []
    for part, model, names in zip(parts, models, known, strict=True):
        suggested = device_defaults(str(device), small=folder_is_small(model.folder)).settings
        own = {key: value for key, value in {**part.settings, **options}.items() if key in names}
        try:
            loaded.append(FEATURIZERS[model.kind]()[0](model.folder, **{**suggested, **model.options, **own}))
        except TypeError as error:
            raise ModelError(f"A setting of the model {str(name)!r} is wrong: {error}.") from error
    return loaded[0] if len(loaded) == 1 else FusedFeaturizer(loaded, [part.weight for part in parts])


def _find(text: str) -> _Found:
    """A single model by its name."""
    if Path(text).is_dir():
        return _from_folder(Path(text), {})
    if text in PRESETS:
        preset = PRESETS[text]
        return _from_catalog(preset.model, dict(preset.settings))
    if text in MODELS:
        return _from_catalog(text, {})
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        found = find_model(text)
        return _from_folder(found.folder, {"name": found.id, "revision": found.revision})
    raise unknown_model(text)


def _option_names(model: _Found) -> set[str]:
    """What may be given for a model."""
    settings = FEATURIZERS[model.kind]()[1]
    return {item.name for kind in (settings, Runtime) for item in fields(kind)}


def _from_catalog(name: str, options: dict[str, Any]) -> _Found:
    entry: ModelEntry = MODELS[name]
    options = {**entry.settings, **options}
    if (EMBEDDED / name).is_dir():
        return _Found(kind=entry.kind, folder=EMBEDDED / name, options={**options, "name": name})
    found = find_model(name)
    if entry.unet_file:
        options["unet_weights"] = find_file(entry.unet_id, entry.unet_file)
    if entry.kind != "pixel":
        options["revision"] = found.revision
    return _Found(kind=entry.kind, folder=found.folder, options={**options, "name": found.id})


def _from_folder(folder: Path, options: dict[str, Any]) -> _Found:
    """A folder in the layout of diffusers or transformers; its ``featurizer.json`` holds its usual settings."""
    unet, whole = folder / "unet" / "config.json", folder / "config.json"
    config = unet if unet.is_file() else whole
    try:
        content = parse_object(config.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is not a model folder: {unet} cannot be read.") from error
    usual = folder / "featurizer.json"
    if usual.is_file():
        try:
            options = {**parse_object(usual.read_text()), **options}
        except (OSError, ValueError) as error:
            raise ModelError(f"{usual} cannot be read: repair or remove it.") from error
    kinds = {"UNet2DModel": "pixel", "UNet2DConditionModel": "latent"}
    kind = kinds.get(str(content.get("_class_name")), "")
    if config == whole:
        kind = "convnext" if content.get("model_type") == "dinov3_convnext" else "vit"
    if not kind:
        raise ModelError(f"{folder} holds a {content.get('_class_name')}, which is not supported.")
    if kind == "pixel":
        options.pop("revision", None)
    return _Found(kind=kind, folder=folder, options=options)
