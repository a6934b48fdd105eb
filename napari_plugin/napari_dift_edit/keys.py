"""Keys of the plugin in the viewer, chosen from those that napari's layers leave free."""

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut

from napari_dift_edit.actions import ACTIONS, Action

__all__ = ["LETTERS", "add_question_mark", "bind_keys", "press", "unbind_keys"]

LETTERS: dict[str, Action] = {key: action for action in ACTIONS.values() for key in action.keys if len(key) == 1}
"""One character → action, for widgets other than the canvas."""


def bind_keys(dock: Any) -> None:
    """Bind the keys to a dock's actions in its viewer."""
    for action in ACTIONS.values():
        for key in action.keys:
            dock.viewer.bind_key(key, lambda _, does=action.does: dock.attempt(does, dock), overwrite=True)


def add_question_mark(dock: Any) -> None:
    """Let ``?`` show the keys in the whole window: napari's own bindings do not know that key."""
    for keys in ("?", "Shift+?"):
        shortcut = QShortcut(QKeySequence(keys), dock)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        shortcut.activated.connect(lambda: dock.attempt(ACTIONS["keys"].does, dock))


def unbind_keys(viewer: Any) -> None:
    """Release the keys."""
    for action in ACTIONS.values():
        for key in action.keys:
            viewer.bind_key(key, None, overwrite=True)


def press(dock: Any, letter: str) -> None:
    """Do what a character does, where another widget than the canvas has the focus."""
    dock.attempt(LETTERS[letter.upper()].does, dock)
