"""Which pictures an edit goes to."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from dift_edit.errors import DiftEditError
from dift_edit.imaging.heif import is_heif
from dift_edit.imaging.writing import OUTPUT_FORMATS
from dift_edit.targets.hints import Hints
from dift_edit.targets.lists import read_target_list, target_entry
from dift_edit.targets.storage import filesystem, is_url, local_path

__all__ = ["IMAGE_SUFFIXES", "Target", "Targets", "collect_targets", "row_path", "settled_id", "with_settled_ids"]

IMAGE_SUFFIXES = frozenset(OUTPUT_FORMATS) | {
    ".jp2",
    ".j2k",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".tga",
    ".dib",
    ".ico",
    ".psd",
    ".apng",
    ".mpo",
}
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"RIFF")


@dataclass(frozen=True, kw_only=True)
class Target:
    """One image that an edit shall go to.

    Attributes
    ----------
    id : str
        Stable name of the row: from a list, else the path as given (see `with_settled_ids`).
    path : str
        Local path, or URL.
    name : str
        Relative path that the result takes, as far as it is free and harmless.
    group : str
        Name of the folder that `name` is relative to; tells equal names apart.
    hints : Hints
        What a list or a recipe says about it.
    placed : dict or None
        The row of an earlier run that found the edit's place in this target.
    """

    id: str
    path: str
    name: str
    group: str = ""
    hints: Hints = field(default_factory=Hints)
    placed: dict[str, Any] | None = None


@dataclass
class Targets:
    """What `collect_targets` found.

    Attributes
    ----------
    targets : list of Target
        In a stable order, no file twice.
    skipped : list of (path, reason)
        Files that are not images, and folders that cannot be read.
    placed_by : str
        Fingerprint of the run that found the places, where an earlier one did.
    """

    targets: list[Target] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    placed_by: str = ""

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets)


Paths = str | Path | Iterable[str | Path]
"""One path, or several."""


def collect_targets(
    paths: Paths, *, lists: Paths = (), entries: Iterable[dict[str, Any]] = (), leave_out: Paths = ()
) -> Targets:
    """Find the target images.

    Parameters
    ----------
    paths : path, or iterable of path
        Files, folders (searched with their sub-folders, hidden files left out), glob patterns, fsspec URLs.
        A named file that does not exist stays a target, so that its row can say so; a folder must exist.
    lists : path, or iterable of path
        Files that name targets: ``.txt`` (one path, pattern or URL a line; "-" for standard input), ``.csv``,
        ``.jsonl`` or ``.parquet`` with a column ``path`` and, if wished, ``id``, ``output``, ``skip`` and those of
        `Hints`. Relative paths are relative to the list's folder. What a list says also holds for files that `paths`
        named.
    entries : iterable of dict
        Rows like those of a list, with relative paths from the current folder.
    leave_out : path, or iterable of path
        Files and folders that are no targets when a folder or pattern contains them: the output folder, the edited
        source, the sticker.

    Returns
    -------
    Targets

    Raises
    ------
    DiftEditError
        If a folder does not exist, a list cannot be read, or a list gives one id to two targets.
    """
    collector = _Collector({os.path.realpath(path) for path in _several(leave_out) if not is_url(str(path))})
    for path in [os.fspath(each) for each in _several(paths)]:
        if "\0" in path:
            collector.skipped.append((path, "its name has a NUL character, which no file can have"))
            continue
        _check_folder(path)
        collector.add(path)
    for listed in _several(lists):
        for entry in read_target_list(os.fspath(listed)):
            collector.add(**entry)
    for number, row in enumerate(entries, 1):
        collector.add(**target_entry(row, f"Entry {number} of the targets", ""))
    return collector.result()


def _several(paths: Paths) -> Iterable[str | Path]:
    return [paths] if isinstance(paths, str | Path) else paths


def with_settled_ids(targets: Targets, output: str | Path) -> Targets:
    """The same targets, with ids that depend neither on the spelling of their paths nor on the current folder.

    Parameters
    ----------
    targets : Targets
        As `collect_targets` found them. Ids from a list stay.
    output : path or URL
        Where the results go. The id of a local target is its path from there, with "/" between the parts, so that it
        also stays when the images and their results move together; for a remote output, or one on another drive,
        it is the absolute path.

    Returns
    -------
    Targets
        No file twice.
    """
    found: dict[str, Target] = {}
    for target in targets:
        settled = replace(target, id=settled_id(target.path, output)) if target.id == target.path else target
        found.setdefault(settled.id, settled)
    return replace(targets, targets=list(found.values()))


def row_path(target: str, id: str, output: str | Path) -> str:
    """Where the target of an earlier run lies, seen from the current folder.

    Parameters
    ----------
    target, id : str
        As its row has them; `target` may be relative to the folder of that time.
    output : path or URL
        The folder of the results.

    Returns
    -------
    str
        A path that exists where one of the two leads to one; else `target`.
    """
    folder = local_path(str(output))
    if folder is None or is_url(target) or os.path.isabs(target) or not id.startswith("../"):
        return target
    there = os.path.normpath(os.path.join(folder, id))
    return there if os.path.exists(there) else target


def settled_id(path: str, output: str | Path) -> str:
    """The id of a target at a path, see `with_settled_ids`."""
    local, folder = local_path(path), local_path(str(output))
    if local is None:
        return path
    # links to folders are followed, a link to a file is a target of its own
    absolute = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(local))), os.path.basename(local))
    if folder is None:
        return absolute
    try:
        return os.path.relpath(absolute, os.path.realpath(folder)).replace(os.sep, "/")
    except ValueError:  # another drive
        return absolute


def _check_folder(path: str) -> None:
    """Refuse a folder that is not there: a mistyped name must not become a row of its own."""
    local = local_path(path)
    if local is None or os.path.lexists(text := os.fspath(local)):
        return
    if glob.has_magic(text):
        parts = Path(text).parts
        text = os.path.join("", *parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        if text and not os.path.isdir(text):
            raise DiftEditError(f"There is no folder {text} for the pattern {path}: check the path.")
    elif path.endswith(("/", os.sep)) or not os.path.splitext(text)[1]:
        raise DiftEditError(f"There is no folder {path}: check the path of the targets.")


class _Collector:
    def __init__(self, leave_out: set[str]) -> None:
        self.targets: list[Target] = []
        self.skipped: list[tuple[str, str]] = []
        self._leave_out = leave_out
        self._ids: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._hints = Hints()
        self._left: set[str] = set()

    def result(self) -> Targets:
        """What was found, without what a list says to skip."""
        kept = [target for target in self.targets if _canonical(target.path) not in self._left]
        left = [target.path for target in self.targets if _canonical(target.path) in self._left]
        return Targets(kept, self.skipped + [(path, "its list says to skip it") for path in left])

    def add(
        self,
        path: str,
        id: str | None = None,
        output: str | None = None,
        skip: bool = False,
        hints: Hints | None = None,
    ) -> None:
        """Take in what a path stands for; `hints` hold for all of it."""
        self._hints = hints or Hints()
        count, seen = len(self.targets), set(self._seen)
        self._add(path, id, output)
        if skip:
            found = {_canonical(target.path) for target in self.targets[count:]}
            self._left |= found or ({_canonical(path)} & seen)

    def _add(self, path: str, id: str | None, output: str | None) -> None:
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
                os.path.normpath(text),
                output or os.path.basename(text),
                os.path.basename(os.path.dirname(os.path.abspath(text))),
                id=id,
            )

    def _glob(self, pattern: str) -> None:
        found = sorted(glob.glob(pattern, recursive=True))
        parts = Path(pattern).parts
        fixed = os.path.join("", *parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        if not found:
            self._append(Target(id=pattern, path=pattern, name=os.path.basename(pattern)))
        for path in found:
            if os.path.isdir(path):
                if "**" not in pattern:
                    self._add(path, None, None)
            else:
                self._file(
                    path, os.path.relpath(path, fixed or "."), os.path.basename(os.path.abspath(fixed)), searched=True
                )

    def _walk(self, folder: str) -> Iterator[str]:
        def unreadable(error: OSError) -> None:
            self.skipped.append((str(error.filename), f"the folder cannot be read ({error.strerror})"))

        for here, folders, files in os.walk(folder, onerror=unreadable):
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".") and os.path.realpath(os.path.join(here, name)) not in self._leave_out
            )
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
            index = self._seen[_canonical(target.path)]
            self.targets[index] = replace(self.targets[index], hints=self._hints or self.targets[index].hints)
            return
        if known is not None:
            raise DiftEditError(
                f"The id {target.id!r} stands for two targets, {known} and {target.path}: make the ids unique."
            )
        self._ids[target.id] = target.path
        self._seen[_canonical(target.path)] = len(self.targets)
        self.targets.append(replace(target, hints=self._hints))


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
    known = head.startswith(_MAGIC) and (head[:4] != b"RIFF" or head[8:] == b"WEBP")
    return None if known or is_heif(head) or head[4:] in (b"ftypavif", b"ftypavis") else "it is not an image"
