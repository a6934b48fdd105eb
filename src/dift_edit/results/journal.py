"""The crash-safe record of a run: one checked line a fact, appended and flushed, never rewritten.

A line is the CRC-32 of its JSON, a space, and the JSON. A process that is killed can tear only the last line, which
is noticed by its checksum and cut off when the journal is opened again.
"""

import json
import os
import time
import zlib
from pathlib import Path
from typing import Any

from dift_edit.atomic_files import lock_file
from dift_edit.errors import OutputError

__all__ = ["Journal"]

SYNC_SECONDS = 0.5
"""How much of a run a power cut may cost; a killed process costs nothing."""


class Journal:
    """The facts of one output folder.

    Parameters
    ----------
    path : path
        The file; its folder must exist.

    Attributes
    ----------
    job : dict
        What the folder's results were made with; empty in a new journal.
    plan : dict
        Target id → name of its output, in the order of planning.
    rows : dict
        Target id → its last row.
    damaged : int
        Number of lines whose checksum is wrong.

    Raises
    ------
    OutputError
        If the file cannot be opened for writing, or another process holds it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.job: dict[str, Any] = {}
        self.plan: dict[str, str] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.damaged = 0
        self._synced = 0.0
        try:
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be opened ({error.strerror}): check the folder's rights.") from error
        try:
            lock_file(self._file)
        except OSError as error:
            self._file.close()
            raise OutputError(
                f"Another run is writing to {self.path.parent.parent}: wait for it, or choose another output folder."
            ) from error
        self._read()

    def _read(self) -> None:
        good = position = 0
        with self.path.open("rb") as file:
            for line in file:
                position += len(line)
                record = _parse(line)
                if record is None:
                    self.damaged += 1
                    continue
                good = position
                self._take(record)
        if good < position:  # the torn end
            self._file.truncate(good)

    def _take(self, record: dict[str, Any]) -> None:
        kind = record.get("type")
        if kind == "job":
            self.job = record["job"]
        elif kind == "plan":
            self.plan[record["id"]] = record["output"]
        elif kind == "row":
            self.rows[record["row"]["id"]] = record["row"]

    def set_job(self, job: dict[str, Any]) -> None:
        """Record what the results are made with."""
        self._append({"type": "job", "job": job}, sync=True)

    def set_plan(self, plan: dict[str, str]) -> None:
        """Record the names that outputs will have, before any of them is written."""
        for key, output in plan.items():
            if self.plan.get(key) != output:
                self._append({"type": "plan", "id": key, "output": output})
        self.sync()

    def clear(self) -> None:
        """Forget everything."""
        self._file.truncate(0)
        self.job, self.plan, self.rows = {}, {}, {}
        self.sync()

    def add(self, row: dict[str, Any]) -> None:
        """Record one finished target; its output must be in place already."""
        self._append({"type": "row", "row": row})
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def _append(self, record: dict[str, Any], *, sync: bool = False) -> None:
        body = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        start = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
            if sync:
                self.sync()
        except OSError as error:
            self._file.truncate(start)
            raise OutputError(
                f"The journal {self.path} cannot be written ({error.strerror}): free some space on the disk and run "
                "the same command again."
            ) from error
        self._take(record)

    def sync(self) -> None:
        """Bring everything to the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Bring everything to the disk and let go of the file."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _parse(line: bytes) -> dict[str, Any] | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    try:
        if not line.endswith(b"\n") or int(checksum, 16) != zlib.crc32(body):
            return None
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
