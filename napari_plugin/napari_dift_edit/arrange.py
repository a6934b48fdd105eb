"""Pictures side by side, like prints on a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Layer
from qtpy.QtCore import QTimer

from napari_dift_edit.layers import world_box

__all__ = ["Table", "side_by_side", "used_layers"]

Array = npt.NDArray[np.float64]


def used_layers(pictures: Sequence[Layer]) -> list[Layer]:
    """Layers that are the edit, not photos."""
    return [layer for layer in pictures if layer.metadata.get("dift-edit", {}).get("used")]


class Table:
    """Lays pictures apart, and puts them back.

    Parameters
    ----------
    dock : DiftEditWidget
        Has the pictures.
    """

    def __init__(self, dock: Any) -> None:
        self.dock = dock
        self._before: dict[str, Array] = {}
        self._laid: list[str] = []

    def follow(self) -> None:
        """Lay out again when other pictures are source and targets now."""
        if self.dock.choose.arrange.isChecked() and self._laid != [key for key, _ in self._pictures()]:
            self._put_back()
            self.lay_out(True)

    def _pictures(self) -> list[tuple[str, Layer]]:
        """Source and targets that are open, with their layers."""
        session, scene = self.dock.editor.session, self.dock.scene
        keys = (session.source.split("#")[0], *session.targets)
        return [(key, scene.layer(key)) for key in dict.fromkeys(keys) if scene.layer(key) is not None]

    def _put_back(self) -> None:
        for key, affine in self._before.items():
            layer = self.dock.scene.layer(key)
            if layer is not None:
                layer.affine = affine
        self._before, self._laid = {}, []

    def lay_out(self, apart: bool) -> None:
        """Lay source and targets side by side, or back where they were."""
        rows = self._pictures()
        layers = [layer for _, layer in rows]
        if apart and layers:
            self._before = {key: np.array(layer.affine.affine_matrix) for key, layer in rows}
            self._laid = [key for key, _ in rows]
            for layer, affine in zip(layers, side_by_side(layers, self._aspect()), strict=True):
                layer.affine = affine
            for layer in used_layers(self.dock.picture_layers()):
                layer.visible = False
        else:
            self._put_back()
        QTimer.singleShot(0, self.dock.viewer.reset_view)

    def _aspect(self) -> float:
        """Width over height of the canvas."""
        window = self.dock.window()
        inner = window.centralWidget() if hasattr(window, "centralWidget") else None
        return 1.5 if inner is None else inner.width() / max(inner.height(), 1)


def side_by_side(layers: Sequence[Layer], aspect: float = 1.5, gap: float = 0.03) -> list[Array]:
    """The `affine` that each layer needs so that all pictures lie in rows of one height, like prints on a table.

    Parameters
    ----------
    layers : sequence of Layer
        The first one keeps its place and size.
    aspect : float
        Width over height of the whole table.
    gap : float
        Between pictures, in heights.
    """
    boxes = [world_box(layer) for layer in layers]
    row_height = float((boxes[0][1] - boxes[0][0])[0])
    scales = [row_height / float((high - low)[0]) for low, high in boxes]
    widths = [float((high - low)[1]) * scale for (low, high), scale in zip(boxes, scales, strict=True)]
    space = row_height * gap
    wide = _row_width(widths, row_height, space, aspect)
    affines, left, top = [], 0.0, 0.0
    for layer, (low, _), scale, width in zip(layers, boxes, scales, widths, strict=True):
        if left and left + width > wide:
            left, top = 0.0, top + row_height + space
        corner = boxes[0][0] + (top, left)
        move = np.array([(scale, 0, corner[0] - scale * low[0]), (0, scale, corner[1] - scale * low[1]), (0, 0, 1)])
        affine = np.array(layer.affine.affine_matrix, dtype=np.float64)
        affine[-3:, :] = move @ affine[-3:, :]
        affines.append(affine)
        left += width + space
    return affines


def _row_width(widths: Sequence[float], height: float, space: float, aspect: float) -> float:
    """The width of rows with which a window of a given aspect shows the pictures largest."""
    best, chosen = 0.0, max(widths)
    for last in range(1, len(widths) + 1):
        limit = max(sum(widths[:last]) + space * (last - 1), *widths) + 1e-6
        rows, left = 1, 0.0
        for width in widths:
            if left and left + width > limit:
                rows, left = rows + 1, 0.0
            left += width + space
        zoom = min(aspect / limit, 1 / (rows * (height + space)))
        if zoom > best:
            best, chosen = zoom, limit
    return chosen
