"""What all kinds of clips share: numbered frames that are read in runs, never all at once."""

import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dift_edit.errors import ImageError
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image

__all__ = ["Clip", "ClipWriter", "ListClip", "check_range", "check_size", "iterate_reversed", "unfinished"]

DEFAULT_FPS = 25.0
"""Of clips that name no rate (chosen: the rate of PAL)."""


@runtime_checkable
class Clip(Protocol):
    """Numbered frames of one size."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of every frame, in pixels as displayed."""

    def __len__(self) -> int:
        """Number of frames."""

    def read(self, start: int, stop: int) -> Iterator[Image]:
        """The frames ``start`` … ``stop - 1`` in order; only a few are in memory at a time."""

    def fingerprint(self) -> str:
        """Digest of the content, or of what stands for it; a resumed run compares it."""

    def frame_name(self, index: int) -> str:
        """File name, without a folder, under which this frame goes into a folder."""

    def seconds(self, index: int) -> float:
        """Time of a frame from the start of the clip; of ``len(clip)``: the clip's duration."""


class ClipWriter(Protocol):
    """Takes the frames of a clip in order; the file appears under its name when all were taken."""

    def add(self, image: Image, *, unchanged: bool = False) -> None:
        """Write the next frame; `unchanged` says that it is the source's own."""

    def close(self) -> Path:
        """Finish and give the path that was written."""

    def discard(self) -> None:
        """Give up: nothing half-written stays."""


class ListClip:
    """Frames that are in memory, or paths of images, as a clip.

    Parameters
    ----------
    frames : sequence of image, array or path
        At least one; all of one size.
    fps : float
        Frames per second.
    """

    def __init__(self, frames: Sequence[Any], *, fps: float = DEFAULT_FPS) -> None:
        if not len(frames):
            raise ImageError("The list of frames is empty: give at least one frame.")
        self.name = "the list of frames"
        self.fps = fps
        self._frames = frames
        self.size = as_image(frames[0]).size

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def paths(self) -> list[Path]:
        """Of the frames in a list that are files; one that is loaded when it is asked for is not."""
        listed = self._frames if isinstance(self._frames, list | tuple) else ()
        return [Path(frame) for frame in listed if isinstance(frame, str | os.PathLike)]

    def read(self, start: int, stop: int) -> Iterator[Image]:
        """The frames ``start`` … ``stop - 1``."""
        check_range(self, start, stop)
        for index in range(start, stop):
            yield check_size(self, index, as_image(self._frames[index]))

    def fingerprint(self) -> str:
        """Digest of all frames' content."""
        import hashlib

        digest = hashlib.sha256()
        for image in self.read(0, len(self)):
            digest.update(image.digest.encode())
        return digest.hexdigest()

    def frame_name(self, index: int) -> str:
        """A number with five digits."""
        return f"{index:05d}.png"

    def seconds(self, index: int) -> float:
        """Frame number over frames per second."""
        return index / self.fps


def check_size(clip: Clip, index: int, image: Image) -> Image:
    """The image, when it has the clip's size.

    Raises
    ------
    ImageError
        If it has not.
    """
    if image.size != clip.size:
        raise ImageError(
            f"Frame {index} of {clip.name} has {image.size[0]}×{image.size[1]} pixels, but the first one has "
            f"{clip.size[0]}×{clip.size[1]}: give frames of one size."
        )
    return image


def unfinished(path: Path, scratch: Path | None) -> Path:
    """Where a writer keeps a file until it is whole: in `scratch`, or beside its place."""
    return (scratch or path.parent) / f".dift-edit-{uuid.uuid4().hex}.tmp"


def check_range(clip: Clip, start: int, stop: int) -> None:
    """Refuse frame numbers that the clip does not have."""
    if not 0 <= start <= stop <= len(clip):
        raise ImageError(f"{clip.name} has the frames 0 to {len(clip) - 1}, not {start} to {stop - 1}.")


def iterate_reversed(clip: Clip, start: int, stop: int, *, run: int = 16) -> Iterator[tuple[int, Image]]:
    """Frames ``stop - 1`` down to ``start`` with their numbers; at most `run` are in memory at a time."""
    for upper in range(stop, start, -run):
        lower = max(start, upper - run)
        frames = list(clip.read(lower, upper))
        while frames:
            yield lower + len(frames) - 1, frames.pop()
