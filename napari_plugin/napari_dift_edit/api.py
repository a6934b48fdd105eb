"""Everything that the dock's buttons do, from a script or napari's console.

>>> import napari
>>> from napari_dift_edit.api import DiftEdit
>>> edit = DiftEdit(napari.Viewer())  # doctest: +SKIP
>>> edit.open(["cat.jpg", "other.jpg", "third.jpg"])  # doctest: +SKIP
>>> edit.sticker("hat.png", at=(120, 40, 200, 160))  # doctest: +SKIP
>>> edit.propagate()  # doctest: +SKIP
>>> edit.export("out")  # doctest: +SKIP

Each call returns when the work is done; the window stays usable meanwhile. Points are (x, y) in pixels of the picture.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer, Points

from dift_edit.errors import DiftEditError
from dift_edit.geometry.coords import as_points
from dift_edit.geometry.quad import as_quad
from napari import Viewer
from napari_dift_edit.carry import carry_landmarks, carry_layer, pin_layers
from napari_dift_edit.layers import to_rgba
from napari_dift_edit.sessions import open_session, save_session
from napari_dift_edit.state import Quad, Result

__all__ = ["DiftEdit", "open_dock"]

_WIDGET = "Carry an edit to other photos"


def open_dock(viewer: Viewer) -> Any:
    """The plugin's dock in a viewer, opened if it is not yet.

    Parameters
    ----------
    viewer : napari.Viewer
        With a window.

    Returns
    -------
    DiftEditWidget
    """
    _, dock = viewer.window.add_plugin_dock_widget("dift-edit", _WIDGET)
    return dock


def _absolute(path: str | Path) -> Path:
    """Seen from the script's folder of now: the engine, which writes the files, may have begun in another one."""
    return Path(path).absolute()


