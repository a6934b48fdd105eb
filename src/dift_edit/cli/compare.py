"""``dift-edit compare``: several models on one benchmark, with significance."""

import argparse
import re
from pathlib import Path

from dift_edit.cli.evaluate import NAMES, add_run_arguments

HELP = "compare several models on one benchmark, with a paired bootstrap"

DEFAULT = ("semantic-sd", "semantic-adm", "cleandift", "mini", "dino", "dinov2", "openclip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark, the models and the output."""
    parser.add_argument("benchmark", choices=NAMES, metavar="BENCHMARK", help=", ".join(NAMES))
    add_run_arguments(parser)
    parser.add_argument(
        "--models", nargs="+", metavar="MODEL", default=list(DEFAULT),
        help=f"models, presets, folders, or results of 'evaluate' (.json) (default: {' '.join(DEFAULT)})",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="folder for results and comparison.md/.csv"
    )


def run(args: argparse.Namespace) -> int:
    """Run what is not there yet and print one table; models that cannot be had are named in it."""
    from dift_edit.atomic_files import write_text
    from dift_edit.cli.evaluate import benchmark_options, make_featurizer, progress_bar
    from dift_edit.errors import DatasetError, ModelError, OutputError
    from dift_edit.evaluation import compare_reports, format_table, load_report, run_benchmark

    folder = Path(args.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made ({error.strerror}): choose another one.") from error
    reports, missing = {}, {}
    for name in args.models:
        if name.endswith(".json"):
            reports[Path(name).stem] = load_report(name)
            continue
        try:
            args.model = name
            featurizer = make_featurizer(args, name)
        except ModelError as error:
            missing[name] = str(error)
            continue
        output = folder / f"{re.sub(r'[^A-Za-z0-9._+-]', '_', name)}.json"
        reports[name] = run_benchmark(
            args.benchmark,
            args.root,
            featurizer,
            options=benchmark_options(args),
            folder=output.with_suffix(".predictions"),
            limit=args.limit,
            seed=args.seed,
            progress=progress_bar(name),
        )
        reports[name].save(output)
    for name, reason in missing.items():
        print(f"{name} was left out: {reason}")
    if not reports:
        raise DatasetError("None of the models could be loaded, so there is nothing to compare.")
    table = compare_reports(reports, seed=args.seed)
    for kind, suffix in (("markdown", "md"), ("csv", "csv")):
        write_text(folder / f"comparison.{suffix}", format_table(table, kind))
    print(format_table(table), end="")
    return 1 if missing else 0
