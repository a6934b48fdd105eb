"""``dift-edit config``: the defaults that hold here, and who set them."""

import argparse
import os

HELP = "show the defaults, and whether a file or the environment set them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of what is shown."""
    parser.add_argument("--path", action="store_true", help="only print where the configuration file is looked for")


def run(args: argparse.Namespace) -> int:
    """Print all defaults as a configuration file, with their sources as comments."""
    from dift_edit.job.defaults import TABLES, config_path, user_defaults
    from dift_edit.job.recipe import Job
    from dift_edit.job.toml_values import toml_value

    path = config_path()
    if args.path:
        print(path)
        return 0
    changed = {(each.table, each.key): each for each in user_defaults().values()}
    built_in = {"model": {"name": Job.model, "device": Job.device}}
    built_in |= {table: vars(kind()) for table, kind in TABLES.items()}
    print(f"# {path}{'' if path.exists() else ' (not there)'}")
    print("# Flags take precedence, then a recipe, then DIFT_EDIT_… in the environment, then this file.")
    for table, values in built_in.items():
        print(f"\n[{table}]")
        for key, value in values.items():
            given = changed.get((table, key))
            chosen = value if given is None else given.value
            line = f"{key} = {toml_value(chosen)}" if chosen is not None else f"# {key} is not set"
            print(line if given is None else f"{line}  # {given.source}")
    known = {f"DIFT_EDIT_{name}" for name in ("CACHE", "MODELS")} | {
        each.source.removeprefix("environment ") for each in changed.values()
    }
    for name in sorted(os.environ):
        if name.startswith("DIFT_EDIT_") and name not in known:
            print(f"\n# {name} is set, but is no default that there is")
    return 0
