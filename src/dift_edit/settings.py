"""Settings: one dataclass field gives the default, the check, the flag and its help, so that none of them can drift."""

import argparse
import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from dift_edit.errors import SettingsError
from dift_edit.types import (
    Anchor,
    AnchorSize,
    AnnotationFormat,
    Artwork,
    Blend,
    Engine,
    Instances,
    LayerFormat,
    Learn,
    Mirror,
    Resampling,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "ANCHORS",
    "ANNOTATION_FORMATS",
    "AnnotateSettings",
    "ENGINES",
    "LEARN",
    "MIRRORS",
    "SURE",
    "BatchSettings",
    "Compositing",
    "Settings",
    "TransferSettings",
    "add_settings_arguments",
    "choices_of",
    "fingerprint",
    "option",
    "override",
    "settings_from_arguments",
    "value_of",
]

ANCHORS = get_args(Anchor)
ANNOTATION_FORMATS = get_args(AnnotationFormat)
ENGINES = get_args(Engine)
LAYER_FORMATS = get_args(LayerFormat)
MIRRORS = get_args(Mirror)
LEARN = get_args(Learn)

SURE = 0.9
"""Confidence from which a placement needs no help (chosen; see docs/learning.md)."""

S = TypeVar("S", bound="Settings")
D = TypeVar("D", bound="DataclassInstance")


def option(default: Any, help_: str, **more: Any) -> Any:
    """A field of a settings dataclass.

    Parameters
    ----------
    default : Any
        Its default.
    help_ : str
        What it does; the help of its flag.
    **more
        ``choices``: the values that it may have, where its type is not a Literal of them. ``limits=(low, high)``: the
        least and greatest number, None where there is no end. ``words``: what may stand instead of a number.
        ``above``: the number must be greater than this.
        ``empty``: whether a tuple may be empty. ``metavar``: of its flag.
    """
    return field(default=default, metadata={"help": help_, **more})