class DiftEdit:
    """The plugin in one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        With a window; the dock is opened in it.
    timeout : float
        Seconds after which a call gives up waiting.

    Attributes
    ----------
    dock : DiftEditWidget
        The dock.
    """

    def __init__(self, viewer: Viewer, *, timeout: float = 3600) -> None:
        self.viewer = viewer
        self.timeout = timeout
        self.dock = open_dock(viewer)
        self._editor = self.dock.editor
        self.wait()

    # pictures

    def open(self, files: Iterable[str | Path]) -> None:
        """Open picture files as layers; the first one is the source, unless there is one."""
        paths = [_absolute(file) for file in files]
        for path in paths:
            if not path.exists():
                raise DiftEditError(f"{path} does not exist: check the path.")
        self.viewer.open([str(path) for path in paths], stack=False)
        self.wait()

    def source(self, layer: Layer | str) -> None:
        """Choose the picture that the edit is made on: a layer or its name."""
        self.dock.choose.choose_source(self._editor.pictures.key(self._layer(layer)))
        self.wait()

    def add_folder(self, folder: str | Path, output: str | Path | None = None) -> int:
        """Make all pictures of a folder targets, without a layer for each; returns how many targets there are.

        Results are written to `output` (by default ``edited`` in the folder, or what the preferences say) by `export`.
        """
        self.dock.choose.add_folder(_absolute(folder), None if output is None else _absolute(output))
        self.wait()
        return len(self._editor.session.targets)

    @property
    def targets(self) -> list[str]:
        """Names of the targets, in order."""
        return [self._editor.pictures.name(key) for key in self._editor.session.targets]

    # the edit

    def sticker(
        self, picture: str | Path | Any, *, at: Sequence[float] | None = None, quad: Quad | None = None
    ) -> None:
        """Put a sticker on the source.

        Parameters
        ----------
        picture : path or array
            A picture file, or (H, W) or (H, W, 3 | 4) pixels.
        at : (left, top, right, bottom), optional
            Where, in pixels of the source.
        quad : four (x, y), optional
            Where, as corners: top left, top right, bottom right, bottom left. Without either: the middle.
        """
        if at is not None:
            if len(at) != 4:
                raise DiftEditError(f"The place `at` has {len(at)} numbers: give left, top, right, bottom.")
            left, top, right, bottom = at
            quad = ((left, top), (right, top), (right, bottom), (left, bottom))
        quad = None if quad is None else _corners(quad)
        if isinstance(picture, str | Path):
            self.dock.choose.edit.sticker_file(str(picture))
            self.wait()
            if quad is not None:
                self._editor.move_edit(quad)
        else:
            pixels = np.asarray(picture)
            if not pixels.size or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
                raise DiftEditError(f"A sticker has pixels of shape (H, W), or (H, W, 3 or 4), not {pixels.shape}.")
            self._editor.use_picture("sticker", to_rgba(pixels), "sticker", quad=quad)
        self.wait()

    def use_layer(self, layer: Layer | str, kind: str = "", *, add: bool = False, **options: Any) -> None:
        """Use a layer as the edit, or with `add` as a further edit over the present one.

        Parameters
        ----------
        layer : Layer or str
            A picture over the source (a sticker), an edited copy of it, or labels or shapes drawn on it.
        kind : {"", "sticker", "difference", "paint", "recolour", "redact", "erase"}
            What it becomes; empty for what the *Layer* button would choose.
        **options
            Of a recolouring (``saturation=0.0``, ``recolor="#ff0000"``, …) or a redaction (``mode="pixelate"``).
        """
        self.dock.choose.edit.add.setChecked(add)
        self.dock.choose.edit.use_layer(self._layer(layer), kind, options)
        self.wait()

    def view(self, layer: Layer | str, quad: Quad | None = None) -> None:
        """Make a picture a further view of the edit, with the four corners (x, y) of the edit on it.

        Without `quad` it is where the edit was placed there.
        """
        key = self._editor.pictures.key(self._layer(layer))
        self._editor.add_view(key, None if quad is None else _corners(quad))
        self.wait()

    # placing

    def settings(self, *, model: str | None = None, device: str | None = None, **transfer: Any) -> None:
        """Choose the model, its device and the fields of `dift_edit.TransferSettings`."""
        self._editor.choose_settings(model=model, device=device, **transfer)

    def models(self) -> list[dict[str, Any]]:
        """The models and presets, as the *Models* pane lists them (see `napari_dift_edit.models.models`)."""
        answers: list[Any] = []
        self._editor.ask_aside("models", answers.append)
        self._until(lambda: bool(answers))
        return list(answers[0]["rows"])

    def improve(self) -> dict[str, Result]:
        """Place the targets that are not sure again, with the decided ones as further views. Returns `results`."""
        self._editor.improve()
        self.wait()
        return self.results

    def propagate(self, names: Iterable[str] | None = None, *, again: bool = False) -> dict[str, Result]:
        """Place the edit in all targets, or in some by name; decided ones only with `again`. Returns `results`."""
        keys = None if names is None else [self._key(name) for name in names]
        self._editor.propagate(keys, again=again)
        self.wait()
        return self.results

    @property
    def results(self) -> dict[str, Result]:
        """What was found, by the target's name."""
        pictures = self._editor.pictures
        return {pictures.name(key): result for key, result in self._editor.session.results.items()}

    def find(self, point: tuple[float, float]) -> Mapping[str, tuple[tuple[float, float], float]]:
        """Where a point of the source lies in each open target, and how sure that is; shown as by *Explore*."""
        self.dock.results.explore.setChecked(True)
        explorer = self.dock.explorer
        explorer.ask(self._editor.session.source, _point(point))
        self.wait()
        return {self._editor.pictures.name(key): found for key, found in explorer.found.items()}

    def stop_exploring(self) -> None:
        """Take the heat maps away."""
        self.dock.results.explore.setChecked(False)
        self.wait()

    # correcting and deciding

    def correct(self, name: str, quad: Quad, frame: int | None = None) -> None:
        """Put the edit of one target, or of one frame of a stack, where four corners (x, y) say."""
        self._editor.correct(self._key(name), _corners(quad), frame)
        self.wait()

    def pin(self, name: str, source: tuple[float, float], target: tuple[float, float]) -> None:
        """Fix where a point of the source lies in one target, and place the edit there again."""
        self._editor.pin(self._key(name), _point(source), _point(target))
        self.wait()

    def unpin(self, name: str) -> None:
        """Drop the pins of one target."""
        self._editor.unpin(self._key(name))
        self.wait()

    def accept(self, *names: str) -> None:
        """Accept the edit in targets."""
        self._decide(names, "accepted")

    def reject(self, *names: str) -> None:
        """Leave targets as they were."""
        self._decide(names, "rejected")

    def undecide(self, *names: str) -> None:
        """Take decisions back."""
        self._decide(names, "")

    def _decide(self, names: Iterable[str], verdict: str) -> None:
        self._editor.review([self._key(name) for name in names], verdict)
        self.wait()

    def show(self, name: str) -> None:
        """Go to a target, as by clicking its row."""
        self.dock.results.table.go_to(self._key(name))
        self.wait()

    def undo(self) -> None:
        """Take the latest step back."""
        self._editor.undo()
        self.wait()

    def redo(self) -> None:
        """Do what was taken back again."""
        self._editor.redo()
        self.wait()

    # annotations

    def carry(self, layer: Layer | str) -> int:
        """Put labels, points or shapes of the source where the edit lies in each target; returns how many get them."""
        count = carry_layer(self._editor, self.dock.scene, self._layer(layer))
        self.wait()
        return count

    def carry_landmarks(self, layer: Layer | str) -> int:
        """Find points, shapes or labels of the source in every target, without an edit; returns how many targets."""
        count = carry_landmarks(self._editor, self.dock.scene, self._layer(layer))
        self.wait()
        return count

    def pin_layers(self, name: str, source_points: Points | str, target_points: Points | str) -> None:
        """Pin a target by two layers of points, in order: one on the source and one on the target."""
        layers = self._layer(source_points), self._layer(target_points)
        pin_layers(self._editor, self.dock.scene, self._key(name), *layers)
        self.wait()

    def export_annotations(self, path: str | Path, format: str = "") -> int:
        """Write the carried annotations of all pictures; returns how many pictures.

        Parameters
        ----------
        path : path
            A file, or a folder for YOLO, LabelMe and napari.
        format : str
            "coco", "cvat", "tps", "deeplabcut", "yolo", "labelme" or "napari"; by default what the name says.
        """
        count = int(self.dock.keeper.export_annotations(_absolute(path), format))
        self.wait()
        return count

    def export_pairs(self, folder: str | Path, format: str = "bigwarp") -> int:
        """Write the landmarks of source and each target as pairs for "bigwarp" or "elastix"; returns how many."""
        count = int(self.dock.keeper.export_pairs(_absolute(folder), format))
        self.wait()
        return count

    # keeping

    def export(self, folder: str | Path | None = None, *, unreviewed: bool = True) -> int:
        """Write every picture that has the edit; returns how many were written.

        What an earlier export wrote of a folder's pictures, and this one does not write, is removed.

        Parameters
        ----------
        folder : path, optional
            Where pictures of layers go; those of an added folder go where `add_folder` says.
        unreviewed : bool
            Whether placed pictures that nobody accepted are written, too (into the sub-folder ``unreviewed``).
        """
        self.dock.keeper.export(None if folder is None else _absolute(folder), unreviewed=unreviewed)
        self.wait()
        return int(self.dock.keeper.written)

    def save_session(self, folder: str | Path) -> None:
        """Write everything as a folder."""
        save_session(self._editor, _absolute(folder), self.dock.keeper.roots)
        self.wait()

    def open_session(self, folder: str | Path) -> None:
        """Read what `save_session` wrote."""
        open_session(self._editor, _absolute(folder), self.dock.add_picture)
        self.wait()

    def save_recipe(self, path: str | Path) -> None:
        """Write the ``job.toml`` that ``dift-edit run`` works through."""
        self.dock.keeper.save_job(_absolute(path))
        self.wait()

    def screenshot(self, path: str | Path) -> None:
        """Write a picture of the whole window."""
        self.wait()
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)

    # waiting

    def wait(self) -> None:
        """Let the window work until nothing is left to do.

        Raises
        ------
        DiftEditError
            If that takes longer than the timeout.
        """
        self._until(lambda: False, least=0.05)
        self._until(lambda: not self.dock.busy)

    def _until(self, done: Callable[[], bool], *, least: float | None = None) -> None:
        from qtpy.QtWidgets import QApplication

        start = time.monotonic()
        while not done():
            QApplication.processEvents()
            if least is not None and time.monotonic() - start > least:
                return
            if time.monotonic() - start > self.timeout:
                raise DiftEditError(f"The plugin still works after {self.timeout:g} s: give DiftEdit a longer timeout.")
            time.sleep(0.01)

    def _layer(self, layer: Layer | str) -> Layer:
        if not isinstance(layer, str):
            return layer
        if layer not in self.viewer.layers:
            raise DiftEditError(f"There is no layer {layer!r}: use one of {', '.join(map(str, self.viewer.layers))}.")
        return self.viewer.layers[layer]

    def _key(self, name: str) -> str:
        session, pictures = self._editor.session, self._editor.pictures
        key: str = next((key for key in session.targets if name in (pictures.name(key), key)), "")
        if not key:
            raise DiftEditError(f"There is no target {name!r}: use one of {', '.join(self.targets[:20])}.")
        return key


def _corners(quad: Any) -> Quad:
    """Four corners, checked."""
    return tuple((float(x), float(y)) for x, y in as_quad(quad, "The place of the edit"))


def _point(point: Any) -> tuple[float, float]:
    """A point, checked."""
    ((x, y),) = as_points([point], "point")
    return float(x), float(y)
