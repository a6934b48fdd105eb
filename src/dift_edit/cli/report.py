"""``dift-edit report``: the review page of an output folder, made anew."""

import argparse
import sys

HELP = "make the review page of an output folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the size of its previews."""
    parser.add_argument("output", metavar="OUT", help="output folder of an earlier run")
    parser.add_argument(
        "--preview-size", type=int, default=640, help="longest side of previews that are missing (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write manifest, contact sheet and page from the journal."""
    from dift_edit.batch.finish import journal_path, rows_of, write_manifest, write_missing_previews, write_review
    from dift_edit.cli._batch import unredacted_folder_line, unredacted_lines
    from dift_edit.results.folder import open_existing
    from dift_edit.results.journal import Journal
    from dift_edit.settings import BatchSettings

    settings = BatchSettings(preview_size=args.preview_size)
    folder = open_existing(args.output)
    with Journal(journal_path(folder, create=False)) as journal:
        folder.hides_content = bool(journal.job.get("redaction"))
        folder.clean()
        write_missing_previews(folder, journal, max_pixels=settings.max_pixels, preview_size=settings.preview_size)
        write_manifest(folder, journal)
        write_review(folder, journal)
        rows = list(rows_of(journal))
        exposed = [row for row in rows if row.status != "applied"] if journal.job.get("redaction") else []
    for line in unredacted_lines(exposed, [row for row in rows if row.warning], len(rows)):
        print(line, file=sys.stderr)
    if folder.unredacted is not None:
        print(unredacted_folder_line(str(folder.unredacted)), file=sys.stderr)
    print(f"{folder}/review.html", file=sys.stdout)
    return 0
