"""What is left in the output folder beside the pictures: manifest, contact sheet, page."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from dift_edit.errors import ImageError, MissingDependencyError, OutputError
from dift_edit.report.page import PAGE, write_page
from dift_edit.report.previews import CUTOUT, SOURCE, SOURCE_BEFORE, after_name, preview_name, write_previews
from dift_edit.report.sheet import SHEET, write_contact_sheet
from dift_edit.results.folder import OutputFolder
from dift_edit.results.journal import Journal
from dift_edit.results.manifest import Row, manifest_jsonl, manifest_parquet
from dift_edit.targets.collect import row_path
from dift_edit.targets.storage import read_image

__all__ = ["journal_path", "remove_review", "rows_of", "write_manifest", "write_missing_previews", "write_review"]


def journal_path(folder: OutputFolder, *, create: bool = True) -> Path:
    """In the output folder; for a remote one, which cannot be appended to, among this user's state files.

    Raises
    ------
    OutputError
        If its folder cannot be made; or, without `create`, if there is no journal.
    """
    if folder.local is not None:
        path = folder.path(".dift-edit/journal.jsonl")
    else:
        state = Path(platformdirs.user_state_dir("dift-edit"))
        path = state / "journals" / hashlib.sha256(str(folder).encode()).hexdigest()[:24] / "journal.jsonl"
    if not create:
        if not path.is_file():
            raise OutputError(f"{folder} holds no results of dift-edit: give the output folder of an earlier run.")
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {path.parent} cannot be made ({error.strerror}): check space and rights."
        ) from error
    return path


def rows_of(journal: Journal) -> Iterator[Row]:
    """Rows of everything in the folder, in the order of planning."""
    for key in journal.plan:
        if key in journal.rows:
            yield Row.from_dict(journal.rows[key])


def write_manifest(folder: OutputFolder, journal: Journal) -> None:
    """Write ``manifest.jsonl``, and ``manifest.parquet`` where pyarrow is installed."""
    folder.write("manifest.jsonl", manifest_jsonl(rows_of(journal)))
    with contextlib.suppress(MissingDependencyError):
        folder.write("manifest.parquet", manifest_parquet(rows_of(journal)))


def write_review(folder: OutputFolder, journal: Journal) -> None:
    """Write the contact sheet and the page."""
    rows = list(rows_of(journal))
    write_contact_sheet(folder, rows)
    write_page(folder, rows, journal.job)


def remove_review(folder: OutputFolder) -> None:
    """Remove the contact sheet, the page, and its previews of the source."""
    for name in (SHEET, PAGE, SOURCE, SOURCE_BEFORE, CUTOUT):
        if folder.keeps(name):
            folder.remove(name)


def write_missing_previews(folder: OutputFolder, journal: Journal, *, max_pixels: int, preview_size: int) -> int:
    """Make the previews that are not there, from targets and results; returns how many rows got some."""
    made = 0
    for row in rows_of(journal):
        names = [preview_name(row.id, "before"), after_name(row, hides_content=folder.hides_content)]
        if row.size is None or all(folder.exists(name) for name in names if name and folder.keeps(name)):
            continue
        with contextlib.suppress(ImageError):
            before, _ = read_image(row_path(row.target, row.id, str(folder)), max_pixels=max_pixels)
            after = None
            if row.output and folder.keeps(row.output):
                result = f"{folder}/{row.output}" if folder.local is None else str(folder.path(row.output))
                after, _ = read_image(result, max_pixels=max_pixels, links=False)
            rejected = folder.hides_content and row.review == "rejected"
            write_previews(folder, row.id, before, after, preview_size, rejected=rejected)
            made += 1
    return made
