"""Weights on the disk: loading parts of a diffusers folder, 8-bit weights, and digests."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from dift_edit.atomic_files import file_sha256, write_atomic, write_text
from dift_edit.errors import MissingDependencyError, ModelError, first_line
from dift_edit.settings import fingerprint

__all__ = [
    "SUMS",
    "damaged_weights",
    "load_diffusers_part",
    "load_state_file",
    "load_transformers_model",
    "quantized",
    "quiet_transformers",
    "read_weights",
    "restored",
    "weights_digest",
    "write_int8",
    "write_sums",
]

SUMS = "SHA256SUMS"
"""File beside weights with their digests, as ``sha256sum`` writes it (``sha256sum -c SHA256SUMS`` checks it too)."""


INT8 = ".int8."
"""Part of a file's name that says that its matrices and kernels are stored as 8-bit integers with scales."""
_SCALE = "_scale"
_LEAST_INPUTS, _LEAST_WEIGHTS = 64, 16384


def quantized(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as 8-bit integers, symmetric about 0, with a scale per output channel.

    Parameters
    ----------
    state : mapping
        Name → tensor, the first axis of which counts the output channels.

    Returns
    -------
    dict
        Name → int8 tensor, and name + "_scale" → (output channels,) float32: the weight is their product. Small
        tensors (biases, norms, depthwise and early convolutions) are float16: they weigh little, and rounding errors
        do not average out where a channel has few inputs.
    """
    stored: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if value.ndim < 2 or value[0].numel() < _LEAST_INPUTS or value.numel() < _LEAST_WEIGHTS:
            stored[name] = value.half()
            continue
        rows = value.float().flatten(1)
        scale = rows.abs().amax(1).clamp_min(1e-12) / 127
        stored[name] = torch.round(rows / scale[:, None]).to(torch.int8).reshape(value.shape)
        stored[name + _SCALE] = scale
    return stored


def restored(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights that `quantized` stored, as float32; tensors that are not int8 stay as they are.

    Raises
    ------
    ModelError
        If a scale is missing or has another length than its weight.
    """
    state: dict[str, torch.Tensor] = {}
    for name, value in stored.items():
        if value.dtype == torch.int8:
            scale = stored.get(name + _SCALE)
            if scale is None or scale.shape != value.shape[:1]:
                raise ModelError(f"the scales {name + _SCALE} are missing or of another length")
            state[name] = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
        elif not (name.endswith(_SCALE) and name.removesuffix(_SCALE) in stored):
            state[name] = value
    return state


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The weights of a safetensors file, 8-bit ones times their scales.

    Raises
    ------
    ModelError
        If the file cannot be read.
    """
    from safetensors.torch import load_file

    try:
        return restored(load_file(file))
    except Exception as error:  # safetensors and the system have errors of their own
        raise ModelError(f"The weights in {file} cannot be read ({first_line(error)}): restore the file.") from error


def write_int8(state: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write weights as `quantized` makes them; `file` appears when it is whole."""
    from safetensors.torch import save

    raw = save({name: value.contiguous() for name, value in quantized(state).items()}, {"format": "pt"})
    write_atomic(file, lambda out: out.write(raw))


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
    if INT8 in files[0].name:
        return _load_int8_part(kind, folder, files[0], dtype)
    if len(files) == 1:
        with contextlib.suppress(Exception):  # names of older versions, which diffusers translates, or damage
            return _assembled(kind, folder, read_weights(files[0]), dtype)
    plain = any(".fp16." not in file.name for file in files)
    try:
        return kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, torch_dtype=dtype,
            variant=None if plain else "fp16",
        )  # fmt: skip
    except Exception as error:  # each library underneath has errors of its own
        raise ModelError(f"The model in {folder} cannot be loaded ({first_line(error)}): restore its files.") from error


def _load_int8_part(kind: Any, folder: Path, file: Path, dtype: torch.dtype) -> Any:
    """A diffusers model with 8-bit weights. Those of the last blocks may be missing, and then so are the blocks."""
    state = read_weights(file)
    try:
        return _assembled(kind, folder, state, dtype, shorten=True)
    except Exception as error:  # diffusers and torch have errors of their own
        raise ModelError(f"The model in {folder} cannot be loaded ({first_line(error)}): restore its files.") from error


def _assembled(
    kind: Any, folder: Path, state: Mapping[str, torch.Tensor], dtype: torch.dtype, *, shorten: bool = False
) -> Any:
    """A model of diffusers by its configuration, with these weights. Much quicker than ``from_pretrained``, which
    imports a compiler and makes up weights first. With `shorten`, what the weights do not cover is left out.
    """
    with torch.device("meta"):  # no weights are made up that would be replaced at once
        network = kind.from_config(kind.load_config(folder, local_files_only=True))
    if shorten:
        drop_unused_blocks(network, state)
    network.load_state_dict({name: value.to(dtype, copy=True) for name, value in state.items()}, assign=True)
    if any(value.is_meta for value in (*network.parameters(), *network.buffers())):
        raise ModelError(f"{folder} has not all values of its network.")
    return network


def drop_unused_blocks(network: Any, names: Iterable[str]) -> None:
    """Take from a U-Net the end that some weights do not cover: last blocks of the way up, and the output.

    Parameters
    ----------
    network : torch.nn.Module
        A U-Net of diffusers.
    names : iterable of str
        Of the weights.
    """
    names = set(names)
    kept = {name.split(".")[1] for name in names if name.startswith("up_blocks.")}
    del network.up_blocks[len(kept) :]
    if "conv_out.weight" not in names:
        network.conv_norm_out = network.conv_out = torch.nn.Identity()


def weight_files(folder: Path) -> list[Path]:
    """The weight files that would be loaded from a folder, sorted.

    Raises
    ------
    ModelError
        If there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no .safetensors file: give a model folder in the diffusers layout.")
    plain = [file for file in files if ".fp16." not in file.name and INT8 not in file.name]
    return plain or [file for file in files if ".fp16." in file.name] or files


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
    write_text(
        folder / SUMS, "".join(f"{file_sha256(file, links=True)}  {file.name}\n" for file in weight_files(folder))
    )


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
        found[file] = None if known is None else file_sha256(file, links=True) != known
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
    return name if _is_digest(name) else file_sha256(file, links=True)


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
    state = read_weights(file)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"The weights in {file} do not fit {type(network).__name__} ({first_line(error)}): give the file made for "
            "this model."
        ) from error
    return _digest(file)


def load_transformers_model(kind: str, folder: Path, purpose: str) -> Any:
    """A model of transformers from a folder on the disk, in float32.

    Parameters
    ----------
    kind : str
        Name of its class.
    folder : Path
        Holds ``config.json`` and the weights.
    purpose : str
        What needs transformers, as a sentence begins: "A vision transformer".

    Returns
    -------
    transformers.PreTrainedModel

    Raises
    ------
    ModelError
        If the folder holds no such model.
    MissingDependencyError
        If transformers is not installed.
    """
    try:
        import transformers

        loader = getattr(transformers, kind)
    except ImportError as error:
        raise MissingDependencyError("transformers", "transformers", purpose) from error
    except AttributeError as error:
        version = transformers.__version__
        raise ModelError(
            f"The model in {folder} needs {kind}, which transformers {version} does not have: install a newer one."
        ) from error
    try:
        with quiet_transformers():
            return loader.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except Exception as error:  # each library underneath has errors of its own
        raise ModelError(f"The model in {folder} cannot be loaded ({first_line(error)}): restore its files.") from error


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
