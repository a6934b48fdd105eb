"""The list of landmarks that were carried: the least sure first, one click away."""

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QCheckBox, QDialog, QHeaderView, QTableView, QVBoxLayout, QWidget

from napari_dift_edit.carry import SURE, Unsure
from napari_dift_edit.colours import COLOURS, colour_of_confidence
from napari_dift_edit.state import Carried

__all__ = ["LandmarkList"]

_COLUMNS = ("Picture", "Landmark", "Confidence")


class _Landmarks(QAbstractTableModel):
    """Rows are landmarks and shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[float, Carried, int]] = []

    def fill(self, found: list[tuple[float, Carried, int]]) -> None:
        self.beginResetModel()
        self.found = found
        self.endResetModel()

    def rowCount(self, parent: Any = QModelIndex()) -> int:  # noqa: N802, B008
        return 0 if parent.isValid() else len(self.found)

    def columnCount(self, parent: Any = QModelIndex()) -> int:  # noqa: N802, B008
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        shown = orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole
        return _COLUMNS[section] if shown else None

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What a cell shows."""
        confidence, carried, number = self.found[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            hand = number in carried.by_hand
            picture, _, layer = carried.name.rpartition(" · ")
            return (picture, _name(carried, number, layer), "by hand" if hand else f"{confidence:.0%}")[index.column()]
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == 2:
            return QColor(COLOURS["hand"] if number in carried.by_hand else colour_of_confidence(confidence))
        return None


def _name(carried: Carried, number: int, layer: str) -> str:
    """How the user knows a landmark: by the text that its layer shows, the column ``name``, or its number."""
    row = number if carried.rows is None else carried.rows[number]
    features = carried.looks["features"]
    for column in ("name", "label", "part"):
        if column in features and row < len(features):
            return str(features[column].iloc[row])
    return f"{layer} {row + 1}"


class LandmarkList(QDialog):
    """All carried landmarks and shapes, the least sure first; a click goes to one.

    Parameters
    ----------
    unsure : Unsure
        Knows them, and goes there.
    """

    def __init__(self, unsure: Unsure, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Landmarks of dift-edit")
        self.unsure = unsure
        self.only = QCheckBox(f"Only unsure ones (below {SURE:.0%})")
        self.only.setToolTip("Unticked, all landmarks are listed.")
        self.only.setChecked(True)
        self.only.toggled.connect(lambda _: self.fill())
        self.model = _Landmarks()
        self.table = QTableView()
        self.table.setToolTip("The least sure first. Click one to go there; drag it to where it belongs.")
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.clicked.connect(lambda index: self._go(index.row()))
        layout = QVBoxLayout(self)
        layout.addWidget(self.only)
        layout.addWidget(self.table, 1)
        self.resize(460, 420)

    def open_list(self) -> None:
        """Show the list."""
        self.show()
        self.raise_()
        self.fill()

    def fill(self, _: Any = None) -> None:
        """Follow the session, while it is seen."""
        if self.isVisible():
            self.model.fill(self.unsure.points() if self.only.isChecked() else self.unsure.all())

    def _go(self, row: int) -> None:
        confidence, carried, number = self.model.found[row]
        self.unsure.go(carried.slot, number, f"{carried.name}: {confidence:.0%} sure. Drag it to where it belongs")
