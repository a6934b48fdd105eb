"""The models in the window: a box of those that are here, and a list of all with what is missing of each."""

from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDialog,
    QFileDialog,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_dift_edit.editor import Editor
from napari_dift_edit.widgets import allow, button, quiet, row, wrapped

__all__ = ["ModelBox", "ModelList"]

_COLUMNS = ("Model", "Here", "Size", "Seconds per picture", "Licence")


class ModelBox(QComboBox):
    """Chooses among the models and presets that are on this machine.

    Parameters
    ----------
    editor : Editor
        Gets the choice; its engine is asked for the models when the box is first seen.
    """

    def __init__(self, editor: Editor, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.editor = editor
        self.default = ""
        self.rows: list[dict[str, Any]] = []
        self._asked = False
        self.setToolTip("The model that compares the pictures; Models … lists all, and how to get those not here.")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.activated.connect(lambda index: self.choose(str(self.itemData(index))))
        self.show_model()

    def ask(self) -> None:
        """Ask for the models, the first time that it is called: that starts the engine."""
        if not self._asked:
            self._asked = True
            self.ask_again()

    def ask_again(self) -> None:
        """Ask what is there now."""
        self.editor.ask_aside("models", self._take)

    def _take(self, answer: dict[str, Any]) -> None:
        self.default, self.rows = answer["default"], answer["rows"]
        self.show_model()

    def choose(self, name: str) -> None:
        """Use a model; the library's own default is kept as that, so that recipes do not name it."""
        self.editor.choose_settings(model="" if name == self.default else name)

    def show_model(self) -> None:
        """Follow the settings."""
        name = self.editor.settings.model or self.default
        names = [entry["name"] for entry in self.rows if entry["here"]]
        if name not in names:  # before the engine has answered, or a folder
            names.insert(0, name)
        if names != [self.itemData(index) for index in range(self.count())]:
            with quiet(self):
                self.clear()
                for each in names:
                    self.addItem((each.rsplit("/", 1)[-1] or "built in") + " (default)" * (each == self.default), each)
        with quiet(self):
            self.setCurrentIndex(names.index(name))


class ModelList(QDialog):
    """All models, presets and folders: size, licence, seconds for each picture; how to get those that are missing.

    Parameters
    ----------
    editor : Editor
        Has the source, on which seconds are measured.
    box : ModelBox
        Knows the models and takes the choice.
    """

    def __init__(self, editor: Editor, box: ModelBox, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Models of dift-edit")
        self.editor = editor
        self.box = box
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels(list(_COLUMNS))
        self.tree.setRootIsDecorated(False)
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.tree.setToolTip("Grey models are not on this machine.")
        self.tree.currentItemChanged.connect(lambda *_: self._show_choice())
        self.about = wrapped("Looking for models …", lines=4)
        self.about.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = button("Use this model", "Place edits with it; results stay until you update them.", self._use)
        self.measure = button("Measure", "How long the source's features take with it on this machine.", self._measure)
        self.folder = button("Own folder …", "Use a folder in the layout of diffusers or transformers.", self._ask)
        layout = QVBoxLayout(self)
        layout.addWidget(self.tree, 1)
        layout.addWidget(self.about)
        layout.addLayout(row(self.use, self.measure, self.folder))
        self.resize(760, 520)
        self._seen = id(self.box.rows)
        self._wait = QTimer(self)
        self._wait.setInterval(100)
        self._wait.timeout.connect(self._fill_when_known)

    def open_list(self) -> None:
        """Show the list; it is asked for anew, as models may have been fetched meanwhile."""
        self.show()
        self.raise_()
        self._seen = id(self.box.rows)
        self.box.ask_again()
        self._wait.start()
        self.fill()

    def _fill_when_known(self) -> None:
        if id(self.box.rows) != self._seen:
            self._wait.stop()
            self.fill()

    def fill(self) -> None:
        """List what is known."""
        chosen = self.chosen or {"name": self.editor.settings.model or self.box.default}
        self.tree.clear()
        for entry in self.box.rows:
            seconds = "" if entry["seconds"] is None else f"{entry['seconds']:.2g}"
            name = entry["name"] + (" (default)" if entry["name"] == self.box.default else "")
            item = QTreeWidgetItem(
                [name, "yes" if entry["here"] else "no", _size(entry["bytes"]), seconds, entry["licence"]]
            )
            item.setData(0, Qt.ItemDataRole.UserRole, entry["name"])
            if not entry["here"]:
                for column in range(len(_COLUMNS)):
                    item.setForeground(column, QColor("#8a8f98"))
            self.tree.addTopLevelItem(item)
            if entry["name"] == chosen["name"]:
                self.tree.setCurrentItem(item)
        for column in range(len(_COLUMNS)):
            self.tree.resizeColumnToContents(column)
        self._show_choice()

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The row that is chosen."""
        item = self.tree.currentItem()
        name = None if item is None else item.data(0, Qt.ItemDataRole.UserRole)
        return next((entry for entry in self.box.rows if entry["name"] == name), None)

    def choose(self, name: str) -> None:
        """Go to a model."""
        for index in range(self.tree.topLevelItemCount()):
            item = self.tree.topLevelItem(index)
            if item is not None and item.data(0, Qt.ItemDataRole.UserRole) == name:
                self.tree.setCurrentItem(item)

    def _show_choice(self) -> None:
        entry = self.chosen
        if entry is None:
            for each in (self.use, self.measure):
                allow(each, "choose a model in the list.")
            return
        results = sum(not self.editor.session.kept(key) for key in self.editor.session.results)
        now = self.editor.settings.model or self.box.default
        words = f"<b>{entry['name']}</b><br>{entry['about']}"
        if entry["missing"]:
            words += f"<br><b>Not on this machine.</b> {entry['missing']}"
        elif entry["name"] == now:
            words += "<br>In use."
        elif results:
            words += f"<br>Using it keeps all work; {results} results are then out of date until you update them."
        if entry["here"] and entry["seconds"] is not None and self.editor.session.targets:
            total = entry["seconds"] * (1 + len(self.editor.session.targets))
            words += f"<br>About {total:.0f} s for {len(self.editor.session.targets)} targets, features alone."
        self.about.setText(words)
        missing = "" if entry["here"] else "it is not on this machine; what to do stands above."
        allow(self.use, missing or ("it is in use." if entry["name"] == now else ""))
        source = "" if self.editor.pictures.here(self.editor.session.source) else "open a photo first."
        allow(self.measure, missing or source)

    def _use(self) -> None:
        if self.chosen is not None:
            self.box.choose(self.chosen["name"])
            self.box.show_model()
            self._show_choice()

    def _measure(self) -> None:
        entry = self.chosen
        if entry is None:
            return
        model = {"name": entry["name"], "device": self.editor.settings.device}

        def hear(seconds: float) -> None:
            entry["seconds"] = seconds
            self.fill()
            self.editor.said.emit(f"{entry['name']}: {seconds:.2g} s per picture")

        allow(self.measure, "it is being measured.")
        picture = self.editor.pictures.content(self.editor.session.source)
        self.editor.ask_aside("measure", hear, picture=picture, model=model)

    def _ask(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Model folder")
        if folder:
            self.box.choose(folder)
            self.box.show_model()
            self._show_choice()


def _size(count: int) -> str:
    return f"{count / 1e9:.2g} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
