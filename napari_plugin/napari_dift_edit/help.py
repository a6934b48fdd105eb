"""Help where it is needed: a notice above the dock, a tour on the bundled pictures, the map of keys."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDialog, QFrame, QLabel, QVBoxLayout, QWidget

from napari_dift_edit.actions import ACTIONS
from napari_dift_edit.widgets import button, row, wrapped

__all__ = ["TOUR", "Help", "Step"]


@dataclass(frozen=True)
class Step:
    """One step of the tour.

    Attributes
    ----------
    words : str
        What to do.
    does : callable
        Does it for the user, given the dock.
    done : callable
        Whether it is done, given the dock; the tour then goes on by itself.
    part : callable
        The widget that it is about, or None, given the dock.
    """

    words: str
    does: Callable[[Any], Any] | None = None
    done: Callable[[Any], bool] = lambda dock: False
    part: Callable[[Any], QWidget | None] = lambda dock: None


def _open_sample(dock: Any) -> None:
    dock.viewer.open_sample("dift-edit", "cat")
    dock.follow_layers()
    dock.choose.arrange.setChecked(True)


def _use_sticker(dock: Any) -> None:
    layer = next((each for each in dock.viewer.layers if each.metadata.get("dift-edit", {}).get("used")), None)
    if layer is None:
        dock.editor.said.emit("The sample's sticker is not open: use Sticker … with a picture of your own")
    else:
        dock.choose.edit.use_layer(layer)


def _accept_first(dock: Any) -> None:
    dock.results.step(1)
    dock.results.decide("accepted")


TOUR = (
    Step(
        "This tour shows, on bundled pictures, how one edit goes to many photos. Open them: a photo of a cat, and "
        "other cats. The first photo is the <b>source</b>, all others are <b>targets</b>.",
        _open_sample, lambda dock: bool(dock.editor.session.source and dock.editor.session.targets),
        lambda dock: dock.choose.source,
    ),
    Step(
        "Put an edit on the source. Here a sticker lies over the cat already: choose <b>Layer ▸ sticker</b>. Your own "
        "can be a file, the clipboard, a painting, or an edited copy of the photo.",
        _use_sticker, lambda dock: dock.editor.session.edit is not None, lambda dock: dock.choose.edit.more,
    ),
    Step("Drag the blue outline to move the sticker, a corner to scale it, the round handle to turn it."),
    Step(
        "<b>Propagate</b> finds the same place in every target. Green outlines were placed; amber ones are not sure, "
        "and nothing was changed there.",
        lambda dock: dock.editor.propagate(),
        lambda dock: bool(dock.editor.session.results) and dock.editor.job is None, lambda dock: dock.results.run,
    ),
    Step(
        "Look through the results with <b>.</b> and <b>,</b> and decide: <b>K</b> accepts, <b>J</b> rejects. Drag an "
        "outline to correct a place.",
        _accept_first, lambda dock: any(result.review for result in dock.editor.session.results.values()),
        lambda dock: dock.results.accept,
    ),
    Step(
        "<b>Export …</b> writes the pictures in full resolution. For hundreds of photos use <b>Add folder …</b>: they "
        "are listed, and opened one at a time. Press <b>?</b> for all keys.",
        part=lambda dock: dock.results.export,
    ),
)  # fmt: skip
"""The steps."""


def _seen_path() -> Path:
    import platformdirs

    return platformdirs.user_state_path("dift-edit") / "napari-tour-seen"


class Help(QFrame):
    """The notice above the dock: an offer, or a step of the tour.

    Parameters
    ----------
    dock : DiftEditWidget
        The whole.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__(dock)
        self.dock = dock
        self.step = -1
        self._marked: tuple[QWidget, str] | None = None
        self._dialog: QDialog | None = None
        self._watch = QTimer(self)
        self._watch.setInterval(300)
        self._watch.timeout.connect(self._look)
        self.setObjectName("notice")
        self.setStyleSheet("#notice { border: 1px solid #4cc9f0; border-radius: 4px; }")
        self.words = wrapped()
        self._buttons: list[Any] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(8, 6, 8, 6)
        self._layout.addWidget(self.words)
        self._line: Any = None
        self.hide()
        if not _seen_path().exists():
            self.offer(
                "New here? A tour of six steps shows how it works, on bundled pictures.",
                ("Take the tour", "On the bundled pictures, in two minutes.", self.start_tour),
                ("Not now", "It stays in the Help menu.", self.leave),
            )

    def join_menu(self) -> Callable[[], None]:
        """Add the tour and the keys to napari's Help menu; returns what takes them away."""
        menu = getattr(self.dock.viewer.window, "help_menu", None)
        if menu is None:
            return lambda: None
        added = [menu.addAction("Tour of dift-edit"), menu.addAction("Keys of dift-edit")]
        added[0].triggered.connect(lambda _=False: self.start_tour())
        added[1].triggered.connect(lambda _=False: self.show_keys())

        def leave() -> None:
            with contextlib.suppress(RuntimeError):  # the window is gone, and its menus with it
                for action in added:
                    menu.removeAction(action)
                    action.deleteLater()  # it belongs to the menu, and holds the dock

        return leave

    # notices

    def offer(self, words: str, *choices: tuple[str, str, Callable[[], Any]]) -> None:
        """Show a notice with buttons: words, tip, what it does; each takes the notice away first."""
        self.words.setText(words)
        self._set_buttons([
            button(text, tip, partial(self._choose, action)) for text, tip, action in choices
        ])  # fmt: skip
        self.show()

    def _choose(self, action: Callable[[], Any]) -> None:
        self.hide()
        self.dock.attempt(action)

    def _set_buttons(self, buttons: Sequence[QWidget]) -> None:
        for old in self._buttons:
            old.hide()
            old.deleteLater()
        if self._line is not None:
            self._layout.removeItem(self._line)
        self._buttons = list(buttons)
        self._line = row(*buttons)
        self._layout.addLayout(self._line)

    @property
    def choices(self) -> dict[str, Any]:
        """The buttons by their words."""
        return {each.text(): each for each in self._buttons}

    # the tour

    def start_tour(self) -> None:
        """Begin with the first step."""
        self._go(0)
        self._watch.start()

    def leave(self) -> None:
        """End the tour, and do not offer it again by itself."""
        self._watch.stop()
        self._mark(None)
        self.step = -1
        self.hide()
        with contextlib.suppress(OSError):  # a home that cannot be written: it is offered again next time
            _seen_path().parent.mkdir(parents=True, exist_ok=True)
            _seen_path().touch()

    def _go(self, number: int) -> None:
        if number >= len(TOUR):
            self.leave()
            return
        self.step = number
        step = TOUR[number]
        self.words.setText(f"<b>{number + 1} of {len(TOUR)}</b> &nbsp; {step.words}")
        buttons = []
        if step.does is not None:
            buttons.append(
                button("Do it for me", "What the step says.", lambda: self.dock.attempt(step.does, self.dock))
            )
        last = number + 1 == len(TOUR)
        buttons.append(button("Finish" if last else "Next", "Go on.", lambda: self._go(number + 1)))
        if not last:
            buttons.append(button("Leave the tour", "It stays in the Help menu.", self.leave))
        self._set_buttons(buttons)
        self._mark(step.part(self.dock))
        self.show()

    def _look(self) -> None:
        """Go on when a step is done."""
        if self.step >= 0 and TOUR[self.step].done(self.dock):
            self._go(self.step + 1)

    def _mark(self, widget: QWidget | None) -> None:
        if self._marked is not None:
            old, style = self._marked
            old.setStyleSheet(style)
        self._marked = None
        if widget is not None:
            self._marked = (widget, widget.styleSheet())
            widget.setStyleSheet(widget.styleSheet() + " border: 2px solid #4cc9f0;")

    # the keys

    def show_keys(self) -> None:
        """Show all keys; they can be used while they are shown."""
        if self._dialog is None:
            rows = [
                (" or ".join(key.replace("Control", "Ctrl") for key in action.keys), action.words)
                for action in ACTIONS.values() if action.keys
            ] + [
                ("?", "Show the keys"),
                ("D, S", "Drag single corners of an outline; move it as a whole (napari's keys of shapes)"),
                ("Delete", "Reject the edit whose outline is chosen"),
                ("Shift and the pointer", "In Explore: a live view"),
            ]  # fmt: skip
            cells = "".join(f"<tr><td><b>{key}</b>&nbsp;&nbsp;&nbsp;</td><td>{words}</td></tr>" for key, words in rows)
            self._dialog = QDialog(self.dock)
            self._dialog.setWindowTitle("Keys of dift-edit")
            QVBoxLayout(self._dialog).addWidget(QLabel(f"<table cellpadding='3'>{cells}</table>"))
        self._dialog.show()
        self._dialog.raise_()

    @property
    def keys_shown(self) -> bool:
        """Whether the keys are on the screen."""
        return self._dialog is not None and self._dialog.isVisible()
