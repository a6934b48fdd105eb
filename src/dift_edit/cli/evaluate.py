"""``dift-edit evaluate``: a benchmark of the field with any featurizer."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

HELP = "run a benchmark (SPair-71k, PF-WILLOW, PF-PASCAL, CUB, TSS, HPatches, DAVIS, JHMDB, edit transfer)"

NAMES = ("spair", "pf-willow", "pf-pascal", "cub", "tss", "hpatches", "davis", "jhmdb", "transfer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark, the model and how it is run."""
    parser.add_argument("benchmark", choices=NAMES, metavar="BENCHMARK", help=", ".join(NAMES))
    add_run_arguments(parser)
    parser.add_argument("--model", default="", help="a model, a preset or a folder (default: the preset's, or mini)")
    parser.add_argument(
        "--preset", default="", help="a preset's settings, metric and estimator, see 'dift-edit models'"
    )
    parser.add_argument("-o", "--output", metavar="FILE.json", required=True, help="results; predictions go beside it")
    parser.add_argument("--table", metavar="FILE", help="also write the table, as .md, .csv or .txt")
    parser.add_argument("--pictures", metavar="DIR", help="draw every item in this folder, predicted beside annotated")
    parser.add_argument("--restart", action="store_true", help="discard earlier predictions")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the commands of evaluation share."""
    parser.add_argument("--root", metavar="DIR", required=True, help="the data set in its official layout")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], dest="settings",
        help="a setting of the model's featurizer, such as timestep=51; may be repeated",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, default=0, help="use only so many items, spread evenly (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    group = parser.add_argument_group("how the benchmark is run")
    from dift_edit.evaluation.options import BenchmarkOptions
    from dift_edit.settings import choices_of

    for item in fields(BenchmarkOptions):
        # No default here, so that a preset's value can be told from one that was asked for.
        shown = item.default if item.default != "" else "none"
        group.add_argument(
            f"--{item.name.replace('_', '-')}",
            type=type(item.default),
            choices=choices_of(item) or None,
            metavar=None if choices_of(item) else item.name.upper(),
            help=f"{item.metadata['help']} (default: {shown})",
        )


def run(args: argparse.Namespace) -> int:
    """Run it, print the table, write the files."""
    from dift_edit.atomic_files import write_text
    from dift_edit.evaluation import format_table, report_table, run_benchmark

    output = Path(args.output)
    kind = {".md": "markdown", ".csv": "csv"}.get(Path(args.table).suffix if args.table else "", "text")
    featurizer = make_featurizer(args)
    report = run_benchmark(
        args.benchmark,
        args.root,
        featurizer,
        options=benchmark_options(args),
        folder=output.with_suffix(".predictions"),
        limit=args.limit,
        seed=args.seed,
        restart=args.restart,
        pictures=args.pictures,
        progress=progress_bar(args.benchmark),
    )
    report.save(output)
    table = report_table(report)
    print(format_table(table), end="")
    if args.table:
        write_text(args.table, format_table(table, kind))
    print(f"{report.predicted} of {len(report.scores)} items predicted in {report.seconds:.0f} s; written to {output}")
    return 0


def progress_bar(name: str) -> Any:
    """A progress bar on the terminal, nothing elsewhere."""
    from tqdm import tqdm

    return lambda items: tqdm(items, desc=name, unit="item", disable=None)


def make_featurizer(args: argparse.Namespace, model: str = "") -> Any:
    """The model with the preset's settings and those that were given."""
    from dift_edit.errors import ModelError
    from dift_edit.features.presets import PRESETS
    from dift_edit.features.registry import load_featurizer

    settings = dict(map(parse_setting, args.settings))
    name = model or args.model
    if preset_name := getattr(args, "preset", ""):
        if preset_name not in PRESETS:
            raise ModelError(f"There is no preset {preset_name!r}: use one of {', '.join(PRESETS)}.")
        preset = PRESETS[preset_name]
        name, settings = name or preset.model, {**preset.settings, **settings}
    return load_featurizer(name or "mini", device=args.device, **settings)


def benchmark_options(args: argparse.Namespace) -> Any:
    """Options that were given, over those of the preset, over the defaults."""
    from dift_edit.evaluation.options import BenchmarkOptions
    from dift_edit.features.presets import PRESETS

    chosen: dict[str, Any] = {}
    preset = PRESETS.get(getattr(args, "preset", "") or getattr(args, "model", ""))
    if preset is not None:
        names = {"method": "estimator", "threshold": "pixels", "frames": "last_frames"}
        known = BenchmarkOptions.__dataclass_fields__
        given = {names.get(key, key): value for key, value in preset.estimator.items()}
        chosen = {"metric": preset.metric, **{key: value for key, value in given.items() if key in known}}
    for item in fields(BenchmarkOptions):
        if getattr(args, item.name) is not None:
            chosen[item.name] = getattr(args, item.name)
    return BenchmarkOptions(**chosen)


def parse_setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, where the value is JSON or else taken as words."""
    from dift_edit.atomic_files import parse_json
    from dift_edit.errors import ModelError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ModelError(f"The setting {text!r} is not NAME=VALUE: write, say, timestep=51.")
    try:
        return name, parse_json(value)
    except ValueError:
        return name, value
