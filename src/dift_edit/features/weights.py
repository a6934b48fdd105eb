"""Weights on the disk: loading parts of a diffusers folder, and their digests."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dift_edit.atomic_files import write_text
from dift_edit.errors import ModelError
from dift_edit.features.base import file_sha256
from dift_edit.settings import fingerprint

__all__ = [
    "SUMS",
    "damaged_weights",
    "load_diffusers_part",
    "load_state_file",
    "quiet_transformers",
    "weights_digest",
    "write_sums",
]

SUMS = "SHA256SUMS"
"""File beside weights with their digests, as ``sha256sum`` writes it (``sha256sum -c SHA256SUMS`` checks it too)."""


def load_diffusers_part(kind: Any, folder: Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """One model of a diffusers folder, from safetensors; the network is never asked.

    Parameters
    ----------
    kind : type
        A diffusers model class.
    folder : path
        Holds ``config.json`` and ``*.safetensors``.
    dtype : torch.dtype
        Number format of the weights in memory.

    Raises
    ------
    ModelError
        If the folder is not such a folder or its weights cannot be read.
    """
    files = weight_files(folder)
    plain = any(".fp16." not in file.name for file in files)
    try:
        return kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, torch_dtype=dtype,
            variant=None if plain else "fp16",
        )  # fmt: skip
    except Exception as error:  # each library underneath has errors of its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"The model in {folder} cannot be loaded ({reason}): restore its files.") from error


def weight_files(folder: Path) -> list[Path]:
    """The weight files that would be loaded from a folder, sorted.

    Raises
    ------
    ModelError
        If there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    plain = [file for file in files if ".fp16." not in file.name]
    if not files:
        raise ModelError(f"{folder} holds no .safetensors file: give a model folder in the diffusers layout.")
    return plain or files


def weights_digest(folder: Path) -> str:
    """SHA-256 of a folder's weight file, or of the list of digests when there are several.

    Raises
    ------
    ModelError
        If a file is not the one that the folder's ``SHA256SUMS`` records: a flipped bit inside intact safetensors
        would otherwise give wrong features silently.
    """
    files = weight_files(folder)
    digests = [_digest(file) for file in files]
    recorded = _recorded(folder)
    for file, digest in zip(files, digests, strict=True):
        if recorded.get(file.name, digest) != digest:
            raise ModelError(
                f"The weights in {file} are damaged: their SHA-256 is not the one in {folder / SUMS}. Restore "
                f"the file, or remove {SUMS} if you changed the weights yourself."
            )
    return digests[0] if len(digests) == 1 else fingerprint(*digests)


def write_sums(folder: Path) -> None:
    """Record the digests of a folder's weight files, so that later damage is noticed when they are loaded."""
    write_text(folder / SUMS, "".join(f"{file_sha256(file)}  {file.name}\n" for file in weight_files(folder)))


def damaged_weights(folder: Path) -> dict[Path, bool | None]:
    """Read all weights below a folder and compare them with the digests that are known of them.

    Parameters
    ----------
    folder : path
        A model folder, or a snapshot in the hub's cache (whose large files are named by their digest).

    Returns
    -------
    dict
        File → whether it is damaged; None where no digest is known.
    """
    found: dict[Path, bool | None] = {}
    for file in sorted(folder.rglob("*.safetensors")):
        name = file.resolve().name
        known = name if _is_digest(name) else _recorded(file.parent).get(file.name)
        found[file] = None if known is None else file_sha256(file) != known
    return found


def _recorded(folder: Path) -> dict[str, str]:
    """File name → digest of a folder's ``SHA256SUMS``; empty where there is none."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / SUMS} cannot be read: restore or remove it.") from error
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    if not all(len(pair) == 2 and _is_digest(pair[0].lower()) for pair in pairs):
        raise ModelError(f"{folder / SUMS} is not a list of SHA-256 digests and file names: restore or remove it.")
    return {name.lstrip("*"): digest.lower() for digest, name in pairs}


def _is_digest(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _digest(file: Path) -> str:
    """SHA-256 of a file; the hub's cache names its files by it, which saves reading gigabytes."""
    name = file.resolve().name
    return name if _is_digest(name) else file_sha256(file)


def load_state_file(network: torch.nn.Module, file: Path) -> str:
    """Replace all weights of a network by those of a safetensors file.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    ModelError
        If the file cannot be read or belongs to another network.
    """
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(file))
    except Exception as error:  # safetensors, the system and torch have errors of their own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"The weights in {file} do not fit {type(network).__name__} ({reason}): give the file made for this model."
        ) from error
    return _digest(file)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the progress bars that transformers shows when it reads weights from the disk."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
