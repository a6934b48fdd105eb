"""``dift-edit run``: do what recipe files say."""

import argparse
from dataclasses import replace
from tempfile import TemporaryDirectory

HELP = "run jobs from recipe files (job.toml)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the recipes, and the flags that may differ from one run of a recipe to the next."""
    from dift_edit.cli._batch import add_log_arguments
    from dift_edit.settings import LEARN

    parser.add_argument(
        "jobs", metavar="JOB.TOML", nargs="+", help="recipe files; those with the same model share it and its features"
    )
    parser.add_argument("--workers", type=int, help="number of processes instead of the recipe's")
    parser.add_argument("--cluster", help="address of a dask scheduler, or 'local', instead of the recipe's")
    parser.add_argument(
        "--learn", choices=LEARN, help="whether results of the set serve as further views, instead of the recipe's"
    )
    parser.add_argument("--overwrite", action="store_true", help="do everything again")
    parser.add_argument("--retry-failed", action="store_true", help="try failed targets again")
    parser.add_argument("--dry-run", action="store_true", help="only say what the jobs need")
    add_log_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the jobs one after the other; the worst exit status is returned."""
    from dift_edit.batch import run_job
    from dift_edit.cli._batch import dry_run, run_told
    from dift_edit.job.defaults import user_defaults
    from dift_edit.job.recipe import Job, load_job

    changes = {name: value for name in ("workers", "cluster", "learn") if (value := getattr(args, name)) is not None}
    changes |= {name: True for name in ("overwrite", "retry_failed") if getattr(args, name)}
    defaults = user_defaults()
    jobs = [load_job(path, defaults) for path in args.jobs]  # all of them are read before the first one runs
    models = [f"{job.model} {job.device} {sorted(job.model_settings.items())}" for job in jobs]
    shared = len(set(models)) < len(models)

    def run_one(job: Job, cache: str) -> int:
        if args.dry_run:
            return dry_run(job, quiet=args.quiet)
        return run_told(args, lambda on_event: run_job(job, cache=cache, on_event=on_event))

    status = 0
    with TemporaryDirectory(prefix="dift-edit-features-") as folder:
        for job in jobs:
            changed = replace(job, batch=replace(job.batch, **changes))
            status = max(status, run_one(changed, folder if shared else ""))
    return status
