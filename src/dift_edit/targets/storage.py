"""Where pictures come from: local paths, and any fsspec URL (s3://, gs://, http://, memory://…)."""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from dift_edit.atomic_files import NotRegularError, file_sha256, open_regular
from dift_edit.errors import DiftEditError, ImageError, MissingDependencyError
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image

__all__ = ["filesystem", "input_sha256", "is_url", "local_path", "read_image"]

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+(://|::)")
_DRIVERS = {
    "s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs"),
    "http": ("aiohttp", "http"), "https": ("aiohttp", "http"),
}  # fmt: skip
"""Scheme → the package that fsspec needs for it, and the extra of dift-edit that brings it."""


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
        If the kind is unknown, or needs a driver that no extra brings.
    """
    scheme = re.split(r"::|:", url, maxsplit=1)[0].lower()
    package, extra = _DRIVERS.get(scheme, ("fsspec", "batch"))
    try:
        import fsspec.core
    except ImportError as error:
        raise MissingDependencyError("fsspec", extra, f"The URL {url}") from error
    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        if scheme in _DRIVERS:
            raise MissingDependencyError(package, extra, f"The URL {url}") from error
        raise DiftEditError(f"The URL {url} needs a driver of fsspec that is missing ({error}): install it.") from error
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


def read_image(path: str, *, max_pixels: int, links: bool = True) -> tuple[Image, str]:
    """An image and the SHA-256 of its file.

    Parameters
    ----------
    path : str
        Local path or URL.
    max_pixels : int
        Refuse larger images.
    links : bool
        Whether a symbolic link may lead to a local image.

    Returns
    -------
    image : Image
    sha256 : str
        Of the bytes that the image was decoded from.

    Raises
    ------
    ImageError
        If it cannot be read, or goes on changing meanwhile; the sentence names `path`, also where a copy was read.
    """
    with _as_local(path) as local:
        try:
            for _ in range(_READINGS):
                before = _state(local, links=links)
                image = load_image(local, max_pixels=max_pixels)
                if before is not None and before == _state(local, links=links):
                    return image, before[0]
        except ImageError as error:
            raise ImageError(str(error).replace(str(local), path)) from error
    raise ImageError(f"{path} was changed while it was read: run the same command again when it is at rest.")


_READINGS = 3


def _state(path: Path, *, links: bool) -> tuple[str, tuple[int, ...]] | None:
    """Digest and marks of a file, which are equal only while nobody writes to it; None where it cannot be read."""
    try:
        with open_regular(path, links=links) as file:
            found = os.fstat(file.fileno())
            digest = _digest(file)
    except NotRegularError as error:
        raise ImageError(f"{path} cannot be read, because {error.strerror}: name a picture file.") from error
    except (OSError, ValueError):
        return None  # `load_image` says why
    return digest, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def input_sha256(path: str) -> str | None:
    """SHA-256 of a local target's bytes; None where it cannot be read, or is remote."""
    local = local_path(path)
    if local is None:
        return None
    try:
        return file_sha256(local, links=True)
    except (OSError, ValueError):
        return None


def _digest(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
