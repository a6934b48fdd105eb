"""Files that others may have prepared: whole or not at all, never through a link, never more than they hold.

A file appears under its name only when it is whole (`write_atomic`). What is opened in a folder that somebody else may
have filled is opened without following a link, and only when it is a regular file (`open_regular`).
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import tomllib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from filelock import FileLock, Timeout

from dift_edit.errors import OutputError

__all__ = [
    "Lock",
    "NotRegularError",
    "file_sha256",
    "open_regular",
    "parse_json",
    "parse_object",
    "parse_toml",
    "read_regular",
    "write_atomic",
    "write_text",
]

MOST_NESTED = 64
"""Lists and tables of a JSON or TOML file may lie this deep in each other; what dift-edit writes needs 8."""
_OPEN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


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


class NotRegularError(OSError):
    """Something else lies where a file was expected: a link, a folder, a pipe, a device."""


def open_regular(path: Path | str, mode: str = "rb", *, links: bool = False) -> BinaryIO:
    """Open a file, but nothing else: no pipe or device, which may never answer, and no link unless asked to.

    Parameters
    ----------
    path : path
        The file.
    mode : {"rb", "r+b", "ab", "xb"}
        To read, to change, to append, or to make: "ab" makes it when it is missing, "xb" only then. Files to be
        written can be read too, and are not buffered.
    links : bool
        Whether a symbolic link may lead to it.

    Returns
    -------
    file
        Binary.

    Raises
    ------
    OSError
        As `open`; `NotRegularError` for a link, or anything that is not a regular file.
    """
    flags = {
        "rb": os.O_RDONLY, "r+b": os.O_RDWR, "ab": os.O_RDWR | os.O_APPEND | os.O_CREAT,
        "xb": os.O_RDWR | os.O_CREAT | os.O_EXCL,
    }[mode]  # fmt: skip
    if not links and Path(path).is_symlink():
        raise NotRegularError(errno.ELOOP, "it is a link", os.fspath(path))
    try:
        number = os.open(path, flags | _OPEN | _NO_WAIT | (0 if links else _NO_LINK), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO) and not links:
            raise NotRegularError(error.errno, "it is a link or no regular file", os.fspath(path)) from error
        raise
    try:
        kind = os.fstat(number).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(kind):
            raise NotRegularError(errno.EINVAL, "it is no regular file", os.fspath(path))
        return os.fdopen(number, "rb") if mode == "rb" else cast(BinaryIO, os.fdopen(number, "r+b", buffering=0))
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(number)
        raise


def read_regular(path: Path | str, *, links: bool = False) -> bytes:
    """The bytes of a file that `open_regular` opens; raises OSError."""
    with open_regular(path, links=links) as file:
        return file.read()


class Lock:
    """A file's lock, for this process until it ends, however it ends; what lies in the file is left alone.

    The lock belongs to the operating system (`filelock`), so the file of a run that was killed locks nothing.

    Parameters
    ----------
    path : path
        The file; it is made when it is missing, and stays.

    Raises
    ------
    BlockingIOError
        If another process has it.
    OSError
        If it cannot be made, or is no regular file.
    """

    def __init__(self, path: Path | str) -> None:
        open_regular(path, "ab").close()
        self._lock = FileLock(path, timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise BlockingIOError(errno.EAGAIN, "another process has locked it", os.fspath(path)) from error

    def release(self) -> None:
        """Let go of it."""
        self._lock.release()


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises
    ------
    ValueError
        If it is no JSON, or its lists and objects lie more than 64 deep in each other.
    """
    try:
        return _shallow(json.loads(data))
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def parse_object(data: bytes | str) -> dict[str, Any]:
    """The object of a JSON text; raises ValueError as `parse_json`, and where it is something else."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text; raises ValueError as `parse_json`."""
    bare = _COMMENT.sub("", _STRING.sub("q", text))
    if any(len(words.split(".")) > MOST_NESTED for words in _NOT_A_KEY.split(bare)):
        raise ValueError(_TOO_DEEP)  # tomllib would take memory with the square of a dotted key's length
    try:
        return dict(_shallow(tomllib.loads(text)))
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
_COMMENT = re.compile(r"#.*")
_NOT_A_KEY = re.compile(r"[^\w\-. \t]+|\.\.+")
_TOO_DEEP = f"lists or tables lie more than {MOST_NESTED} deep in each other"


def _shallow(value: Any) -> Any:
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        if depth > MOST_NESTED:
            raise ValueError(_TOO_DEEP)
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return value


def _sentence(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"The disk is full while writing {path}: free some space and run the same command again."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"There is no permission to write {path}: choose another output folder or change its rights."
    if isinstance(error, FileNotFoundError):
        return f"The folder {path.parent} does not exist: create it or choose another output path."
    return f"{path} cannot be written: {error.strerror or error}."


def file_sha256(path: Path | str, *, links: bool = False) -> str:
    """SHA-256 of a file's bytes as hexadecimal digits; raises OSError, also for a link unless it may be one."""
    with open_regular(path, links=links) as file:
        content: Any = file  # `file_digest` reads into a buffer, which typeshed's BinaryIO does not know
        return hashlib.file_digest(content, "sha256").hexdigest()
