"""``dift-edit propagate``: one edit, many photos."""

import argparse
from typing import Any

HELP = "carry one edit to many photos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a job; the flags of its settings come from their fields."""
    from dift_edit.cli._batch import add_log_arguments
    from dift_edit.cli._edits import add_layer_arguments, numbers
    from dift_edit.job.recipe import DIFFERENCE_KINDS
    from dift_edit.settings import BatchSettings, Compositing, TransferSettings, add_settings_arguments

    parser.add_argument("source", metavar="SOURCE", help="the image that the edit was made on")
    parser.add_argument("targets", metavar="TARGET", nargs="*", help="images, folders, patterns or URLs")
    edit = parser.add_argument_group("the edit (--sticker or --edited, and any number of the others above it)")
    edit.add_argument(
        "--sticker", metavar="PNG", help="an image with transparency; without a place, a canvas of the source's size"
    )
    edit.add_argument(
        "--at", metavar="X,Y,W,H", type=numbers(4), help="where the sticker lies in the source, in pixels"
    )
    edit.add_argument(
        "--quad",
        metavar="X,Y,X,Y,X,Y,X,Y",
        type=numbers(8),
        help="the same as four corners, from the top left clockwise",
    )
    edit.add_argument("--edited", metavar="EDITED", help="the source after editing: what changed is the edit")
    edit.add_argument(
        "--edited-as",
        choices=DIFFERENCE_KINDS,
        default="auto",
        help="what was done to EDITED; auto looks at each changed part and says what it found (default: %(default)s)",
    )
    add_layer_arguments(edit)
    edit.add_argument(
        "--view",
        metavar="IMAGE,X,Y,W,H",
        type=view_file,
        action="append",
        default=[],
        help="a further image of the object, and where the edit lies on it (or IMAGE and four corners X,Y); "
        "may be repeated",
    )
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="folder or URL for the results")
    parser.add_argument(
        "--targets-from",
        metavar="LIST",
        action="append",
        default=[],
        help="a .txt, .csv, .jsonl or .parquet file that names targets, '-' for standard input; may be repeated",
    )
    parser.add_argument(
        "--model", default="mini", help="name of a model, see 'dift-edit models', or a folder (default: %(default)s)"
    )
    parser.add_argument(
        "--device", default="cpu", help="cpu, cuda, …; several with commas run one process each (default: %(default)s)"
    )
    add_settings_arguments(parser.add_argument_group("placement"), TransferSettings)
    add_settings_arguments(parser.add_argument_group("blending"), Compositing)
    add_settings_arguments(parser.add_argument_group("the run"), BatchSettings)
    parser.add_argument(
        "--dry-run", action="store_true", help="only say how many targets there are and what time and space they need"
    )
    parser.add_argument(
        "--save-job", metavar="TOML", help="write this command as a recipe for 'dift-edit run', and do not run it"
    )
    add_log_arguments(parser)


def view_file(text: str) -> Any:
    """A view from ``IMAGE,X,Y,W,H`` or ``IMAGE,X,Y,X,Y,X,Y,X,Y``."""
    from dift_edit.job.recipe import ViewFile

    parts = text.split(",")
    for count in (8, 4):
        try:
            values = tuple(map(float, parts[-count:]))
        except ValueError:
            continue
        if len(parts) > count:
            image = ",".join(parts[:-count])
            corners = tuple((values[i], values[i + 1]) for i in range(0, count, 2))
            return ViewFile(image, quad=corners) if count == 8 else ViewFile(image, at=values)
    raise argparse.ArgumentTypeError(f"{text!r} is not an image and 4 or 8 numbers, with commas between them")


def job_from(args: argparse.Namespace) -> Any:
    """The job that the arguments describe."""
    from dift_edit.cli._edits import layers_from
    from dift_edit.job.recipe import Job
    from dift_edit.settings import BatchSettings, Compositing, TransferSettings, settings_from_arguments

    quad = args.quad and tuple((args.quad[i], args.quad[i + 1]) for i in range(0, 8, 2))
    return Job(
        source=args.source,
        sticker=args.sticker,
        edited=args.edited,
        edited_as=args.edited_as,
        edits=layers_from(args),
        at=args.at,
        quad=quad,
        views=tuple(args.view),
        targets=tuple(args.targets),
        lists=tuple(args.targets_from),
        output=args.output,
        model=args.model,
        device=args.device,
        transfer=settings_from_arguments(args, TransferSettings),
        compositing=settings_from_arguments(args, Compositing),
        batch=settings_from_arguments(args, BatchSettings),
    )


def run(args: argparse.Namespace) -> int:
    """Run the job, or describe it."""
    from dift_edit.batch import run_job
    from dift_edit.cli._batch import dry_run, run_told
    from dift_edit.job.recipe import save_job

    job = job_from(args)
    if args.save_job:
        save_job(job, args.save_job)
        print(f"Wrote {args.save_job}: run it with  dift-edit run {args.save_job}")
        return 0
    if args.dry_run:
        return dry_run(job, quiet=args.quiet)
    return run_told(args, lambda on_event: run_job(job, on_event=on_event))
