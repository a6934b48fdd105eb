"""Look through, decide and export a folder of photos in napari's window: memory and the window's thread.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/napari_folder.py --photos 500

Prints one JSON object. `peak_mib` is the highest resident memory of the window's process (the engines that run the
network are processes of their own), `resident_mib` what it holds after each tenth of the photos. `step_ms` is processor
time of the window's thread for going to the next photo, with napari's drawing, and `beat_ms` what lies between two
turns of its event loop. `own_ms` is the plugin's share: of each call into its code the time without what napari takes
to make, change, select or remove layers and to draw its progress bar; `slowest` names the longest ones.
"""

import argparse
import functools
import importlib
import inspect
import json
import pkgutil
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import psutil
from napari._vispy.canvas import VispyCanvas
from napari.components.layerlist import LayerList
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils import progress
from napari.utils.events import Selection
from qtpy.QtCore import Qt, QTimer

import napari
import napari_dift_edit
from napari_dift_edit.api import DiftEdit

SAMPLES = Path(str(files("dift_edit") / "samples"))


class Heart:
    """Notes the processor time of the window's thread between two beats."""

    def __init__(self) -> None:
        self.used: list[float] = []
        self._last = time.thread_time()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start(5)

    def _beat(self) -> None:
        now = time.thread_time()
        self.used.append(1000 * (now - self._last))
        self._last = now


class OwnWork:
    """Processor time of the window's thread in the plugin's code, without napari's changes of layers.

    All functions of the plugin's classes are wrapped, so it has to be made before the dock. The outermost call counts;
    what napari does in it, to layers and to the list of them, is taken off.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[float, str]] = []
        self._depth, self._outside, self._napari = 0, 0.0, 0
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
                    setattr(kind, name, made.setter(self._of_napari(made.fset, name)))
        for name in ("affine", "visible", "name", "opacity"):
            made = inspect.getattr_static(Layer, name)
            setattr(Layer, name, made.setter(self._of_napari(made.fset, name)))
        for kind, name in ((Selection, "active"), (LayerList, "selection")):  # napari changes the panes of layers
            made = inspect.getattr_static(kind, name)
            setattr(kind, name, made.setter(self._of_napari(made.fset, name)))
        if hasattr(VispyCanvas, "_resume_scene_graph_update"):  # the end of several changes to the list of layers
            self._wrap(VispyCanvas, "_resume_scene_graph_update", self._of_napari)
        for name in ("__init__", "update"):  # the bar draws the whole window
            self._wrap(progress, name, self._of_napari)
        self._wrap(Shapes, "add", self._of_napari)
        self._wrap(Layer, "refresh", self._of_napari)
        for name in ("insert", "remove", "move", "append"):
            self._wrap(LayerList, name, self._of_napari)

    def _wrap_all(self, kind: type, wrap: Callable[..., Any]) -> None:
        for name, made in list(vars(kind).items()):
            if inspect.isfunction(made) and not inspect.isgeneratorfunction(made) and not name.startswith("__"):
                setattr(kind, name, wrap(made, f"{kind.__name__}.{name}"))

    def _wrap(self, kind: type, name: str, wrap: Callable[..., Any]) -> None:
        setattr(kind, name, wrap(getattr(kind, name), name))

    def _own(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread() is not self._thread or (self._depth and not self._napari):
                return function(*arguments, **options)
            if self._napari:  # napari calls back in the middle of a change: that is the plugin's time again
                self._napari, start = 0, time.thread_time()
                try:
                    return function(*arguments, **options)
                finally:
                    self._napari = 1
                    self._outside -= time.thread_time() - start
            self._depth, self._outside = 1, 0.0
            start = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self._depth = 0
                self.calls.append((1000 * (time.thread_time() - start - self._outside), name))

        return timed

    def _of_napari(self, function: Callable[..., Any], _name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            if self._napari or not self._depth or threading.current_thread() is not self._thread:
                return function(*arguments, **options)
            self._napari, start = 1, time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self._napari = 0
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


def make_photos(folder: Path, source: Path, count: int, size: tuple[int, int]) -> None:
    """The source turned, moved and of other brightness."""
    rng = np.random.default_rng(0)
    with PIL.Image.open(source) as picture:
        base = picture.convert("RGB").resize(size)
    for number in range(count):
        dx, dy = (int(value) for value in rng.integers(-size[0] // 12, size[0] // 12, 2))
        angle, gain = rng.uniform(-8, 8), float(rng.uniform(0.7, 1.1))
        moved = base.rotate(float(angle), translate=(dx, dy), resample=PIL.Image.Resampling.BILINEAR)
        moved.point([min(255, round(gain * value)) for value in range(256)] * 3).save(folder / f"{number:04d}.jpg")


def memory() -> float:
    """Highest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--size", type=int, nargs=2, default=(1600, 1200), metavar=("W", "H"))
    parser.add_argument("--model", default="", help="name or folder; empty for the built-in one")
    parser.add_argument("--engine", default="similarity")
    args = parser.parse_args()
    table = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        photos.mkdir()
        make_photos(photos, SAMPLES / table["source"]["file"], args.photos, tuple(args.size))
        own = OwnWork()
        viewer = napari.Viewer()
        viewer.window.resize(1400, 900)
        edit = DiftEdit(viewer)
        edit.dock.help.leave()
        edit.open([SAMPLES / table["source"]["file"]])
        edit.sticker(SAMPLES / table["sticker"]["file"], quad=table["sticker"]["quad"])
        edit.settings(model=args.model, engine=args.engine, mirror="never")
        start = memory()
        heart = Heart()
        edit.add_folder(photos)
        edit.propagate()
        placed = memory()
        results, steps, held = edit.dock.results, [], []
        for number in range(args.photos):
            if number % max(1, args.photos // 10) == 0:
                held.append(round(psutil.Process().memory_info().rss / 2**20))
            used = time.thread_time()
            results.step(1)
            edit.wait()
            steps.append(1000 * (time.thread_time() - used))
            results.decide("rejected" if number % 5 == 4 else "accepted")
            results.table.mark(edit.dock.editor.session.targets[number])
        written = edit.export()
        report = {
            "photos": args.photos, "size": list(args.size), "model": args.model or "built in", "written": written,
            "decided": sum(bool(result.review) for result in edit.results.values()),
            "layers": len(viewer.layers), "start_mib": round(start), "placed_mib": round(placed),
            "peak_mib": round(memory()),
            "resident_mib": held, "own_ms": own.report(),
            "step_ms": {
                "median": round(float(np.median(steps))), "first": round(steps[0]), "longest": round(max(steps[1:])),
            },
            "beat_ms": {
                "median": round(float(np.median(heart.used)), 1),
                "99 %": round(float(np.quantile(heart.used, 0.99))), "longest": round(max(heart.used)),
            },
        }  # fmt: skip
        json.dump(report, sys.stdout)
        print()
        edit.dock.shut()
        viewer.close()


if __name__ == "__main__":
    main()
