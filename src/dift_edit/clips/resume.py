"""The hidden folder beside an output, in which a killed run finds what it did before."""

import contextlib
import json
import re
import shutil
from pathlib import Path

from dift_edit.atomic_files import Lock, parse_json, read_regular, write_text
from dift_edit.errors import OutputError

__all__ = ["Scratch", "claim_folder", "fingerprint_in"]

_LABEL = "job.json"
_HALF_WRITTEN = ".dift-edit-*.tmp"


class Scratch:
    """What a run keeps while its output is not whole; held by one process at a time.

    Everything half-written lies in here, so that a killed run leaves nothing else behind, and the next one clears it
    away. It is on the same disk as the output: what is whole is renamed into its place.

    Parameters
    ----------
    output : Path
        The file or folder that will be written. A file's folder must exist.

    Attributes
    ----------
    folder : Path
        The hidden folder.
    journal : Path
        A folder in it, for what was found.

    Raises
    ------
    OutputError
        If it cannot be made or is a link, or another run is writing the same output.
    """

    def __init__(self, output: Path) -> None:
        self.folder = output.parent / f".{output.name}.dift-edit"
        self.journal = self.folder / "journal"
        _check_no_link(self.folder)
        try:
            self.folder.mkdir(exist_ok=True, parents=not output.suffix)
            self._lock = Lock(self.folder / "lock")
        except BlockingIOError as error:
            raise OutputError(f"Another run is writing {output}: wait for it, or choose another output.") from error
        except FileNotFoundError as error:
            message = f"The folder {output.parent} does not exist: create it or choose another output path."
            raise OutputError(message) from error
        except OSError as error:
            raise OutputError(f"{output} cannot be written ({self.folder}: {error.strerror}).") from error
        half_written = [*self.folder.glob(_HALF_WRITTEN)]
        if output.is_dir():
            half_written += output.glob(_HALF_WRITTEN)
        for path in half_written:
            with contextlib.suppress(OSError):
                path.unlink()

    def put(self, path: Path, text: str) -> None:
        """Write a text to its place beside the output, whole or not at all."""
        inside = self.folder / path.name
        write_text(inside, text)
        inside.replace(path)

    def close(self, *, keep: bool) -> None:
        """Let go of the folder, and remove it unless what is in it should be kept."""
        self._lock.release()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def claim_folder(folder: Path, fingerprint: str, own: re.Pattern[str]) -> bool:
    """Take a folder for one job; what another job left in it is removed.

    Parameters
    ----------
    folder : Path
        Made when it is not there.
    fingerprint : str
        Of the job.
    own : pattern
        Names of files that a job leaves, ``job.json`` and half-written ones included.

    Returns
    -------
    bool
        Whether it was this job's already.

    Raises
    ------
    OutputError
        If other files are in it, it is a link, or it cannot be made.
    """
    _check_no_link(folder)
    if fingerprint_in(folder) == fingerprint:
        return True
    label = folder / _LABEL
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(not own.fullmatch(path.name) or path.is_symlink() or not path.is_file() for path in folder.iterdir()):
            raise OutputError(f"{folder} holds other files: choose another folder for the journal.")
        label.unlink(missing_ok=True)  # first, so that nothing of another job is taken for this one's
        for path in folder.iterdir():
            path.unlink()
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    write_text(label, json.dumps({"fingerprint": fingerprint}))
    return False


def fingerprint_in(folder: Path) -> str | None:
    """Of the job that a folder was taken for; None when it was for none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(parse_json(read_regular(folder / _LABEL))["fingerprint"])
    return None


def _check_no_link(folder: Path) -> None:
    if folder.is_symlink():
        raise OutputError(f"{folder} is a link: remove it, or choose another output.")
