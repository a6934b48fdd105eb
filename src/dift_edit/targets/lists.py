"""Files that name targets: text, CSV, JSON lines, Parquet."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from dift_edit.atomic_files import parse_json
from dift_edit.errors import DiftEditError, MissingDependencyError, first_line
from dift_edit.targets.storage import filesystem, is_url, local_path

__all__ = ["read_target_list"]

_PATH_COLUMNS = ("path", "target", "file", "filename", "image", "url")


def read_target_list(path: str) -> Iterator[dict[str, Any]]:
    """Entries of a list of targets.

    Parameters
    ----------
    path : str
        A ``.txt``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` file or URL; "-" for lines of standard input.

    Yields
    ------
    dict
        ``path``, and ``id`` and ``output`` where the list gives them.

    Raises
    ------
    DiftEditError
        If it cannot be read, or a row names no target.
    """
    local = local_path(path)
    suffix = PurePosixPath(path).suffix.lower()
    try:
        if path == "-":
            import sys

            data = sys.stdin.buffer.read()
        elif local is not None:
            data = local.read_bytes()
        else:
            file_system, remote = filesystem(path)
            data = file_system.cat_file(remote)
        if suffix == ".parquet":
            rows = _parquet_rows(data)
        elif suffix in (".jsonl", ".ndjson"):
            rows = [parse_json(line) for line in data.decode().splitlines() if line.strip()]
        elif suffix in (".csv", ".tsv"):
            text = io.StringIO(data.decode("utf-8-sig"), newline="")
            rows = list(csv.DictReader(text, delimiter="\t" if suffix == ".tsv" else ","))
        else:
            separator = b"\0" if b"\0" in data else b"\n"
            lines = [os.fsdecode(line.rstrip(b"\r")) for line in data.split(separator)]
            rows = [{"path": line} for line in lines if line.strip() and not line.startswith("#")]
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise DiftEditError(f"The list of targets {path} cannot be read ({reason}): check it.") from error
    except (ValueError, csv.Error) as error:
        raise DiftEditError(f"The list of targets {path} is damaged ({error}): write it anew.") from error
    folder = "" if path == "-" else path.rpartition("/")[0] if local is None else os.path.dirname(os.fspath(local))
    for number, row in enumerate(rows, 1):
        yield _entry(row, number, path, folder)


def _entry(row: Any, number: int, path: str, folder: str) -> dict[str, Any]:
    column = next((name for name in _PATH_COLUMNS if isinstance(row, dict) and row.get(name)), None)
    if column is None or not isinstance(row[column], str):
        raise DiftEditError(f"Row {number} of {path} names no target: give it a column 'path'.")
    target = row[column]
    if folder and not is_url(target) and not os.path.isabs(target):
        target = f"{folder}/{target}"
    if "\0" in target:
        raise DiftEditError(f"Row {number} of {path} names a path with a NUL character: remove it.")
    entry = {"path": target}
    for key in ("id", "output"):
        if row.get(key) not in (None, ""):
            entry[key] = str(row[key])
    return entry


def _parquet_rows(data: bytes) -> list[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "batch", "Reading a Parquet list of targets") from error
    try:
        return list(pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist())
    except pyarrow.ArrowException as error:
        raise ValueError(first_line(error)) from error
