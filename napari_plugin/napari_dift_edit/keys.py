"""Keys of the plugin in the viewer, chosen from those that napari's layers leave free."""

from collections.abc import Callable
from typing import Any

__all__ = ["KEYS", "bind_keys", "press", "unbind_keys"]

KEYS: dict[str, tuple[str, str]] = {
    "Control-Z": ("undo", "Undo"),
    "Control-Shift-Z": ("redo", "Redo"),
    "K": ("accept", "Accept the edit in this picture"),
    "J": ("reject", "Reject the edit in this picture"),
    ".": ("next", "Next picture"),
    ",": ("previous", "Previous picture"),
    "U": ("unsure", "Next unsure landmark"),
    "H": ("before_after", "Before / after"),
}
"""Key → name of the action, what it does."""


def actions(widget: Any) -> dict[str, Callable[[], None]]:
    """The actions by name."""
    results = widget.results
    return {
        "undo": widget.editor.undo,
        "redo": widget.editor.redo,
        "accept": lambda: results.decide("accepted"),
        "reject": lambda: results.decide("rejected"),
        "next": lambda: results.step(1),
        "previous": lambda: results.step(-1),
        "unsure": widget.unsure.next,
        "before_after": results.toggle_after,
    }


def bind_keys(widget: Any) -> None:
    """Bind the keys to a widget's actions in its viewer."""
    does = actions(widget)
    for key, (name, _) in KEYS.items():
        widget.viewer.bind_key(key, lambda _, do=does[name]: do(), overwrite=True)


def unbind_keys(viewer: Any) -> None:
    """Release the keys."""
    for key in KEYS:
        viewer.bind_key(key, None, overwrite=True)


def press(widget: Any, key: str) -> None:
    """Do what a letter does, where another widget than the canvas has the focus."""
    actions(widget)[KEYS[key.upper()][0]]()
