"""How long the window's thread is held up while the plugin works."""

import numpy as np
import pytest
from window_thread import Heart, OwnWork


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


@pytest.fixture
def own_work(monkeypatch):
    own = OwnWork(monkeypatch.setattr)
    yield own
    own.stop()


@pytest.mark.alone
def test_window_stays_smooth(own_work, bench, sticker):
    """The thread's work between two beats: half below 5 ms. The plugin's own share of a call: never above 50 ms.

    Both are processor time. What napari does to take in, draw or drop a layer is its own, and takes it long; so few
    layers are changed at a time.
    """
    bench.qtbot.wait(500)
    changes = Changes(bench.viewer.layers)
    own_work.calls.clear()
    with Heart(lambda: changes.count) as heart:
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
    print(f"\n{heart.words()}; {long} of {len(heart.used)} above 50 ms; napari changed {changes.count} layers")
    print(f"{max(heart.counted)} at most in one turn; the plugin's own: {own_work.report()}")
    assert np.median(heart.used) < 5
    assert long <= 2 * changes.count  # a change, and the drawing after it
    assert max(heart.counted) <= 10  # one made and four removed in a turn; two turns may fall between two beats
    assert not [call for call in own_work.calls if call[0] > 50]
