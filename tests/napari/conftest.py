"""A real viewer with the dock, real pictures, one engine process for all tests."""

import gc
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from qtpy.QtWidgets import QApplication

if sys.platform.startswith("linux") and shutil.which("xvfb-run") is None and shutil.which("Xvfb") is None:
    pytest.skip("Xvfb is not installed", allow_module_level=True)


@pytest.fixture(scope="session")
def cat() -> np.ndarray:
    skimage_data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(skimage_data.chelsea()[20:280, 60:420])


@pytest.fixture(scope="session")
def pictures(cat: np.ndarray) -> dict[str, np.ndarray]:
    """Four pictures: the cat, mirrored, shifted and darker, and one where nothing matches."""
    from skimage import data

    shifted = np.roll(cat, (12, -18), (0, 1))
    return {
        "cat": cat,
        "mirror": np.ascontiguousarray(cat[:, ::-1]),
        "dark": (shifted * 0.7).astype(np.uint8),
        "coffee": np.ascontiguousarray(data.coffee()[:260, :360]),
    }


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """The tour was seen already; what the plugin remembers goes to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("home")))
    seen = Path(os.environ["XDG_STATE_HOME"]) / "dift-edit" / "napari-tour-seen"
    seen.parent.mkdir(parents=True)
    seen.touch()


@pytest.fixture
def sticker() -> np.ndarray:
    """A red sign, yellow in its top-left corner, transparent at its border."""
    pixels = np.zeros((60, 120, 4), np.uint8)
    pixels[5:55, 5:115] = (220, 30, 30, 255)
    pixels[5:25, 5:50] = (250, 220, 0, 255)
    return pixels


EYES = ((60.0, 60.0), (240.0, 60.0), (240.0, 130.0), (60.0, 130.0))
"""Where the sticker lies on the cat."""


class Bench:
    """A viewer with the dock open, and what tests do with them."""

    def __init__(self, viewer, dock, qtbot):
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot
        self.editor = dock.editor

    def wait(self, condition, seconds=180.0):
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=int(seconds * 1000))

    def idle(self):
        """Wait until nothing runs, and what happened is on the canvas."""
        QApplication.processEvents()
        self.wait(lambda: not self.dock.busy)

    def key(self, name):
        """The key of a layer by its name."""
        return self.editor.pictures.key(self.viewer.layers[name])

    def result(self, name):
        return self.editor.session.results.get(self.key(name))

    def use(self, sticker, quad=EYES):
        self.editor.use_picture("sticker", sticker, "sign", quad=quad)
        self.idle()

    def propagate(self):
        from qtpy.QtCore import Qt

        self.qtbot.mouseClick(self.dock.results.run, Qt.MouseButton.LeftButton)
        self.wait(lambda: self.editor.job is None and self.dock.scene.settled)

    @property
    def canvas(self):
        return self.viewer.window._qt_viewer.canvas.native

    def spot(self, name, x, y):
        """The canvas position of a pixel of a layer's picture."""
        from qtpy.QtCore import QPoint

        from napari_dift_edit import layers as glue

        row, column = glue.to_world(self.viewer.layers[name], [(x, y)])[0]
        canvas = self.viewer.window._qt_viewer.canvas
        place = canvas.view.scene.transform.map([column, row])
        return QPoint(round(place[0]), round(place[1]))

    def click(self, name, x, y):
        from qtpy.QtCore import Qt

        spot = self.spot(name, x, y)
        self.qtbot.mouseMove(self.canvas, spot)
        self.qtbot.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=spot)

    def drag(self, name, start, end, steps=5):
        from qtpy.QtCore import QPoint, Qt

        first, last = self.spot(name, *start), self.spot(name, *end)
        self.qtbot.mouseMove(self.canvas, first)
        QApplication.processEvents()
        self.qtbot.mousePress(self.canvas, Qt.MouseButton.LeftButton, pos=first)
        for step in range(1, steps + 1):
            part = step / steps
            spot = QPoint(
                round(first.x() + part * (last.x() - first.x())), round(first.y() + part * (last.y() - first.y()))
            )
            _move_pressed(self.canvas, spot)
            QApplication.processEvents()
        self.qtbot.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, pos=last)
        QApplication.processEvents()

    def gui_and_engine_seconds(self):
        """Processor time of the viewer's thread and of the engine so far: not moved by what else the machine does."""
        fields = Path(f"/proc/{self.editor.asker.engine.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return time.thread_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def press(self, text, modifier=None):
        from qtpy.QtCore import Qt

        key = getattr(Qt.Key, f"Key_{text}")
        self.qtbot.keyClick(self.canvas, key, modifier or Qt.KeyboardModifier.NoModifier)


def _move_pressed(widget, spot):
    """A move of the mouse with its left button down (QTest's has none)."""
    from qtpy.QtCore import QEvent, QPointF, Qt
    from qtpy.QtGui import QMouseEvent

    local = QPointF(spot)
    event = QMouseEvent(
        QEvent.Type.MouseMove, local, widget.mapToGlobal(local), Qt.MouseButton.NoButton,
        Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(widget, event)


@pytest.fixture(autouse=True)
def imports_are_no_garbage():
    """Napari searches for garbage when it takes a layer out. What a test imported is left out of it in the next."""
    yield
    gc.collect()
    gc.freeze()


class Opening:
    """Opens docks in viewers; ends what they run."""

    def __init__(self, qtbot, make_viewer):
        self.qtbot = qtbot
        self._make_viewer = make_viewer
        self._benches = []

    def __call__(self, layers=None, arrange=False, *, model="lite"):
        """A bench with layers in a window of its own, and a model that takes half the time of the default, or the
        preferred one (None).
        """
        viewer = self._make_viewer(show=True)
        viewer.window.resize(1000, 800)  # drawn in software here: pixels cost time
        button = viewer.window._qt_window._activity_dialog._toggleButton
        button._inProgressIndicator.movie().setSpeed(1)  # per cent: for each frame the whole window is drawn
        for name, data in (layers or {}).items():
            viewer.add_image(data, name=name)
        _, dock = viewer.window.add_plugin_dock_widget("dift-edit")
        bench = Bench(viewer, dock, self.qtbot)
        self._benches.append(bench)
        dock.editor.choose_settings(model=model)
        bench.wait(lambda: not layers or dock.editor.session.source, 5)
        if arrange:
            dock.choose.arrange.setChecked(True)
        bench.idle()
        return bench

    def end(self):
        """Close all docks, and wait for what they run."""
        for bench in self._benches:
            bench.dock.shut()
        deadline = time.monotonic() + 20
        while any(bench.editor.busy for bench in self._benches) and time.monotonic() < deadline:
            self.qtbot.wait(5)
        self._benches.clear()


@pytest.fixture
def open_bench(make_napari_viewer, qtbot):
    """Opens the dock in viewers of the test's own; closes it."""
    opening = Opening(qtbot, make_napari_viewer)
    yield opening
    opening.end()


@pytest.fixture
def viewer_model():
    """A viewer without its window: enough for what layers and files are."""
    import npe2
    from napari.components import ViewerModel

    npe2.PluginManager.instance().discover()
    return ViewerModel()


@pytest.fixture
def windowless(qtbot, viewer_model):
    """An editor without a window, layers for it, and what waits for its work."""
    from napari_dift_edit.editor import Editor

    editor = Editor()

    def idle():
        qtbot.waitUntil(lambda: not editor.busy, timeout=120_000)

    yield editor, viewer_model, idle
    editor.close()


@pytest.fixture
def bench(open_bench, pictures):
    """The four pictures side by side."""
    return open_bench(pictures, arrange=True)
