"""``dift-edit annotate``: label one image, get the labels of all."""

import argparse

HELP = "carry boxes, outlines, masks and landmarks of an annotated image to many images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments; the flags of the settings come from their fields."""
    from dift_edit.cli._batch import add_log_arguments
    from dift_edit.settings import (
        ANNOTATION_FORMATS,
        FOR_EDITS,
        AnnotateSettings,
        BatchSettings,
        add_settings_arguments,
    )

    parser.add_argument("source", metavar="SOURCE", help="the annotated image, or a folder of several")
    parser.add_argument("labels", metavar="LABELS", help="its annotations, in any format that --format names")
    parser.add_argument("targets", metavar="TARGET", nargs="*", help="images, folders, patterns or URLs")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="folder for the results")
    parser.add_argument(
        "--targets-from",
        metavar="LIST",
        action="append",
        default=[],
        help="a .txt, .csv, .jsonl or .parquet file that names targets, '-' for standard input; may be repeated",
    )
    parser.add_argument("--format", choices=ANNOTATION_FORMATS, help="format to write (default: that of LABELS)")
    parser.add_argument(
        "--model", default="mini", help="name of a model, see 'dift-edit models', or a folder (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    add_settings_arguments(parser.add_argument_group("annotations"), AnnotateSettings)
    add_settings_arguments(parser.add_argument_group("the run"), BatchSettings, leave_out=FOR_EDITS)
    add_log_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run it as a batch."""
    from dift_edit.batch import annotate_batch
    from dift_edit.batch.model import ModelSpec
    from dift_edit.cli._batch import run_told
    from dift_edit.settings import AnnotateSettings, BatchSettings, settings_from_arguments
    from dift_edit.targets.collect import collect_targets

    targets = collect_targets(args.targets, lists=args.targets_from, leave_out=(args.source, args.output))
    return run_told(
        args,
        lambda on_event: annotate_batch(
            args.source,
            args.labels,
            targets,
            args.output,
            featurizer=ModelSpec(name=args.model, device=args.device),
            settings=settings_from_arguments(args, AnnotateSettings),
            batch=settings_from_arguments(args, BatchSettings),
            format=args.format,
            on_event=on_event,
        ),
    )
