"""Where pictures come from and go to: local paths, and any fsspec URL (s3://, gs://, http://, memory://…)."""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from dift_edit.errors import DiftEditError, ImageError, MissingDependencyError, OutputError
from dift_edit.files import write_atomic
from dift_edit.image import Image
from dift_edit.image_io import OUTPUT_FORMATS, load_image, save_image

__all__ = [
    "OutputFolder",
    "filesystem",
    "input_sha256",
    "is_url",
    "local_path",
    "open_existing",
    "open_output",
    "read_image",
]

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+(://|::)")
_DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp", "az": "adlfs"}


def is_url(path: str) -> bool:
    """Whether a target or output is an fsspec URL rather than a local path (``file://`` counts as a URL)."""
    return bool(_URL.match(path))


def local_path(path: str) -> Path | None:
    """The local path of a path or a ``file://`` URL; None for any other URL."""
    if path.startswith("file://"):
        from urllib.parse import unquote

        return Path(unquote(path[len("file://") :], errors="surrogateescape"))
    return None if is_url(path) else Path(path)


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path on it.

    Raises
    ------
    MissingDependencyError
        If fsspec or the driver of this kind of URL is not installed.
    DiftEditError
        If the kind is unknown.
    """
    scheme = url.split(":", 1)[0].lower()
    try:
        import fsspec.core
    except ImportError as error:
        raise MissingDependencyError("fsspec", "batch", f"Reading {url}") from error
    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(
            _DRIVERS.get(scheme, f"a driver of {scheme}"), "batch", f"The URL {url}"
        ) from error
    except ValueError as error:
        raise DiftEditError(
            f"{url} is of no kind that fsspec knows: use a path, file://, s3://, gs:// or http://."
        ) from error
    return file_system, path


@contextlib.contextmanager
def _as_local(path: str) -> Iterator[Path]:
    """A local file with the content of `path`; a temporary one for a remote URL."""
    local = local_path(path)
    if local is not None:
        yield local
        return
    file_system, remote = filesystem(path)
    with tempfile.TemporaryDirectory(prefix="dift-edit-") as folder:
        copy = Path(folder) / ("target" + PurePosixPath(remote).suffix[:16])
        try:
            copy.write_bytes(file_system.cat_file(remote))
        except FileNotFoundError as error:
            raise ImageError(f"{path} does not exist: check the address.") from error
        except Exception as error:  # each fsspec driver has errors of its own
            raise ImageError(
                f"{path} cannot be read ({str(error) or type(error).__name__}): check address and rights."
            ) from error
        yield copy


def read_image(path: str, *, max_pixels: int) -> tuple[Image, str]:
    """A picture and the SHA-256 of its file.

    Parameters
    ----------
    path : str
        Local path or URL.
    max_pixels : int
        Refuse larger pictures.

    Returns
    -------
    image : Image
    sha256 : str

    Raises
    ------
    ImageError
        If it cannot be read; the sentence names `path`, also where a copy was read.
    """
    with _as_local(path) as local:
        try:
            image = load_image(local, max_pixels=max_pixels)
            return image, _sha256(local)
        except ImageError as error:
            raise ImageError(str(error).replace(str(local), path)) from error


def input_sha256(path: str) -> str | None:
    """SHA-256 of a local target's bytes; None where it cannot be read, or is remote."""
    local = local_path(path)
    if local is None:
        return None
    try:
        return _sha256(local)
    except OSError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class OutputFolder:
    """A local folder for results. Names are relative, with "/" between their parts, and never leave the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def local(self) -> Path | None:
        """The folder's path, or None when it is remote."""
        return self.root

    def __str__(self) -> str:
        return str(self.root)

    def path(self, name: str) -> Path:
        """Where `name` lies.

        Raises
        ------
        OutputError
            If the name would leave the folder, also by way of a symbolic link.
        """
        path = self.root.joinpath(*PurePosixPath(name).parts)
        inside = Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(self.root))
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not inside:
            raise OutputError(f"The result {name!r} would lie outside {self.root}: remove the link or rename it.")
        return path

    def save_image(self, image: Image, name: str) -> str:
        """Write a picture under `name`; returns the SHA-256 of the file."""
        path = self._ready(name)
        written = save_image(image, path)
        if written != path:
            raise OutputError(f"{path} has an ending that cannot be written: use one of {', '.join(OUTPUT_FORMATS)}.")
        return _sha256(path)

    def write(self, name: str, data: bytes) -> None:
        """Write bytes under `name`, whole or not at all."""
        write_atomic(self._ready(name), lambda file: file.write(data))

    def read(self, name: str) -> bytes:
        """The bytes of `name`; raises FileNotFoundError."""
        return self.path(name).read_bytes()

    def exists(self, name: str) -> bool:
        """Whether there is something under `name`."""
        return os.path.lexists(self.path(name))

    def sha256(self, name: str) -> str | None:
        """SHA-256 of `name`, or None where it cannot be read."""
        try:
            return _sha256(self.path(name))
        except OSError:
            return None

    def remove(self, name: str) -> None:
        """Remove `name` if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.path(name).unlink()

    def move(self, name: str, to: str) -> None:
        """Rename `name`."""
        self._ready(to)
        os.replace(self.path(name), self.path(to))

    def clean(self) -> None:
        """Remove what a killed run left half-written."""
        for leftover in self.root.rglob(".dift-edit-*.tmp"):
            with contextlib.suppress(OSError):
                leftover.unlink()

    def _ready(self, name: str) -> Path:
        path = self.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            write_atomic(path, lambda _file: None)  # fails in the same way, with the right sentence
            raise OutputError(f"The folder {path.parent} cannot be made ({error.strerror}).") from error
        return self.path(name)


class RemoteFolder(OutputFolder):
    """The same on an fsspec file system. A write is whole because object stores show an object only when it is."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.file_system, self.base = filesystem(self.url)

    @property
    def local(self) -> Path | None:
        """None: not on this machine's disk."""
        return None

    def __str__(self) -> str:
        return self.url

    def _at(self, name: str) -> str:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise OutputError(f"The result {name!r} would lie outside {self.url}: rename it.")
        return f"{self.base.rstrip('/')}/{name}"

    def save_image(self, image: Image, name: str) -> str:
        """Write a picture under `name`; returns the SHA-256 of the file."""
        with tempfile.TemporaryDirectory(prefix="dift-edit-") as folder:
            path = save_image(image, Path(folder) / ("result" + PurePosixPath(name).suffix))
            data = path.read_bytes()
        self.write(name, data)
        return hashlib.sha256(data).hexdigest()

    def write(self, name: str, data: bytes) -> None:
        """Write bytes under `name`."""
        try:
            self.file_system.makedirs(self._at(name).rsplit("/", 1)[0], exist_ok=True)
            self.file_system.pipe_file(self._at(name), data)
        except Exception as error:  # each fsspec driver has errors of its own
            raise OutputError(f"{self.url}/{name} cannot be written ({error}): check address and rights.") from error

    def read(self, name: str) -> bytes:
        """The bytes of `name`; raises FileNotFoundError."""
        return bytes(self.file_system.cat_file(self._at(name)))

    def exists(self, name: str) -> bool:
        """Whether there is something under `name`."""
        return bool(self.file_system.exists(self._at(name)))

    def sha256(self, name: str) -> str | None:
        """SHA-256 of `name`, or None where it cannot be read."""
        try:
            return hashlib.sha256(self.read(name)).hexdigest()
        except OSError:
            return None

    def remove(self, name: str) -> None:
        """Remove `name` if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.file_system.rm_file(self._at(name))

    def move(self, name: str, to: str) -> None:
        """Copy to the new name, then remove the old one."""
        self.write(to, self.read(name))
        self.remove(name)

    def clean(self) -> None:
        """Nothing is ever half-written here."""


def open_output(path: str) -> OutputFolder:
    """The output folder at a path or URL; a local one is made when it is missing.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    local = local_path(path)
    if local is None:
        return RemoteFolder(path)
    try:
        local.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The output folder {local} cannot be made ({error.strerror}): choose another one."
        ) from error
    return OutputFolder(local)


def open_existing(path: str) -> OutputFolder:
    """The output folder of an earlier run.

    Raises
    ------
    OutputError
        If there is none.
    """
    local = local_path(path)
    if local is not None and not local.is_dir():
        raise OutputError(f"There is no folder {path}: give the output folder of an earlier run.")
    return open_output(path)
