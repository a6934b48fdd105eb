"""The crash-safe record of a run: one checked line a fact, appended and flushed, never rewritten.

A line is the CRC-32 of its JSON, a space, and the JSON. A process that is killed can tear only the last line, which
is noticed by its checksum and cut off when the journal is opened again. A line that is damaged otherwise is left out;
names that only it held are taken from the rows.
"""

import io
import json
import os
import re
import time
import zlib
from pathlib import Path
from typing import Any

from dift_edit.atomic_files import Lock, NotRegularError, open_regular, parse_json
from dift_edit.errors import OutputError
from dift_edit.results.manifest import Row, is_array
from dift_edit.results.names import is_output_name

__all__ = ["Journal"]

SYNC_SECONDS = 0.5
"""How much of a run a power cut may cost; a killed process costs nothing (chosen)."""


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
    rounds : list of dict
        The rounds in which the set taught, in their order: ``session`` (what began them), ``views`` (`KnownPlace` as
        plain data; none says that the session is over).
    damaged : int
        Number of lines whose checksum is wrong, or that no run can have written.

    Raises
    ------
    OutputError
        If the file cannot be opened for writing, is a link or another file, or another process holds it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.job: dict[str, Any] = {}
        self.plan: dict[str, str] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.rounds: list[dict[str, Any]] = []
        self.damaged = 0
        self._synced = 0.0
        try:
            self._lock = Lock(self.path.with_name("lock"))
        except BlockingIOError as error:
            raise OutputError(
                f"Another run is writing to {self.path.parent.parent}: wait for it, or choose another output folder."
            ) from error
        except OSError as error:
            raise OutputError(_sentence(self.path.with_name("lock"), error)) from error
        try:
            self._file = open_regular(self.path, "ab")
        except OSError as error:
            self._lock.release()
            raise OutputError(_sentence(self.path, error)) from error
        try:
            self._read()
        except BaseException:
            self._file.close()
            self._lock.release()
            raise

    def _read(self) -> None:
        good = position = 0
        self._file.seek(0)
        for line in io.BytesIO(self._file.read()):
            position += len(line)
            record = _parse(line) or _parse(line[_last_start(line) :])
            if record is None or not self._fits(record):
                self.damaged += 1
                continue
            good = position
            self._take(record)
        if position and not good:
            raise OutputError(f"{self.path} was not written by dift-edit: remove it, or choose another output folder.")
        if good < position:  # the torn end
            self._file.truncate(good)
        for key, row in self.rows.items():  # what damaged lines said
            if row.get("output"):
                self.plan.setdefault(key, row["output"].removeprefix("rejected/"))
            if not self.job and row.get("job"):
                self.job = {"fingerprint": row["job"], "redaction": True}

    @staticmethod
    def _fits(record: dict[str, Any]) -> bool:
        """Whether a line has the shape of one that a run writes."""
        kind = record.get("type")
        if kind == "job":
            job = record.get("job")
            return isinstance(job, dict) and isinstance(job.get("fingerprint", ""), str)
        if kind == "plan":
            return isinstance(record.get("id"), str) and is_output_name(record.get("output"))
        if kind == "round":
            views = record.get("views")
            return isinstance(record.get("session"), str) and isinstance(views, list) and all(map(_is_view, views))
        try:
            return kind == "row" and bool(Row.from_dict(record["row"]))
        except (KeyError, TypeError, ValueError):
            return False

    def _take(self, record: dict[str, Any]) -> None:
        if record["type"] == "job":
            self.job = record["job"]
        elif record["type"] == "plan":
            self.plan[record["id"]] = record["output"]
        elif record["type"] == "round":
            self.rounds.append(record)
        else:
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
        self.job, self.plan, self.rows, self.rounds = {}, {}, {}, []
        self.sync()

    def add_round(self, session: str, views: list[dict[str, Any]]) -> None:
        """Record which results teach, before any target is placed again with them."""
        self._append({"type": "round", "session": session, "views": views}, sync=True)

    def add(self, row: dict[str, Any]) -> None:
        """Record one finished target; its output must be in place already."""
        self._append({"type": "row", "row": row})
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def _append(self, record: dict[str, Any], *, sync: bool = False) -> None:
        body = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(body), body)
        if not self.is_in_place:
            raise OutputError(f"The journal {self.path} was removed during the run: run the same command again.")
        start = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
            if sync:
                self.sync()
        except OSError as error:
            self._file.truncate(start)
            raise OutputError(
                f"The journal {self.path} cannot be written ({error.strerror}): free some space on the disk and run "
                "the same command again."
            ) from error
        self._take(record)

    @property
    def is_in_place(self) -> bool:
        """Whether the file still has a name: somebody may have removed the folder."""
        return os.fstat(self._file.fileno()).st_nlink > 0

    def sync(self) -> None:
        """Bring everything to the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Bring everything to the disk and let go of the file."""
        if not self._file.closed:
            self.sync()
            self._file.close()
            self._lock.release()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _is_view(value: Any) -> bool:
    """Whether JSON is one of the results that teach in a round."""
    return (
        isinstance(value, dict)
        and value.keys() == {"id", "quad", "weight", "decided", "path", "sha256"}
        and all(isinstance(value[name], str) for name in ("id", "path", "sha256"))
        and is_array(value["quad"], 4, 2)
        and is_array(value["weight"]) and 0 < value["weight"] <= 1
        and isinstance(value["decided"], bool)
    )  # fmt: skip


def _last_start(line: bytes) -> int:
    """Where a line begins that another one was torn before; its length where there is none."""
    starts = [found.start() for found in re.finditer(rb'[0-9a-f]{8} \{"type":', line)]
    return starts[-1] if starts else len(line)


def _sentence(path: Path, error: OSError) -> str:
    if isinstance(error, NotRegularError):
        return f"{path} cannot be used, because {error.strerror}: remove it, or choose another output folder."
    return f"{path} cannot be opened ({error.strerror}): check the folder's rights."


def _parse(line: bytes) -> dict[str, Any] | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    try:
        if not line.endswith(b"\n") or int(checksum, 16) != zlib.crc32(body):
            return None
        record = parse_json(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
