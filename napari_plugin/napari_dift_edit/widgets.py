"""The dock's vocabulary of widgets: each has a tip, and each that is switched off says why."""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QMenu, QPushButton, QSlider, QWidget

__all__ = [
    "allow",
    "array_of",
    "button",
    "form",
    "heading",
    "menu_button",
    "pixmap_of",
    "quiet",
    "row",
    "toggle",
    "wrapped",
]

_BIG = 34


def button(words: str, tip: str, action: Callable[[], Any] | None = None, *, big: bool = False) -> QPushButton:
    """A button.

    Parameters
    ----------
    words, tip : str
        What stands on it, and what it does.
    action : callable, optional
        Called without arguments when it is clicked.
    big : bool
        Whether it is one of the main ones.
    """
    made = QPushButton(words)
    made.setToolTip(tip)
    made.setProperty("tip", tip)
    if big:
        made.setMinimumHeight(_BIG)
    if action is not None:
        made.clicked.connect(lambda _=False: action())
    return made


def toggle(words: str, tip: str, action: Callable[[bool], Any] | None = None, *, big: bool = False) -> QPushButton:
    """A button that stays down; `action` gets whether it is down."""
    made = button(words, tip, big=big)
    made.setCheckable(True)
    if action is not None:
        made.toggled.connect(action)
    return made


def menu_button(words: str, tip: str, fill: Callable[[QMenu], Any]) -> QPushButton:
    """A button with a menu, which `fill` makes anew each time it opens."""
    made = button(words, tip)
    menu = QMenu(made)

    def about_to_show() -> None:
        menu.clear()
        fill(menu)

    menu.setToolTipsVisible(True)
    menu.aboutToShow.connect(about_to_show)
    made.setMenu(menu)
    return made


def allow(widget: QWidget, reason: str = "") -> None:
    """Switch a widget on, or off for a reason, which its tip then gives.

    Parameters
    ----------
    widget : QWidget
        Made by a function of this module.
    reason : str
        Why it cannot be used now and what to do; empty switches it on.
    """
    tip = str(widget.property("tip") or widget.toolTip())
    widget.setProperty("tip", tip)
    widget.setEnabled(not reason)
    widget.setToolTip(f"{tip}\n\nNot now: {reason}" if reason else tip)


def row(*widgets: QWidget, fill: bool = False) -> QHBoxLayout:
    """Widgets beside each other; sliders and big buttons take the room that is left, or all with `fill`."""
    made = QHBoxLayout()
    wide = [isinstance(widget, QSlider) or widget.minimumHeight() >= _BIG for widget in widgets]
    for widget, stretch in zip(widgets, wide, strict=True):
        made.addWidget(widget, int(stretch))
    if not any(wide) and not fill:
        made.addStretch(1)
    return made


def form(rows: Iterable[tuple[str, QWidget]]) -> QWidget:
    """Labelled inputs below each other."""
    made = QWidget()
    layout = QFormLayout(made)
    layout.setContentsMargins(0, 0, 0, 0)
    for words, widget in rows:
        layout.addRow(words, widget)
    return made


def heading(words: str) -> QLabel:
    """A row's title."""
    made = QLabel(words)
    made.setStyleSheet("font-weight: 600;")
    return made


def wrapped(words: str = "", *, lines: int = 1) -> QLabel:
    """Text of several lines, with room for `lines` from the start."""
    made = QLabel(words)
    made.setWordWrap(True)
    made.setMinimumHeight(17 * lines)
    made.setAlignment(Qt.AlignmentFlag.AlignTop)
    return made


@contextmanager
def quiet(widget: QWidget) -> Any:
    """Round changes of a widget that are not the user's: it sends no signals."""
    blocker = QSignalBlocker(widget)
    try:
        yield
    finally:
        blocker.unblock()


def pixmap_of(pixels: npt.NDArray[np.uint8], width: int, height: int) -> QPixmap:
    """(H, W, 4) uint8 as a Qt picture that fits into a box."""
    rows = np.ascontiguousarray(pixels)
    image = QImage(rows.data, rows.shape[1], rows.shape[0], 4 * rows.shape[1], QImage.Format.Format_RGBA8888)
    return QPixmap.fromImage(image).scaled(
        width, height, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


def array_of(picture: QImage) -> npt.NDArray[np.uint8]:
    """(H, W, 4) uint8 of a Qt picture."""
    straight = picture.convertToFormat(QImage.Format.Format_RGBA8888)
    rows = np.frombuffer(straight.constBits(), np.uint8).reshape(straight.height(), straight.bytesPerLine())
    return rows[:, : 4 * straight.width()].reshape(straight.height(), straight.width(), 4).copy()
