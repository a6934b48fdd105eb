"""How long the window's thread is held up while the plugin works."""

import time

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer


class Heart:
    """Beats every few milliseconds when the thread is free; notes what lies between two beats."""

    def __init__(self):
        self.wall, self.used = [], []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)

    def __enter__(self):
        self._last = time.perf_counter(), time.thread_time()
        self._timer.start(5)
        return self

    def __exit__(self, *_):
        self._beat()
        self._timer.stop()

    def _beat(self):
        now = time.perf_counter(), time.thread_time()
        self.wall.append(1000 * (now[0] - self._last[0]))
        self.used.append(1000 * (now[1] - self._last[1]))
        self._last = now

    def words(self):
        pairs = (("between two beats", self.wall), ("of them at work", self.used))
        return ", ".join(
            f"{name}: median {np.median(gaps):.0f}, 95 in 100 below {np.quantile(gaps, 0.95):.0f}, "
            f"longest {max(gaps):.0f} ms"
            for name, gaps in pairs
        )


class Changes:
    """Counts the layers that come, go or get new pixels: what napari then does takes it long, here and without us."""

    def __init__(self, layers):
        self.count = 0
        layers.events.inserted.connect(self._inserted)
        layers.events.removed.connect(self._changed)

    def _inserted(self, event):
        self.count += 1
        event.value.events.data.connect(self._changed)

    def _changed(self, _event):
        self.count += 1


@pytest.mark.alone
def test_window_stays_smooth(bench, sticker):
    """The work between two beats: half below 5 ms; above 50 ms only where napari takes in, draws or drops a layer.

    The work is processor time of the window's thread. The longest may be 50 ms more than half as much again as
    napari's own, which varies: each result is a layer that napari inserts.
    """
    bench.qtbot.wait(500)
    with Heart() as plain:
        layer = bench.viewer.add_image(np.zeros((200, 300, 4), np.uint8), rgb=True)
        bench.qtbot.wait(200)
        shapes = bench.viewer.add_shapes([[(0, 0), (0, 9), (9, 9)]], shape_type="polygon", text={"string": "x"})
        bench.qtbot.wait(200)
        bench.viewer.layers.remove(layer)
        bench.qtbot.wait(200)
        bench.viewer.layers.remove(shapes)
        bench.qtbot.wait(200)
    changes = Changes(bench.viewer.layers)
    with Heart() as heart:
        bench.use(sticker)
        bench.propagate()
        bench.dock.results.explore.setChecked(True)
        bench.dock.explorer.ask(bench.key("cat"), (150.0, 95.0))
        bench.wait(lambda: len(bench.dock.explorer.found) == 3)
        bench.idle()
        bench.dock.results.explore.setChecked(False)
        bench.editor.correct(bench.key("dark"), ((50.0, 60.0), (230.0, 60.0), (230.0, 130.0), (50.0, 130.0)))
        bench.idle()
        for name in ("mirror", "dark"):
            bench.editor.review(bench.key(name), "rejected")
        bench.editor.undo()
        bench.idle()
    long = sum(gap > 50 for gap in heart.used)
    print(f"\nnapari alone: {plain.words()}\nthe plugin: {heart.words()}")
    print(f"{long} of {len(heart.used)} above 50 ms; napari changed {changes.count} layers")
    assert np.median(heart.used) < 5
    assert long <= 2 * changes.count  # a change, and the drawing after it
    assert max(heart.used) < 50 + 1.5 * max(plain.used)
