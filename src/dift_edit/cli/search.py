"""``dift-edit search``: which timestep and block suit a benchmark."""

import argparse
from pathlib import Path

from dift_edit.cli.evaluate import NAMES, add_run_arguments

HELP = "grid search over timesteps and blocks of a diffusion model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark, the model and the grid."""
    parser.add_argument("--benchmark", choices=NAMES, required=True, metavar="B", help=", ".join(NAMES))
    add_run_arguments(parser)
    parser.add_argument("--model", default="dift-mini", help="a diffusion model or its folder (default: %(default)s)")
    parser.add_argument("--timesteps", type=int, nargs="+", required=True, metavar="T", help="timesteps")
    parser.add_argument("--blocks", type=int, nargs="+", required=True, metavar="N", help="up blocks, counted from 0")
    parser.add_argument("--sizes", type=int, nargs="+", default=[0], metavar="PX", help="network sizes in pixels")
    parser.add_argument("--ensembles", type=int, nargs="+", default=[0], metavar="N", help="numbers of noise samples")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for search.json, .png, .md, .csv")


def run(args: argparse.Namespace) -> int:
    """Search, print the table and the recommendation, write the heat map."""
    from dift_edit.atomic_files import write_text
    from dift_edit.cli.evaluate import benchmark_options, make_featurizer, progress_bar
    from dift_edit.evaluation import format_table, load_benchmark
    from dift_edit.evaluation.search import grid_picture, grid_search, recommend
    from dift_edit.imaging.writing import save_image

    folder = Path(args.output)
    points = grid_search(
        args.benchmark,
        args.root,
        make_featurizer(args),
        timesteps=args.timesteps,
        blocks=args.blocks,
        sizes=args.sizes,
        ensembles=args.ensembles,
        options=benchmark_options(args),
        folder=folder,
        limit=args.limit,
        seed=args.seed,
        progress=progress_bar("search"),
    )
    headline = load_benchmark(args.benchmark, args.root, benchmark_options(args), args.seed).headline
    names = list(points[0].numbers)
    table = [["size", "ensemble", "t", "block", *names]] + [
        [
            str(point.size or "–"), str(point.ensemble or "–"), str(point.timestep), str(point.block),
            *(f"{point.numbers[name]:.1f}" for name in names),
        ]
        for point in points
    ]  # fmt: skip
    for kind, suffix in (("markdown", "md"), ("csv", "csv")):
        write_text(folder / f"search.{suffix}", format_table(table, kind))
    save_image(grid_picture(points, headline), folder / "search.png")
    print(format_table(table), end="")
    print(recommend(points, headline))
    return 0
