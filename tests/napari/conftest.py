"""A real viewer with the dock, real pictures, one engine process for all tests."""

import gc
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

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


def _traces(viewer):
    """How many listeners, keys, menu entries and docks a viewer has: a dock that was shut leaves none."""
    events = [viewer.layers.events[name] for name in ("inserted", "removed", "reordered")]
    events += [viewer.layers.selection.events.active, viewer.dims.events.current_step]
    counts = [len(event.callbacks) for event in events]
    counts += [len(viewer.mouse_drag_callbacks), len(viewer.mouse_move_callbacks), len(viewer.keymap)]
    return [*counts, len(viewer.window.help_menu.actions()), len(viewer.window.dock_widgets)]


class SharedViewer:
    """One window for many tests, one after the other: opening and closing one takes as long as many a test.

    What make_napari_viewer patches and checks for each test is patched for all, and checked when a test ends: that
    nothing of the dock is left. It is closed before a test opens windows of its own, since vispy draws with what it
    keeps for all canvases, and opened again after it.
    """

    def __init__(self):
        self._viewer: Any = None

    @property
    def viewer(self):
        """The viewer, opened at its first use."""
        if self._viewer is None:
            self._open()
        return self._viewer

    def _open(self):
        from napari._app_model._app import NapariApplication, _napari_names
        from napari._qt.qt_viewer import QtViewer
        from napari.settings import get_settings
        from qtpy.QtWidgets import QWidget

        import napari

        def no_console(_):
            widget = QWidget()
            widget._update_theme = lambda: None
            return widget

        self._patch = pytest.MonkeyPatch()
        app = NapariApplication("shared_viewer")
        app.injection_store.namespace = _napari_names
        self._patch.setattr(NapariApplication, "get_app_model", staticmethod(lambda *_: app))
        self._patch.setattr("napari._qt.qt_main_window.SHOW_QT_WARNING", False)
        self._patch.setattr("napari._qt.threads.status_checker.StatusChecker.start", lambda *_: None)
        self._patch.setattr("napari._qt.qt_viewer.QtViewer._get_console", no_console)
        _forget_plugins()
        get_settings().reset()
        self._viewer = napari.Viewer(show_welcome_screen=False)
        self._viewer.window.resize(1000, 800)  # drawn in software here: pixels cost time
        button = self._viewer.window._qt_window._activity_dialog._toggleButton
        button._inProgressIndicator.movie().setSpeed(1)  # per cent: for each frame the whole window is drawn
        QtViewer._instances.discard(self._viewer.window._qt_viewer)  # for make_napari_viewer it is one that was left
        self._before = _traces(self._viewer)
        gc.collect()
        gc.freeze()

    def clear(self):
        """Close the docks, which have been shut, and take all layers out."""
        from qtpy.QtCore import QEvent

        if self._viewer is None:
            return
        window = self._viewer.window
        for dock in list(window.dock_widgets.values()):
            window.remove_dock_widget(dock)
            dock.deleteLater()
        self._viewer.layers.selection.clear()
        self._viewer.layers.clear()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        assert _traces(self._viewer) == self._before, "the dock left something behind"

    def close(self):
        """Close the window; the next use opens another one."""
        from app_model import Application

        if self._viewer is None:
            return
        gc.unfreeze()
        self._patch.setattr(self._viewer.window._qt_window, "_save_current_window_settings", lambda: None)
        self._viewer.close()
        self._viewer = None
        Application.destroy("shared_viewer")
        self._patch.undo()
        _forget_plugins()
        gc.collect()
        gc.freeze()


def _forget_plugins():
    """Let the next viewer register napari's actions and the plugins in an application of its own."""
    from napari._qt._qapp_model.qactions import init_qactions
    from napari.plugins import _initialize_plugins

    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()


@pytest.fixture(scope="session")
def shared_viewer(qapp):
    shared = SharedViewer()
    yield shared
    shared.close()


@pytest.fixture
def no_shared_viewer(shared_viewer):
    """The shared window is closed."""
    shared_viewer.close()


@pytest.fixture(scope="module", autouse=True)
def imports_are_no_garbage():
    """Napari searches for garbage when it takes a layer out. What a module's tests imported is left out of it."""
    yield
    gc.collect()
    gc.freeze()


class Opening:
    """Opens docks in viewers; ends what they run."""

    def __init__(self, qtbot, shared):
        self.qtbot = qtbot
        self._shared = shared
        self._benches = []

    @property
    def viewer(self):
        """The shared viewer."""
        return self._shared.viewer

    def __call__(self, layers=None, arrange=False, *, viewer=None, model="lite"):
        """A bench with layers, and a model that takes half the time of the default, or the preferred one (None).

        A second one in the shared viewer is that window opened again: the first one is closed.
        """
        if viewer is None and self._benches:
            self.end()
        viewer = viewer or self.viewer
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
        """Close all docks, wait for what they run, and clear the shared viewer."""
        for bench in self._benches:
            bench.dock.shut()
        deadline = time.monotonic() + 20
        while any(bench.editor.busy for bench in self._benches) and time.monotonic() < deadline:
            self.qtbot.wait(5)
        self._benches.clear()
        self._shared.clear()


@pytest.fixture
def open_bench(shared_viewer, qtbot):
    """Opens the dock in the shared viewer; closes it."""
    opening = Opening(qtbot, shared_viewer)
    yield opening
    opening.end()


@pytest.fixture
def own_viewer(no_shared_viewer, make_napari_viewer):
    """Makes viewers of the test's own, which napari looks after."""

    def make():
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1000, 800)
        return viewer

    return make


@pytest.fixture
def open_window(own_viewer, shared_viewer, qtbot):
    """Opens benches in windows of their own, which the test may close."""
    opening = Opening(qtbot, shared_viewer)
    yield lambda layers: opening(layers, viewer=own_viewer())
    opening.end()


@pytest.fixture
def viewer_model():
    """A viewer without its window: enough for what layers and files are."""
    import npe2
    from napari.components import ViewerModel

    npe2.PluginManager.instance().discover()
    return ViewerModel()


@pytest.fixture
def bench(open_bench, pictures):
    """The four pictures side by side."""
    return open_bench(pictures, arrange=True)
