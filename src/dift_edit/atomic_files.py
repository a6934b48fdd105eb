"""Atomic writing: a file appears under its name only when it is whole."""

import contextlib
import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

from dift_edit.errors import OutputError

__all__ = ["lock_file", "write_atomic", "write_text"]


def write_atomic(path: Path | str, write: Callable[[BinaryIO], object], *, durable: bool = False) -> None:
    """Call `write` with a temporary binary file beside `path`, then rename it to `path`.

    Parameters
    ----------
    path : path
        Where the file shall be; its folder must exist.
    write : callable
        Gets the open file and writes the content.
    durable : bool
        Flush to the disk before the rename, so that a power cut cannot leave an empty file.

    Raises
    ------
    OutputError
        If the file cannot be written (no such folder, no permission, disk full). Nothing is left behind then.
    """
    path = Path(path)
    temporary = path.parent / f".dift-edit-{uuid.uuid4().hex}.tmp"
    try:
        try:
            with temporary.open("xb") as file:
                write(file)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise OutputError(_sentence(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str, *, durable: bool = False) -> None:
    """Write `text` as UTF-8 through `write_atomic`."""
    write_atomic(path, lambda file: file.write(text.encode()), durable=durable)


def lock_file(file: IO[Any]) -> None:
    """Take an open file for this process until it ends, however it ends.

    Raises
    ------
    OSError
        If another process has it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows; there an open file cannot be removed, which guards it as well
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sentence(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"The disk is full while writing {path}: free some space and run the same command again."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"There is no permission to write {path}: choose another output folder or change its rights."
    if isinstance(error, FileNotFoundError):
        return f"The folder {path.parent} does not exist: create it or choose another output path."
    return f"{path} cannot be written: {error.strerror or error}."
