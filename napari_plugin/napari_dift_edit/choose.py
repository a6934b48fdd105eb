"""The dock's upper half: source, edit, targets."""

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from napari_dift_edit import layers as glue
from napari_dift_edit.arrange import Table, used_layers
from napari_dift_edit.edit_panel import EditPanel
from napari_dift_edit.preferences import preferred
from napari_dift_edit.sessions import Autosave
from napari_dift_edit.widgets import allow, button, heading, menu_button, quiet, row, toggle

__all__ = ["ChoosePanel"]


class ChoosePanel(QWidget):
    """Choose what is carried, from where, and to where.

    Parameters
    ----------
    dock : DiftEditWidget
        The whole.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__(dock)
        self.dock = dock
        self.editor = dock.editor
        self._pictures: list[Any] = []
        self._folder_keys: list[str] = []
        self.source = QComboBox()
        self.source.setToolTip("The photo that the edit is made on.")
        self.source.setPlaceholderText("Choose the source")
        self.source.activated.connect(self._source_chosen)
        self.axis = QComboBox()
        self.axis.setToolTip("Along which axis of the source its frames lie, through the place that is seen.")
        self.axis.setAccessibleName("Axis of the frames")
        self.axis.activated.connect(lambda _: self.choose_axis(int(self.axis.currentData())))
        self.axis.hide()
        self.views = menu_button(
            "Views", "Further pictures that show the object, on which you say where the edit lies.", self._fill_views
        )
        self.edit = EditPanel(dock)
        self.all_open = QCheckBox("All other open pictures")
        self.all_open.setChecked(True)
        self.all_open.setToolTip("Every picture that is open, but the source, gets the edit.")
        self.all_open.toggled.connect(lambda _: self.follow(self._pictures))
        self.folder = button(
            "Add folder …", "Place the edit in all pictures of a folder, without opening them here.", self.ask_folder
        )
        self.table = Table(dock)
        self.arrange = toggle(
            "Side by side", "Lay the pictures side by side, like prints on a table; press again to stack them.",
            self.table.lay_out,
        )  # fmt: skip
        self._lay()

    def _lay(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        for number, words in enumerate(("Source", "Edit", "Targets")):
            grid.addWidget(heading(words), number, 0, Qt.AlignmentFlag.AlignTop)
        source = QHBoxLayout()
        source.addWidget(self.source, 1)
        source.addWidget(self.views)
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addLayout(source)
        column.addWidget(self.axis)
        grid.addLayout(column, 0, 1)
        grid.addWidget(self.edit, 1, 1)
        targets = QVBoxLayout()
        targets.setSpacing(4)
        targets.addWidget(self.all_open)
        targets.addLayout(row(self.folder, self.arrange))
        grid.addLayout(targets, 2, 1)

    # what is open

    def follow(self, pictures: list[Any]) -> None:
        """Offer these layers."""
        self._pictures = pictures
        session = self.editor.session
        keys = [self.editor.pictures.key(layer) for layer in pictures]
        with quiet(self.source):
            self.source.clear()
            for layer, key in zip(pictures, keys, strict=True):
                self.source.addItem(str(layer.name), key)
            self.source.setCurrentIndex(self.source.findData(session.source.split("#")[0]))
        if not session.source and keys and not session.results and session.edit is None:
            self.choose_source(keys[0])
        elif self.all_open.isChecked():
            self._all_targets()

    def _all_targets(self) -> None:
        used = used_layers(self._pictures)
        source = self.editor.session.source.split("#")[0]
        keys = []
        for layer in self._pictures:
            key, stack = self.editor.pictures.key(layer), glue.frame_count(layer) is not None
            if layer not in used and (key == source) == stack:  # of stacks only the one that has the source
                keys.append(key)
        self.editor.set_targets([*keys, *self._folder_keys])

    def _source_chosen(self, index: int) -> None:
        self.choose_source(self.source.itemData(index))

    def choose_source(self, key: str) -> None:
        """Make a picture the source; of a stack the frame that is seen."""
        layer = self.editor.pictures.layer(key)
        if layer.ndim > 3:  # at the place that is seen
            self.editor.pictures.choose_axis(key, glue.stack_axis(layer), self.dock.viewer.dims.point)
        frame = glue.frame_shown(layer, self.dock.viewer.dims.point)
        self.editor.set_source(self.editor.pictures.key(layer, frame))
        if self.all_open.isChecked():
            self._all_targets()

    def _fill_views(self, menu: QMenu) -> None:
        """Pictures that can carry the edit, too, and those that do."""
        session, pictures = self.editor.session, self.editor.pictures
        current = self.dock.results.table.current()
        keys = [pictures.key(layer) for layer in self._pictures if glue.frame_count(layer) is None]
        keys += [current] if current.startswith("file:") and self.dock.scene.layer(current) is not None else []
        for key in dict.fromkeys([*session.views, *keys]):
            if key == session.source:
                continue
            action = menu.addAction(pictures.name(key))
            action.setCheckable(True)
            action.setChecked(key in session.views)
            does = self.editor.drop_view if key in session.views else self.add_view
            action.triggered.connect(lambda _=False, does=does, key=key: self.dock.attempt(does, key))
        if menu.isEmpty():
            menu.addAction("Open another photo of the object first").setEnabled(False)

    def add_view(self, key: str) -> None:
        """Make a picture a further view of the edit, with its outline to be dragged."""
        self.editor.add_view(key)
        self.dock.scene.select_soon(key)
        self.editor.said.emit("Drag the blue outline to where the edit lies on this picture; then propagate")

    def choose_axis(self, axis: int) -> None:
        """Let the frames of the source's stack lie along another axis, through what is seen now."""
        key = self.editor.session.source.split("#")[0]
        if self.editor.pictures.choose_axis(key, axis, self.dock.viewer.dims.point):
            frame = glue.frame_shown(self.editor.pictures.layer(key), self.dock.viewer.dims.point)
            self.editor.set_source(f"{key}#{frame}", again=True)

    def _show_axis(self) -> None:
        """Offer the axes of the source along which frames can lie, where there is a choice."""
        layer = self.dock.scene.layer(self.editor.session.source)
        count = 0 if layer is None else layer.ndim - 2
        self.axis.setVisible(count > 1)
        if layer is not None and count > 1:
            labels = self.dock.viewer.dims.axis_labels[-layer.ndim :]
            with quiet(self.axis):
                self.axis.clear()
                for number in range(count):
                    self.axis.addItem(f"Frames along axis {labels[number]}", number)
                self.axis.setCurrentIndex(glue.stack_axis(layer))

    # folders

    def ask_folder(self) -> None:
        """Ask for a folder and make its pictures targets."""
        folder = QFileDialog.getExistingDirectory(self, "Folder of target pictures")
        if folder:
            self.dock.attempt(self.add_folder, Path(folder))

    def add_folder(self, folder: Path, output: Path | None = None) -> None:
        """Make all pictures of a folder targets, without a layer for each.

        Results go to `output` when they are exported; by default to the folder of the preferences, else ``edited``.
        """
        from dift_edit.results.folder import unredacted_folder

        editor = self.editor
        preferred_folder = preferred()["output"]
        output = output or (Path(preferred_folder) / folder.name if preferred_folder else folder / "edited")
        if str(output) not in self.dock.keeper.roots:
            self.dock.keeper.roots.append(str(output))
        own = [output, unredacted_folder(output), editor.pictures.file(editor.session.source)]
        leave_out = [str(path) for path in own if path]

        def listed(names: dict[str, str]) -> None:
            paths = list(names)
            for path, name in names.items():
                editor.asker.outputs[f"file:{path}"] = str(output / name)
            kept = Autosave.find(output)
            if kept is not None and not editor.session.results:
                self.dock.offer_resume(output, kept)
            self._folder_keys = list(dict.fromkeys([*self._folder_keys, *(f"file:{path}" for path in paths)]))
            editor.set_targets([*editor.session.targets, *self._folder_keys])
            editor.said.emit(f"{len(paths)} pictures in {folder.name}; Export will write results to {output}")

        known = {
            key.removeprefix("file:"): Path(file).relative_to(output).as_posix()
            for key, file in editor.asker.outputs.items() if Path(file).is_relative_to(output)
        }  # fmt: skip
        editor.ask_aside("folder", listed, path=str(folder), leave_out=leave_out, known=known)

    def take_files(self) -> None:
        """The session was read back: its files are the folder's."""
        self._folder_keys = [key for key in self.editor.session.targets if key.startswith("file:")]

    def forget_file(self, key: str) -> None:
        """A file of the folder is a layer now."""
        self._folder_keys = [other for other in self._folder_keys if other != key]

    def show_session(self) -> None:
        """Follow the session."""
        session = self.editor.session
        index = self.source.findData(session.source.split("#")[0])
        if index != self.source.currentIndex():
            self.source.setCurrentIndex(index)
        self._show_axis()
        allow(self.views, "" if session.edit else "there is no edit yet; put one on the source.")
        count = len(session.views)
        self.views.setText(f"Views: {1 + count}" if count else "Views")
        self.edit.show_session()
