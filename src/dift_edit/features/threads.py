"""Threads of arithmetic: how many of them torch, OpenCV and the BLAS use."""

import contextlib
from collections.abc import Iterator

import cv2
import scipy.linalg  # noqa: F401 - it has a BLAS of its own, which is to be found as well
import torch
from threadpoolctl import ThreadpoolController

__all__ = ["arithmetic_threads", "one_thread", "set_arithmetic_threads"]

_LIBRARIES = ThreadpoolController()
"""Found once, here: to find them, it walks through the list of loaded libraries with a Python function, and waits for
ever if another thread is loading one, which holds Python's lock and needs the list.
"""


def set_arithmetic_threads(count: int = 1) -> None:
    """Let torch, OpenCV and the BLAS use `count` threads in this process from now on."""
    _LIBRARIES.limit(limits=count)
    _set(count, count)


@contextlib.contextmanager
def arithmetic_threads(count: int = 1) -> Iterator[None]:
    """The same for a block; the caller's numbers come back."""
    with _LIBRARIES.limit(limits=count), _limited(count):
        yield


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and OpenCV use one thread for a block of many small operations.

    Several threads wait for each other at the end of every operation: on 16 cores a placement took twice as long with
    16 threads as with one, and 29 times the processor time (docs/performance-gpu.md).
    """
    with _limited(1):
        yield


@contextlib.contextmanager
def _limited(count: int) -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    _set(count, count)
    try:
        yield
    finally:
        _set(*before)


def _set(of_torch: int, of_opencv: int) -> None:
    if torch.get_num_threads() != of_torch:
        torch.set_num_threads(of_torch)
    if cv2.getNumThreads() != of_opencv:
        cv2.setNumThreads(of_opencv)
