"""Run a stock network only as far as its inner features are needed."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.hooks import RemovableHandle

from dift_edit.errors import ModelError
from dift_edit.features.execution import AdaptiveBatch

__all__ = ["mean_outputs", "run_until"]


class _Done(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside a forward pass when the last wanted output is there."""


def run_until(network: torch.nn.Module, layers: Sequence[str], call: Callable[[], Any]) -> dict[str, torch.Tensor]:
    """Outputs of inner modules; what follows the last of them is not run. Several threads may use one network.

    Parameters
    ----------
    network : torch.nn.Module
        A stock module; it is not changed.
    layers : sequence of str
        Names for ``network.get_submodule``, such as "up_blocks.1".
    call : callable
        Runs the network's forward.

    Returns
    -------
    dict
        Layer name → output tensor (the first element, where a module returns a tuple).

    Raises
    ------
    ModelError
        If a layer does not exist or is not reached.
    """
    outputs: dict[str, torch.Tensor] = {}
    wanted = frozenset(layers)
    try:
        with _tapped(network, wanted, outputs), torch.inference_mode():
            call()
    except _Done:
        pass
    if missing := wanted - outputs.keys():
        raise ModelError(
            f"The layers {sorted(missing)} were not reached by a forward pass of {type(network).__name__}."
        )
    return outputs


class _Tap:
    """The hooks on one network while it is used; its users want the same layers, each in a thread of its own.

    They are put on by the first user and taken off by the last: torch walks over a module's hooks when a pass is left,
    so they must not change while another thread is in one.
    """

    def __init__(self) -> None:
        self.free = threading.Condition()
        self.layers: frozenset[str] = frozenset()
        self.users = 0
        self.outputs: dict[int, dict[str, torch.Tensor]] = {}
        self.handles: list[RemovableHandle] = []

    def put_on(self, network: torch.nn.Module, layers: frozenset[str]) -> None:
        modules = {}
        for name in layers:
            try:
                modules[name] = network.get_submodule(name)
            except AttributeError as error:
                raise ModelError(
                    f"The layer {name!r} does not exist in {type(network).__name__}: use a name such as 'up_blocks.1'."
                ) from error
        self.layers = layers
        self.handles = [module.register_forward_hook(self._keep(name)) for name, module in modules.items()]

    def take_off(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _keep(self, name: str) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            outputs = self.outputs.get(threading.get_ident())
            if outputs is None:
                return  # a pass of somebody who wants nothing
            outputs[name] = output[0] if isinstance(output, tuple) else output
            if outputs.keys() == self.layers:
                raise _Done

        return hook


_taps: WeakKeyDictionary[torch.nn.Module, _Tap] = WeakKeyDictionary()
_taps_lock = threading.Lock()


@contextlib.contextmanager
def _tapped(network: torch.nn.Module, layers: frozenset[str], outputs: dict[str, torch.Tensor]) -> Iterator[None]:
    """Let this thread's passes put the outputs of layers into a dict; wait for threads that want others."""
    with _taps_lock:
        tap = _taps.setdefault(network, _Tap())
    with tap.free:
        tap.free.wait_for(lambda: not tap.users or tap.layers == layers)
        if not tap.users:
            tap.put_on(network, layers)
        tap.users += 1
        tap.outputs[threading.get_ident()] = outputs
    try:
        yield
    finally:
        with tap.free:
            del tap.outputs[threading.get_ident()]
            tap.users -= 1
            if not tap.users:
                tap.take_off()
                tap.free.notify_all()


def mean_outputs(
    inputs: torch.Tensor,
    draws: int,
    batch: AdaptiveBatch,
    run: Callable[[torch.Tensor], dict[str, torch.Tensor]],
) -> dict[str, torch.Tensor]:
    """Average the outputs of inner modules over each picture's draws.

    Parameters
    ----------
    inputs : torch.Tensor
        (n · draws, …) the network's inputs, the draws of one picture after another.
    draws : int
        Number of inputs that are averaged.
    batch : AdaptiveBatch
        Decides how many are run at once; the sums never need more memory than the result.
    run : callable
        Gets some of the inputs and returns layer name → outputs.

    Returns
    -------
    dict
        Layer name → (n, C, h, w) float32.
    """
    sums: dict[str, torch.Tensor] = {}
    for part, outputs in batch(len(inputs), lambda part: run(inputs[part])):
        for name, output in outputs.items():
            if name not in sums:
                sums[name] = torch.zeros((len(inputs) // draws, *output.shape[1:]), device=output.device)
            # One after another: index_add_ takes them in any order on a GPU, which changes the last bits.
            for index, draw in zip(range(part.start, part.stop), output, strict=True):
                sums[name][index // draws] += draw.float()
    return {name: total / draws for name, total in sums.items()}
