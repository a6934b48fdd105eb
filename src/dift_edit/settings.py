"""Settings of one transfer, shared by the library, the command line and the plugin, so that defaults cannot drift."""

import argparse
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, get_args, get_type_hints

from dift_edit.errors import EditError

__all__ = [
    "BatchSettings",
    "ENGINES",
    "MIRRORS",
    "TransferSettings",
    "add_settings_arguments",
    "option",
    "settings_from_arguments",
]

Settings = TypeVar("Settings")

ENGINES = ("auto", "similarity", "affine", "homography", "mesh", "spline", "notebook")
MIRRORS = ("auto", "never", "always")


def option(default: Any, help_: str, **more: Any) -> Any:
    """A field of a settings dataclass that becomes a flag; `more` may give ``choices`` and ``metavar``."""
    return field(default=default, metadata={"help": help_, **more})


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """How an edit is placed in a target.

    Raises
    ------
    EditError
        If a value is not one of its choices or out of its range.
    """

    engine: str = option("auto", "how the placement is estimated", choices=ENGINES)
    mirror: str = option("auto", "whether the target may show the object mirrored", choices=MIRRORS)
    min_confidence: float = option(0.3, "abstain below this probability that the placement is right, 0 to 1")
    seed: int = option(0, "seed of everything random")

    def __post_init__(self) -> None:
        for item in fields(self):
            choices = item.metadata.get("choices")
            if choices and getattr(self, item.name) not in choices:
                raise EditError(
                    f"The setting {item.name} is {getattr(self, item.name)!r}: use one of {', '.join(choices)}."
                )
        if not 0 <= self.min_confidence <= 1:
            raise EditError(f"The setting min_confidence is {self.min_confidence}: use a number from 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """How a set of targets is worked through; nothing here changes a result's bytes.

    Raises
    ------
    EditError
        If a number is out of its range.
    """

    workers: int = option(1, "number of processes")
    cluster: str | None = option(None, "address of a dask scheduler, or 'local' for a dask cluster of this machine")
    resume: bool = option(True, "continue when the output folder holds a part of this job; otherwise refuse")
    overwrite: bool = option(False, "do everything again, replacing the results that an earlier run left")
    retry_failed: bool = option(False, "try targets again that failed in an earlier run")
    report: bool = option(True, "make the review page and its previews")
    preview_size: int = option(640, "longest side of the page's previews in pixels")
    max_pixels: int = option(200_000_000, "refuse targets with more pixels")

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise EditError(f"The setting workers is {self.workers}: use 1 or more.")
        if not 16 <= self.preview_size <= 4096:
            raise EditError(f"The setting preview_size is {self.preview_size}: use a number from 16 to 4096.")
        if self.max_pixels < 1:
            raise EditError(f"The setting max_pixels is {self.max_pixels}: use 1 or more.")


def add_settings_arguments(parser: argparse._ActionsContainer, settings: type) -> None:
    """Add one flag for each field of a settings dataclass, with the field's default, choices and help."""
    hints = get_type_hints(settings)
    for item in fields(settings):
        if "help" not in item.metadata or item.default is MISSING:
            continue
        kind = next((part for part in get_args(hints[item.name]) if part is not type(None)), hints[item.name])
        options: dict[str, Any] = {"default": item.default, "help": f"{item.metadata['help']} (default: %(default)s)"}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = kind
            options["choices"] = item.metadata.get("choices")
            if not options["choices"]:
                options["metavar"] = item.metadata.get("metavar", item.name.upper())
        parser.add_argument(f"--{item.name.replace('_', '-')}", **options)


def settings_from_arguments(args: argparse.Namespace, settings: type[Settings]) -> Settings:
    """The settings that the flags of `add_settings_arguments` gave."""
    names = [item.name for item in fields(settings) if "help" in item.metadata]  # type: ignore[arg-type]
    return settings(**{name: getattr(args, name) for name in names})