def fingerprint(*parts: Any) -> str:
    """A short digest of settings: dataclasses, strings, numbers, lists and dicts of them.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    plain = [asdict(part) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Settings:
    """Base of all settings: frozen dataclasses whose fields are made by `option`.

    A field that is a tuple also takes a list, or one value.

    Raises
    ------
    SettingsError
        If a value is not one of its choices or out of its range.
    """

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = getattr(self, item.name)
            if value is None and type(None) in get_args(item.type):
                continue
            if get_origin(item.type) is tuple and not isinstance(value, tuple):
                value = tuple(value) if isinstance(value, list) else (value,)
                object.__setattr__(self, item.name, value)
            if isinstance(value, tuple) and not value and not item.metadata.get("empty"):
                raise SettingsError(f"The setting {item.name} is empty: give at least one.")
            for one in value if isinstance(value, tuple) else (value,):
                _check(item, one)

    def fingerprint(self) -> str:
        """Digest of all settings (16 hexadecimal digits)."""
        return fingerprint(type(self).__name__, self)


def override(settings: D, **changes: Any) -> D:
    """Settings with other values of some fields.

    Parameters
    ----------
    settings : dataclass
        The settings.
    **changes
        New values of its fields; None leaves a field as it is.

    Returns
    -------
    dataclass

    Raises
    ------
    SettingsError
        If a value is not one of its choices or out of its range.
    """
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})


def choices_of(item: Field[Any]) -> tuple[Any, ...]:
    """The values that a field made by `option` may have; empty when it is not a choice."""
    literal = get_args(item.type) if get_origin(item.type) is Literal else ()
    return tuple(item.metadata.get("choices", literal))


def _check(item: Field[Any], value: Any) -> None:
    name, metadata = item.name, item.metadata
    if value in metadata.get("words", ()):
        return
    choices, above = choices_of(item), metadata.get("above")
    low, high = metadata.get("limits", (None, None))
    if choices and value not in choices:
        raise SettingsError(f"The setting {name} is {value!r}: use one of {', '.join(map(str, choices))}.")
    if low is None and high is None and above is None:
        return
    number = isinstance(value, int if item.type is int else int | float) and not isinstance(value, bool)
    fits = number and (low is None or value >= low) and (high is None or value <= high)
    if not fits or (above is not None and not value > above):
        a_number = "a whole number" if item.type is int else "a number"
        if above is not None:
            wanted = f"{a_number} above {above:g}"
        elif high is None:
            wanted = " or ".join((f"{low:g} or more", *metadata.get("words", ())))
        else:
            wanted = f"{a_number} from {low:g} to {high:g}"
        raise SettingsError(f"The setting {name} is {value!r}: use {wanted}.")


@dataclass(frozen=True, kw_only=True)
class TransferSettings(Settings):
    """How an edit is placed in a target."""

    engine: Engine = option(
        "auto", "how the placement is estimated; fixed: the same place in every image, without a network"
    )
    mirror: Mirror = option("auto", "whether the target may show the object mirrored")
    min_confidence: float = option(
        0.3, "abstain below this probability that the placement is right, 0 to 1", limits=(0, 1)
    )
    instances: Instances = option(
        1, "how many instances of the object in a target get the edit, or 'all'", limits=(1, None), words=("all",)
    )
    seed: int = option(0, "random seed", limits=(0, 2**63 - 1))
    anchor: Anchor = option(
        "pixels",
        "with the engine fixed: the same pixels, the same place relative to width and height, or the same distance "
        "from a corner or edge",
    )
    anchor_size: AnchorSize = option(
        "relative", "whether an edit at a corner or edge, and its margin, grow with the image's shorter side"
    )
    anchor_margin: float = option(
        -1.0, "distance from that corner or edge in pixels of the source; below 0: as in the source", limits=(-1, 1e5)
    )


@dataclass(frozen=True, kw_only=True)
class Compositing(Settings):
    """How an edit is put on a target."""

    blend: Blend = option("over", "how the edit is blended with the target")
    opacity: float = option(1.0, "opacity of the whole edit, 0 to 1", limits=(0.0, 1.0))
    feather: float = option(0.0, "width of a soft inner edge in target pixels", limits=(0.0, 1e4))
    match_color: float = option(0.0, "fit the edit's brightness and tint to the target's, 0 to 1", limits=(0.0, 1.0))
    shading: float = option(0.0, "let the target's light and shade fall on the edit, 0 to 1", limits=(0.0, 1.0))
    palette: float = option(0.0, "move the edit's colours towards the target's palette, 0 to 1", limits=(0.0, 1.0))
    texture: float = option(0.0, "let the target's fine texture show on the edit, 0 to 1", limits=(0.0, 1.0))
    linear_light: bool = option(False, "mix in linear light instead of in sRGB values (not for the poisson blends)")
    resampling: Resampling = option("bilinear", "how the edit is resampled")
    artwork: Artwork = option(
        "auto",
        "whether a sticker on a mirrored target is mirrored with the object (flip) or reads as on the source (keep); "
        "auto keeps the parts with text",
    )


@dataclass(frozen=True, kw_only=True)
class BatchSettings(Settings):
    """How a set of targets is worked through; nothing here but `learn` changes a result's bytes."""

    workers: int = option(1, "number of processes", limits=(1, None))
    cluster: str | None = option(None, "address of a dask scheduler, or 'local' for a dask cluster of this machine")
    resume: bool = option(True, "continue if the output folder holds part of this job; with --no-resume, refuse")
    overwrite: bool = option(False, "do everything again, replacing the results that an earlier run left")
    retry_failed: bool = option(False, "try again the targets that failed in an earlier run")
    learn: Learn = option(
        "off", "place unsure targets again, with the set's most trusted results as further views of the edit"
    )
    report: bool = option(True, "write the review page and its previews")
    preview_size: int = option(640, "longest side of the page's previews in pixels", limits=(16, 4096))
    max_pixels: int = option(200_000_000, "refuse targets with more pixels", limits=(1, None))
    layers: LayerFormat | None = option(
        None, "also write the target and each edit as layers: Photoshop, OpenRaster or PNGs", choices=LAYER_FORMATS
    )
    masks: bool = option(False, "write one 8-bit mask for each target and edit")
    flattened: bool = option(True, "write the flattened result; with --no-flattened, only the layers")
    verify: bool = option(False, "compare each output with its target outside the edit, and record it in its row")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.flattened and (self.layers is None or self.verify):
            raise SettingsError("Without the flattened result there must be layers (--layers) and no --verify.")


