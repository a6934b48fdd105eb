"""Several edits as a list: order, opacity, visibility, and which of them has the handles."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QSlider, QVBoxLayout, QWidget

from napari_dift_edit.state import EDIT_KINDS, Part
from napari_dift_edit.widgets import allow, button, quiet, row

__all__ = ["PartsList"]


class PartsList(QWidget):
    """The edits that are put on, the topmost first; hidden while there is only one.

    Parameters
    ----------
    dock : DiftEditWidget
        The whole.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__(dock)
        self.dock = dock
        self.editor = dock.editor
        self.list = QListWidget()
        self.list.setMaximumHeight(88)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setToolTip("The edits, the topmost first. Ticked ones are put on; the chosen one has the handles.")
        self.list.currentRowChanged.connect(self._chosen)
        self.list.itemChanged.connect(self._ticked)
        self.up = button("▲", "Put it above the next one.", lambda: self._move(1))
        self.down = button("▼", "Put it below the next one.", lambda: self._move(-1))
        self.remove = button("✕", "Take it out of the edit.", self._remove)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setToolTip("Opacity of the chosen edit, in the results, too.")
        self._settle = QTimer(self)
        self.opacity.valueChanged.connect(lambda _: self._settle.start())
        self._settle.setSingleShot(True)
        self._settle.setInterval(250)
        self._settle.timeout.connect(self._faded)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.list)
        layout.addLayout(row(self.up, self.down, self.remove, self.opacity))
        self.hide()

    @property
    def _parts(self) -> tuple[Part, ...]:
        edit = self.editor.session.edit
        return () if edit is None else edit.parts

    @property
    def _at(self) -> int:
        """Index of the chosen part; the list shows the topmost, which is the last, first."""
        return len(self._parts) - 1 - int(self.list.currentRow())

    def show_session(self) -> None:
        """Follow the session."""
        parts, edit = self._parts, self.editor.session.edit
        self.setVisible(bool(parts))
        if not parts or edit is None:
            return
        with quiet(self.list), quiet(self.opacity):
            self.list.clear()
            for part in reversed(parts):
                item = QListWidgetItem(f"{part.edit.name}  —  {EDIT_KINDS[part.edit.kind]}")
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                item.setCheckState(Qt.CheckState.Checked if part.visible else Qt.CheckState.Unchecked)
                self.list.addItem(item)
            at = min(edit.active, len(parts) - 1)
            self.list.setCurrentRow(len(parts) - 1 - at)
            if not self._settle.isActive():
                self.opacity.setValue(round(100 * parts[at].opacity))
        allow(self.up, "it is the topmost." if at == len(parts) - 1 else "")
        allow(self.down, "it is the lowest." if at == 0 else "")

    def _set(self, parts: Sequence[Part], active: int, label: str) -> None:
        self.dock.attempt(lambda: self.editor.set_parts(parts, active=active, label=label))
        self.show_session()  # also where it was refused

    def _chosen(self, current: int) -> None:
        if current >= 0:
            self.editor.choose_part(self._at)
            self.dock.scene.select_soon(self.editor.session.source)

    def _ticked(self, item: QListWidgetItem) -> None:
        at = len(self._parts) - 1 - self.list.row(item)
        visible = item.checkState() == Qt.CheckState.Checked
        parts = [replace(part, visible=visible) if number == at else part for number, part in enumerate(self._parts)]
        self._set(parts, at, f"{'Show' if visible else 'Hide'} {parts[at].edit.name}")

    def _move(self, by: int) -> None:
        parts, at = list(self._parts), self._at
        if 0 <= at + by < len(parts):
            parts[at], parts[at + by] = parts[at + by], parts[at]
            self._set(parts, at + by, f"Move {parts[at + by].edit.name} {'up' if by > 0 else 'down'}")

    def _remove(self) -> None:
        at = self._at
        left = [part for number, part in enumerate(self._parts) if number != at]
        self._set(left, max(0, at - 1), f"Remove {self._parts[at].edit.name}")

    def _faded(self) -> None:
        at, opacity = self._at, self.opacity.value() / 100
        if 0 <= at < len(self._parts) and abs(self._parts[at].opacity - opacity) > 1e-6:
            parts = [
                replace(part, opacity=opacity) if number == at else part for number, part in enumerate(self._parts)
            ]
            self._set(parts, at, f"Opacity of {parts[at].edit.name}: {opacity:.0%}")
