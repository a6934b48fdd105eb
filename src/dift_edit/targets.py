"""Which pictures an edit goes to, and how their results are named."""

import csv
import glob
import hashlib
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from dift_edit.errors import DiftEditError, MissingDependencyError
from dift_edit.image_io import OUTPUT_FORMATS
from dift_edit.storage import filesystem, is_url, local_path

__all__ = ["Target", "Targets", "collect_targets", "name_outputs", "safe_name"]

IMAGE_SUFFIXES = frozenset(OUTPUT_FORMATS) | {
    ".heic", ".heif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".dib", ".ico", ".psd", ".apng", ".mpo",
}  # fmt: skip
RESERVED = (
    "manifest.jsonl",
    "manifest.parquet",
    "contact_sheet.jpg",
    "review.html",
    "review_files",
    "rejected",
    "job.toml",
)
"""Names in the output folder that are dift-edit's own (and ``.dift-edit``)."""
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"RIFF")
_PATH_COLUMNS = ("path", "target", "file", "filename", "image", "url")
_UNSAFE = "\\\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"  # "\", turns
_LONGEST_PART = 200
_LONGEST_NAME = 800


@dataclass(frozen=True, kw_only=True)
class Target:
    """One picture that an edit shall go to.

    Attributes
    ----------
    id : str
        Stable name of the row: from a manifest, else the path as given.
    path : str
        Local path, or URL.
    name : str
        Relative path that the result takes, as far as it is free and harmless.
    group : str
        Name of the folder that `name` is relative to; tells equal names apart.
    """

    id: str
    path: str
    name: str
    group: str = ""


@dataclass
class Targets:
    """What `collect_targets` found.

    Attributes
    ----------
    targets : list of Target
        In a stable order, no file twice.
    skipped : list of (path, reason)
        Files that are not pictures, and folders that cannot be read.
    """

    targets: list[Target] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets)


def collect_targets(
    paths: Iterable[str | Path], *, lists: Iterable[str | Path] = (), leave_out: Iterable[str | Path] = ()
) -> Targets:
    """Find the target pictures.

    Parameters
    ----------
    paths : iterable of path
        Files, folders (searched with their sub-folders, hidden files left out), glob patterns, fsspec URLs.
        A named file that does not exist stays a target, so that its row can say so.
    lists : iterable of path
        Files that name targets: ``.txt`` (one path, pattern or URL a line; "-" for standard input), ``.csv``,
        ``.jsonl`` or ``.parquet`` with a column ``path`` and, if wished, ``id`` and ``output``. Relative paths are
        relative to the list's folder.
    leave_out : iterable of path
        Files and folders that are no targets when a folder or pattern contains them: the output folder, the edited
        source, the sticker.

    Returns
    -------
    Targets

    Raises
    ------
    DiftEditError
        If a list cannot be read, or gives one id to two targets.
    """
    collector = _Collector({os.path.realpath(path) for path in leave_out if not is_url(str(path))})
    for path in paths:
        collector.add(os.fspath(path))
    for listed in lists:
        for entry in _read_list(os.fspath(listed)):
            collector.add(**entry)
    return Targets(collector.targets, collector.skipped)


