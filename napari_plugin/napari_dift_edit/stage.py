"""Files of a folder, one at a time: one layer that is used again, the next picture read ahead, memory flat."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image
from psygnal import Signal

from dift_edit.errors import DiftEditError
from napari_dift_edit import layers as glue
from napari_dift_edit.editor import Editor
from napari_dift_edit.jobs import Lane
from napari_dift_edit.scene import Scene
from napari_dift_edit.state import Crop

__all__ = ["Stage"]

_BYTES = 300 << 20
"""Decoded pictures that are kept: the one that is seen, and those that were read ahead."""


class Stage:
    """Shows one file of a folder.

    Parameters
    ----------
    viewer : napari.Viewer
        Where to show it.
    editor : Editor
        Has the results.
    scene : Scene
        Shows the edit on it.
    """

    shown = Signal(str)
    """This file is on the canvas now."""

    def __init__(self, viewer: Any, editor: Editor, scene: Scene) -> None:
        self.viewer = viewer
        self.editor = editor
        self.scene = scene
        self.key = ""
        self.layer: Any = None
        self._wanted = ""
        self._ahead: tuple[str, ...] = ()
        self._pictures: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()
        self._reading, self._rendering, self._reading_ahead = Lane(), Lane(), Lane()
        editor.changed.connect(self._refresh)

    def close(self) -> None:
        """Take the layer away and stop reading."""
        self.editor.changed.disconnect(self._refresh)
        for lane in (self._reading, self._rendering, self._reading_ahead):
            lane.stop()
        self.editor.pictures.stage("", None)
        if self.layer is not None and self.layer in self.viewer.layers:
            with self.scene.quietly():
                self.viewer.layers.remove(self.layer)
        self.layer, self.key = None, ""
        self._pictures.clear()

    @property
    def busy(self) -> bool:
        """Whether something is being read for what is seen."""
        return self._reading.busy or self._rendering.busy

    def show(self, key: str, ahead: Sequence[str] = ()) -> None:
        """Show a file, and read those ahead that come next."""
        self._wanted, self._ahead = key, tuple(ahead)
        if key in self._pictures:
            self._put(key)
            return

        def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
            yield from self._read(key, cancelled)

        self._reading.submit(steps, lambda answer: self._take(*answer))

    def _read(self, key: str, cancelled: Callable[[], bool]) -> Iterator[tuple[str, Any]]:
        try:
            for pixels in self.editor.asker.ask_viewing("read", cancelled=cancelled, path=key.removeprefix("file:")):
                yield key, pixels
        except DiftEditError as error:
            yield key, str(error)

    def _take(self, key: str, pixels: Any) -> None:
        if isinstance(pixels, str):
            if key == self._wanted:
                self._clear()
                self.editor.said.emit(pixels)
            return
        self._keep(key, pixels)
        if key == self._wanted:
            self._put(key)

    def _keep(self, key: str, pixels: npt.NDArray[Any]) -> None:
        self._pictures[key] = pixels
        self._pictures.move_to_end(key)
        while len(self._pictures) > 3 and sum(each.nbytes for each in self._pictures.values()) > _BYTES:
            self._pictures.popitem(last=False)
        while len(self._pictures) > 6:
            self._pictures.popitem(last=False)

    def _clear(self) -> None:
        """Show no file."""
        self.key = ""
        self.editor.pictures.stage("", None)
        if self.layer is not None and self.layer in self.viewer.layers:
            self.layer.visible = False
        self.scene.show(self.editor.session)

    def _put(self, key: str) -> None:
        pixels = self._pictures[key]
        self._pictures.move_to_end(key)
        old, self.key = self.key, key
        name = self.editor.pictures.name(key)
        with self.scene.quietly():
            there = self.layer is not None and self.layer in self.viewer.layers
            if there and self.layer.data.shape[2] != pixels.shape[2]:
                self.viewer.layers.remove(self.layer)
                there = False
            if there:
                if self.layer.data is not pixels:
                    self.layer.data = pixels
                self.layer.name = name
                self.layer.visible = True
                self.layer.affine = self._affine(pixels.shape)
            else:
                self.layer = Image(pixels, rgb=True, name=name, affine=self._affine(pixels.shape))
                self.layer.metadata["dift-edit"] = {"stage": True}
                self.viewer.layers.insert(self._bottom(), self.layer)
            self.editor.pictures.stage(key, self.layer)
            self.scene.hand_over(old, key)
        self.scene.show(self.editor.session)
        self.scene.look_at(key)
        self._render(key)
        self.shown.emit(key)

    def _bottom(self) -> int:
        """Right above the user's pictures, below what the plugin shows on them."""
        source = self.scene.layer(self.editor.session.source)
        return len(self.viewer.layers) if source is None else self.viewer.layers.index(source) + 1

    def _affine(self, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """To the right of source and open targets, as high as the source."""
        session = self.editor.session
        keys = (session.source, *(key for key in session.targets if not key.startswith("file:")))
        boxes = [glue.world_box(layer) for key in keys if (layer := self.scene.layer(key)) is not None]
        if not boxes:
            return np.eye(3)
        top, height = boxes[0][0][0], float((boxes[0][1] - boxes[0][0])[0])
        right = max(float(high[1]) for _, high in boxes)
        scale = height / shape[0]
        return np.array([(scale, 0, top + 0.5 * scale), (0, scale, right + 0.03 * height + 0.5 * scale), (0, 0, 1)])

    # the edit on it

    def _refresh(self, _: Any = None) -> None:
        """The result of the file that is seen may be another one."""
        if self.key:
            self._render(self.key)

    def _render(self, key: str) -> None:
        """Make the edited part of what is seen, then read ahead."""
        if not self._missing(key):
            self._read_ahead()
            return

        def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
            yield from self._rendered(key, cancelled)

        self._rendering.submit(steps, self._rendered_one)

    def _missing(self, key: str) -> bool:
        session = self.editor.session
        result = session.results.get(key)
        wanted = result is not None and result.shown and bool(result.places) and session.edit is not None
        return wanted and self.editor.pictures.here(session.source) and self.editor.crop(key) is None

    def _rendered(self, key: str, cancelled: Callable[[], bool]) -> Iterator[Any]:
        session = self.editor.session
        result = session.results.get(key)
        if result is None or session.edit is None:
            return
        question = self.editor.question(session, key)
        mark = self.editor.mark(key)
        for answer in self.editor.asker.ask_viewing("render", cancelled=cancelled, **question, places=result.places):
            yield key, mark, answer

    def _rendered_one(self, item: tuple[str, Any, dict[str, Any]]) -> None:
        key, mark, answer = item
        self.editor.keep_crop(key, mark, Crop(**answer))
        if key == self.key:
            self.scene.show(self.editor.session)
            if self._missing(key):  # it changed meanwhile
                self._render(key)
            else:
                self._read_ahead()

    def _read_ahead(self) -> None:
        """Read, and render, the files that come next."""
        keys = [key for key in self._ahead if key not in self._pictures or self._missing(key)]
        if not keys:
            return
        self._ahead = ()

        def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
            for key in keys:
                if key not in self._pictures:
                    yield from self._read(key, cancelled)
                if self._missing(key):
                    yield from self._rendered(key, cancelled)

        def hear(item: tuple[Any, ...]) -> None:
            if len(item) == 3:
                self._rendered_one(item)
            elif not isinstance(item[1], str):
                self._keep(*item)

        self._reading_ahead.submit(steps, hear)
