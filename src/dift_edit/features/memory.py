"""Memory between the layers of a large network on a CPU."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["kept_memory"]

# mallopt(3) and malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_EVERYTHING = 2**31 - 1
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
"""What the library itself arrives at once a block of 32 MiB has been freed."""
_TUNED_BY = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
)

_lock = threading.Lock()
_users = 0


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Within the block, memory that is freed stays with the process; at its end all of it is given back.

    The GNU C library hands freed blocks of more than 32 MiB back to the system at once, and takes them again for the
    next layer: each of their pages is then cleared again, which can take longer than what is computed in them. Blocks
    of several threads may overlap; in other threads than the main one, tensors of more than 64 MiB gain nothing.
    Elsewhere than on Linux with that library, and where the environment tunes its ``malloc``, nothing is changed.
    """
    global _users  # noqa: PLW0603 - the process has one allocator
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            library.mallopt(_MMAP_THRESHOLD, _EVERYTHING)
            library.mallopt(_TRIM_THRESHOLD, _EVERYTHING)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for option, value in _USUAL.items():
                    library.mallopt(option, value)
                library.malloc_trim(0)


def _glibc() -> Any:
    if any(name in os.environ for name in _TUNED_BY):
        return None
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - raises where it is another library
    except (OSError, TypeError, AttributeError):
        return None
    return library
