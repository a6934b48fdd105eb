"""What the commands that put edits on share: edits from files, and of regions."""

import argparse
from dataclasses import fields
from typing import Any


def add_layer_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the edits that lie above a sticker or an edited source, in the order in which they are given."""
    parser.add_argument(
        "--edit",
        metavar="JSON[,NAME=VALUE…]",
        dest="layers_above",
        action="append",
        default=[],
        type=_tagged("edit"),
        help="an edit that save_edit wrote; may be repeated and mixed with the next three flags, the last one on top; "
        "may have blending of its own, as in  hide.json,opacity=0.5,blend=laplacian",
    )
    for kind, text in (
        ("redact", "hide a region of the source, as in  --redact 40,30,80,60,mode=fill  (mode, cells, color, margin)"),
        (
            "recolour",
            "change a region's colours, as in  --recolour shirt.png,hue=120  (exposure, contrast, saturation, hue, "
            "recolor)",
        ),
        ("erase", "fill a region from its surroundings"),
    ):
        parser.add_argument(
            f"--{kind}",
            metavar="REGION[,NAME=VALUE…]",
            dest="layers_above",
            action="append",
            default=[],
            type=_tagged(kind),
            help=f"{text}; REGION is a box X,Y,W,H in pixels, a polygon's corners in a .txt, .csv or .json file, or an "
            "image of the source's size as a mask",
        )


def _tagged(kind: str) -> Any:
    def parse(text: str) -> tuple[str, str]:
        return kind, text

    return parse


def layers_from(args: argparse.Namespace) -> tuple[Any, ...]:
    """The edits that the arguments of `add_layer_arguments` name, the lowest first."""
    return tuple(_layer(kind, text) for kind, text in args.layers_above)


def _layer(kind: str, text: str) -> Any:
    """An edit from ``FILE`` or ``REGION`` and ``,NAME=VALUE…`` with names of the edit and of `Compositing`."""
    from dift_edit.errors import EditError
    from dift_edit.job.recipe import REGION_EDITS, EditFile, RegionEdit
    from dift_edit.settings import Compositing

    own = REGION_EDITS.get(kind, {})
    kinds: dict[str, Any] = {item.name: type(item.default) for item in fields(Compositing)} | own
    place, values = text, dict[str, Any]()
    while (found := place.rpartition(","))[1] and found[2].partition("=")[0] in kinds and "=" in found[2]:
        place, (name, _, value) = found[0], found[2].partition("=")
        try:
            values[name] = {"true": True, "false": False}[value] if kinds[name] is bool else kinds[name](value)
        except (ValueError, KeyError) as error:
            hint = "" if name in own else f"; see the flag --{name.replace('_', '-')} for its values"
            raise EditError(f"--{kind} {text}: {name} cannot be {value!r}{hint}.") from error
    blending = {name: value for name, value in values.items() if name not in own}
    compositing = Compositing(**blending) if blending else None
    if kind == "edit":
        return EditFile(place, compositing)
    last = place.rpartition(",")[2]
    if "=" in last and place != last:
        raise EditError(f"--{kind} {text}: there is no {last.partition('=')[0]!r}; use {', '.join(kinds)}.")
    return RegionEdit(kind, place, {name: value for name, value in values.items() if name in own}, compositing)


def numbers(count: int) -> Any:
    """A parser of `count` numbers with commas between them."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.replace(" ", ",").split(",") if part)
        except ValueError:
            values = ()
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text!r} is not {count} numbers with commas between them")
        return values

    parse.__name__ = f"{count} numbers"
    return parse
