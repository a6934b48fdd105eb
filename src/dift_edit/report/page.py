"""The review page: one HTML file with everything in it but the previews, which lie beside it."""

import base64
import contextlib
import hashlib
import json
import os
import shlex
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from dift_edit.errors import AnnotationError, OutputError
from dift_edit.landmarks.stored import annotated_from_bytes
from dift_edit.report.marks import marks_of
from dift_edit.report.previews import CUTOUT, SOURCE, SOURCE_BEFORE, after_name, cutout_box, preview_name
from dift_edit.report.suggestions import suggest
from dift_edit.results.folder import OutputFolder
from dift_edit.results.manifest import Row, is_array

__all__ = ["PAGE", "page_html", "write_page"]

PAGE = "review.html"
_SCRIPTS = ("store.js", "browse.js", "geometry.js", "picture.js", "place.js", "marks.js", "page.js")
_SHOWN = (
    "id",
    "target",
    "output",
    "status",
    "reason",
    "confidence",
    "quad",
    "mesh",
    "mirrored",
    "artwork",
    "engine",
    "size",
    "review",
    "note",
    "pins",
    "warning",
    "moved",
)
"""Fields of a row that the page knows, as far as rows have them; assets/store.js says what it does with them."""


def write_page(folder: OutputFolder, rows: list[Row], job: dict[str, Any]) -> None:
    """Write ``review.html`` into the output folder.

    Parameters
    ----------
    folder : OutputFolder
        Where the previews are, and where it goes.
    rows : list of Row
        The results.
    job : dict
        The journal's record of the job: see `page_html`.
    """
    command = f"dift-edit apply-review {shlex.quote(str(folder))} decisions.json"
    folder.write(PAGE, page_html(rows, job, command=command, folder=folder))


def page_html(rows: list[Row], job: dict[str, Any], *, command: str, folder: OutputFolder | None = None) -> bytes:
    """The page.

    Names and reasons reach the page as JSON with every "<" escaped, are shown as text only, and the page's content
    security policy runs no script but its own.

    Parameters
    ----------
    rows : list of Row
        The results.
    job : dict
        ``fingerprint``, ``quad`` and ``source_size`` (where the edit lies in the source, which makes it movable), and
        ``redaction`` (whether the edit hides something) of the job, and ``annotations`` (whether annotations were
        carried instead of an edit).
    command : str
        What the reader is told to run with the saved decisions.
    folder : OutputFolder, optional
        Where the page will lie; says which images of the source there are, and where the images are that may show
        what an edit hides.

    Returns
    -------
    bytes
        UTF-8.
    """
    meta = {
        "job": job.get("fingerprint", ""),
        "command": command,
        **_of_source(job, folder),
        "redaction": bool(job.get("redaction")),
        "unredacted": "" if folder is None or folder.unredacted is None else folder.unredacted.name,
    }
    suggested = {} if job.get("annotations") else suggest(rows)  # only edits learn from a review
    meta["learn"] = f"{command} --learn" if suggested else ""
    shown = [
        {
            **_shown(row, folder),
            **(_annotations(row, folder) if job.get("annotations") else {}),
            "suggested": suggested.get(row.id, ""),
            "earlier": None if row.decided else row.earlier,
        }
        for row in rows
    ]
    data = _embedded({"meta": meta, "rows": shown})
    style, script = _asset("page.css"), "".join(map(_asset, _SCRIPTS))
    parts = {
        "@STYLE_HASH@": _csp_hash(style),
        "@SCRIPT_HASH@": _csp_hash(script),
        "@STYLE@": style,
        "@SCRIPT@": script,
        "@DATA@": data,
    }
    html = _asset("page.html")
    for mark, text in parts.items():
        head, _, tail = html.partition(mark)
        html = head + text + tail
    return html.encode()


def _of_source(job: dict[str, Any], folder: OutputFolder | None) -> dict[str, Any]:
    """Where the edit lies in the source, and images of the source, as far as they are there."""
    names = {"source": SOURCE, "source_before": SOURCE_BEFORE, "cutout": CUTOUT}
    there = {
        key: folder.address(name) if folder is not None and folder.keeps(name) and folder.exists(name) else None
        for key, name in names.items()
    }
    quad, size = job.get("quad"), job.get("source_size")
    if job.get("annotations"):  # what is annotated is corrected itself, not the place of the whole
        return {**there, "cutout": None, "quad": None, "source_size": None, "box": None}
    if quad is None or not is_array(quad, 4, 2):
        return {**there, "quad": None, "source_size": None, "box": None}
    if size is None or not is_array(size, 2) or min(size) < 1:
        return {**there, "quad": quad, "source_size": None, "box": None}
    return {**there, "quad": quad, "source_size": size, "box": cutout_box(quad, size)}


def _shown(row: Row, folder: OutputFolder | None) -> dict[str, Any]:
    plain = row.to_dict()
    shown = {name: plain[name] for name in _SHOWN if name in plain}
    shown["placements"] = [{key: each[key] for key in ("quad", "confidence", "status")} for each in row.placements]
    names = {
        "before": preview_name(row.id, "before") if row.size else None,
        "after": after_name(row, hides_content=folder is not None and folder.hides_content),
        "link": row.output,
    }
    for key, name in names.items():
        shown[key] = name and (quote(os.fsencode(name)) if folder is None else folder.address(name))
    return shown


def _annotations(row: Row, folder: OutputFolder | None) -> dict[str, Any]:
    """What is annotated in a target; without it, there is nothing to judge."""
    if row.output is None or folder is None or not folder.keeps(row.output) or not folder.exists(row.output):
        return {"quad": None, "mesh": None}
    with contextlib.suppress(OutputError, AnnotationError, KeyError, TypeError, ValueError):
        return {"marks": marks_of(annotated_from_bytes(folder.read(row.output), row.id).objects)}
    return {}


def _embedded(data: Any) -> str:
    """JSON that can stand in a script element; bytes that are not text become the replacement character when shown."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (resources.files("dift_edit.report") / "assets" / name).read_text(encoding="utf-8")
