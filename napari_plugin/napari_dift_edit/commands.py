"""The commands of napari's palette and menus: each opens the dock if need be and does one action of `actions`."""

from collections.abc import Callable

from napari import Viewer
from napari_dift_edit.actions import ACTIONS
from napari_dift_edit.api import open_dock

__all__ = [
    "accept",
    "add_folder",
    "before_after",
    "carry_landmarks",
    "explore",
    "export",
    "improve",
    "keys",
    "next_picture",
    "previous_picture",
    "propagate",
    "reject",
    "tour",
]


def _command(name: str) -> Callable[[Viewer], None]:
    action = ACTIONS[name]

    def run(viewer: Viewer) -> None:
        dock = open_dock(viewer)
        dock.attempt(action.does, dock)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"{action.words}."
    return run


accept = _command("accept")
add_folder = _command("add_folder")
before_after = _command("before_after")
carry_landmarks = _command("carry_landmarks")
explore = _command("explore")
export = _command("export")
improve = _command("improve")
keys = _command("keys")
next_picture = _command("next")
previous_picture = _command("previous")
propagate = _command("propagate")
reject = _command("reject")
tour = _command("tour")
