"""What the engine knows of models: which there are, which are here, and what they cost. Registered in `tasks`."""

import inspect
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_dift_edit.store import Store

__all__ = ["measure", "models", "ready"]


def models(store: Store) -> Iterator[Any]:
    """Every model, preset and folder of the user's, as plain data: the default's name, and a row for each.

    A row has ``name``, ``kind`` ("model", "preset" or "folder"), ``here``, ``bytes`` (on this machine, or of the
    download), ``licence``, ``missing`` (what to do so that it is here; empty when it is), ``about``, and ``seconds``
    (for each picture, as measured on this machine; None where it was not).
    """
    with store.loading():
        from dift_edit.features.catalog import MODELS
        from dift_edit.features.presets import PRESETS
        from dift_edit.features.registry import load_featurizer
        from dift_edit.features.sources import models_folder
    default = str(inspect.signature(load_featurizer).parameters["name"].default)
    rows = {name: _model_row(name) for name in MODELS}
    for name, preset in PRESETS.items():
        base = rows.get(preset.model)
        if base is not None and name not in rows:
            settings = ", ".join(f"{key} {value}" for key, value in preset.settings.items())
            about = f"{preset.model} with {settings}. {preset.source}"
            rows[name] = {**base, "name": name, "kind": "preset", "about": about}
    for folder in sorted(models_folder().glob("*")) if models_folder().is_dir() else ():
        if folder.name not in rows and any((folder / part).is_file() for part in ("unet/config.json", "config.json")):
            rows[str(folder)] = {
                "name": str(folder), "kind": "folder", "here": True, "bytes": _bytes(folder), "licence": "your own",
                "missing": "", "about": f"Your own model in {folder.parent}",
            }  # fmt: skip
    known = _speeds()
    yield {"default": default, "rows": [{**row, "seconds": known.get(row["name"])} for row in rows.values()]}


def _model_row(name: str) -> dict[str, Any]:
    from dift_edit.features.catalog import MODELS
    from dift_edit.features.sources import cached_bytes, models_folder

    entry = MODELS[name]
    embedded = not entry.ids and not entry.required
    size = round(entry.gigabytes * 1e9) if embedded else cached_bytes(name)
    missing = ""
    if not size and entry.ids:
        missing = (
            f"Run  dift-edit models fetch {name}  in a terminal (downloads {entry.gigabytes:.2g} GB), or put the files "
            f"of huggingface.co/{entry.ids[0]} into {models_folder() / name}."
        )
    elif not size:
        missing = f"It needs {entry.needs} -o {models_folder() / name}."
    if not missing and "transformers" in entry.needs and not _installed("transformers"):
        missing = "Run  pip install 'dift-edit[transformers]'  and start napari again."
    about = "Part of the package." if embedded else f"huggingface.co/{entry.ids[0]}" if entry.ids else entry.needs
    return {
        "name": name, "kind": "model", "here": not missing, "bytes": size or round(entry.gigabytes * 1e9),
        "licence": entry.licence, "missing": missing, "about": about,
    }  # fmt: skip


def _installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def ready(store: Store, *, model: dict[str, str], settings: dict[str, Any]) -> Iterator[Any]:
    """Load a model and check the settings, so that what is wrong with them is said before any target is touched."""
    with store.loading():
        from dift_edit.settings import TransferSettings
    TransferSettings(**settings)
    store.featurizer(model)
    return iter(())


def measure(store: Store, *, picture: str, model: dict[str, str]) -> Iterator[Any]:
    """Seconds that the features of one picture take with a model, which is loaded before; kept for `models`."""
    featurizer = store.featurizer(model)
    (image,) = store.need(picture)
    with store.loading():
        from dift_edit import as_image
    changed = np.array(image.to_pil().convert("RGB"))
    changed[0, 0] ^= 1  # another content, so that no map that is kept answers
    start = time.perf_counter()
    featurizer(as_image(changed))
    seconds = time.perf_counter() - start
    known = {**_speeds(), store.name(model): round(seconds, 3)}
    with store.loading():
        from dift_edit.atomic_files import write_text
    path = _speeds_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(known))
    yield seconds


def _speeds_path() -> Path:
    import platformdirs

    return platformdirs.user_state_path("dift-edit") / "napari-seconds.json"


def _speeds() -> dict[str, float]:
    """Seconds for each picture by model, as far as they were measured here."""
    try:
        content = json.loads(_speeds_path().read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): float(value) for name, value in content.items()} if isinstance(content, dict) else {}
