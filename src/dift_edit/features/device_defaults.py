"""How a network runs where nobody says otherwise: number format, layout, compilation and batch, by device."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from dift_edit.features.execution import SMALL

__all__ = ["DEVICE_DEFAULTS", "DeviceDefaults", "device_defaults", "folder_is_small"]


@dataclass(frozen=True, kw_only=True)
class DeviceDefaults:
    """What is chosen for a kind of network on a kind of device.

    Attributes
    ----------
    settings : mapping
        Fields of `Runtime`.
    why : str
        What speaks for it, and where that was measured.
    """

    settings: Mapping[str, Any]
    why: str


_ATTENTION = "Attention runs in torch's fused kernels (scaled_dot_product_attention) everywhere."
_CPU = DeviceDefaults(
    settings=MappingProxyType({"dtype": "float32", "channels_last": True, "compile": False, "max_batch": 0}),
    why="On a processor float32 is quickest where it has no instructions for bfloat16, and channels_last lets large "
    "3 × 3 convolutions run by Winograd's method, twice as fast (docs/performance-features.md). " + _ATTENTION,
)
_SMALL_CUDA = DeviceDefaults(
    settings=MappingProxyType({"dtype": "float32", "channels_last": True, "compile": False, "max_batch": 32}),
    why="On an H200 the embedded networks are as quick in float32 as in any other format, because starting the kernels "
    "takes the time; float32 gives the CPU's features to 1e-6 (docs/performance-gpu.md). " + _ATTENTION,
)
_LARGE_CUDA = DeviceDefaults(
    settings=MappingProxyType({"dtype": "float16", "channels_last": False, "compile": False, "max_batch": 16}),
    why="On an H200 float16 is 4 to 6 times as quick as float32 at Stable Diffusion's size and gives its features to a "
    "cosine of 1 − 1e-6; bfloat16 is no quicker and less exact; channels_last is slower (docs/performance-gpu.md). "
    + _ATTENTION,
)
_UNMEASURED = DeviceDefaults(
    settings=MappingProxyType({"dtype": "float32", "channels_last": True, "compile": False, "max_batch": 16}),
    why="Nothing was measured on such a device: exact arithmetic, and few samples at a time, which fit any memory. "
    "python benchmarks/gpu.py measures the alternatives. " + _ATTENTION,
)

DEVICE_DEFAULTS: Mapping[tuple[str, str], DeviceDefaults] = MappingProxyType(
    {
        ("small", "cpu"): _CPU,
        ("large", "cpu"): _CPU,
        ("small", "cuda"): _SMALL_CUDA,
        ("large", "cuda"): _LARGE_CUDA,
    }
)
"""("small" or "large" network, type of device) → what is chosen; a large network has more weights than `SMALL`."""


def device_defaults(device: str, *, small: bool) -> DeviceDefaults:
    """What is chosen for a network.

    Parameters
    ----------
    device : str
        "cpu", "cuda", "cuda:1", "mps", …
    small : bool
        Whether the network has at most `SMALL` weights.

    Returns
    -------
    DeviceDefaults
        For devices on which nothing was measured: exact arithmetic.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""  # `Runtime` says what is wrong with it
    return DEVICE_DEFAULTS.get(("small" if small else "large", kind), _UNMEASURED)


def folder_is_small(folder: Path) -> bool:
    """Whether the weights below a folder belong to a small network, by the files' size (four bytes a weight)."""
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) <= 4 * SMALL
