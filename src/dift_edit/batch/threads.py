"""Threads of a run. Arithmetic has one number of them in every runner: the last bits of a sum depend on its split."""

from dift_edit.features.execution import available_cores

__all__ = ["worker_threads"]

MOST_LANES = 4
"""How many targets one process has in memory at a time, at most (chosen)."""


def worker_threads() -> int:
    """How many targets to work on at a time: one more than there are cores, for the time that files take."""
    return min(MOST_LANES, available_cores() + 1)
