"""The list of targets with their results, sortable by confidence."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPointF, QRectF, QSize, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_dift_edit.colours import colour_of
from napari_dift_edit.editor import Editor
from napari_dift_edit.keys import LETTERS
from napari_dift_edit.state import Result
from napari_dift_edit.thumbnails import Thumbnails
from napari_dift_edit.widgets import pixmap_of

__all__ = ["FILTERS", "TargetTable", "state_words"]

_SORT = Qt.ItemDataRole.UserRole
_RESULT = Qt.ItemDataRole.UserRole + 1
_COLUMNS = ("Picture", "Confidence", "State")
_ICON = (58, 40)
_FEW = 20
"""Up to so many changed rows are repainted one by one."""
_HELP = (
    "The pictures that get the edit. Ticked ones are placed when you propagate.",
    "Probability that the edit lies where it belongs; click to sort, least sure first.",
    "What was found, and what you decided.",
)


FILTERS: dict[str, Callable[[Result | None], bool]] = {
    "All": lambda result: True,
    "To review": lambda result: result is not None and result.pending,
    "Not sure": lambda result: result is not None and result.status == "abstained" and not result.decided,
    "Accepted": lambda result: result is not None and result.review == "accepted",
    "Rejected": lambda result: result is not None and result.review == "rejected",
    "By hand": lambda result: result is not None and result.by_hand,
    "Failed": lambda result: result is not None and result.status == "failed",
    "Out of date": lambda result: result is not None and result.stale,
    "Not placed yet": lambda result: result is None,
}
"""What the list can be narrowed to."""


def state_words(result: Result | None, running: bool) -> str:
    """One or two words for the list."""
    if running:
        return "placing …"
    if result is None:
        return ""
    if result.stale:
        return "out of date"
    if result.visible:
        return f"{result.count - result.visible} of {result.count} hidden"
    if result.instances and result.pending:
        decided = sum(each.decided for each in result.instances)
        return f"{decided} of {len(result.instances)} ✓" if decided else f"{len(result.instances)} instances"
    if result.review:
        return result.review
    if result.by_hand:
        return "by hand"
    return {"applied": "applied", "abstained": "not sure", "failed": "failed"}.get(result.status, result.status)


class _Targets(QAbstractTableModel):
    """Rows are targets."""

    ticked = Signal()

    def __init__(self, editor: Editor) -> None:
        super().__init__()
        self._editor = editor
        self.keys: list[str] = []
        self.rows: dict[str, int] = {}
        self.unticked: set[str] = set()
        self.thumbnails = Thumbnails()
        self.thumbnails.ready.connect(lambda path: self.touch(f"file:{path}"))
        self._results: Mapping[str, Result] = {}
        self._icons: OrderedDict[str, tuple[Any, QPixmap]] = OrderedDict()

    def rowCount(self, parent: Any = QModelIndex()) -> int:  # noqa: N802, B008
        return 0 if parent.isValid() else len(self.keys)

    def columnCount(self, parent: Any = QModelIndex()) -> int:  # noqa: N802, B008
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section]
        return _HELP[section] if role == Qt.ItemDataRole.ToolTipRole else None

    def flags(self, index: Any) -> Any:
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == 0 else flags

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What a cell shows, sorts by and explains."""
        key, column = self.keys[index.row()], index.column()
        result = self._editor.session.results.get(key)
        if role in (Qt.ItemDataRole.DisplayRole, _SORT):
            return self._words(key, column, result, role)
        if role == _RESULT:
            return result
        if role == Qt.ItemDataRole.ToolTipRole and key in self._editor.suggestions:
            return f"Put right first: {self._editor.suggestions[key]}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return result.reason if result is not None and result.reason else self._editor.pictures.name(key)
        if column == 0 and role == Qt.ItemDataRole.CheckStateRole:
            return Qt.CheckState.Unchecked if key in self.unticked else Qt.CheckState.Checked
        if column == 0 and role == Qt.ItemDataRole.DecorationRole:
            return self._icon(key, result)
        if column == 2 and role == Qt.ItemDataRole.ForegroundRole and result is not None:
            return QColor(colour_of(result))
        return None

    def _words(self, key: str, column: int, result: Result | None, role: int) -> Any:
        if column == 0:
            star = "★ " if key in self._editor.suggestions and role != _SORT else ""
            return star + self._editor.pictures.name(key)
        if column == 1:
            confidence = -1.0 if result is None else result.confidence
            return confidence if role == _SORT else ""
        return state_words(result, key == self._editor.running)

    def setData(self, index: Any, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:  # noqa: N802
        if role != Qt.ItemDataRole.CheckStateRole:
            return False
        ticked = Qt.CheckState(value) == Qt.CheckState.Checked
        (self.unticked.discard if ticked else self.unticked.add)(self.keys[index.row()])
        self.dataChanged.emit(index, index)
        self.ticked.emit()
        return True

    def _icon(self, key: str, result: Result | None) -> QPixmap | None:
        """A thumbnail with the outline of the edit."""
        if key.startswith("file:"):
            found = self.thumbnails.get(key.removeprefix("file:"))
            if found is None:
                return None
            pixels, size = found
        else:
            layer = self._editor.pictures.layer(key)
            if layer is None:
                return None
            pixels, size = np.ascontiguousarray(layer.thumbnail), None
        stamp = (id(pixels) if size else pixels.tobytes(), result)
        known = self._icons.get(key)
        if known is not None and known[0] == stamp:
            return known[1]
        icon = pixmap_of(pixels, *_ICON)
        if size is not None and result is not None and result.quad is not None:
            scale = icon.width() / size[0]
            painter = QPainter(icon)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(QColor(colour_of(result)), 1.5))
            for quad in [each.quad for each in result.instances] or [result.quad]:
                painter.drawPolygon([QPointF(x * scale, y * scale) for x, y in quad])
            painter.end()
        self._icons[key] = (stamp, icon)
        while len(self._icons) > 300:
            self._icons.popitem(last=False)
        return icon

    def refresh(self) -> None:
        """Follow the session."""
        targets, results = self._editor.session.targets, self._editor.session.results
        first = [key for key in self._editor.suggestions if key in targets]
        keys = first + [key for key in targets if key not in first]
        if keys != self.keys:
            self.beginResetModel()
            self.keys = keys
            self.rows = {key: row for row, key in enumerate(keys)}
            self.endResetModel()
        else:
            changed = [key for key in {**self._results, **results} if self._results.get(key) is not results.get(key)]
            for key in changed if len(changed) < _FEW else [""]:
                self.touch(key)
        self._results = results

    def touch(self, key: str = "") -> None:
        """Say that one result, or all, may have changed."""
        if key and key not in self.rows:
            return
        if self.keys:
            first, last = (self.rows[key], self.rows[key]) if key else (0, len(self.keys) - 1)
            self.dataChanged.emit(self.index(first, 0), self.index(last, len(_COLUMNS) - 1))


