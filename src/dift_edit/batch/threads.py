"""Threads of a run. Arithmetic has one number of them in every runner: the last bits of a sum depend on its split."""

import contextlib
from collections.abc import Iterator

import cv2
import torch
from threadpoolctl import threadpool_limits

from dift_edit.features.execution import available_cores

__all__ = ["arithmetic_threads", "worker_threads", "set_arithmetic_threads"]

MOST_LANES = 4
"""How many targets one process has in memory at a time, at most (chosen)."""


def worker_threads() -> int:
    """How many targets to work on at a time: one more than there are cores, for the time that files take."""
    return min(MOST_LANES, available_cores() + 1)


def set_arithmetic_threads(count: int = 1) -> None:
    """Let torch, OpenCV and the BLAS use `count` threads in this process from now on."""
    threadpool_limits(count)
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


@contextlib.contextmanager
def arithmetic_threads(count: int = 1) -> Iterator[None]:
    """The same for a block; the caller's numbers come back."""
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        cv2.setNumThreads(count)
        try:
            yield
        finally:
            torch.set_num_threads(torch_threads)
            cv2.setNumThreads(cv2_threads)
