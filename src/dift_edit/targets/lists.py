"""Files that name targets: text, CSV, JSON lines, Parquet."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from dift_edit.atomic_files import parse_json
from dift_edit.errors import DiftEditError, MissingDependencyError, first_line
from dift_edit.targets.hints import hints_of, is_skipped
from dift_edit.targets.storage import filesystem, is_url, local_path

__all__ = ["read_target_list", "target_entry"]

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
        As `target_entry` makes them.

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
        yield target_entry(row, f"Row {number} of {path}", folder)


def target_entry(row: Any, where: str, folder: str) -> dict[str, Any]:
    """What a row says, checked.

    Parameters
    ----------
    row : dict
        Columns and their values.
    where : str
        How a sentence names the row.
    folder : str
        That relative paths are relative to; "" for the current one.

    Returns
    -------
    dict
        ``path``, ``skip`` and ``hints`` (`dift_edit.targets.hints.Hints`), and ``id`` and ``output`` where the row
        gives them.

    Raises
    ------
    DiftEditError
        If it names no target, or its ``skip`` is neither yes nor no.
    """
    column = next((name for name in _PATH_COLUMNS if isinstance(row, dict) and row.get(name)), None)
    if column is None or not isinstance(row[column], str):
        raise DiftEditError(f"{where} names no target: give it a column 'path'.")

    def here(path: str) -> str:
        return f"{folder}/{path}" if folder and not is_url(path) and not os.path.isabs(path) else path

    target = here(row[column])
    if "\0" in target:
        raise DiftEditError(f"{where} names a path with a NUL character: remove it.")
    entry = {"path": target, "skip": is_skipped(row, where), "hints": hints_of(row, where, here)}
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
