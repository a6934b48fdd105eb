"""napari's layer list without the plugin's own layers, so that it stays the user's: 24 results are 24 rows less."""

from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QListView, QWidget

__all__ = ["LayerList", "is_own"]


def is_own(layer: Any) -> bool:
    """Whether the plugin made a layer to show something with it."""
    return bool(layer.metadata.get("dift-edit", {}).keys() & {"result of", "helper"})


class LayerList:
    """Hides or shows the rows of the plugin's own layers.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose list it is.
    dock : QWidget
        In the viewer's window, where the list is looked for; where it is not as expected, nothing is hidden.
    """

    def __init__(self, viewer: Any, dock: QWidget) -> None:
        self.viewer = viewer
        self._dock: QWidget | None = dock
        self.hidden = True
        self._turn = QTimer()
        self._turn.setSingleShot(True)
        self._turn.setInterval(0)
        self._turn.timeout.connect(self._apply)
        for name in ("inserted", "removed", "reordered"):
            viewer.layers.events[name].connect(self._later)

    def hide(self, hidden: bool) -> None:
        """Hide the rows, or show them."""
        self.hidden = hidden
        self._apply()

    def close(self) -> None:
        """Show them again and follow no longer."""
        self._turn.stop()
        self._dock = None
        for name in ("inserted", "removed", "reordered"):
            self.viewer.layers.events[name].disconnect(self._later)

    def _later(self, _: Any = None) -> None:
        self._turn.start()

    def _apply(self) -> None:
        if self._dock is None:
            return
        views = self._dock.window().findChildren(QListView)
        view = next((each for each in views if type(each).__name__ == "QtLayerList"), None)
        if view is None:
            return
        model = view.model()
        if model.rowCount() != len(self.viewer.layers):
            return
        for row in range(model.rowCount()):
            source = model.mapToSource(model.index(row, 0)).row() if hasattr(model, "mapToSource") else row
            hidden = self.hidden and is_own(self.viewer.layers[source])
            if view.isRowHidden(row) != hidden:
                view.setRowHidden(row, hidden)
