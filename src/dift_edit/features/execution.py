"""How networks are run: number format, memory layout, compilation, and batches that shrink when memory runs out."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dift_edit.errors import ModelError, SettingsError
from dift_edit.features.memory import kept_memory
from dift_edit.features.winograd import quicken_convolutions
from dift_edit.settings import Settings, option

__all__ = ["AdaptiveBatch", "Runtime", "available_cores", "is_out_of_memory", "is_small", "upcast_attention"]

_log = logging.getLogger(__name__)


NUMBER_FORMATS = ("float32", "tf32", "bfloat16", "float16")

SMALL = 100_000_000
"""Weights up to which a network is small: several of its passes at a time fit into any memory."""


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_small(network: torch.nn.Module) -> bool:
    """Whether a network has few weights, see `SMALL`."""
    return sum(weight.numel() for weight in network.parameters()) <= SMALL


@dataclass(frozen=True, kw_only=True)
class Runtime(Settings):
    """Where and how a network runs. Of these, only `dtype` changes the features noticeably (by rounding).

    Attributes
    ----------
    device : str
        "cpu", "cuda", "cuda:1", "mps".
    dtype : str
        "float32", "bfloat16" or "float16"; or "tf32": float32 whose matrix products and convolutions may round their
        operands to 11 bits, which NVIDIA's GPUs from Ampere on do much quicker. "float32" never does, also where
        torch's own settings would allow it.
    channels_last : bool
        Memory layout of convolutions; quicker on most devices. On the CPU, with it, large 3 × 3 convolutions in
        float32 run by Winograd's method, with about half of the multiplications.
    compile : bool
        Compile the network's blocks with ``torch.compile``: slow at first, then quicker.
    max_batch : int
        Most samples in one forward pass; 0 for as many as there are. It is halved whenever memory runs out.
    """

    device: str = option("cpu", "cpu, cuda, cuda:1 or mps")
    dtype: str = option("float32", "number format", choices=NUMBER_FORMATS)
    channels_last: bool = option(True, "memory layout of convolutions; quicker on most devices")
    compile: bool = option(False, "compile the network's blocks: slow at first, then quicker")
    max_batch: int = option(0, "most samples in one forward pass; 0 for as many as there are", limits=(0, None))

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise SettingsError(f"There is no device {self.device!r}: use cpu, cuda, cuda:1 or mps.") from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ModelError("There is no CUDA device here that this torch can use: use the device cpu.")
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise ModelError("There is no MPS device here: use the device cpu.")

    @property
    def torch_dtype(self) -> torch.dtype:
        """The number format."""
        dtype: torch.dtype = torch.float32 if self.dtype == "tf32" else getattr(torch, self.dtype)
        return dtype

    @property
    def exact(self) -> bool:
        """Whether float32 has to be float32 inside of matrix products, too."""
        return self.dtype == "float32"

    def arithmetic(self, network: torch.nn.Module) -> contextlib.AbstractContextManager[None]:
        """A block within which CUDA computes products in float32 as exactly as `dtype` says.

        torch keeps these settings once per process, and by default rounds the operands of convolutions. So on a GPU one
        thread at a time runs a network; on other devices the block does nothing.

        Large networks in float32 do without cuDNN: for convolutions of 2560 channels its exact algorithms took 104 GiB
        of memory and gave wrong sums (cuDNN 9.19, 8 samples of 32 × 32 cells on an H200: off by 0.87 of the norm,
        torch's own by 5e-7), and were no quicker elsewhere.
        """
        if not self.on_cuda:
            return contextlib.nullcontext()
        return _products(tf32=not self.exact, cudnn=not self.exact or is_small(network))

    def prepare(self, network: torch.nn.Module, *, dtype: torch.dtype | None = None) -> torch.nn.Module:
        """Move a network to the device, in the format and layout, frozen and in evaluation mode."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        # Not the method of diffusers' models: it warns whenever a number format is given.
        torch.nn.Module.to(network, device=self.device, dtype=dtype or self.torch_dtype)
        torch.nn.Module.to(network, memory_format=layout)  # type: ignore[call-overload]
        if self.channels_last and self.on_cpu and not self.compile:
            quicken_convolutions(network)
        return network.eval().requires_grad_(False)

    @property
    def on_cpu(self) -> bool:
        """Whether the device is a CPU."""
        return torch.device(self.device).type == "cpu"

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a GPU of NVIDIA's, or one of AMD's under the same name."""
        return torch.device(self.device).type == "cuda"

    def batches(self, network: torch.nn.Module) -> "AdaptiveBatch":
        """How a network's samples are batched; a large one on a CPU keeps memory from layer to layer."""
        return AdaptiveBatch(self.max_batch, keep_memory=self.on_cpu and not is_small(network))

    def compile_blocks(self, network: torch.nn.Module, layers: Sequence[str] = ()) -> None:
        """Compile the blocks of a U-Net or of a VAE's encoder, if that is wanted.

        The blocks' ``forward`` is compiled, not the whole network: hooks on the blocks stay outside of compiled code.

        Parameters
        ----------
        network : torch.nn.Module
            Has ``down_blocks``, ``mid_block`` or ``up_blocks``.
        layers : sequence of str
            Modules whose outputs are wanted: a block that has one of them inside stays as it is.
        """
        if not self.compile:
            return
        for kind in ("down_blocks", "mid_block", "up_blocks"):
            part = getattr(network, kind, None)
            several = isinstance(part, torch.nn.ModuleList)
            for name, block in part.named_children() if several else [("", part)]:  # type: ignore[union-attr]
                inner = f"{kind}.{name}." if several else f"{kind}."
                if block is not None and not any(layer.startswith(inner) for layer in layers):
                    block.forward = torch.compile(block.forward, dynamic=False)


_precision = threading.RLock()


@contextlib.contextmanager
def _products(*, tf32: bool, cudnn: bool) -> Iterator[None]:
    """Allow or forbid rounding to TF32 in matrix products and convolutions, and cuDNN, for one thread at a time."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    with _precision:
        before = products.allow_tf32, convolutions.allow_tf32, convolutions.enabled
        products.allow_tf32 = convolutions.allow_tf32 = tf32
        convolutions.enabled = cudnn
        try:
            yield
        finally:
            products.allow_tf32, convolutions.allow_tf32, convolutions.enabled = before


_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",  # cuBLAS and cuDNN
    # oneDNN, which runs convolutions on CPUs, has no words for it but these.
    "could not create a primitive",
    "could not execute a primitive",
    "could not create a memory",
)


class AdaptiveBatch:
    """Runs samples in the largest batches that fit; the size that fitted is remembered.

    Parameters
    ----------
    max_batch : int
        Most samples at once; 0 for no bound.
    keep_memory : bool
        Run all batches within `kept_memory`: for large networks on a CPU.
    """

    def __init__(self, max_batch: int = 0, *, keep_memory: bool = False) -> None:
        self.max_batch = max_batch
        self.keep_memory = keep_memory

    def __call__(self, count: int, run: Callable[[slice], Any]) -> Iterator[tuple[slice, Any]]:
        """Run all of `count` samples.

        Parameters
        ----------
        count : int
            Number of samples.
        run : callable
            Gets a slice of the samples.

        Yields
        ------
        part : slice
            The samples that were run.
        result
            What `run` returned.

        Raises
        ------
        ModelError
            If memory does not even suffice for one sample.
        """
        with kept_memory() if self.keep_memory else contextlib.nullcontext():
            yield from self._run(count, run)

    def _run(self, count: int, run: Callable[[slice], Any]) -> Iterator[tuple[slice, Any]]:
        start = 0
        while start < count:
            size = min(self.max_batch or count, count - start)
            part = slice(start, start + size)
            result = None
            try:
                result = run(part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise ModelError(
                        "There is not enough memory for a single forward pass: use a smaller image size, "
                        "another number format (dtype) or another device."
                    ) from error
            if result is None:
                # Only here, outside of the handler, nothing holds the failed pass's tensors any more.
                self.max_batch = size // 2
                _log.info("Memory ran out with %d samples in one pass: going on with %d.", size, self.max_batch)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            yield part, result
            start += size


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return any(words in text for words in _NO_MEMORY)


def upcast_attention(network: torch.nn.Module) -> None:
    """Let all attention layers of a diffusers network compare queries and keys in float32.

    The attention logits of Stable Diffusion 2.1 exceed the range of float16. The layers' projections stay in the
    network's format; their outputs are cast, and the result is cast back before the output projection. CUDA does not
    need it: its kernels keep the logits of attention in float32.
    """

    def widen(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output.float()

    def narrow(module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0].to(module.weight.dtype), *inputs[1:])

    layers: list[Any] = [module for module in network.modules() if hasattr(module, "to_q")]
    for layer in layers:
        for projection in (layer.to_q, layer.to_k, layer.to_v):
            projection.register_forward_hook(widen)
        layer.to_out[0].register_forward_pre_hook(narrow)
