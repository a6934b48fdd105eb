"""Run a stock network only as far as its inner features are needed."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

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
    wanted = set(layers)
    caller = threading.get_ident()

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            if threading.get_ident() != caller:
                return  # another thread's pass through the same network
            outputs[name] = output[0] if isinstance(output, tuple) else output
            if outputs.keys() == wanted:
                raise _Done

        return hook

    handles = []
    try:
        for name in wanted:
            try:
                module = network.get_submodule(name)
            except AttributeError as error:
                raise ModelError(
                    f"The layer {name!r} does not exist in {type(network).__name__}: use a name such as 'up_blocks.1'."
                ) from error
            handles.append(module.register_forward_hook(keep(name)))
        with torch.inference_mode():
            call()
    except _Done:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if missing := wanted - outputs.keys():
        raise ModelError(
            f"The layers {sorted(missing)} were not reached by a forward pass of {type(network).__name__}."
        )
    return outputs


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
    owners = torch.arange(len(inputs)) // draws
    for part, outputs in batch(len(inputs), lambda part: run(inputs[part])):
        for name, output in outputs.items():
            if name not in sums:
                sums[name] = torch.zeros((len(inputs) // draws, *output.shape[1:]), device=output.device)
            sums[name].index_add_(0, owners[part].to(output.device), output.float())
    return {name: total / draws for name, total in sums.items()}
