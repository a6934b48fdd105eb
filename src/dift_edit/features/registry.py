"""Featurizers by name: models of the catalogue, presets, folders, and fusions of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dift_edit.errors import ModelError
from dift_edit.features.base import Featurizer
from dift_edit.features.catalog import MODELS, ModelEntry
from dift_edit.features.fusion import FusedFeaturizer
from dift_edit.features.presets import PRESETS
from dift_edit.features.sources import find_file, find_model
from dift_edit.files import parse_object

__all__ = ["FEATURIZERS", "load_featurizer"]

MINI = Path(__file__).parents[1] / "models" / "dift-mini"

Loader = Callable[..., Featurizer]


def _pixel(folder: Path, **options: Any) -> Featurizer:
    from dift_edit.features.pixel_diffusion import PixelDiffusionFeaturizer

    options.pop("revision", None)
    return PixelDiffusionFeaturizer.from_pretrained(folder, **options)


def _latent(folder: Path, **options: Any) -> Featurizer:
    from dift_edit.features.stable_diffusion import StableDiffusionFeaturizer

    return StableDiffusionFeaturizer.from_pretrained(folder, **options)


def _vit(folder: Path, **options: Any) -> Featurizer:
    from dift_edit.features.vit import VisionTransformerFeaturizer

    return VisionTransformerFeaturizer.from_pretrained(folder, **options)


FEATURIZERS: dict[str, Loader] = {"pixel": _pixel, "latent": _latent, "vit": _vit}
"""Kind of model → what loads a folder of it."""


def load_featurizer(name: str | Path = "mini", *, device: Any = "cpu", **settings: Any) -> Featurizer:
    """A featurizer by its name, or from a local folder.

    Parameters
    ----------
    name : str or path
        "mini" (embedded, no download); a model of the catalogue ("sd21", "dinov2", …, see ``dift-edit models``); a
        preset ("semantic-sd", …); a folder in the layout of diffusers or transformers; "owner/name" on the hub; or
        several of these joined with "+", whose features are fused with equal weight.
    device : str or torch.device
        "cpu", "cuda", "mps", ….
    **settings
        Override the featurizer's settings (see `PixelDiffusionSettings`, `StableDiffusionSettings`,
        `VisionTransformerSettings`) or how it runs (`Runtime`).

    Returns
    -------
    Featurizer

    Raises
    ------
    ModelError
        If the name is unknown, the model is not here and cannot be fetched, or a setting does not exist.
    """
    text = str(name)
    options = {**settings, "device": str(device)}
    try:
        if Path(name).is_dir():
            return _from_folder(Path(name), options)
        if "+" in text:
            return FusedFeaturizer([load_featurizer(part, device=device, **settings) for part in text.split("+")])
        if text in PRESETS:
            preset = PRESETS[text]
            return _from_catalog(preset.model, {**preset.settings, **options})
        if text in MODELS:
            return _from_catalog(text, options)
        if text.count("/") == 1 and not text.startswith((".", "/", "~")):
            found = find_model(text)
            return _from_folder(found.folder, {"name": found.id, "revision": found.revision, **options})
    except TypeError as error:
        raise ModelError(f"A setting of the model {text!r} is wrong: {error}.") from error
    raise ModelError(
        f"There is no model {text!r}: use one of {', '.join([*MODELS, *PRESETS])}, or the path of a folder."
    )


def _from_catalog(name: str, options: dict[str, Any]) -> Featurizer:
    entry: ModelEntry = MODELS[name]
    options = {**entry.settings, **options}
    if name == "mini":
        return _pixel(MINI, name="dift-mini", **options)
    found = find_model(name)
    if entry.unet_file:
        options["unet_weights"] = find_file(entry.unet_id, entry.unet_file)
    return FEATURIZERS[entry.kind](found.folder, name=found.id, revision=found.revision, **options)


def _from_folder(folder: Path, options: dict[str, Any]) -> Featurizer:
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
    if config == whole:
        return _vit(folder, **options)
    kinds = {"UNet2DModel": _pixel, "UNet2DConditionModel": _latent}
    kind = content.get("_class_name")
    if kind not in kinds:
        raise ModelError(f"{folder} holds a {kind}, which is not supported.")
    return kinds[kind](folder, **options)
