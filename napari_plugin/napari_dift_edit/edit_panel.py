"""The dock's row for the edit: a sticker from a file, the clipboard or a layer; a painting; an edited copy."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels, Shapes
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from dift_edit.errors import DiftEditError
from napari_dift_edit import layers as glue
from napari_dift_edit.parts import PartsList
from napari_dift_edit.state import EDIT_KINDS
from napari_dift_edit.widgets import allow, array_of, button, menu_button, pixmap_of, row, toggle

__all__ = ["EditPanel"]

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
_ARTWORK = {
    "auto": "Mirrored pictures: keep text readable",
    "flip": "Mirrored pictures: mirror the sticker",
    "keep": "Mirrored pictures: as on the source",
}
"""Value of `Compositing.artwork` → its words."""
_COPY_EDITS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("As it looks", {}),
    ("As a painting", {"kind": "paint"}),
    ("As a recolouring", {"kind": "recolour"}),
    ("As a redaction", {"kind": "redact"}),
    ("As an erasure", {"kind": "erase"}),
)
"""What an edited copy of the source can be taken for: words, options."""


class EditPanel(QWidget):
    """Choose what is carried.

    Parameters
    ----------
    dock : DiftEditWidget
        The whole.
    """

    def __init__(self, dock: Any) -> None:
        super().__init__(dock)
        self.dock = dock
        self.editor = dock.editor
        self.thumbnail = QLabel()
        self.thumbnail.setFixedSize(QSize(44, 44))
        self.thumbnail.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.edit_name = QLabel()
        self.edit_name.setWordWrap(True)
        self.sticker = button(
            "Sticker …", "Put a picture with transparency on the source. Or drop a file here.", self._ask_sticker
        )
        self.paste = button(
            "Paste", "Use the picture on the clipboard as the sticker.", lambda: dock.attempt(self.from_clipboard)
        )
        self.brush = toggle(
            "Paint", "Paint on the source; press again to use the painting.", lambda on: dock.attempt(self.paint, on)
        )
        self._painting: Any = None
        self.more = menu_button(
            "Layer", "Use a layer as the edit: a picture, a painting, shapes, or an edited copy.", self._fill_menu
        )
        self.add = toggle(
            "Add",
            "While it is down, the next sticker, painting or layer is laid over the edit instead of replacing it.",
        )
        self.artwork = QComboBox()
        for value, words in _ARTWORK.items():
            self.artwork.addItem(words, value)
        self.artwork.setToolTip("What becomes of the sticker on a picture that shows the object mirrored.")
        self.artwork.setAccessibleName("The sticker on mirrored pictures")
        self.artwork.activated.connect(lambda _: dock.attempt(self.editor.set_artwork, str(self.artwork.currentData())))
        self.parts = PartsList(dock)
        chosen = QHBoxLayout()
        chosen.addWidget(self.thumbnail)
        chosen.addWidget(self.edit_name, 1)
        chosen.addWidget(self.add)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row(self.sticker, self.paste, self.brush, self.more))
        layout.addLayout(chosen)
        layout.addWidget(self.artwork)
        layout.addWidget(self.parts)

    def _use_picture(self, kind: str, pixels: npt.NDArray[Any], name: str, **more: Any) -> None:
        """Use it alone, or over the present edit."""
        add = self.add.isChecked()
        self.editor.use_picture(kind, pixels, name, add=add, **more)
        self.add.setChecked(False)

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
                Path(path), lambda pixels: self._use_picture("sticker", glue.to_rgba(pixels), name, path=path)
            )
        else:
            self._use_picture("sticker", array_of(picture), name, path=path)

    def from_clipboard(self) -> None:
        """Use the clipboard's picture as the sticker."""
        self.source_layer()
        picture = QApplication.clipboard().image()
        if picture.isNull():
            raise DiftEditError("There is no picture on the clipboard: copy one first.")
        self._use_picture("sticker", array_of(picture), "clipboard")

    def _fill_menu(self, main: QMenu) -> None:
        for layer in reversed(self.dock.viewer.layers):
            kind = self.kind_of(layer)
            if kind == "paint":
                menu = main.addMenu(str(layer.name))
                for words, kind, options in _REGION_EDITS:
                    menu.addAction(words).triggered.connect(
                        lambda _=False, layer=layer, kind=kind, options=options: self.dock.attempt(
                            self.use_layer, layer, kind, options
                        )
                    )
            elif kind == "difference":
                menu = main.addMenu(f"{layer.name}  —  {EDIT_KINDS[kind]}")
                for words, options in _COPY_EDITS:
                    menu.addAction(words).triggered.connect(
                        lambda _=False, layer=layer, options=options: self.dock.attempt(
                            self.use_layer, layer, "difference", options
                        )
                    )
            elif kind:
                action = main.addAction(f"{layer.name}  —  {EDIT_KINDS[kind]}")
                action.triggered.connect(lambda _=False, layer=layer: self.dock.attempt(self.use_layer, layer))
        if main.isEmpty():
            main.addAction("There is no layer that could be the edit").setEnabled(False)

    def kind_of(self, layer: Any) -> str:
        """How a layer would be used as the edit; empty when it cannot be."""
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
        kinds = [name for name in EDIT_KINDS if name != "layers"]
        if not kind:
            raise DiftEditError(f"{layer.name} cannot be the edit: choose a picture, labels or shapes over the source.")
        if kind not in kinds:
            raise DiftEditError(f"There is no kind of edit {kind!r}: use one of {', '.join(kinds)}.")
        if kind == "sticker":
            pixels = glue.to_rgba(glue.read_pixels(layer))
            width, height = glue.picture_size(layer)
            corners = [(-0.5, -0.5), (width - 0.5, -0.5), (width - 0.5, height - 0.5), (-0.5, height - 0.5)]
            quad = tuple(map(tuple, glue.to_picture(source, glue.to_world(layer, corners)).tolist()))
            layer.visible = False
            layer.metadata.setdefault("dift-edit", {})["used"] = True
            self._use_picture("sticker", pixels, str(layer.name), quad=quad)
        elif kind == "difference":
            layer.metadata.setdefault("dift-edit", {})["used"] = True
            layer.visible = False
            self._use_picture("difference", glue.read_pixels(layer), str(layer.name), options=dict(options or {}))
        else:
            pixels = glue.mask_pixels(layer, glue.picture_size(source), source)
            if not pixels[..., 3].any():
                raise DiftEditError(f"There is nothing on {layer.name}: paint or draw something on the source first.")
            options = dict(options or {})
            if options.get("recolor") == "":
                options["recolor"] = _mean_colour(pixels)
            layer.visible = False
            self._use_picture(kind, pixels, str(layer.name), options=options)
        self.dock.follow_layers()

    def show_session(self) -> None:
        """Follow the session."""
        session = self.editor.session
        ready = bool(session.source)
        for each in (self.sticker, self.paste, self.brush, self.more):
            allow(each, "" if ready else "open a photo first; it becomes the source.")
        allow(self.add, "" if session.edit else "there is no edit yet that could get another one.")
        self.parts.show_session()
        handled = session.edit.handled if session.edit else None
        self.artwork.setVisible(handled is not None and handled.kind == "sticker")
        if handled is not None:
            self.artwork.setCurrentIndex(max(self.artwork.findData(handled.artwork), 0))
        if session.edit is None:
            self.edit_name.setText("Choose a sticker, or paint on the source." if ready else "Open a photo first.")
            self.thumbnail.setPixmap(QPixmap())
            self.thumbnail.hide()
            return
        self.edit_name.setText(f"<b>{session.edit.name}</b><br>{EDIT_KINDS[session.edit.kind]}")
        self.thumbnail.setPixmap(pixmap_of(self.editor.pictures.thumbnail(session.edit.picture), 44, 44))
        self.thumbnail.show()


def _mean_colour(pixels: npt.NDArray[np.uint8]) -> str:
    """``#rrggbb`` of what is not transparent."""
    red, green, blue = pixels[pixels[..., 3] > 0][:, :3].mean(0).round().astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
