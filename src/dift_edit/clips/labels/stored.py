"""Soft labels of frames on the disk, so that a clip of any length fits, and a killed run goes on where it was."""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dift_edit.atomic_files import write_atomic
from dift_edit.clips.resume import claim

__all__ = ["ScoreStore", "open_store"]

_OURS = re.compile(r"job\.json|\d+\.npy|\.dift-edit-\w+\.tmp")


class ScoreStore:
    """One file a frame.

    Parameters
    ----------
    folder : Path
        An empty folder, or one that `claim` found to be of the same job.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, frame: int) -> Path:
        return self._folder / f"{frame:06d}.npy"

    def __contains__(self, frame: int) -> bool:
        return self._path(frame).exists()

    def save(self, frame: int, scores: torch.Tensor) -> None:
        """Keep the (K, h, w) scores of a frame."""
        buffer = io.BytesIO()
        np.save(buffer, scores.cpu().numpy())
        write_atomic(self._path(frame), lambda file: file.write(buffer.getbuffer()))

    def load(self, frame: int) -> torch.Tensor:
        """The (K, h, w) scores of a frame."""
        return torch.from_numpy(np.load(self._path(frame), allow_pickle=False))


@contextlib.contextmanager
def open_store(journal: Path | str | None, fingerprint: str) -> Iterator[ScoreStore]:
    """A store in the folder `journal`, as the job `fingerprint` left it; without a folder one that goes at the end."""
    if journal is not None:
        claim(Path(journal), fingerprint, _OURS)
        yield ScoreStore(Path(journal))
        return
    with tempfile.TemporaryDirectory(prefix="dift-edit-") as folder:
        yield ScoreStore(Path(folder))
