"""``dift-edit models``: what can be loaded."""

import argparse

HELP = "list the models that can be loaded"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no arguments."""


def run(_args: argparse.Namespace) -> int:
    """Print one line a model."""
    from dift_edit.features.registry import FEATURIZERS

    for name in FEATURIZERS:
        print(name)
    return 0