class _Chosen(QSortFilterProxyModel):
    """The rows that are wanted, sorted."""

    def __init__(self, targets: _Targets, editor: Editor) -> None:
        super().__init__()
        self._targets = targets
        self._editor = editor
        self.state = "All"
        self.words = ""
        self.setSourceModel(targets)
        self.setSortRole(_SORT)
        self.setDynamicSortFilter(True)

    def narrow(self, state: str, words: str) -> None:
        """Show only rows of a state (one of `FILTERS`) whose names contain some words."""
        self.state, self.words = state, words.lower()
        self.invalidate()

    def filterAcceptsRow(self, row: int, _parent: Any) -> bool:  # noqa: N802
        key = self._targets.keys[row]
        if self.words and self.words not in self._editor.pictures.name(key).lower():
            return False
        return FILTERS[self.state](self._editor.session.results.get(key))


class _ConfidenceBar(QStyledItemDelegate):
    """Draws a confidence as a bar with its number."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Any) -> None:
        super().paint(painter, option, index)
        result = index.data(_RESULT)
        if result is None:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = QColor(colour_of(result))
        middle = QRectF(option.rect).center().y()
        box = QRectF(option.rect).adjusted(6, 0, -50, 0)
        box.setTop(middle - 5)
        box.setBottom(middle + 5)
        track = QColor(colour)
        track.setAlpha(50)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(track)
        painter.drawRoundedRect(box, 3, 3)
        filled = QRectF(box)
        filled.setWidth(max(4.0, box.width() * result.confidence))
        painter.setBrush(colour)
        painter.drawRoundedRect(filled, 3, 3)
        painter.setPen(QPen(option.palette.text().color()))
        painter.drawText(
            QRectF(option.rect).adjusted(0, 0, -8, 0),
            Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight,
            "hand" if result.by_hand else f"{result.confidence:.0%}",
        )
        painter.restore()


class TargetTable(QTableView):
    """The list of targets.

    Parameters
    ----------
    editor : Editor
        Has the session.
    """

    chosen = Signal(str)
    """The user went to a target."""
    key_pressed = Signal(str)
    """A letter that the list itself does not use."""
    ticks_changed = Signal()
    """Other targets are ticked now."""

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._targets = _Targets(editor)
        self._targets.ticked.connect(self.ticks_changed)
        self._sorted = _Chosen(self._targets, editor)
        self.setModel(self._sorted)
        self.setItemDelegateForColumn(1, _ConfidenceBar(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(_ICON[1] + 4)
        self.setIconSize(QSize(*_ICON))
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Fixed)
        self.setColumnWidth(1, 128)
        self.setColumnWidth(2, 84)
        self.setMinimumHeight(150)
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.selectionModel().currentRowChanged.connect(self._went)
        self._following = False

    def refresh(self) -> None:
        """Follow the session, keeping the current row."""
        now = self.current()
        self._following = True
        self._targets.refresh()
        if now and self.current() != now:
            self.go_to(now)
        self._following = False

    def touch(self, key: str) -> None:
        """Repaint one row, and sort and filter it anew."""
        now = self.current()
        self._following = True
        self._targets.touch(key)
        if now and self.current() != now:
            self.go_to(now)
        self._following = False

    def narrow(self, state: str, words: str = "") -> None:
        """Show only rows of a state (one of `FILTERS`) whose names contain some words."""
        now = self.current()
        self._following = True
        self._sorted.narrow(state, words)
        if now:
            self.go_to(now)
        self._following = False

    @property
    def thumbnails(self) -> Thumbnails:
        """What reads the thumbnails of files."""
        return self._targets.thumbnails

    @property
    def rows(self) -> dict[str, int]:
        """Row of each target, before sorting."""
        return self._targets.rows

    @property
    def listed(self) -> list[str]:
        """Keys of the rows that are listed, in their order."""
        return [self._key(row) for row in range(self._sorted.rowCount())]

    def _key(self, row: int) -> str:
        return str(self._targets.keys[self._sorted.mapToSource(self._sorted.index(row, 0)).row()])

    @property
    def chosen_keys(self) -> list[str]:
        """Keys of the selected rows, from top to bottom."""
        return [self._key(index.row()) for index in sorted(self.selectionModel().selectedRows(), key=lambda i: i.row())]

    def after(self, key: str, count: int) -> list[str]:
        """Keys of the rows that follow one, and of the one before it."""
        listed = self.listed
        if key not in listed:
            return []
        at = listed.index(key)
        return [*listed[at + 1 : at + 1 + count], *listed[max(at - 1, 0) : at]]

    @property
    def ticked(self) -> list[str]:
        """Keys of the ticked targets, in order."""
        return [key for key in self._targets.keys if key not in self._targets.unticked]

    def current(self) -> str:
        """Key of the current row, or an empty string."""
        index = self._sorted.mapToSource(self.currentIndex())
        return self._targets.keys[index.row()] if index.isValid() and index.row() < len(self._targets.keys) else ""

    def go_to(self, key: str) -> None:
        """Make a target the current one."""
        if key in self._targets.rows:
            index = self._sorted.mapFromSource(self._targets.index(self._targets.rows[key], 0))
            if index.isValid():
                self.setCurrentIndex(index)

    def visit(self, key: str) -> None:
        """Make a target the current one and go there, also when it is the current one already."""
        self.mark(key)
        self.chosen.emit(key)

    def following(self, key: str, by: int, wanted: Callable[[str], bool]) -> str:
        """The next (1) or previous (-1) listed row that is wanted, round the end; empty when there is none."""
        listed = self.listed
        start = listed.index(key) if key in listed else (-1 if by > 0 else 0)
        turned = (listed[(start + by * steps) % len(listed)] for steps in range(1, len(listed) + 1))
        return next((each for each in turned if each != key and wanted(each)), "")

    def mark(self, key: str) -> None:
        """Make a target the current one without going there: the user is there already."""
        self._following = True
        self.go_to(key)
        self._following = False

    def step(self, by: int, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Go to the next (1) or previous (-1) row that is wanted, round the end; stay when there is none."""
        key = self.following(self.current(), by, wanted)
        if key:
            self.visit(key)

    def _went(self, *_: Any) -> None:
        key = self.current()
        if key and not self._following:
            self.chosen.emit(key)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Letters are shortcuts of the plugin here, too."""
        text = event.text().lower()
        if text.upper() in LETTERS:
            self.key_pressed.emit(text)
        else:
            super().keyPressEvent(event)
