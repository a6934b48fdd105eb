"""The list of targets with their results, sortable by confidence."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QRectF, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen
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
from napari_dift_edit.keys import KEYS
from napari_dift_edit.state import Result

__all__ = ["TargetTable", "state_words"]

_SORT = Qt.ItemDataRole.UserRole
_RESULT = Qt.ItemDataRole.UserRole + 1
_COLUMNS = ("Picture", "Confidence", "State")
_HELP = (
    "The pictures that get the edit. Ticked ones are placed when you propagate.",
    "Probability that the edit lies where it belongs; click to sort, least sure first.",
    "What became of the picture.",
)


def state_words(result: Result | None, running: bool) -> str:
    """One or two words for the list."""
    if running:
        return "placing …"
    if result is None:
        return ""
    if result.stale:
        return "out of date"
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
        self.unticked: set[str] = set()
        self._shown: dict[str, Any] = {}

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
        if role == _RESULT:
            return result
        if role == Qt.ItemDataRole.CheckStateRole and column == 0:
            return Qt.CheckState.Unchecked if key in self.unticked else Qt.CheckState.Checked
        if role == Qt.ItemDataRole.ForegroundRole and column == 2 and result is not None:
            return QColor(colour_of(result))
        if role == Qt.ItemDataRole.ToolTipRole:
            return result.reason if result is not None and result.reason else self._editor.pictures.name(key)
        if role not in (Qt.ItemDataRole.DisplayRole, _SORT):
            return None
        if column == 0:
            return self._editor.pictures.name(key)
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

    def refresh(self) -> None:
        """Follow the session."""
        keys = list(self._editor.session.targets)
        if keys != self.keys:
            self.beginResetModel()
            self.keys = keys
            self.endResetModel()
        else:
            self.touch()

    def touch(self) -> None:
        """Say that results may have changed."""
        if self.keys:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.keys) - 1, len(_COLUMNS) - 1))


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
        box = QRectF(option.rect).adjusted(6, 8, -50, -8)
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
        self._sorted = QSortFilterProxyModel()
        self._sorted.setSourceModel(self._targets)
        self._sorted.setSortRole(_SORT)
        self._sorted.setDynamicSortFilter(True)
        self.setModel(self._sorted)
        self.setItemDelegateForColumn(1, _ConfidenceBar(self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(26)
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

    def touch(self) -> None:
        """Repaint what may have changed."""
        self._targets.touch()

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
        if key in self._targets.keys:
            self.setCurrentIndex(self._sorted.mapFromSource(self._targets.index(self._targets.keys.index(key), 0)))

    def mark(self, key: str) -> None:
        """Make a target the current one without going there: the user is there already."""
        self._following = True
        self.go_to(key)
        self._following = False

    def step(self, by: int, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Go to the next (1) or previous (-1) row that is wanted, round the end; stay when there is none."""
        rows = self._sorted.rowCount()
        index = self.currentIndex()
        row = index.row() if index.isValid() else (-1 if by > 0 else 0)
        for steps in range(1, rows + 1):
            candidate = self._sorted.index((row + by * steps) % rows, 0)
            if wanted(self._targets.keys[self._sorted.mapToSource(candidate).row()]):
                self.setCurrentIndex(candidate)
                return

    def _went(self, *_: Any) -> None:
        key = self.current()
        if key and not self._following:
            self.chosen.emit(key)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Letters are shortcuts of the plugin here, too."""
        text = event.text().lower()
        if text.upper() in KEYS:
            self.key_pressed.emit(text)
        else:
            super().keyPressEvent(event)
