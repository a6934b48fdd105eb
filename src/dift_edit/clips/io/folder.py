"""Folders of numbered frames."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from dift_edit.atomic_files import write_atomic
from dift_edit.clips.io.base import DEFAULT_FPS, Clip, ListClip, check_range, check_size
from dift_edit.clips.io.container import VIDEO_ENCODERS
from dift_edit.errors import ImageError, OutputError
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import OUTPUT_FORMATS, save_image
from dift_edit.targets.collect import IMAGE_SUFFIXES

__all__ = ["FolderClip", "FolderWriter", "check_not_own"]

_SHOWING = IMAGE_SUFFIXES | VIDEO_ENCODERS.keys()
"""Endings of files that may show what a redaction hides."""


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key with which ``frame10`` comes behind ``frame9``."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name.lower())]


class FolderClip:
    """The images of a folder in the natural order of their names.

    Parameters
    ----------
    folder : Path
        Sub-folders, hidden files and other files than images are passed over.
    fps : float
        Frames per second, for a video made of it.

    Raises
    ------
    ImageError
        If there is no image in the folder.
    """

    def __init__(self, folder: Path | str, *, fps: float = DEFAULT_FPS) -> None:
        self.folder = Path(folder)
        self.name = str(folder)
        self.fps = fps
        self.paths = sorted(
            (
                path
                for path in self.folder.iterdir()
                if path.suffix.lower() in OUTPUT_FORMATS and not path.name.startswith(".") and path.is_file()
            ),
            key=_natural,
        )
        if not self.paths:
            raise ImageError(f"There is no picture in the folder {folder}: give a folder of frames.")
        self.size = load_image(self.paths[0]).size

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, start: int, stop: int) -> Iterator[Image]:
        """The frames ``start`` … ``stop - 1``."""
        check_range(self, start, stop)
        for index in range(start, stop):
            yield check_size(self, index, load_image(self.paths[index]))

    def fingerprint(self) -> str:
        """Digest of names, sizes and times of change."""
        digest = hashlib.sha256()
        for path in self.paths:
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def frame_name(self, index: int) -> str:
        """The file's own name."""
        return self.paths[index].name

    def seconds(self, index: int) -> float:
        """Frame number over frames per second."""
        return index / self.fps


def check_not_own(folder: Path, clip: Clip) -> None:
    """Refuse to write into the folder that a clip's own frames are in.

    Raises
    ------
    OutputError
        If it is that folder, or a frame leads into it by a link.
    """
    frames = clip.paths if isinstance(clip, FolderClip | ListClip) else []
    if folder.resolve() in {place for path in frames for place in (path.parent.resolve(), path.resolve().parent)}:
        raise OutputError(f"{folder} is the folder of the clip itself: choose another output folder.")


class FolderWriter:
    """Writes each frame as an image, under the name that the clip gives it.

    A frame that was not edited and comes from a folder is copied byte by byte. Frames that are there from an
    earlier run can be kept with `skip`.
    """

    def __init__(self, folder: Path, clip: Clip) -> None:
        check_not_own(folder, clip)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made: {error.strerror}.") from error
        self.folder = folder
        self._clip = clip
        self._next = 0

    def check_no_others(self) -> None:
        """Refuse a folder with other pictures than this clip's frames, which would stay as they are.

        Raises
        ------
        OutputError
            If there is one.
        """
        own = {self._clip.frame_name(index) for index in range(len(self._clip))}
        for path in sorted(self.folder.iterdir(), key=_natural):
            if path.name not in own and not path.name.startswith(".") and path.suffix.lower() in _SHOWING:
                raise OutputError(
                    f"{path} is no frame of this clip and would stay as it is, although the edit hides something: "
                    "remove it, or choose another output folder."
                )

    def path(self, index: int) -> Path:
        """Where a frame is written."""
        return self.folder / self._clip.frame_name(index)

    def skip(self, count: int) -> None:
        """Leave the next frames as they lie in the folder."""
        self._next += count

    def add(self, image: Image, *, unchanged: bool = False) -> None:
        """Write the next frame."""
        path = self.path(self._next)
        if unchanged and isinstance(self._clip, FolderClip):
            with self._clip.paths[self._next].open("rb") as original:
                write_atomic(path, lambda file: shutil.copyfileobj(original, file))
        else:
            save_image(image, path)
        self._next += 1

    def close(self) -> Path:
        """Nothing is left to do."""
        return self.folder

    def discard(self) -> None:
        """Whole frames stay: a resumed run goes on behind them."""
