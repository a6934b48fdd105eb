"""The dock's upper half: source, edit, targets."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from dift_edit.errors import DiftEditError
from napari_dift_edit import layers as glue
from napari_dift_edit.state import EDIT_KINDS

__all__ = ["ChoosePanel"]

PICTURE_FILES = "Pictures (*.png *.webp *.tif *.tiff *.gif *.jpg *.jpeg *.bmp *.avif)"


_REGION_EDITS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Painting", "paint", {}),
    ("Recolour in its colour", "recolour", {"recolor": ""}),
    ("Without colour", "recolour", {"saturation": 0.0}),
    ("Brighter", "recolour", {"exposure": 0.7}),
    ("Darker", "recolour", {"exposure": -0.7}),
    ("Redact: pixelate", "redact", {"mode": "pixelate"}),
    ("Redact: blur", "redact", {"mode": "blur"}),
    ("Redact: black", "redact", {"mode": "fill"}),
    ("Erase", "erase", {}),
)
"""What a painted or drawn region can become: words, kind, options."""


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
        self.source.activated.connect(self._source_chosen)
        self.thumbnail = QLabel()
        self.thumbnail.setFixedSize(QSize(44, 44))
        self.thumbnail.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.edit_name = QLabel()
        self.edit_name.setWordWrap(True)
        self.sticker = _button("Sticker …", "Put a picture with transparency on the source. Or drop a file here.")
        self.sticker.clicked.connect(self._ask_sticker)
        self.paste = _button("Paste", "Use the picture on the clipboard as the sticker.")
        self.paste.clicked.connect(lambda: dock.attempt(self.from_clipboard))
        self.brush = _button("Paint", "Paint on the source; press again to use the painting.")
        self.brush.setCheckable(True)
        self.brush.toggled.connect(lambda on: dock.attempt(self.paint, on))
        self._painting: Any = None
        self.more = QToolButton()
        self.more.setText("Layer")
        self.more.setToolTip("Use a layer as the edit: a picture, a painting, shapes, or an edited copy.")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu = QMenu(self.more)
        self.menu.aboutToShow.connect(self._fill_menu)
        self.more.setMenu(self.menu)
        self.all_open = QCheckBox("All other open pictures")
        self.all_open.setChecked(True)
        self.all_open.setToolTip("Every picture that is open, but the source, gets the edit.")
        self.all_open.toggled.connect(lambda _: self.follow(self._pictures))
        self.folder = _button("Add folder …", "Place the edit in all pictures of a folder, without opening them here.")
        self.folder.clicked.connect(self._ask_folder)
        self.arrange = QPushButton("Side by side")
        self.arrange.setCheckable(True)
        self.arrange.setToolTip("Lay the pictures side by side, like prints on a table; press again to stack them.")
        self.arrange.toggled.connect(self.lay_out)
        self._before: dict[str, npt.NDArray[np.float64]] = {}
        self._lay()

    def _lay(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        for row, words in enumerate(("Source", "Edit", "Targets")):
            label = QLabel(words)
            label.setStyleSheet("font-weight: 600;")
            grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.source, 0, 1)
        buttons = QHBoxLayout()
        for button in (self.sticker, self.paste, self.brush, self.more):
            buttons.addWidget(button)
        buttons.addStretch(1)
        chosen = QHBoxLayout()
        chosen.addWidget(self.thumbnail)
        chosen.addWidget(self.edit_name, 1)
        edit = QVBoxLayout()
        edit.setSpacing(4)
        edit.addLayout(buttons)
        edit.addLayout(chosen)
        grid.addLayout(edit, 1, 1)
        targets = QVBoxLayout()
        targets.setSpacing(4)
        targets.addWidget(self.all_open)
        row = QHBoxLayout()
        row.addWidget(self.folder)
        row.addWidget(self.arrange)
        row.addStretch(1)
        targets.addLayout(row)
        grid.addLayout(targets, 2, 1)

    # what is open

    def follow(self, pictures: list[Any]) -> None:
        """Offer these layers."""
        self._pictures = pictures
        session = self.editor.session
        keys = [self.editor.pictures.key(layer) for layer in pictures]
        self.source.blockSignals(True)
        self.source.clear()
        for layer, key in zip(pictures, keys, strict=True):
            self.source.addItem(str(layer.name), key)
        self.source.setCurrentIndex(self.source.findData(session.source.split("#")[0]))
        self.source.blockSignals(False)
        if not session.source and keys:
            self._choose_source(keys[0])
        elif self.all_open.isChecked():
            self._all_targets()

    def _all_targets(self) -> None:
        used = self._used_layers()
        source = self.editor.session.source.split("#")[0]
        keys = []
        for layer in self._pictures:
            key, stack = self.editor.pictures.key(layer), glue.frame_count(layer) is not None
            if layer not in used and (key == source) == stack:  # of stacks only the one that has the source
                keys.append(key)
        self.editor.set_targets([*keys, *self._folder_keys])

    def _used_layers(self) -> list[Any]:
        """Layers that are the edit, not photos."""
        return [layer for layer in self._pictures if layer.metadata.get("dift-edit", {}).get("used")]

    def _source_chosen(self, index: int) -> None:
        self._choose_source(self.source.itemData(index))

    def _choose_source(self, key: str) -> None:
        layer = self.editor.pictures.layer(key)
        frame = glue.frame_shown(layer, self.dock.viewer.dims.point)
        self.editor.set_source(self.editor.pictures.key(layer, frame))
        if self.all_open.isChecked():
            self._all_targets()

    def source_layer(self) -> Any:
        """The source's layer.

        Raises
        ------
        DiftEditError
            If there is none.
        """
        layer = self.dock.scene.layer(self.editor.session.source)
        if layer is None:
            raise DiftEditError("There is no source picture yet: open a photo and choose it as the source.")
        return layer

    # the edit

    def _ask_sticker(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Sticker", "", PICTURE_FILES)
        if path:
            self.dock.attempt(self.sticker_file, path)

    def sticker_file(self, path: str) -> None:
        """Use a picture file as the sticker."""
        self.source_layer()
        picture = QImage(path)
        name = Path(path).name
        if picture.isNull():  # a format that Qt does not read
            self.editor.read_file(
                Path(path), lambda pixels: self.editor.use_picture("sticker", glue.to_rgba(pixels), name, path=path)
            )
        else:
            self.editor.use_picture("sticker", _pixels(picture), name, path=path)

    def from_clipboard(self) -> None:
        """Use the clipboard's picture as the sticker."""
        self.source_layer()
        picture = QApplication.clipboard().image()
        if picture.isNull():
            raise DiftEditError("There is no picture on the clipboard: copy one first.")
        self.editor.use_picture("sticker", _pixels(picture), "clipboard")

    def _fill_menu(self) -> None:
        self.menu.clear()
        for layer in reversed(self.dock.viewer.layers):
            kind = self.kind_of(layer)
            if kind == "paint":
                menu = self.menu.addMenu(str(layer.name))
                for words, kind, options in _REGION_EDITS:
                    menu.addAction(words).triggered.connect(
                        lambda _=False, layer=layer, kind=kind, options=options: self.dock.attempt(
                            self.use_layer, layer, kind, options
                        )
                    )
            elif kind:
                action = self.menu.addAction(f"{layer.name}  —  {EDIT_KINDS[kind]}")
                action.triggered.connect(lambda _=False, layer=layer: self.dock.attempt(self.use_layer, layer))
        if self.menu.isEmpty():
            self.menu.addAction("There is no layer that could be the edit").setEnabled(False)

    def kind_of(self, layer: Any) -> str:
        """How a layer would be used as the edit; empty when it cannot be."""
        from napari.layers import Labels, Shapes

        own = layer.metadata.get("dift-edit", {})
        source = self.dock.scene.layer(self.editor.session.source)
        if source is None or layer is source or own.keys() & {"result of", "helper"}:
            return ""
        if isinstance(layer, Labels | Shapes):
            return "paint"
        if not glue.is_picture(layer) or layer.ndim != 2:
            return ""
        same = glue.picture_size(layer) == glue.picture_size(source)
        return "difference" if same and not (layer.rgb and glue.has_alpha(layer)) else "sticker"

    def paint(self, on: bool) -> None:
        """Paint on the source; the second press makes the painting the edit."""
        from napari.layers import Labels

        if on:
            source = self.source_layer()
            width, height = glue.picture_size(source)
            layer = Labels(
                np.zeros((height, width), np.uint8), name=f"painting on {source.name}", opacity=0.8,
                affine=glue.patch_affine(source, 0, 0),
            )  # fmt: skip
            self.dock.viewer.add_layer(layer)
            layer.mode, layer.brush_size = "paint", max(3, min(width, height) // 40)
            self._painting = layer
        elif self._painting is not None and self._painting in self.dock.viewer.layers:
            layer, self._painting = self._painting, None
            if np.asarray(layer.data).any():
                self.use_layer(layer, "paint")
            else:
                self.dock.viewer.layers.remove(layer)

    def use_layer(self, layer: Any, kind: str = "", options: dict[str, Any] | None = None) -> None:
        """Use a layer as the edit: pictures keep the place that they have over the source."""
        source = self.source_layer()
        kind = kind or self.kind_of(layer)
        if kind == "sticker":
            pixels = glue.to_rgba(glue.read_pixels(layer))
            width, height = glue.picture_size(layer)
            corners = [(-0.5, -0.5), (width - 0.5, -0.5), (width - 0.5, height - 0.5), (-0.5, height - 0.5)]
            quad = tuple(map(tuple, glue.to_picture(source, glue.to_world(layer, corners)).tolist()))
            layer.visible = False
            layer.metadata.setdefault("dift-edit", {})["used"] = True
            self.editor.use_picture("sticker", pixels, str(layer.name), quad=quad)
        elif kind == "difference":
            layer.metadata.setdefault("dift-edit", {})["used"] = True
            layer.visible = False
            self.editor.use_picture("difference", glue.read_pixels(layer), str(layer.name))
        elif kind:
            pixels = glue.mask_pixels(layer, glue.picture_size(source), source)
            if not pixels[..., 3].any():
                raise DiftEditError(f"There is nothing on {layer.name}: paint or draw something on the source first.")
            options = dict(options or {})
            if options.get("recolor") == "":
                options["recolor"] = _mean_colour(pixels)
            layer.visible = False
            self.editor.use_picture(kind, pixels, str(layer.name), options=options)
        self.dock.follow_layers()

    # folders

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of target pictures")
        if folder:
            self.dock.attempt(self.add_folder, Path(folder))

    def add_folder(self, folder: Path, output: Path | None = None) -> None:
        """Make all pictures of a folder targets; results are written to `output` (``edited`` in it by default)."""
        editor = self.editor
        output = output or folder / "edited"
        leave_out = [str(output), *filter(None, [editor.pictures.file(editor.session.source)])]

        def listed(paths: list[str]) -> None:
            for path in paths:
                editor.outputs[f"file:{path}"] = str(output / Path(path).relative_to(folder))
            self._folder_keys = list(dict.fromkeys([*self._folder_keys, *(f"file:{path}" for path in paths)]))
            editor.set_targets([*editor.session.targets, *self._folder_keys])
            editor.said.emit(f"{len(paths)} pictures in {folder.name}; results go to {output}")

        editor.ask_aside("folder", listed, path=str(folder), leave_out=leave_out)

    def forget_file(self, key: str) -> None:
        """A file of the folder is a layer now."""
        self._folder_keys = [other for other in self._folder_keys if other != key]

    # the table

    def lay_out(self, apart: bool) -> None:
        """Lay source and targets side by side, or back where they were."""
        session = self.editor.session
        keys = [key for key in (session.source, *session.targets) if self.dock.scene.layer(key) is not None]
        layers = [self.dock.scene.layer(key) for key in keys]
        if apart and layers:
            self._before = {key: np.array(layer.affine.affine_matrix) for key, layer in zip(keys, layers, strict=True)}
            for layer, affine in zip(layers, glue.side_by_side(layers, self._aspect()), strict=True):
                layer.affine = affine
            for layer in self._used_layers():
                layer.visible = False
        else:
            for key, layer in zip(keys, layers, strict=True):
                if key in self._before:
                    layer.affine = self._before[key]
        QTimer.singleShot(0, self.dock.viewer.reset_view)

    def _aspect(self) -> float:
        """Width over height of the canvas."""
        window = self.dock.window()
        inner = window.centralWidget() if hasattr(window, "centralWidget") else None
        return 1.5 if inner is None else inner.width() / max(inner.height(), 1)

    def show_session(self) -> None:
        """Follow the session."""
        session = self.editor.session
        index = self.source.findData(session.source.split("#")[0])
        if index != self.source.currentIndex():
            self.source.setCurrentIndex(index)
        ready = bool(session.source)
        for button in (self.sticker, self.paste, self.brush, self.more):
            button.setEnabled(ready)
        if session.edit is None:
            self.edit_name.setText("Choose a sticker, or paint on the source." if ready else "Open a photo first.")
            self.thumbnail.setPixmap(QPixmap())
            self.thumbnail.hide()
            return
        self.edit_name.setText(f"<b>{session.edit.name}</b><br>{EDIT_KINDS[session.edit.kind]}")
        pixels = np.ascontiguousarray(self.editor.pictures.thumbnail(session.edit.picture))
        image = QImage(
            pixels.data, pixels.shape[1], pixels.shape[0], 4 * pixels.shape[1], QImage.Format.Format_RGBA8888
        )
        self.thumbnail.setPixmap(QPixmap.fromImage(image).scaled(
            44, 44, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        ))  # fmt: skip
        self.thumbnail.show()


def _button(words: str, tip: str) -> QPushButton:
    button = QPushButton(words)
    button.setToolTip(tip)
    return button


def _mean_colour(pixels: npt.NDArray[np.uint8]) -> str:
    """``#rrggbb`` of what is not transparent."""
    red, green, blue = pixels[pixels[..., 3] > 0][:, :3].mean(0).round().astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _pixels(picture: QImage) -> npt.NDArray[np.uint8]:
    """(H, W, 4) uint8 of a Qt picture."""
    straight = picture.convertToFormat(QImage.Format.Format_RGBA8888)
    rows = np.frombuffer(straight.constBits(), np.uint8).reshape(straight.height(), straight.bytesPerLine())
    return rows[:, : 4 * straight.width()].reshape(straight.height(), straight.width(), 4).copy()
