"""Values of a recipe: read from TOML with their kinds checked, and written as TOML.

Each reader raises a `DiftEditError` whose sentence names the key.
"""

import json
from dataclasses import fields
from typing import Any

from dift_edit.errors import DiftEditError

__all__ = ["check_keys", "corners_of", "numbers_of", "settings_of", "table_of", "text_of", "texts_of", "toml_value"]


def toml_value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DiftEditError(
            f"The path {text!a} is not valid Unicode, so a recipe cannot hold it: rename the file."
        ) from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def table_of(data: dict[str, Any], name: str) -> dict[str, Any]:
    """A table of a recipe; empty where it is missing."""
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise DiftEditError(f"[{name}] must be a table.")
    return table


def check_keys(table: dict[str, Any], known: set[str], where: str) -> None:
    """Refuse keys that nobody would read."""
    unknown = sorted(set(table) - known)
    if unknown:
        raise DiftEditError(f"{where} has the unknown key {unknown[0]!r}: use {', '.join(sorted(known))}.")


def text_of(table: dict[str, Any], key: str) -> str | None:
    """A text, or None."""
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise DiftEditError(f"{key} must be text, but is {value!r}.")
    return value


def texts_of(table: dict[str, Any], key: str) -> tuple[str, ...]:
    """A list of texts; empty where it is missing."""
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise DiftEditError(f"{key} must be a list of texts, but is {value!r}.")
    return tuple(value)


def numbers_of(value: Any, count: int, key: str) -> tuple[float, ...] | None:
    """So many numbers, or None."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != count or not all(_is_number(each) for each in value):
        raise DiftEditError(f"{key} must be {count} numbers, but is {value!r}.")
    return tuple(value)


def corners_of(value: Any) -> tuple[tuple[float, float], ...] | None:
    """Four points, or None."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4:
        raise DiftEditError(f"quad must be four corners [x, y], but is {value!r}.")
    return tuple(numbers_of(corner, 2, "each corner of quad") for corner in value)  # type: ignore[misc]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def settings_of(kind: Any, table: dict[str, Any], where: str) -> Any:
    """A settings dataclass from a table, its kinds checked."""
    check_keys(table, {item.name for item in fields(kind)}, where)
    for item in fields(kind):
        value = table.get(item.name)
        wanted = type(item.default) if item.default is not None else str
        fits = _is_number(value) if wanted is float else type(value) is wanted
        fits = fits or value in item.metadata.get("words", ())
        if value is not None and not fits:
            raise DiftEditError(f"{item.name} in {where} must be of the kind {wanted.__name__}, but is {value!r}.")
    return kind(**table)
