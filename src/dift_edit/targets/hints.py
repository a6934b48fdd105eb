"""What a target list or a recipe says about one target: where to look, where the edit lies, what is asked of it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dift_edit.errors import DiftEditError, EditError, SettingsError
from dift_edit.geometry.quad import as_quad
from dift_edit.imaging.files import DEFAULT_MAX_PIXELS
from dift_edit.settings import MIRRORS, TransferSettings, fingerprint
from dift_edit.targets.storage import input_sha256, read_image
from dift_edit.types import Mirror

__all__ = ["HINT_COLUMNS", "Hints", "hints_of", "is_skipped"]

HINT_COLUMNS = ("mask", "box", "pins", "quad", "mirror", "min_confidence")
"""Columns of a target list beside ``path``, ``id``, ``output`` and ``skip``."""
_YES, _NO = {"true", "yes", "1", "x"}, {"", "false", "no", "0"}


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What is known of one target.

    Attributes
    ----------
    mask : str
        An image of the target's size, white where the edit's parts may lie; "" for none.
    box : tuple (x, y, w, h) or None
        The same as a box in target pixels.
    pins : tuple of ((x, y), (x, y))
        Pairs of source and target pixels that the placement has to hold.
    quad : tuple of four (x, y) or None
        Where the edit lies, placed by hand: nothing is looked for.
    mirror : {"auto", "never", "always"} or None
        Instead of the job's.
    min_confidence : float or None
        Instead of the job's, 0 to 1.
    problem : str
        What is wrong with what was given, in a sentence: the target fails with it.
    """

    mask: str = ""
    box: tuple[float, ...] | None = None
    pins: tuple[tuple[tuple[float, float], tuple[float, float]], ...] = ()
    quad: tuple[tuple[float, float], ...] | None = None
    mirror: Mirror | None = None
    min_confidence: float | None = None
    problem: str = ""

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return self != Hints()

    @property
    def digest(self) -> str:
        """Of all of it, the mask by its content; "" where nothing is known."""
        return fingerprint(replace(self, mask=""), input_sha256(self.mask) if self.mask else "") if self else ""

    def region(self, size: tuple[int, int], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> npt.NDArray[np.bool_] | None:
        """Where the edit's parts may lie in a target of a size (W, H), by mask and box; None for anywhere.

        Raises
        ------
        DiftEditError
            If the mask cannot be read or has another size, or the box lies outside.
        """
        held: npt.NDArray[np.bool_] | None = None
        if self.mask:
            image, _ = read_image(self.mask, max_pixels=max_pixels)
            if image.size != size:
                raise EditError(
                    f"The mask {self.mask} has {image.size[0]}×{image.size[1]} pixels, but its target has "
                    f"{size[0]}×{size[1]}: give a mask of the target's size."
                )
            held = image.pixels.mean(axis=2) > image.full_scale / 2
        if self.box is not None:
            x, y, width, height = self.box
            left, right = (round(float(np.clip(edge, 0, size[0]))) for edge in (x, x + width))
            top, bottom = (round(float(np.clip(edge, 0, size[1]))) for edge in (y, y + height))
            if left >= right or top >= bottom:
                raise EditError(f"The box {self.box} lies outside its target of {size[0]}×{size[1]} pixels: move it.")
            inside = np.zeros((size[1], size[0]), dtype=bool)
            inside[top:bottom, left:right] = True
            held = inside if held is None else held & inside
        return held


def hints_of(row: dict[str, Any], where: str, resolve: Callable[[str], str]) -> Hints:
    """What a row of a target list says beside the path.

    Parameters
    ----------
    row : dict
        Columns and their values. Numbers may be texts ("120, 80, 60, 40") or lists, also nested, as JSON has them.
    where : str
        How a sentence names the row.
    resolve : callable
        Makes a path of the list one that can be used from the current folder.

    Returns
    -------
    Hints
        With a `problem` where a value is wrong.
    """
    given = {name: row[name] for name in HINT_COLUMNS if row.get(name) not in (None, "", [])}
    try:
        return Hints(**{name: _READERS[name](value, resolve) for name, value in given.items()})
    except DiftEditError as error:
        return Hints(problem=f"{where}: {error}")


def is_skipped(row: dict[str, Any], where: str) -> bool:
    """Whether a row of a target list says to leave its target out.

    Raises
    ------
    DiftEditError
        If ``skip`` is neither yes nor no.
    """
    value = row.get("skip")
    text = "" if value is None else str(value).strip().lower()
    if text not in _YES | _NO:
        raise DiftEditError(f"{where}: skip is {value!r}: use true or false.")
    return text in _YES


def _numbers(value: Any, name: str, counts: Callable[[int], bool], wanted: str) -> list[float]:
    """All numbers of a text or nested list, in their order."""
    try:
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith("[") else re.split(r"[\s,;]+", value.strip())
        numbers = np.array(list(_flat(value)), dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        numbers = np.zeros(0)
    if not counts(len(numbers)) or not np.isfinite(numbers).all():
        raise EditError(f"{name} must be {wanted}, but is {value!r:.80}.")
    return [float(number) for number in numbers]


def _flat(value: Any) -> Any:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _flat(each)
    elif isinstance(value, bool):
        raise TypeError
    else:
        yield float(value)


def _mask(value: Any, resolve: Callable[[str], str]) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise EditError(f"mask must be the path of an image, but is {value!r:.80}.")
    return resolve(value)


def _box(value: Any, _resolve: Callable[[str], str]) -> tuple[float, ...]:
    box = tuple(_numbers(value, "box", lambda count: count == 4, "four numbers x, y, w, h of target pixels"))
    if not (box[2] > 0 and box[3] > 0):
        raise EditError(f"box has the width {box[2]:g} and height {box[3]:g}: both must be above 0.")
    return box


def _pins(value: Any, _resolve: Callable[[str], str]) -> Any:
    wanted = "pairs of points, four numbers each: x, y in the source and x, y in the target"
    numbers = _numbers(value, "pins", lambda count: count > 0 and count % 4 == 0, wanted)
    pairs = np.reshape(numbers, (-1, 2, 2)).tolist()
    for side, place in enumerate(("start at the same place of the source", "end at the same place of the target")):
        if len({tuple(pair[side]) for pair in pairs}) < len(pairs):
            raise EditError(f"two pins {place}: remove one of them.")
    return tuple((tuple(source), tuple(target)) for source, target in pairs)


def _quad(value: Any, _resolve: Callable[[str], str]) -> Any:
    wanted = "eight numbers: x, y of the corners top left, top right, bottom right, bottom left"
    corners = np.reshape(_numbers(value, "quad", lambda count: count == 8, wanted), (4, 2))
    return tuple(tuple(corner) for corner in as_quad(corners, "The quad in the target").tolist())


def _mirror(value: Any, _resolve: Callable[[str], str]) -> Any:
    if value not in MIRRORS:
        raise SettingsError(f"mirror is {value!r:.80}: use one of {', '.join(MIRRORS)}.")
    return value


def _min_confidence(value: Any, _resolve: Callable[[str], str]) -> float:
    (number,) = _numbers(value, "min_confidence", lambda count: count == 1, "a number from 0 to 1")
    return TransferSettings(min_confidence=number).min_confidence


_READERS: dict[str, Callable[[Any, Callable[[str], str]], Any]] = {
    "mask": _mask,
    "box": _box,
    "pins": _pins,
    "quad": _quad,
    "mirror": _mirror,
    "min_confidence": _min_confidence,
}
