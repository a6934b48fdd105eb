"""How results are named: harmless on every file system, and no two alike."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from itertools import count
from pathlib import PurePosixPath

from dift_edit.imaging.writing import OUTPUT_FORMATS
from dift_edit.targets.collect import Target

__all__ = ["RESERVED_FOLDERS", "is_output_name", "is_side_name", "name_outputs", "safe_name"]

SIDE_FOLDERS = ("layers", "masks")
RESERVED_FOLDERS = (".dift-edit", "review_files", "rejected", *SIDE_FOLDERS)
RESERVED = (
    *RESERVED_FOLDERS,
    "manifest.jsonl",
    "manifest.parquet",
    "contact_sheet.jpg",
    "review.html",
    "job.toml",
)
"""Names in the output folder that are dift-edit's own; layers and masks lie in `SIDE_FOLDERS`."""
_UNSAFE = '\\<>:"|?*\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff'
"""Not allowed in names on Windows (":" also leads to another drive or stream); turns of the direction of writing."""
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)", re.IGNORECASE)
"""Names of devices on Windows, with any ending."""
_LONGEST_PART = 200
"""Bytes of a file's or folder's name, of the 255 that file systems allow: endings are added (chosen)."""
_LONGEST_NAME = 800
"""Bytes of a name with its folders, of the 1,024 that macOS and object stores allow a path or key (chosen)."""


def safe_name(name: str, *, suffixes: Collection[str] = OUTPUT_FORMATS) -> str:
    r"""A relative name that stays in its folder on every file system, equal to `name` wherever that is harmless.

    Control characters, turns of the direction of writing, ``\ < > : " | ? *``, a space or dot at the end of a part and
    bytes that are not UTF-8 become ``%XX``; "..", "." and empty parts go; a name of a device (``CON.jpg``) gets a "_"
    in front; a part or a whole that is too long is cut and told apart by a digest; an ending that cannot be written
    gets ``.png`` behind it.

    Parameters
    ----------
    name : str
        With "/" between parts.
    suffixes : collection of str
        Endings that can be written.

    Returns
    -------
    str

    References
    ----------
    Microsoft, "Naming Files, Paths, and Namespaces"; Unicode Standard Annex #9 (directional formatting characters).
    """
    parts = [part for part in name.split("/") if part not in ("", ".", "..")] or ["picture"]
    if PurePosixPath(parts[-1]).suffix.lower() not in suffixes:
        parts[-1] += ".png"
    parts = [_safe_part(part) for part in parts]
    if parts[0].casefold() in RESERVED:
        parts[0] = f"_{parts[0]}"
    joined = "/".join(parts)
    if len(joined.encode()) > _LONGEST_NAME:
        joined = f"{_digest(name)}/{parts[-1]}"
    return joined


def is_output_name(name: object) -> bool:
    """Whether a value that a file claims to be the name of a result is one that dift-edit may have given."""
    if not isinstance(name, str) or not name or "\0" in name or (os.name == "nt" and ("\\" in name or ":" in name)):
        return False
    first, *rest = name.removeprefix("rejected/").split("/")
    return all(part not in ("", ".", "..") for part in (first, *rest)) and first.casefold() not in RESERVED


def is_side_name(name: object) -> bool:
    """Whether a value that a file claims to be the name of a result's layers or mask is one that dift-edit may give."""
    if not isinstance(name, str):
        return False
    folder, _, rest = name.removeprefix("rejected/").partition("/")
    return folder in SIDE_FOLDERS and is_output_name(rest) and not rest.startswith("rejected/")


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
    if safe[-1] in " .":  # Windows drops these
        safe = f"{safe[:-1]}%{ord(safe[-1]):02X}"
    if _DEVICES.match(safe):
        safe = f"_{safe}"
    if len(safe.encode()) > _LONGEST_PART:
        suffix = PurePosixPath(safe).suffix if len(PurePosixPath(safe).suffix.encode()) <= 8 else ""
        head = safe.encode()[: _LONGEST_PART - 30].decode(errors="ignore")
        safe = f"{head}-{_digest(part)}{suffix}"
    return safe


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def name_outputs(
    targets: Iterable[Target], known: dict[str, str] | None = None, *, suffixes: Collection[str] = OUTPUT_FORMATS
) -> dict[str, str]:
    """A name of its own for the result of each target.

    Parameters
    ----------
    targets : iterable of Target
        The targets.
    known : dict, optional
        Target id → name that was given in an earlier run; these stay.
    suffixes : collection of str
        Endings that can be written.

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
            names[target.id] = next(name for name in _candidates(target, suffixes) if _is_free(name, files, folders))
            files.add(_folded(names[target.id]))
            folders.update(_parents(names[target.id]))
        chosen[target.id] = names[target.id]
    return chosen


def _candidates(target: Target, suffixes: Collection[str]) -> Iterator[str]:
    plain = safe_name(target.name, suffixes=suffixes)
    yield plain
    if target.group not in ("", ".", "..", "/"):
        yield safe_name(f"{target.group}/{target.name}", suffixes=suffixes)
    path = PurePosixPath(plain)
    marked = f"{path.stem}-{_digest(target.id)[:8]}"
    yield safe_name(str(path.with_name(f"{marked}{path.suffix}")), suffixes=suffixes)
    for number in count(1):  # out of its folder, which may be another target's name
        yield safe_name(f"{marked}-{number}{path.suffix}", suffixes=suffixes)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _parents(name: str) -> list[str]:
    return [_folded(str(parent)) for parent in PurePosixPath(name).parents if str(parent) != "."]


def _is_free(name: str, files: set[str], folders: set[str]) -> bool:
    folded = _folded(name)
    return folded not in files and folded not in folders and not any(parent in files for parent in _parents(name))
