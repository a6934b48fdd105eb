"""``dift-edit completion``: what a shell needs to complete commands and flags."""

import argparse

HELP = "print the script that lets a shell complete commands, flags and files"
SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
_FILES = frozenset(
    [
        "SOURCE",
        "TARGET",
        "PNG",
        "EDITED",
        "JSON[,NAME=VALUE…]",
        "OUT",
        "OUT2",
        "LIST",
        "TOML",
        "JOB.TOML",
        "DECISIONS.JSON",
        "CLIP",
        "IMAGE",
        "DIR",
        "FILE",
        "FILE.json",
        "LABELS",
        "CSV",
    ]
)
"""What stands for a file in the help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=SHELLS, help="the shell; docs/defaults.md says where its script belongs")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from dift_edit.cli import build_parser
    from dift_edit.errors import MissingDependencyError

    try:
        import shtab
    except ImportError as error:
        raise MissingDependencyError("shtab", "completion", "Shell completion") from error
    parser = build_parser()
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, args.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, files: object) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _complete_files(sub, files)
        elif action.metavar in _FILES:
            action.complete = files  # type: ignore[attr-defined]
