"""What a run over a clip has found so far, on the disk, so that a killed run goes on where it was."""

import contextlib
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.atomic_files import NotRegularError, open_regular, parse_json, read_regular, write_atomic
from dift_edit.clips.resume import claim_folder
from dift_edit.clips.tracking.tracker import Observation, Tracker
from dift_edit.errors import OutputError

__all__ = ["TrackStore"]

_log = logging.getLogger(__name__)

_EVERY = 20  # frames between two checkpoints (chosen)
_OURS = re.compile(r"job\.json|\d+-\d+-(on|back)\.(jsonl|npz)|\.dift-edit-\w+\.tmp")


class TrackStore:
    """A folder with one file of observations for each keyframe and direction, and the tracker's last state.

    Parameters
    ----------
    folder : path or None
        Where; None keeps nothing.
    fingerprint : str
        Of the clip, the edit and all settings. What another job left in the folder is thrown away.
    """

    def __init__(self, folder: Path | str | None, fingerprint: str) -> None:
        self.folder = None if folder is None else Path(folder)
        self.resumed = False
        if self.folder is None:
            return
        self.resumed = claim_folder(self.folder, fingerprint, _OURS)

    def track(self, name: str, tracker: Tracker, total: int, frames: Any) -> Iterator[Observation]:
        """Observations of one pass, from the disk as far as they are there.

        Parameters
        ----------
        name : str
            Of the pass.
        tracker : Tracker
            In its first state; it is brought to the last checkpoint.
        total : int
            Number of frames of the pass.
        frames : callable
            ``frames(done)`` gives (number, image) of the pass without the first `done`.

        Yields
        ------
        Observation
        """
        if self.folder is None:
            for number, image in frames(0):
                yield tracker.step(number, image)
            return
        lines, state = self.folder / f"{name}.jsonl", self.folder / f"{name}.npz"
        known = self._load(lines, state, tracker)
        yield from known
        done = len(known)
        if done == total:
            return
        try:
            with open_regular(lines, "ab") as file:
                length = file.seek(0, io.SEEK_END)
                for number, image in frames(done):
                    observation = tracker.step(number, image)
                    length += file.write(json.dumps(observation.to_plain()).encode() + b"\n")
                    done += 1
                    if done % _EVERY == 0 or done == total:
                        _save_state(state, tracker, done, length)
                    yield observation
        except OSError as error:
            raise OutputError(f"{lines} cannot be written: {error.strerror}.") from error

    def _load(self, lines: Path, state: Path, tracker: Tracker) -> list[Observation]:
        """What the last checkpoint covers; the rest of the file is cut off.

        Raises
        ------
        OutputError
            If one of the two is a link or no regular file, or the lines are none of a run.
        """
        try:
            text = _read(lines)
            if text and not text.startswith(_START):
                raise OutputError(f"{lines} was not written by dift-edit: remove it, or choose another output.")
            known, length = _covered(text, _read(state), tracker)
            if len(text) > length:
                with open_regular(lines, "r+b") as file:
                    file.truncate(length)
            if text and not known:
                _log.info("%s has no checkpoint that can be read: its frames are followed again.", lines)
            if not known:
                state.unlink(missing_ok=True)
        except NotRegularError as error:
            path = error.filename
            raise OutputError(f"{path} cannot be used, because {error.strerror}: remove it.") from error
        except OSError as error:
            raise OutputError(f"{lines} cannot be opened ({error.strerror}): check the folder's rights.") from error
        return known


_START = b'{"frame": '


def _read(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return read_regular(path)
    return b""


def _covered(text: bytes, state: bytes, tracker: Tracker) -> tuple[list[Observation], int]:
    """The observations before the last checkpoint, to which the tracker is brought, and their bytes; else nothing."""
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        count, length = arrays.pop("position").tolist()
        lines = text[:length].splitlines(keepends=True)
        known = [_observation(parse_json(line)) for line in lines]
        if not 0 < len(known) == count or sum(map(len, lines)) != length or not lines[-1].endswith(b"\n"):
            return [], 0
        tracker.restore(arrays)
    except Exception:  # noqa: BLE001 - whatever NumPy may meet in a damaged archive
        return [], 0
    return known, length


def _observation(plain: Any) -> Observation:
    made = Observation.from_plain(plain)
    shapes = {"corners": (4, 2), "information": (8, 8), "step": (4, 2), "step_information": (8, 8)}
    fits = all(getattr(made, name).shape == shape for name, shape in shapes.items())
    numbers = [np.asarray(getattr(made, name), np.float64) for name in ("corners", "frame", "seen", "confidence")]
    if not fits or not isinstance(made.frame, int) or not isinstance(made.anchor, str):
        raise ValueError("it is no observation")
    if not all(np.isfinite(each).all() for each in numbers):
        raise ValueError("it has numbers that are not finite")
    return made


def _save_state(path: Path, tracker: Tracker, count: int, length: int) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, position=np.array([count, length]), **tracker.state())
    write_atomic(path, lambda file: file.write(buffer.getvalue()))
