"""Where results go: a local folder, or one on an fsspec file system."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from dift_edit.atomic_files import file_sha256, read_regular, write_atomic
from dift_edit.errors import OutputError
from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import OUTPUT_FORMATS, save_image
from dift_edit.targets.storage import filesystem, local_path

__all__ = ["OutputFolder", "is_exposed", "open_existing", "open_output", "unredacted_folder"]

REJECTED = "rejected/"
PREVIEWS = "review_files"


def is_exposed(name: str) -> bool:
    """Whether a name stands for a picture that may show what a redaction hides: before it, or one that was rejected."""
    preview = name.startswith(f"{PREVIEWS}/") and name.endswith(("-before.jpg", "-rejected.jpg"))
    return name.startswith(REJECTED) or preview


def unredacted_folder(path: Path | str) -> Path | None:
    """Where a redaction's exposed pictures go: the folder beside the local output folder at a path; None for a URL."""
    local = local_path(str(path))
    if local is None:
        return None
    root = Path(os.path.abspath(local))
    return root.with_name(f"{root.name}-unredacted") if root.name else None


class OutputFolder:
    """A local folder for results. Names are relative, with "/" between their parts, and never leave the folder.

    Parameters
    ----------
    root : Path
        The folder.
    hides_content : bool
        Whether the edit hides something. Images that may show it (`is_exposed`) lie in a folder beside this one
        then, so that this one can be given away.
    """

    def __init__(self, root: Path, *, hides_content: bool = False) -> None:
        self.root = root
        self.hides_content = hides_content

    @property
    def unredacted(self) -> Path | None:
        """The folder beside it for pictures that may show what the edit hides; None where there is none."""
        return unredacted_folder(self.root) if self.hides_content else None

    def keeps(self, name: str) -> bool:
        """Whether a picture may be kept under `name`; not when it shows what is hidden and has no place but here."""
        return not (self.hides_content and is_exposed(name)) or self.unredacted is not None

    def address(self, name: str) -> str | None:
        """Address of `name` as the page in this folder links to it; None where it is not kept."""
        if not self.keeps(name):
            return None
        outside = self.unredacted if is_exposed(name) else None
        return quote(os.fsencode(name if outside is None else f"../{outside.name}/{name}"))

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
            If the name would leave the folder, or one of its folders is a link.
        """
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\0" in name:
            raise OutputError(f"The result {name!r} would lie outside {self.root}: rename it.")
        root = self.root
        if is_exposed(name) and self.hides_content:
            if self.unredacted is None:
                raise OutputError(f"{self.root} has no folder beside it for {name!r}: choose another output folder.")
            root = self.unredacted
            _check_no_link(root, name)
        for count in range(1, len(parts)):
            _check_no_link(root.joinpath(*parts[:count]), name)
        return root.joinpath(*parts)

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
        """The bytes of `name`; raises FileNotFoundError, and OSError for a link and whatever is no regular file."""
        return read_regular(self.path(name))

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
        path = self.path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise OutputError(f"{path} cannot be removed ({error.strerror}): check the folder's rights.") from error

    def move(self, name: str, to: str) -> None:
        """Rename `name`."""
        target = self._ready(to)
        try:
            os.replace(self.path(name), target)
        except OSError as error:
            raise OutputError(f"{self.path(name)} cannot be moved to {target}: {error.strerror}.") from error

    def clean(self) -> None:
        """Remove what a killed run left half-written, and what may not lie in the folder of a redaction."""
        for here, _folders, files in os.walk(self.root):
            for file in files:
                name = os.path.relpath(os.path.join(here, file), self.root).replace(os.sep, "/")
                half_written = file.startswith(".dift-edit-") and file.endswith(".tmp")
                if half_written or (self.hides_content and name.startswith(f"{PREVIEWS}/") and is_exposed(name)):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(here, file))

    def _ready(self, name: str) -> Path:
        path = self.path(name)
        try:
            if is_exposed(name) and self.unredacted is not None:
                self.unredacted.mkdir(mode=0o700, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            write_atomic(path, lambda _file: None)  # fails in the same way, with the right sentence
            raise OutputError(f"The folder {path.parent} cannot be made ({error.strerror}).") from error
        return self.path(name)


class RemoteFolder(OutputFolder):
    """The same on an fsspec file system. A write is whole because object stores show an object only when it is."""

    def __init__(self, url: str, *, hides_content: bool = False) -> None:
        self.url = url.rstrip("/")
        self.hides_content = hides_content
        self.file_system, self.base = filesystem(self.url)

    @property
    def local(self) -> Path | None:
        """None: not on this machine's disk."""
        return None

    @property
    def unredacted(self) -> Path | None:
        """None: what lies beside a remote folder may be as public as the folder."""
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
        """Copy to the new name, if it may be kept, then remove the old one."""
        if self.keeps(to):
            self.write(to, self.read(name))
        self.remove(name)

    def clean(self) -> None:
        """Nothing is ever half-written here; what may not lie in the folder of a redaction is removed."""
        if self.hides_content:
            with contextlib.suppress(Exception):  # each fsspec driver has errors of its own
                for path in self.file_system.find(f"{self.base.rstrip('/')}/{PREVIEWS}"):
                    if path.endswith(("-before.jpg", "-rejected.jpg")):
                        self.file_system.rm_file(path)


def open_output(path: str, *, hides_content: bool = False) -> OutputFolder:
    """The output folder at a path or URL; a local one is made when it is missing.

    Parameters
    ----------
    path : str
        Path or URL.
    hides_content : bool
        Whether the edit hides something, see `OutputFolder`.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    local = local_path(path)
    if local is None:
        return RemoteFolder(path, hides_content=hides_content)
    try:
        local.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The output folder {local} cannot be made ({error.strerror}): choose another one."
        ) from error
    return OutputFolder(local, hides_content=hides_content)


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


def _check_no_link(folder: Path, name: str) -> None:
    if folder.is_symlink() or (hasattr(folder, "is_junction") and folder.is_junction()):
        raise OutputError(f"The result {name!r} would lie outside, because {folder} is a link: remove the link.")
