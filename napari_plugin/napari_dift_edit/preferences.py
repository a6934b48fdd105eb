"""napari's Preferences ▸ dift-edit (napari 0.9 and later): what a new window starts with."""

import contextlib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from dift_edit.settings import TransferSettings

__all__ = ["follow_preferences", "preferred"]

_TRANSFER = ("min_confidence", "mirror")


def _placing() -> Any:
    """Napari's settings object, or None where napari has none for plugins."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    with contextlib.suppress(KeyError, AttributeError):
        return get_plugin_settings("dift-edit").placing
    return None


def preferred() -> dict[str, Any]:
    """The preferences: ``model``, ``device``, ``output``, and fields of `TransferSettings`."""
    placing = _placing()
    if placing is None:
        defaults = {item.name: item.default for item in fields(TransferSettings)}
        return {"model": "", "device": "cpu", "output": "", **{name: defaults[name] for name in _TRANSFER}}
    return {name: getattr(placing, name) for name in ("model", "device", "output", *_TRANSFER)}


def follow_preferences(changed: Callable[[], None]) -> Callable[[], None]:
    """Call `changed` whenever the user changes a preference; returns what ends that."""
    placing = _placing()
    if placing is None:
        return lambda: None

    def hear(_: Any = None) -> None:
        changed()

    placing.events.connect(hear)
    return lambda: placing.events.disconnect(hear)