def value_of(settings: type, name: str, text: str) -> Any:
    """A field's value from a text, as its flag takes it; true or false for a switch.

    Raises
    ------
    SettingsError
        If it is of another kind, not one of its choices or out of its range.
    """
    item = next(item for item in fields(settings) if item.name == name)
    kind, words = _kind(item, get_type_hints(settings)[name]), item.metadata.get("words", ())
    try:
        value = _SWITCH[text.strip().lower()] if kind is bool else text if text in words else kind(text)
    except (ValueError, KeyError) as error:
        wanted = "true or false" if kind is bool else f"a value of the kind {kind.__name__}"
        raise SettingsError(f"The setting {name} is {text!r}: use {wanted}.") from error
    return getattr(settings(**{name: value}), name)


_SWITCH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _kind(item: Field[Any], hint: Any) -> type:
    """What a field's values are made from text by."""
    choices = choices_of(item)
    found: type = type(choices[0]) if choices else next((p for p in get_args(hint) if p is not type(None)), hint)
    return found


@dataclass(frozen=True, kw_only=True)
class AnnotateSettings(Settings):
    """How annotations are carried."""

    mirror: Mirror = option("auto", "whether the target may show the object mirrored")
    swap_sides: bool = option(False, "exchange the names of left and right keypoints where the target is mirrored")
    min_confidence: float = option(
        0.3, "leave out objects whose place is less probably right than this, 0 to 1", limits=(0, 1)
    )
    min_keypoint_confidence: float = option(
        0.1, "mark keypoints as missing that are less probably right than this, 0 to 1", limits=(0, 1)
    )
    seed: int = option(0, "random seed", limits=(0, 2**63 - 1))


FOR_EDITS = ("learn", "layers", "masks", "flattened", "verify")
"""Fields of `BatchSettings` that mean nothing where annotations are carried."""


def add_settings_arguments(
    parser: argparse._ActionsContainer, settings: type, *, leave_out: Collection[str] = ()
) -> None:
    """Add one flag for each field of a settings dataclass, with the field's default, choices and help."""
    hints = get_type_hints(settings)
    for item in fields(settings):
        if "help" not in item.metadata or item.default is MISSING or item.name in leave_out:
            continue
        default = "none" if item.default is None else "%(default)s"
        options: dict[str, Any] = {"default": item.default, "help": f"{item.metadata['help']} (default: {default})"}
        choices, several = choices_of(item), get_origin(hints[item.name]) is tuple
        kind = _kind(item, hints[item.name])
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif several:
            shown = ",".join(map(str, item.default))
            options["help"] = f"{item.metadata['help']} (default: {shown})"
            options |= {"type": _comma_separated(kind), "metavar": "N,N,…"}
        else:
            words = item.metadata.get("words", ())
            options["type"] = _number_or_word(kind, words) if words else kind
            options["choices"] = choices or None
            if not choices:
                options["metavar"] = item.metadata.get(
                    "metavar", "|".join(("N", *words)) if words else item.name.upper()
                )
        parser.add_argument(f"--{item.name.replace('_', '-')}", **options)


def _comma_separated(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def values(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(","))

    values.__name__ = "list"  # argparse's error names it
    return values


def _number_or_word(kind: type, words: tuple[str, ...]) -> Callable[[str], Any]:
    def value(text: str) -> Any:
        return text if text in words else kind(text)

    value.__name__ = f"number, or {' or '.join(words)}"  # argparse's error names it
    return value


def settings_from_arguments(args: argparse.Namespace, settings: type[S]) -> S:
    """The settings that the flags of `add_settings_arguments` gave; fields without a flag keep their defaults."""
    names = [item.name for item in fields(settings) if "help" in item.metadata]  # type: ignore[arg-type]
    return settings(**{name: getattr(args, name) for name in names if hasattr(args, name)})
