"""Defaults of one's own, in a configuration file and the environment: below flags and recipes, above the built-in."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from dift_edit.atomic_files import parse_toml
from dift_edit.errors import DiftEditError, SettingsError
from dift_edit.job.toml_values import check_keys, settings_of, table_of, text_of
from dift_edit.settings import BatchSettings, Compositing, TransferSettings, value_of

__all__ = ["TABLES", "Default", "config_path", "user_defaults"]

TABLES: dict[str, Any] = {"transfer": TransferSettings, "compositing": Compositing, "batch": BatchSettings}
"""Table of a recipe and of the configuration → its settings."""
_MODEL = {"model": "name", "device": "device"}
"""Flag → its key in the table [model]."""
_PREFIX = "DIFT_EDIT_"


@dataclass(frozen=True)
class Default:
    """A default that is not the built-in one.

    Attributes
    ----------
    table, key : str
        Where a recipe has it.
    value : bool, int, float or str
    source : str
        Who set it: the file, or the variable's name.
    """

    table: str
    key: str
    value: Any
    source: str


def config_path() -> Path:
    """The configuration file, whether it is there or not: ``config.toml`` in the platform's folder for it."""
    return platformdirs.user_config_path("dift-edit") / "config.toml"


def user_defaults(environment: Mapping[str, str] | None = None, path: Path | None = None) -> dict[str, Default]:
    """What the configuration file and the environment set.

    Parameters
    ----------
    environment : mapping, optional
        Variables ``DIFT_EDIT_`` and a flag's name in capitals; those of the process by default.
    path : Path, optional
        The file, with the tables of a recipe ([model], [transfer], [compositing], [batch]); `config_path` by default.

    Returns
    -------
    dict
        Name of the flag, with "_" → its default. The environment takes precedence over the file.

    Raises
    ------
    DiftEditError
        If the file cannot be read or is not TOML, or a key or value is wrong; the sentence names it.
    """
    environment = os.environ if environment is None else environment
    found = _from_file(config_path() if path is None else path)
    for name, table, key in _names():
        variable = _PREFIX + name.upper()
        text = environment.get(variable, "")
        if text:
            try:
                value = text if table == "model" else value_of(TABLES[table], key, text)
            except SettingsError as error:
                raise SettingsError(f"The environment variable {variable} cannot be used: {error}") from error
            found[name] = Default(table, key, value, f"environment {variable}")
    return found


def _names() -> list[tuple[str, str, str]]:
    """(flag, table, key) of all that can be set."""
    settings = [(item.name, table, item.name) for table, kind in TABLES.items() for item in fields(kind)]
    return [*((flag, "model", key) for flag, key in _MODEL.items()), *settings]


def _from_file(path: Path) -> dict[str, Default]:
    try:
        data = parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DiftEditError(f"The configuration {path} cannot be read ({error.strerror}): check its rights.") from error
    except ValueError as error:
        raise DiftEditError(f"The configuration {path} is not valid TOML ({error}): correct that line.") from error
    try:
        check_keys(data, {"model", *TABLES}, "the configuration")
        model = table_of(data, "model")
        check_keys(model, set(_MODEL.values()), "[model]")
        for key in _MODEL.values():
            text_of(model, key)
        for table, kind in TABLES.items():
            settings_of(kind, table_of(data, table), f"[{table}]")
    except DiftEditError as error:
        raise DiftEditError(f"The configuration {path} cannot be used: {error}") from error
    return {
        name: Default(table, key, data[table][key], str(path))
        for name, table, key in _names()
        if key in data.get(table, {})
    }
