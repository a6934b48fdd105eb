"""Featurizers by name: a registry is a dict of functions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dift_edit.errors import ModelError
from dift_edit.features.base import Featurizer
from dift_edit.features.pixel_diffusion import PixelDiffusionFeaturizer, PixelDiffusionSettings

__all__ = ["FEATURIZERS", "load_featurizer"]

MODELS = Path(__file__).parents[1] / "models"


def _mini(device: Any, settings: dict[str, Any]) -> Featurizer:
    chosen = PixelDiffusionSettings(**settings)
    return PixelDiffusionFeaturizer.from_pretrained(MODELS / "dift-mini", chosen, name="dift-mini", device=device)


FEATURIZERS: dict[str, Callable[[Any, dict[str, Any]], Featurizer]] = {"mini": _mini}


def load_featurizer(name: str | Path = "mini", *, device: Any = "cpu", **settings: Any) -> Featurizer:
    """A featurizer by its name in the registry, or from a local diffusers folder.

    Parameters
    ----------
    name : str or path
        "mini" (embedded, no download), or a folder that holds a ``unet/config.json`` of a ``UNet2DModel``.
    device : str or torch.device
        "cpu", "cuda", "mps", ….
    **settings
        Override the featurizer's settings, see `PixelDiffusionSettings`.

    Returns
    -------
    Featurizer

    Raises
    ------
    ModelError
        If the name is unknown, the folder is no model, or a setting does not exist.
    """
    try:
        if name in FEATURIZERS:
            return FEATURIZERS[str(name)](device, settings)
        folder = Path(name)
        if folder.is_dir():
            return _from_folder(folder, device, settings)
    except TypeError as error:
        raise ModelError(f"A setting of the model {str(name)!r} is wrong: {error}.") from error
    raise ModelError(
        f"There is no model {str(name)!r}: use one of {', '.join(sorted(FEATURIZERS))}, or the path of a folder."
    )


def _from_folder(folder: Path, device: Any, settings: dict[str, Any]) -> Featurizer:
    config = folder / "unet" / "config.json"
    try:
        kind = json.loads(config.read_text()).get("_class_name")
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is not a model folder: {config} cannot be read.") from error
    if kind != "UNet2DModel":
        raise ModelError(f"{folder} holds a {kind}, which is not supported.")
    return PixelDiffusionFeaturizer.from_pretrained(folder, PixelDiffusionSettings(**settings), device=device)