class _Collector:
    def __init__(self, leave_out: set[str]) -> None:
        self.targets: list[Target] = []
        self.skipped: list[tuple[str, str]] = []
        self._leave_out = leave_out
        self._ids: dict[str, str] = {}
        self._seen: set[str] = set()

    def add(self, path: str, id: str | None = None, output: str | None = None) -> None:
        local = local_path(path)
        if local is None:
            self._add_url(path, id, output)
            return
        text = os.fspath(local)
        if os.path.isdir(text):
            for name in self._walk(text):
                self._file(os.path.join(text, name), name, os.path.basename(os.path.abspath(text)), searched=True)
        elif not os.path.lexists(text) and glob.has_magic(text):
            self._glob(text)
        else:
            self._file(
                os.path.normpath(text), output or os.path.basename(text),
                os.path.basename(os.path.dirname(os.path.abspath(text))), id=id,
            )  # fmt: skip

    def _glob(self, pattern: str) -> None:
        found = sorted(glob.glob(pattern, recursive=True))
        parts = Path(pattern).parts
        fixed = os.path.join("", *parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        if not found:
            self._append(Target(id=pattern, path=pattern, name=os.path.basename(pattern)))
        for path in found:
            if os.path.isdir(path):
                if "**" not in pattern:
                    self.add(path)
            else:
                self._file(
                    path, os.path.relpath(path, fixed or "."), os.path.basename(os.path.abspath(fixed)), searched=True
                )

    def _walk(self, folder: str) -> Iterator[str]:
        def unreadable(error: OSError) -> None:
            self.skipped.append((str(error.filename), f"the folder cannot be read ({error.strerror})"))

        for here, folders, files in os.walk(folder, onerror=unreadable):
            folders[:] = sorted(
                name for name in folders
                if not name.startswith(".") and os.path.realpath(os.path.join(here, name)) not in self._leave_out
            )  # fmt: skip
            for name in sorted(files):
                if not name.startswith("."):
                    yield os.path.relpath(os.path.join(here, name), folder)

    def _file(self, path: str, name: str, group: str, *, id: str | None = None, searched: bool = False) -> None:
        if searched and os.path.realpath(path) in self._leave_out:
            self.skipped.append((path, "it belongs to the edit itself"))
        elif (reason := _not_an_image(path)) is not None:
            self.skipped.append((path, reason))
        else:
            self._append(Target(id=id or path, path=path, name=name.replace(os.sep, "/"), group=group))

    def _add_url(self, url: str, id: str | None, output: str | None) -> None:
        file_system, path = filesystem(url)
        base = path.rstrip("/")
        if glob.has_magic(path):
            found = sorted(file_system.glob(path))
            base = re.split(r"/[^/]*[*?\[]", path, maxsplit=1)[0]
        elif not url.startswith("http") and file_system.isdir(path):
            found = sorted(file_system.find(path))
        else:
            self._append(Target(id=id or url, path=url, name=output or PurePosixPath(base).name, group=""))
            return
        for each in found:
            full = file_system.unstrip_protocol(each)
            if PurePosixPath(each).suffix.lower() in IMAGE_SUFFIXES:
                name = each[len(base) :].lstrip("/") if each.startswith(base) else PurePosixPath(each).name
                self._append(Target(id=full, path=full, name=name, group=PurePosixPath(base).name))
            elif not file_system.isdir(each):
                self.skipped.append((full, "it is not an image"))

    def _append(self, target: Target) -> None:
        known = self._ids.get(target.id)
        if known == target.path or (target.id == target.path and _canonical(target.path) in self._seen):
            return
        if known is not None:
            raise DiftEditError(
                f"The id {target.id!r} stands for two targets, {known} and {target.path}: make the ids unique."
            )
        self._ids[target.id] = target.path
        self._seen.add(_canonical(target.path))
        self.targets.append(target)


def _canonical(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)


def _not_an_image(path: str) -> str | None:
    """Why a file is not taken for a picture; None when it is one by its name or its first bytes."""
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES or not os.path.isfile(path):
        return None if not os.path.exists(path) or os.path.isfile(path) else "it is not a file"
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        head = b""
    return None if head.startswith(_MAGIC) and (head[:4] != b"RIFF" or head[8:] == b"WEBP") else "it is not an image"


def _read_list(path: str) -> Iterator[dict[str, Any]]:
    """Entries of a list of targets, as arguments of `_Collector.add`."""
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
            rows = [json.loads(line) for line in data.decode().splitlines() if line.strip()]
        elif suffix in (".csv", ".tsv"):
            text = io.StringIO(data.decode("utf-8-sig"), newline="")
            rows = list(csv.DictReader(text, delimiter="\t" if suffix == ".tsv" else ","))
        else:
            separator = b"\0" if b"\0" in data else b"\n"
            lines = [os.fsdecode(line.rstrip(b"\r")) for line in data.split(separator)]
            rows = [{"path": line} for line in lines if line.strip() and not line.startswith("#")]
    except OSError as error:
        raise DiftEditError(
            f"The list of targets {path} cannot be read ({error.strerror or error}): check it."
        ) from error
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
        raise ValueError(str(error).splitlines()[0]) from error


def safe_name(name: str) -> str:
    """A relative name that stays in its folder on every file system, equal to `name` wherever that is harmless.

    Control characters and bytes that are not UTF-8 become ``%XX``; "..", "." and empty parts go; a part or a whole that
    is too long is cut and told apart by a digest; an ending that cannot be written gets ``.png`` behind it.

    Parameters
    ----------
    name : str
        With "/" between parts.

    Returns
    -------
    str
    """
    parts = [part for part in name.split("/") if part not in ("", ".", "..")] or ["picture"]
    if PurePosixPath(parts[-1]).suffix.lower() not in OUTPUT_FORMATS:
        parts[-1] += ".png"
    parts = [_safe_part(part) for part in parts]
    if parts[0].casefold() in (".dift-edit", *RESERVED):
        parts[0] = f"_{parts[0]}"
    joined = "/".join(parts)
    if len(joined.encode()) > _LONGEST_NAME:
        joined = f"{_digest(name)}/{parts[-1]}"
    return joined


def _safe_part(part: str) -> str:
    out = []
    for character in part:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as the file system gave it
            out.append(f"%{code - 0xDC00:02X}")
        elif unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _UNSAFE:
            out.append("".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass")))
        else:
            out.append(character)
    safe = "".join(out)
    if len(safe.encode()) > _LONGEST_PART:
        suffix = PurePosixPath(safe).suffix if len(PurePosixPath(safe).suffix.encode()) <= 8 else ""
        head = safe.encode()[: _LONGEST_PART - 30].decode(errors="ignore")
        safe = f"{head}-{_digest(part)}{suffix}"
    return safe


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def name_outputs(targets: Iterable[Target], known: dict[str, str] | None = None) -> dict[str, str]:
    """A name of its own for the result of each target.

    Parameters
    ----------
    targets : iterable of Target
        The targets.
    known : dict, optional
        Target id → name that was given in an earlier run; these stay.

    Returns
    -------
    dict
        Target id → relative name. No two are equal on a file system that ignores case, and none is another's folder.
    """
    names = dict(known or {})
    files = {_folded(name) for name in names.values()}
    folders = {parent for name in names.values() for parent in _parents(name)}
    chosen = {}
    for target in targets:
        if target.id not in names:
            names[target.id] = next(name for name in _candidates(target) if _is_free(name, files, folders))
            files.add(_folded(names[target.id]))
            folders.update(_parents(names[target.id]))
        chosen[target.id] = names[target.id]
    return chosen


def _candidates(target: Target) -> Iterator[str]:
    plain = safe_name(target.name)
    yield plain
    if target.group not in ("", ".", "..", "/"):
        yield safe_name(f"{target.group}/{target.name}")
    path = PurePosixPath(plain)
    marked = f"{path.stem}-{_digest(target.id)[:8]}"
    yield safe_name(str(path.with_name(f"{marked}{path.suffix}")))
    for number in count(1):  # out of its folder, which may be another target's name
        yield safe_name(f"{marked}-{number}{path.suffix}")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _parents(name: str) -> list[str]:
    return [_folded(str(parent)) for parent in PurePosixPath(name).parents if str(parent) != "."]


def _is_free(name: str, files: set[str], folders: set[str]) -> bool:
    folded = _folded(name)
    return folded not in files and folded not in folders and not any(parent in files for parent in _parents(name))
