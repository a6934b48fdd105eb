"""``dift-edit demo``: the main job on the bundled sample images."""

import argparse
from pathlib import Path

HELP = "run the main job on the bundled sample images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output folder."""
    from dift_edit.cli._batch import add_log_arguments

    parser.add_argument(
        "-o", "--output", metavar="DIR", default="dift-edit-demo", help="folder for the results (default: %(default)s)"
    )
    parser.add_argument(
        "--copy-samples", metavar="DIR", help="only copy the sample images into a folder, to try other commands on"
    )
    add_log_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Put the sample sticker on all sample targets, and say what to look at."""
    from dift_edit.batch import run_job
    from dift_edit.cli._batch import run_told, shown
    from dift_edit.samples import copy_samples, sample_job

    if args.copy_samples:
        print(f"Pictures: {shown(str(copy_samples(args.copy_samples)))}")
        return 0
    folder = Path(args.output).resolve()
    status = run_told(args, lambda on_event: run_job(sample_job(folder), on_event=on_event))
    if not args.quiet:
        print(f"Pictures: {shown(str(folder))}")
        for name, what in (("contact_sheet.jpg", "All at once"), ("review.html", "Page")):
            if (folder / name).exists():
                print(f"{what}: {shown(str(folder / name))}")
    return status
