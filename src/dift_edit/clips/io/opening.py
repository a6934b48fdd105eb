"""Which reader or writer a path needs."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from dift_edit.clips.io.animation import AnimationClip, AnimationWriter
from dift_edit.clips.io.base import DEFAULT_FPS, Clip, ClipWriter, ListClip
from dift_edit.clips.io.container import VIDEO_ENCODERS, VideoClip, VideoWriter
from dift_edit.clips.io.folder import FolderClip, FolderWriter
from dift_edit.errors import ImageError, OutputError
from dift_edit.types import FramesLike

__all__ = ["as_clip", "open_clip", "open_writer"]

_ANIMATIONS = {".gif", ".webp", ".png", ".apng"}


def open_clip(path: str | os.PathLike[str], *, fps: float = DEFAULT_FPS) -> Clip:
    """A folder of frames, a video, a GIF or an animated WebP or PNG as a clip.

    Parameters
    ----------
    path : path
        What to read.
    fps : float
        Frames per second of a folder; the others know their own timing.

    Returns
    -------
    Clip

    Raises
    ------
    ImageError
        If there is nothing at the path, or nothing that can be read.
    """
    path = Path(path)
    if path.is_dir():
        return FolderClip(path, fps=fps)
    if not path.exists():
        raise ImageError(f"{path} does not exist: give a folder of frames, a video, a GIF or an animated WebP.")
    if path.suffix.lower() in _ANIMATIONS:
        return AnimationClip(path)
    return VideoClip(path)


def as_clip(frames: FramesLike | Iterable[Any]) -> Clip:  # Any: what cannot be a clip gets a sentence
    """Whatever a caller may have, as a clip: a path, a list of images, or a clip.

    Raises
    ------
    ImageError
        If it is something that can be gone through only once, such as a generator.
    """
    if isinstance(frames, Clip):
        return frames
    if isinstance(frames, str | os.PathLike):
        return open_clip(frames)
    if not hasattr(frames, "__len__") or not hasattr(frames, "__getitem__"):
        raise ImageError("The frames are read more than once: give a path, a list of images or a clip, no iterator.")
    return ListClip(cast(Sequence[Any], frames))


def open_writer(path: Path | str, clip: Clip, *, scratch: Path | None = None, keep_metadata: bool = True) -> ClipWriter:
    """A writer for the frames of `clip`, by the ending of `path`; a path without an ending is a folder.

    Parameters
    ----------
    path : path
        Where to write.
    clip : Clip
        The source: its names, times and audio are taken over.
    scratch : Path, optional
        A folder on the same disk in which a file is kept until it is whole; else it lies, hidden, beside its place.
    keep_metadata : bool
        Take over a video's title, position and other texts; not where something is hidden in it.

    Returns
    -------
    ClipWriter

    Raises
    ------
    OutputError
        If the ending is not known or the place cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    source = getattr(clip, "path", None)
    if source is not None and path.resolve() == Path(source).resolve():
        raise OutputError(f"{path} is the clip itself: choose another output path.")
    if suffix in VIDEO_ENCODERS or suffix in (".gif", ".webp"):
        if not path.parent.is_dir():
            raise OutputError(f"The folder {path.parent} does not exist: create it or choose another output path.")
        if suffix in VIDEO_ENCODERS:
            return VideoWriter(path, clip, scratch, keep_metadata=keep_metadata)
        return AnimationWriter(path, clip, scratch)
    if suffix and not path.is_dir():
        known = ", ".join([*VIDEO_ENCODERS, ".gif", ".webp"])
        raise OutputError(f"A clip cannot be written as {suffix}: use one of {known}, or a folder's name.")
    return FolderWriter(path, clip)
