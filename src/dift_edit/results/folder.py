"""Where results go: a local folder, or one on an fsspec file system."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path, PurePosixPath

from dift_edit.atomic_files import write_atomic
from dift_edit.errors import OutputError
from dift_edit.imaging.files import OUTPUT_FORMATS, save_image
from dift_edit.imaging.image import Image
from dift_edit.targets.storage import file_sha256, filesystem, local_path

__all__ = ["OutputFolder", "open_existing", "open_output"]


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
        return file_sha256(path)

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
            return file_sha256(self.path(name))
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
