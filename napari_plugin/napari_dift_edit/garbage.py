"""Keeps Python's searches for garbage short while the dock is open.

A window of napari holds some 280,000 objects that stay. A full search looks at all of them, 0.2 s each time, whenever
enough new ones came or napari removes a layer. What is there when the dock opens is left out of these searches.
"""

import gc
from typing import Any

from qtpy.QtCore import QTimer

__all__ = ["Garbage"]

_SOON = 1500
"""Milliseconds after which what is there is left out (chosen): then nothing is being opened or removed any more."""


class Garbage:
    """Leaves what is there out of searches for garbage, but for a while after the user removed a layer.

    Parameters
    ----------
    viewer : napari.Viewer
        Its layers that the user removes are looked at again, so that their memory is given back.
    own_change : callable
        Whether the plugin is removing a layer of its own: those came later, or are found at the end.
    """

    def __init__(self, viewer: Any, own_change: Any) -> None:
        self._viewer, self._own_change = viewer, own_change
        self._turn = QTimer()
        self._turn.setSingleShot(True)
        self._turn.setInterval(_SOON)
        self._turn.timeout.connect(gc.freeze)
        viewer.layers.events.removing.connect(self._removing)
        self._turn.start()

    def _removing(self, _: Any = None) -> None:
        """Napari itself searches after a removal: let it find what the layer leaves."""
        if not self._own_change():
            gc.unfreeze()
            self._turn.start()

    def close(self) -> None:
        """Search everything again."""
        self._turn.stop()
        self._viewer.layers.events.removing.disconnect(self._removing)
        gc.unfreeze()
