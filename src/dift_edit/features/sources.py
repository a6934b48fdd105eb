"""Finding a model's files: the user's folders, then the hub's local cache, then the mirrors on the network."""

import difflib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dift_edit.errors import ModelError, first_line
from dift_edit.features.catalog import DIFFUSERS_XL, MODELS, TRANSFORMERS
from dift_edit.features.presets import PRESETS

__all__ = [
    "EMBEDDED",
    "FoundModel",
    "FusionPart",
    "cached_bytes",
    "embedded_folders",
    "find_file",
    "find_model",
    "fusion_parts",
    "is_offline",
    "local_model",
    "models_folder",
    "unknown_model",
]

_log = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parents[1] / "models"
"""Folders of the models that are part of the package."""


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A model on the disk.

    Attributes
    ----------
    folder : Path
        Holds the files.
    id : str
        Repository on the hub, or the model's name for a folder of the user's.
    revision : str
        Commit of the repository; empty for a folder of the user's.
    """

    folder: Path
    id: str
    revision: str = ""


def models_folder() -> Path:
    """Where users put model folders: ``$DIFT_EDIT_MODELS``, or ``models`` in the user's data folder."""
    if chosen := os.environ.get("DIFT_EDIT_MODELS"):
        return Path(chosen)
    import platformdirs

    return platformdirs.user_data_path("dift-edit") / "models"


def is_offline() -> bool:
    """Whether the environment forbids the network (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def unknown_model(name: str) -> ModelError:
    """What to say where a name stands for no model, with the names that are most like it."""
    alike = difflib.get_close_matches(name, [*MODELS, *PRESETS])
    meant = f"; did you mean {' or '.join(alike)}?" if alike else ":"
    return ModelError(
        f"There is no model {name!r}{meant} `dift-edit models` lists all; the path of a folder will do, too."
    )


def find_model(name: str, *, download: bool = True) -> FoundModel:
    """The folder of a model, fetched if need be.

    Parameters
    ----------
    name : str
        A name of the catalogue, or a repository "owner/name" on the hub.
    download : bool
        Whether the network may be asked.

    Returns
    -------
    FoundModel

    Raises
    ------
    ModelError
        If it is not here and cannot be fetched; the message says what to put where.
    """
    entry = MODELS.get(name)
    ids = entry.ids if entry else (name,)
    if not entry and name.count("/") != 1:
        raise unknown_model(name)
    if (found := local_model(name)) is not None:
        return found
    reason = "the network is switched off" if is_offline() or not download else ""
    if not reason and ids:
        found, reason = _fetch(ids, entry.files if entry else (*DIFFUSERS_XL, *TRANSFORMERS))
        if found is not None:
            return found
    place = models_folder() / name
    if not ids:
        raise ModelError(f"The model {name!r} is not at {place}: it needs {MODELS[name].needs}, with -o {place}.")
    raise ModelError(
        f"The model {name!r} is not on this machine and cannot be fetched ({reason}): fetch "
        f"https://huggingface.co/{ids[0]} where there is a network and put its files into {place}, or give its folder."
    )


def find_file(repository: str, file: str, *, download: bool = True) -> Path:
    """One file of a repository.

    Raises
    ------
    ModelError
        As `find_model`.
    """
    place = models_folder() / repository.split("/")[1] / file
    if place.is_file():
        return place
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, file)
    if isinstance(cached, str):
        return Path(cached)
    reason = "the network is switched off"
    if download and not is_offline():
        try:
            return Path(hf_hub_download(repository, file))
        except Exception as error:  # noqa: BLE001 - the hub's client has many kinds; all end in the sentence below
            reason = first_line(error)
    raise ModelError(
        f"The file {file} is not on this machine and cannot be fetched ({reason}): fetch it from "
        f"https://huggingface.co/{repository} where there is a network and put it at {place}."
    )


@dataclass(frozen=True)
class FusionPart:
    """One featurizer of a fusion.

    Attributes
    ----------
    name : str
        A model, a preset, a folder or a repository.
    weight : float
        Positive.
    settings : dict
        That the fusion's entry in the catalogue asks for, where the featurizer has them.
    """

    name: str
    weight: float = 1.0
    settings: dict[str, object] = field(default_factory=dict)


def fusion_parts(name: str | Path) -> list[FusionPart]:
    """The featurizers that a name stands for: one, or those joined with "+" and weighted with ":".

    Parameters
    ----------
    name : str or path
        As for `load_featurizer`.

    Returns
    -------
    list of FusionPart
        Fusions of the catalogue are taken apart: their parts share the weight of the whole.

    Raises
    ------
    ModelError
        If a weight is not a positive number.
    """
    if Path(name).is_dir():
        return [FusionPart(str(name))]
    parts: list[FusionPart] = []
    for text in str(name).split("+"):
        model, weight = _weighted(text)
        entry = MODELS.get(model)
        if entry is None or not entry.parts:
            parts.append(FusionPart(model, weight))
            continue
        inner = fusion_parts(entry.parts)
        share = weight / sum(part.weight for part in inner)
        parts += [FusionPart(part.name, part.weight * share, entry.settings) for part in inner]
    return parts


def _weighted(text: str) -> tuple[str, float]:
    """The model and the weight of "model:weight"; 1 where none is given."""
    model, colon, number = text.rpartition(":")
    if not colon or Path(text).is_dir():
        return text, 1.0
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise ModelError(f"The weight {number!r} of {model!r} is not a positive number: write, say, {model}:0.5.")
    return model, weight


def embedded_folders(name: str) -> list[Path]:
    """Folders of the package that a model consists of; none where a part of it comes from elsewhere."""
    folders = [EMBEDDED / part.name for part in fusion_parts(name)]
    return folders if all(folder.is_dir() and folder.parent == EMBEDDED for folder in folders) else []


def local_model(name: str) -> FoundModel | None:
    """A model that is on this machine and complete, or None. Mirrors count as well."""
    entry = MODELS.get(name)
    place = models_folder() / name
    required = entry.required if entry else ()
    if place.is_dir() and all((place / file).is_file() for file in required):
        return FoundModel(folder=place, id=name)
    for repository in entry.ids if entry else (name,):
        folder = _cached_snapshot(repository)
        if folder is not None and all((folder / file).is_file() for file in required):
            return FoundModel(folder=folder, id=repository, revision=folder.name)
    return None


def cached_bytes(name: str) -> int:
    """Bytes on this machine of a named model; 0 when it is not here."""
    found = local_model(name)
    if found is None:
        return 0
    return sum(file.stat().st_size for file in found.folder.rglob("*") if file.is_file())


def _cached_snapshot(repository: str) -> Path | None:
    """The newest snapshot of a repository in the hub's cache."""
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    main = root / "refs" / "main"
    if main.is_file() and (folder := root / "snapshots" / main.read_text().strip()).is_dir():
        return folder
    snapshots = sorted((root / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)
    return snapshots[-1] if snapshots else None


def _fetch(ids: Sequence[str], files: Sequence[str]) -> tuple[FoundModel | None, str]:
    """The first repository that can be fetched, and otherwise the first reason why not."""
    from huggingface_hub import snapshot_download

    reasons = []
    for repository in ids:
        _log.info("Looking for %s on the hub.", repository)
        try:
            folder = Path(snapshot_download(repository, allow_patterns=list(files)))
        except Exception as error:  # noqa: BLE001 - the hub's client has many kinds; the caller makes a sentence
            reasons.append(first_line(error))
            _log.info("%s cannot be fetched: %s.", repository, reasons[-1])
            continue
        return FoundModel(folder=folder, id=repository, revision=folder.name), ""
    return None, reasons[0]
