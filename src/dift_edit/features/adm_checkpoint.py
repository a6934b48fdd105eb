"""From the weights of OpenAI's guided-diffusion (ADM) to a stock diffusers ``UNet2DModel``.

Both compute the same function; only names and the order of the fused query-key-value rows differ.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dift_edit.errors import ModelError, OutputError
from dift_edit.features.adm_architecture import AdmArchitecture
from dift_edit.features.weights import write_sums

__all__ = ["convert_adm", "convert_adm_state", "output_block_name"]

RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
WHOLE = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip


def output_block_name(layer: str | int, config: Mapping[str, Any]) -> str:
    """The diffusers name of a layer that may be given as ADM's output block.

    Parameters
    ----------
    layer : str or int
        A diffusers name, which is returned as it is; or 4, "4" or "output_blocks.4" of guided-diffusion.
    config : mapping
        Of the ``UNet2DModel``.

    Returns
    -------
    str
        The module whose output is that of the whole output block.

    Raises
    ------
    ModelError
        If there is no such block.
    """
    text = str(layer).removeprefix("output_blocks.")
    if not text.isdecimal():
        return str(layer)
    per_block, blocks = config["layers_per_block"] + 1, len(config["block_out_channels"])
    step, block = divmod(int(text), per_block)
    if step >= blocks:
        raise ModelError(f"The layer {layer} does not exist: use output_blocks.0 to {blocks * per_block - 1}.")
    if block == per_block - 1 and step < blocks - 1:
        return f"up_blocks.{step}.upsamplers.0"
    kind = "attentions" if config["up_block_types"][step].startswith("Attn") else "resnets"
    return f"up_blocks.{step}.{kind}.{block}"


def convert_adm_state(state: Mapping[str, torch.Tensor], architecture: AdmArchitecture) -> dict[str, torch.Tensor]:
    """Rename and reorder guided-diffusion's weights.

    Parameters
    ----------
    state : mapping
        Name → tensor of a guided-diffusion ``UNetModel``.
    architecture : AdmArchitecture
        Its numbers.

    Returns
    -------
    dict
        For a ``UNet2DModel`` of `architecture.config()`.

    Raises
    ------
    ModelError
        If weights are missing or left over.
    """
    left = dict(state)
    converted: dict[str, torch.Tensor] = {}

    def take(old: str, new: str, change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        for kind in ("weight", "bias"):
            tensor = left.pop(f"{old}.{kind}", None)
            if tensor is not None:
                converted[f"{new}.{kind}"] = (change(tensor) if change else tensor).contiguous()
            elif not old.endswith("skip_connection"):
                raise ModelError(
                    f"The checkpoint has no {old}.{kind}: its architecture is another one than was given "
                    f"({architecture})."
                )

    for old, new in WHOLE.items():
        take(old, new)
    for old, new, kind in architecture.modules():
        if kind == "resnet":
            for inner, name in RESNET.items():
                take(f"{old}.{inner}", f"{new}.{name}")
        else:
            take(f"{old}.norm", f"{new}.group_norm")
            take(f"{old}.proj_out", f"{new}.to_out.0", lambda tensor: tensor.flatten(1) if tensor.ndim > 1 else tensor)
            for item in ("weight", "bias"):
                fused = left.pop(f"{old}.qkv.{item}", None)
                if fused is None:
                    raise ModelError(f"The checkpoint has no {old}.qkv.{item}: its attention levels are others.")
                # The fused rows are ordered (head, [query, key, value], channel).
                rows = fused.reshape(-1, 3, architecture.head_channels, *fused.shape[1:2])
                for part, name in enumerate(("to_q", "to_k", "to_v")):
                    converted[f"{new}.{name}.{item}"] = rows[:, part].flatten(0, 1).contiguous()
    if left:
        raise ModelError(
            f"The checkpoint has weights that the given architecture does not ({sorted(left)[0]} and "
            f"{len(left) - 1} more): give the numbers with which it was trained."
        )
    return converted


def convert_adm(checkpoint: Path | str, folder: Path | str, architecture: AdmArchitecture | None = None) -> Path:
    """Turn a checkpoint file into a diffusers folder.

    Parameters
    ----------
    checkpoint : path
        A ``.pt`` file of guided-diffusion; it is read with ``weights_only=True``.
    folder : path
        Made, with ``unet/``, ``scheduler/`` and the settings that suit ADM; must not exist yet, or be empty.
    architecture : AdmArchitecture, optional
        Its numbers.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ModelError
        If the file cannot be read or has another architecture.
    OutputError
        If the folder cannot be written.
    """
    from dift_edit.features.unet_2d import DDIMScheduler, UNet2DModel

    architecture = architecture or AdmArchitecture()
    checkpoint, folder = Path(checkpoint), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists already: choose a new folder.")
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{checkpoint} does not exist: give the path of a .pt file.") from error
    except Exception as error:  # torch and pickle have many kinds of errors
        raise ModelError(f"{checkpoint} is not a file of weights: give a .pt file of guided-diffusion.") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{checkpoint} holds no weights by name: give a .pt file of guided-diffusion.")
    converted = convert_adm_state(state, architecture)
    unet = UNet2DModel(**architecture.config())
    try:
        unet.load_state_dict(converted)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(f"{checkpoint} has another architecture than was given: {reason}") from error
    scheduler = DDIMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    temporary = folder.parent / f".dift-edit-{uuid.uuid4().hex}.tmp"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unet.save_pretrained(temporary / "unet", safe_serialization=True)
        write_sums(temporary / "unet")
        scheduler.save_pretrained(temporary / "scheduler")
        settings = {
            "short_sides": [2 * architecture.image_size], "square": True, "timestep": 101,
            "layers": ["output_blocks.4"], "ensemble": 8, "normalize": False,
        }  # fmt: skip
        (temporary / "featurizer.json").write_text(json.dumps(settings, indent=2) + "\n")
        if folder.exists():
            folder.rmdir()
        temporary.replace(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}): choose another place.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
