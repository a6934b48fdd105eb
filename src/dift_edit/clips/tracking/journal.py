"""What a run over a clip has found so far, on the disk, so that a killed run goes on where it was."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.atomic_files import write_atomic
from dift_edit.clips.resume import claim
from dift_edit.clips.tracking.tracker import Observation, Tracker
from dift_edit.errors import OutputError

__all__ = ["Journal"]

_EVERY = 20  # frames between two checkpoints
_OURS = re.compile(r"job\.json|\d+-\d+-(on|back)\.(jsonl|npz)|\.dift-edit-\w+\.tmp")


class Journal:
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
        self.resumed = claim(self.folder, fingerprint, _OURS)

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
            with lines.open("a") as file:
                for number, image in frames(done):
                    observation = tracker.step(number, image)
                    file.write(json.dumps(observation.to_plain()) + "\n")
                    done += 1
                    if done % _EVERY == 0 or done == total:
                        file.flush()
                        _save_state(state, tracker, done, file.tell())
                    yield observation
        except OSError as error:
            raise OutputError(f"{lines} cannot be written: {error.strerror}.") from error

    def _load(self, lines: Path, state: Path, tracker: Tracker) -> list[Observation]:
        """What the last checkpoint covers; the rest of the file is cut off."""
        try:
            with np.load(state, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
            count, length = arrays.pop("position").tolist()
            with lines.open("r+b") as file:
                file.truncate(length)
            text = lines.read_text().splitlines()
            if len(text) != count:
                raise ValueError("lines are missing")
            known = [Observation.from_plain(json.loads(line)) for line in text]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            lines.unlink(missing_ok=True)
            state.unlink(missing_ok=True)
            return []
        tracker.restore(arrays)
        return known


def _save_state(path: Path, tracker: Tracker, count: int, length: int) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, position=np.array([count, length]), **tracker.state())
    write_atomic(path, lambda file: file.write(buffer.getvalue()))
