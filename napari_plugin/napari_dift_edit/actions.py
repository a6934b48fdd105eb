"""What can be done with one key or from napari's command palette: the table that keys, palette and key map share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["ACTIONS", "Action"]


@dataclass(frozen=True)
class Action:
    """Something that the user can do.

    Attributes
    ----------
    name : str
        Of the command, without ``dift-edit.``.
    words : str
        How the user reads it.
    does : callable
        Does it, given the dock.
    keys : tuple of str
        As napari writes them; empty when it has none.
    """

    name: str
    words: str
    does: Callable[[Any], Any]
    keys: tuple[str, ...] = ()


_ALL = (
    Action("next", "Next picture", lambda dock: dock.results.step(1), (".",)),
    Action("previous", "Previous picture", lambda dock: dock.results.step(-1), (",",)),
    Action(
        "accept", "Accept the edit in this picture, or in all chosen rows",
        lambda dock: dock.results.decide("accepted"), ("K",),
    ),
    Action("reject", "Reject it", lambda dock: dock.results.decide("rejected"), ("J",)),
    Action("unsure", "Next unsure landmark", lambda dock: dock.unsure.next(), ("U",)),
    Action("before_after", "Before / after", lambda dock: dock.results.toggle_after(), ("H",)),
    Action("undo", "Undo", lambda dock: dock.editor.undo(), ("Control-Z",)),
    Action("redo", "Redo", lambda dock: dock.editor.redo(), ("Control-Shift-Z",)),
    Action("keys", "Show the keys", lambda dock: dock.help.show_keys(), ("F1",)),
    Action("propagate", "Propagate the edit", lambda dock: dock.results.run_or_cancel()),
    Action("improve", "Improve the others with what was decided", lambda dock: dock.editor.improve()),
    Action("explore", "Show where a point lies in other photos", lambda dock: dock.results.explore.toggle()),
    Action("carry_landmarks", "Carry landmarks, shapes, labels to others", lambda dock: dock.carry_active_layer()),
    Action("add_folder", "Add a folder of photos as targets", lambda dock: dock.choose.ask_folder()),
    Action("export", "Export the edited pictures", lambda dock: dock.results.ask_export()),
    Action("tour", "Take the tour", lambda dock: dock.help.start_tour()),
)  # fmt: skip
ACTIONS = {action.name: action for action in _ALL}
"""Name → action."""
