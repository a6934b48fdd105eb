"""Small pictures for the list of targets, read in a thread of their own when they are first seen."""

import queue
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal

__all__ = ["Thumbnails"]

_KEPT = 2000
"""Thumbnails in memory, some 15 kB each."""


class Thumbnails(QObject):
    """Thumbnails of picture files.

    Parameters
    ----------
    side : int
        Longest side in pixels.
    """

    ready = Signal(str)
    """A thumbnail that was asked for is there."""

    def __init__(self, side: int = 72) -> None:
        super().__init__()
        self.side = side
        self._made: OrderedDict[str, tuple[npt.NDArray[np.uint8], tuple[int, int]] | None] = OrderedDict()
        self._asked: set[str] = set()
        self._queue: queue.LifoQueue[str] = queue.LifoQueue()  # what was scrolled to last comes first
        self._thread: threading.Thread | None = None

    def get(self, path: str) -> tuple[npt.NDArray[np.uint8], tuple[int, int]] | None:
        """(h, w, 4) uint8 and the picture's (W, H); None while it is not there yet, or cannot be read."""
        if path in self._made:
            self._made.move_to_end(path)
            return self._made[path]
        if path not in self._asked:
            self._asked.add(path)
            self._queue.put(path)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
        return None

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._queue.put("")
            self._thread = None

    def _work(self) -> None:
        while path := self._queue.get():
            self._made[path] = _read(path, self.side)
            self._asked.discard(path)
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
            try:
                self.ready.emit(path)
            except RuntimeError:  # Qt has destroyed it
                return


def _read(path: str, side: int) -> tuple[npt.NDArray[np.uint8], tuple[int, int]] | None:
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(path) as picture:
            size = picture.size
            if int(picture.getexif().get(0x0112, 1)) >= 5:
                size = size[::-1]
            picture.draft("RGB", (2 * side, 2 * side))  # JPEG files decode at a fraction of their size
            small: Any = PIL.ImageOps.exif_transpose(picture)
            small = small.convert("RGBA") if small.mode != "I;16" else small.point(lambda v: v / 257).convert("RGBA")
            small.thumbnail((side, side))
            return np.asarray(small), size
    except Exception:  # noqa: BLE001  (Pillow's plugins raise all kinds; the list then shows no thumbnail)
        return None
