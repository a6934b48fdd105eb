"""Folders of numbered frames."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from dift_edit.atomic_files import write_atomic
from dift_edit.clips.io.base import DEFAULT_FPS, Clip, check_range, check_size
from dift_edit.errors import ImageError, OutputError
from dift_edit.imaging.files import load_image
from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import OUTPUT_FORMATS, save_image

__all__ = ["FolderClip", "FolderWriter"]


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


class FolderWriter:
    """Writes each frame as an image, under the name that the clip gives it.

    A frame that was not edited and comes from a folder is copied byte by byte. Frames that are there from an
    earlier run can be kept with `skip`.
    """

    def __init__(self, folder: Path, clip: Clip) -> None:
        if isinstance(clip, FolderClip) and folder.resolve() == clip.folder.resolve():
            raise OutputError(f"{folder} is the folder of the clip itself: choose another output folder.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made: {error.strerror}.") from error
        self.folder = folder
        self._clip = clip
        self._next = 0

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
