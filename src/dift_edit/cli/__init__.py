"""The command line: ``dift-edit COMMAND``. One module a command; none of them imports torch before it runs.

A command's module has ``HELP`` (one line), ``add_arguments(parser)`` and ``run(args) -> int``, the exit status:
0 when everything was handled, 1 when something failed, 2 for bad arguments.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dift_edit._version import __version__
from dift_edit.errors import DiftEditError

__all__ = ["COMMANDS", "build_parser", "main"]

COMMANDS = {
    "demo": "dift_edit.cli.demo",
    "propagate": "dift_edit.cli.propagate",
    "annotate": "dift_edit.cli.annotate",
    "sequence": "dift_edit.cli.sequence",
    "run": "dift_edit.cli.run",
    "render": "dift_edit.cli.render",
    "report": "dift_edit.cli.report",
    "apply-review": "dift_edit.cli.apply_review",
    "match": "dift_edit.cli.match",
    "features": "dift_edit.cli.features",
    "models": "dift_edit.cli.models",
    "evaluate": "dift_edit.cli.evaluate",
    "compare": "dift_edit.cli.compare",
    "search": "dift_edit.cli.search",
    "config": "dift_edit.cli.config",
    "completion": "dift_edit.cli.completion",
}
"""Command → module."""
_CONFIGURED = {
    "propagate": ("model", "device"),
    "annotate": ("model", "device"),
    "match": ("model", "device"),
    "features": ("model", "device"),
    "sequence": ("device",),
    "evaluate": ("device",),
}
"""Command → its flags that `dift-edit config` shows and whose defaults mean the same everywhere."""
_RESUMED = ("demo", "propagate", "annotate", "sequence", "run", "render")
_GO_ON = "What is done is kept: run the same command again to go on."


class _Parser(argparse.ArgumentParser):
    """A command's parser: flags may stand anywhere between the positional arguments."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # A command with actions of its own (``models convert``) hands the rest to the action's parser.
        if self._inside or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def build_parser(only: str | None = None, defaults: Mapping[str, Any] | None = None) -> argparse.ArgumentParser:
    """The parser with all commands, or with the arguments of one of them alone (quicker).

    Parameters
    ----------
    only : str, optional
        The command.
    defaults : mapping, optional
        Destination of a flag → its default instead of the built-in one.
    """
    parser = argparse.ArgumentParser(prog="dift-edit", description="Edit one photo, get the edit on all of them.")
    parser.add_argument("--version", action="version", version=f"dift-edit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, home in COMMANDS.items():
        module = importlib.import_module(home)
        sub = commands.add_parser(name, help=module.HELP, description=module.HELP)
        if only in (None, name):
            module.add_arguments(sub)
            sub.set_defaults(**(defaults or {}))
        sub.set_defaults(run=module.run)
    return parser


def _defaults(command: str) -> dict[str, Any]:
    """Defaults of the user's own for a command's flags: all of them for propagate, model and device for others."""
    if command not in _CONFIGURED:
        return {}
    from dift_edit.job.defaults import user_defaults

    found = {name: default.value for name, default in user_defaults().items()}
    return {name: value for name, value in found.items() if command == "propagate" or name in _CONFIGURED[command]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        Exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    only = next((word for word in arguments if word in COMMANDS), "")
    try:
        args = build_parser(only, _defaults(only)).parse_args(arguments)
        return int(args.run(args))
    except DiftEditError as error:
        print(f"dift-edit {only}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Interrupted. {_GO_ON if only in _RESUMED else ''}".rstrip(), file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    raise SystemExit(main())
