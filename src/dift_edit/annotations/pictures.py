"""The image files that annotations speak of: where they lie and how large they are."""

import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import PIL.Image

from dift_edit.atomic_files import open_regular
from dift_edit.errors import AnnotationError, first_line

__all__ = ["ImagePlaces", "Pictures", "label_files", "plain_name"]

ImagePlaces: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A folder of images, or image files."""

_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""


class Pictures:
    """Finds images by the names that annotations give them.

    Parameters
    ----------
    places : path, sequence of path, or None
        A folder, or the files themselves. When None, images are looked for beside the annotations and may be missing.
    beside : Path
        The annotation file, or the folder of annotation files.
    """

    def __init__(self, places: ImagePlaces | None, beside: Path) -> None:
        self.given = places is not None
        self._files: dict[str, Path] = {}
        self._folders: list[Path] = []
        if isinstance(places, str | os.PathLike):
            folder = Path(places)
            if folder.is_dir():
                self._folders = [folder, folder / "images"]
            elif folder.exists():
                places = [places]
            else:
                raise AnnotationError(f"The folder of images {folder} does not exist: check its path.")
        if places is None:
            folder = beside if beside.is_dir() else beside.parent
            self._folders = [folder, folder / "images"]
        elif not self._folders and not isinstance(places, str | os.PathLike):
            self._files = {Path(place).name: Path(place) for place in places}

    def wants(self, name: str) -> bool:
        """Whether an image is to be read: all are, unless files were given one by one and it is none of them."""
        return not self._files or PurePosixPath(name).name in self._files

    def names(self) -> list[str]:
        """Names of the files that were given one by one."""
        return list(self._files)

    def find(self, name: str) -> Path | None:
        """The file of that name, or else of the same name in another folder."""
        last = PurePosixPath(name).name
        if not last or "\0" in name:
            return None
        if last in self._files:
            return self._files[last]
        tries = [folder / part for folder in self._folders for part in (name, last)]
        return next((path for path in tries if path.is_file()), None)

    def find_stem(self, stem: str) -> Path | None:
        """The image whose path without its suffix ends like this."""
        last = PurePosixPath(stem).name
        given = [path for name, path in self._files.items() if Path(name).stem == last]
        for folder in self._folders:
            for part in (stem, last):
                place = folder / part
                beside = sorted(place.parent.glob(f"{_escaped(place.name)}.*")) if place.parent.is_dir() else []
                given += [path for path in beside if path.stem == place.name and path.suffix.lower() in _suffixes()]
        return given[0] if given else None

    def size(self, name: str, stated: tuple[int, int] | None = None) -> tuple[int, int] | None:
        """Width and height of an image as displayed.

        Parameters
        ----------
        name : str
            As the annotations name it.
        stated : (W, H), optional
            What the annotations say of it.

        Returns
        -------
        (W, H) or None
            None when neither the file nor the annotations tell.

        Raises
        ------
        AnnotationError
            If the places of images were given and it is not there, it is no image, or its size is another than stated.
        """
        path = self.find(name)
        if path is None:
            if self.given:
                raise AnnotationError(f"The annotated image {name} is not among the images given: add it.")
            return stated
        size = image_size(path)
        if stated is not None and stated != size:
            turned = " (its EXIF turn was left out)" if stated == size[::-1] else ""
            raise AnnotationError(
                f"{path} has {size[0]} × {size[1]} pixels, but was annotated at {stated[0]} × {stated[1]}{turned}: "
                "give the image that was annotated."
            )
        return size

    def needed_size(self, name: str, why: str) -> tuple[int, int]:
        """The size of an image, where annotations cannot be read without; raises as `size`, and if it is unknown."""
        size = self.size(name)
        if size is None:
            raise AnnotationError(f"The image {name} was not found, but {why}: say where the images are.")
        return size


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file as displayed, from its header; raises AnnotationError."""
    try:
        with open_regular(path, links=True) as file, PIL.Image.open(file) as opened:
            width, height = opened.size
            return (height, width) if opened.getexif().get(0x0112) in _TURNED else (width, height)
    except Exception as error:  # whatever a decoder may meet in a damaged file
        raise AnnotationError(f"{path} is not an image that can be read ({first_line(error)}): replace it.") from error


def plain_name(name: str, folder: str = ".") -> str:
    """An image's name with ``/``, relative to `folder`; only the file's name where that leads out of all folders."""
    words = str(name).replace("\\", "/")
    whole = posixpath.normpath(posixpath.join(folder, words))
    leads_out = whole.startswith(("/", "../")) or ":" in whole.partition("/")[0]
    return posixpath.basename(whole) if leads_out else whole


def label_files(names: Sequence[str], suffix: str) -> list[PurePosixPath]:
    """Files for the annotations of images, each named like its image, in the same folder below the output's.

    Parameters
    ----------
    names : sequence of str
        Of the images.
    suffix : str
        Takes the place of the image's own. Where names are alike but for it (``x.jpg``, ``x.png``; or for capitals), it
        is put behind: ``x.jpg.txt``, ``x.png.txt``.

    Returns
    -------
    list of PurePosixPath
        No two alike on a file system that ignores case.

    Raises
    ------
    AnnotationError
        If an image's name leads out of the folder, or two names stand for one file.
    """
    plain = [_relative(name) for name in names]
    files = [path.with_suffix(suffix) for path in plain]
    whole = [path.with_name(path.name + suffix) for path in plain]
    before: list[PurePosixPath] = []
    while files != before:  # what is put behind may be alike to a third name
        before, counts = files, Counter(map(_folded, files))
        files = [long if counts[_folded(file)] > 1 else file for file, long in zip(files, whole, strict=True)]
    first: dict[str, str] = {}
    for name, file in zip(names, files, strict=True):
        if (other := first.setdefault(_folded(file), name)) != name:
            raise AnnotationError(f"The images {other} and {name} would share the file {file}: rename one.")
    return files


def _relative(name: str) -> PurePosixPath:
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or ".." in parts or ":" in parts[0]:
        raise AnnotationError(f"The image name {name!r} leads out of the folder: name the image relative to it.")
    return PurePosixPath(*parts)


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _suffixes() -> Iterable[str]:
    return PIL.Image.registered_extensions()


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
