"""How the window's thread is held up, and how much of it is the plugin's own work. For tests and benchmarks."""

import functools
import gc
import importlib
import inspect
import pkgutil
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from napari._vispy.canvas import VispyCanvas
from napari.components.layerlist import LayerList
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils import progress
from napari.utils.events import Selection
from qtpy.QtCore import Qt, QTimer
from vispy.scene import SceneCanvas

import napari_dift_edit


class Heart:
    """Beats every few milliseconds when the thread is free; notes what lies between two beats.

    `wall` and `used` are milliseconds on the clock and of the thread's processor time, `counted` how much `count` rose.
    """

    def __init__(self, count: Callable[[], int] = int) -> None:
        self.wall, self.used, self.counted = [], [], []
        self._count = count
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)

    def __enter__(self):
        self._last = self._now()
        self._timer.start(5)
        return self

    def __exit__(self, *_):
        self._beat()
        self._timer.stop()

    def _beat(self):
        wall, used, counted = (new - old for new, old in zip(self._now(), self._last, strict=True))
        self.wall.append(1000 * wall)
        self.used.append(1000 * used)
        self.counted.append(counted)
        self._last = self._now()

    def _now(self):
        return time.perf_counter(), time.thread_time(), self._count()

    def words(self):
        pairs = (("between two beats", self.wall), ("of them at work", self.used))
        return ", ".join(
            f"{name}: median {np.median(gaps):.0f}, 95 in 100 below {np.quantile(gaps, 0.95):.0f}, "
            f"longest {max(gaps):.0f} ms"
            for name, gaps in pairs
        )


class OwnWork:
    """Processor time of the window's thread in the plugin's code, without napari's changes of layers.

    All functions of the plugin's classes are wrapped, so it has to be made before the dock. The outermost call counts.
    Taken off is what napari does in it, to layers, to the list of them and to draw them (Qt paints in the middle of a
    call where a progress bar moves), and Python's collection of garbage, which may fall into any call.
    `patch` replaces an attribute; `stop` ends the watch over the garbage.
    """

    def __init__(self, patch: Callable[[Any, str, Any], None] = setattr) -> None:
        self.calls: list[tuple[float, str]] = []
        self._patch = patch
        self._depth, self._outside, self._napari = 0, 0.0, ""
        self._thread = threading.main_thread()
        for module in pkgutil.iter_modules(napari_dift_edit.__path__):
            if module.name in ("api", "channel", "engine", "outputs", "store", "tasks"):
                continue  # of scripts, which wait, and of the engine's process
            loaded = importlib.import_module(f"napari_dift_edit.{module.name}")
            for kind in vars(loaded).values():
                if inspect.isclass(kind) and kind.__module__ == loaded.__name__:
                    self._wrap_all(kind, self._own)
        for kind in (Image, Labels, Points, Shapes):
            self._wrap(kind, "__init__", self._of_napari)
            for name in ("data", "features", "border_color", "edge_color", "selected_data", "size", "mode"):
                if isinstance(made := inspect.getattr_static(kind, name, None), property) and made.fset:
                    self._patch(kind, name, made.setter(self._of_napari(made.fset, name)))
        for name in ("affine", "visible", "name", "opacity"):
            made = inspect.getattr_static(Layer, name)
            self._patch(Layer, name, made.setter(self._of_napari(made.fset, name)))
        for kind, name in ((Selection, "active"), (LayerList, "selection")):  # napari changes the panes of layers
            made = inspect.getattr_static(kind, name)
            self._patch(kind, name, made.setter(self._of_napari(made.fset, name)))
        if hasattr(VispyCanvas, "_resume_scene_graph_update"):  # the end of several changes to the list of layers
            self._wrap(VispyCanvas, "_resume_scene_graph_update", self._of_napari)
        for name in ("__init__", "update"):  # the bar draws the whole window, and lets the event loop turn
            self._patch(progress, name, self._of_napari(getattr(progress, name), "progress"))
        self._wrap(SceneCanvas, "_draw_scene", self._of_napari)
        self._wrap(Shapes, "add", self._of_napari)
        self._wrap(Layer, "refresh", self._of_napari)
        for name in ("insert", "remove", "move", "append"):
            self._wrap(LayerList, name, self._of_napari)
        gc.callbacks.append(self._collect)

    def stop(self) -> None:
        gc.callbacks.remove(self._collect)

    def _collect(self, phase: str, _info: dict[str, int]) -> None:
        if self._depth and not self._napari and threading.current_thread() is self._thread:
            self._outside += time.thread_time() if phase == "stop" else -time.thread_time()

    def _wrap_all(self, kind: type, wrap: Callable[..., Any]) -> None:
        for name, made in list(vars(kind).items()):
            if inspect.isfunction(made) and not inspect.isgeneratorfunction(made) and not name.startswith("__"):
                self._patch(kind, name, wrap(made, f"{kind.__name__}.{name}"))

    def _wrap(self, kind: type, name: str, wrap: Callable[..., Any]) -> None:
        self._patch(kind, name, wrap(getattr(kind, name), name))

    def _own(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread() is not self._thread or (self._depth and not self._napari):
                return function(*arguments, **options)
            if self._napari:  # napari calls back in the middle of a change: that is the plugin's time again
                within, outside, start = self._napari, self._outside, time.thread_time()
                self._napari = ""
                try:
                    return function(*arguments, **options)
                finally:
                    self._napari = within
                    took = time.thread_time() - start
                    if within == "progress":  # not a part of the call, but what came up meanwhile
                        self.calls.append((1000 * (took - self._outside + outside), name))
                        self._outside = outside
                    else:
                        self._outside -= took
            self._depth, self._outside = 1, 0.0
            start = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self._depth = 0
                self.calls.append((1000 * (time.thread_time() - start - self._outside), name))

        return timed

    def _of_napari(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            if self._napari or not self._depth or threading.current_thread() is not self._thread:
                return function(*arguments, **options)
            self._napari, start = name, time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self._napari = ""
                self._outside += time.thread_time() - start

        return timed

    def report(self) -> dict[str, Any]:
        """In milliseconds."""
        took = np.array([each for each, _ in self.calls])
        slowest = sorted(self.calls, reverse=True)[:8]
        return {
            "calls": len(took), "99.9 %": round(float(np.quantile(took, 0.999)), 1),
            "longest": round(float(took.max()), 1), "above_50": int((took > 50).sum()),
            "slowest": [f"{name} {each:.0f}" for each, name in slowest],
        }  # fmt: skip
