"""The contact sheet of a run: a look at the first results without opening anything else."""

import io

import PIL.Image

from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.report.previews import preview_name
from dift_edit.results.folder import OutputFolder
from dift_edit.results.manifest import Row
from dift_edit.viz.draw import contact_sheet

__all__ = ["SHEET", "write_contact_sheet"]

MOST = 48
SHEET = "contact_sheet.jpg"


def write_contact_sheet(folder: OutputFolder, rows: list[Row]) -> None:
    """Write ``contact_sheet.jpg`` from the previews.

    Parameters
    ----------
    folder : OutputFolder
        Where previews are, and where it goes.
    rows : list of Row
        The results; of more than 48, evenly spread ones are shown. Where the edit hides something, targets without
        it and rejected results are empty cells.
    """
    step = max(1.0, len(rows) / MOST)
    shown = [rows[int(i * step)] for i in range(min(len(rows), MOST))]
    if not shown:
        return
    title = f"{len(rows)} targets" if len(shown) == len(rows) else f"{len(shown)} of {len(rows)} targets"
    sheet = contact_sheet(
        [_preview(folder, row) for row in shown],
        [_caption(row) for row in shown],
        statuses=[row.status for row in shown],
        title=title,
    )
    buffer = io.BytesIO()
    sheet.to_pil().convert("RGB").save(buffer, "JPEG", quality=88)
    folder.write(SHEET, buffer.getvalue())


def _preview(folder: OutputFolder, row: Row) -> Image | None:
    """What the sheet shows of a row; of a redaction that was not put on, nothing."""
    if folder.hides_content and (row.status != "applied" or row.review == "rejected"):
        return None
    try:
        data = folder.read(preview_name(row.id, "after" if row.status == "applied" else "before"))
        return as_image(PIL.Image.open(io.BytesIO(data)))
    except Exception:  # noqa: BLE001 - whatever a decoder may meet in a damaged preview
        return None


def _caption(row: Row) -> str:
    name = row.target.replace("\\", "/").rsplit("/", 1)[-1].encode("utf-8", "replace").decode()
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
    if row.status == "applied":
        return f"{shown}\nconfidence {row.confidence:.2f}"
    return f"{shown}\n{row.reason}" if row.status == "abstained" else f"{shown}\ncould not be handled"
