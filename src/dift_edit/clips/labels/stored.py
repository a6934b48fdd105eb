"""Soft labels of frames on the disk, so that a clip of any length fits, and a killed run goes on where it was."""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dift_edit.atomic_files import read_regular, write_atomic
from dift_edit.clips.resume import claim_folder
from dift_edit.errors import OutputError

__all__ = ["ScoreStore", "open_store"]

_OURS = re.compile(r"job\.json|\d+\.npy|\.dift-edit-\w+\.tmp")


class ScoreStore:
    """One file per frame.

    Parameters
    ----------
    folder : Path
        An empty folder, or one that `claim_folder` found to be of the same job.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, frame: int) -> Path:
        return self._folder / f"{frame:06d}.npy"

    def __contains__(self, frame: int) -> bool:
        path = self._path(frame)
        return path.is_file() and not path.is_symlink()

    def save(self, frame: int, scores: torch.Tensor) -> None:
        """Keep the (K, h, w) scores of a frame."""
        buffer = io.BytesIO()
        np.save(buffer, scores.cpu().numpy())
        write_atomic(self._path(frame), lambda file: file.write(buffer.getbuffer()))

    def load(self, frame: int) -> torch.Tensor:
        """The (K, h, w) scores of a frame; raises OutputError where the file is damaged."""
        path = self._path(frame)
        try:
            return torch.from_numpy(np.load(io.BytesIO(read_regular(path)), allow_pickle=False))
        except (OSError, ValueError, TypeError, EOFError) as error:
            raise OutputError(f"{path} is damaged: remove the folder {self._folder} and run again.") from error


@contextlib.contextmanager
def open_store(journal: Path | str | None, fingerprint: str) -> Iterator[ScoreStore]:
    """A store in the folder `journal`, as the job `fingerprint` left it; without a folder one that goes at the end."""
    if journal is not None:
        claim_folder(Path(journal), fingerprint, _OURS)
        yield ScoreStore(Path(journal))
        return
    with tempfile.TemporaryDirectory(prefix="dift-edit-") as folder:
        yield ScoreStore(Path(folder))
