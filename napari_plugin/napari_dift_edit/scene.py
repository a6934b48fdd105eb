"""The session on the canvas: an outline with handles in every picture, and the edited part as a layer on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Shapes

from napari_dift_edit import layers as glue
from napari_dift_edit.editor import Editor
from napari_dift_edit.state import Crop, Quad, Result, Session

__all__ = ["COLOURS", "Scene", "colour_of"]

COLOURS = {
    "source": "#4cc9f0",
    "sure": "#3ddc84",
    "hand": "#b388ff",
    "doubt": "#ffb020",
    "rejected": "#8a8f98",
    "stale": "#8a8f98",
}
_MOVES = ("scale", "translate", "rotate", "shear", "affine")


def colour_of(result: Result) -> str:
    """The colour in which a result is shown everywhere."""
    if result.stale:
        return COLOURS["stale"]
    if result.review == "rejected" or result.status == "failed":
        return COLOURS["rejected"]
    if result.by_hand and result.review != "accepted":
        return COLOURS["hand"]
    return COLOURS["sure"] if result.shown else COLOURS["doubt"]


class Scene:
    """Keeps the plugin's own layers equal to the session.

    Parameters
    ----------
    viewer : napari.Viewer
        Where to show it.
    editor : Editor
        Has the session, and is told what the user drags.
    """

    def __init__(self, viewer: Any, editor: Editor) -> None:
        self.viewer = viewer
        self.editor = editor
        self.outlines: Any = None
        self.results: dict[str, Any] = {}
        self.opacity = 1.0
        self.after = True
        self._keys: list[str] = []
        self._quads: list[npt.NDArray[np.float64]] = []
        self._looks: list[tuple[str, str]] = []
        self._watched: set[str] = set()
        self._drawn: dict[str, Any] = {}
        self._ours = False
        viewer.layers.events.removed.connect(self._removed)
        viewer.dims.events.current_step.connect(self._stepped)
        editor.changed.connect(self.show)

    def close(self) -> None:
        """Stop following and take the helper layers away."""
        self.editor.changed.disconnect(self.show)
        self.viewer.layers.events.removed.disconnect(self._removed)
        self.viewer.dims.events.current_step.disconnect(self._stepped)
        with self.quietly():
            for layer in (self.outlines, *self.results.values()):
                if layer is not None and layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Round changes of ours, which must not be taken for the user's; keeps the selected layers."""
        before, self._ours = self._ours, True
        selected = set(self.viewer.layers.selection)
        active = self.viewer.layers.selection.active
        try:
            yield
        finally:
            kept = {layer for layer in selected if layer in self.viewer.layers}
            if kept and set(self.viewer.layers.selection) != kept:
                self.viewer.layers.selection = kept
                if active in kept:
                    self.viewer.layers.selection.active = active
            self._ours = before

    def layer(self, key: str) -> Any:
        """The picture's layer while it is in the viewer, else None."""
        layer = self.editor.pictures.layer(key)
        return layer if layer is not None and layer in self.viewer.layers else None

    # session → canvas

    def show(self, session: Session) -> None:
        """Bring the canvas up to date."""
        wanted: dict[str, tuple[Any, tuple[Crop, ...]]] = {}
        source = self.layer(session.source)
        followed = session.results.get(session.source.split("#")[0])
        if "#" in session.source and followed is not None and followed.shown:
            pass  # the stack's own result shows it
        elif source is not None and session.preview is not None:
            wanted[session.source] = (source, (session.preview,))
        elif source is not None and session.edit is not None and session.edit.kind == "sticker":
            self.ghost(session.source, session.edit.quad)
            wanted[session.source] = (source, ())
        for key, result in session.results.items():
            layer = self.layer(key)
            if layer is not None and result.shown and (result.crops or key in self.results):
                wanted[key] = (layer, result.crops)
        with self.quietly():
            for key in [key for key in self.results if key not in wanted]:
                self._drop(key)
            for key, (layer, crops) in wanted.items():
                if crops:
                    self._put(key, layer, crops)
            self._outline(session)

    def _drop(self, key: str) -> None:
        layer = self.results.pop(key)
        self._drawn.pop(key, None)
        if layer in self.viewer.layers:
            self.viewer.layers.remove(layer)

    def _put(self, key: str, layer: Any, crops: tuple[Crop, ...]) -> None:
        """Show the edited part of one picture."""
        self._watch(key, layer)
        if self._drawn.get(key) is crops[0]:
            return
        crop = crops[0]
        if crop.frame is not None:
            crop = _stacked(crops, glue.frame_count(layer) or 1)
            self._show_pixels(key, layer, crop.pixels, glue.patch_affine(layer, crop.x, crop.y, flat=False))
            self._drawn[key] = crops[0]
            return
        self._show_pixels(key, layer, crop.pixels, glue.patch_affine(layer, crop.x, crop.y))
        self._drawn[key] = crop

    def _show_pixels(self, key: str, layer: Any, pixels: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
        shown = self.results.get(key)
        if shown is not None:
            if shown.data is not pixels:
                shown.data = pixels
            shown.affine = affine
            return
        name = f"{self.editor.pictures.name(key)} · edited"
        shown = Image(pixels, rgb=True, affine=affine, name=name, opacity=self.opacity, visible=self.after)
        shown.metadata["dift-edit"] = {"result of": key}
        self.results[key] = shown
        self.insert_above(layer, shown)

    def insert_above(self, layer: Any, new: Any) -> None:
        """Put a layer of ours right above a picture, without changing what is selected."""
        with self.quietly():
            self.viewer.layers.insert(self.viewer.layers.index(layer) + 1, new)

    def ghost(self, key: str, quad: Any) -> None:
        """Show the sticker under a quad at once, until the engine has made the exact picture."""
        edit = self.editor.session.edit
        layer = self.layer(key)
        if edit is None or edit.kind != "sticker" or layer is None:
            return
        pixels = self.editor.pictures.thumbnail(edit.picture)
        self._watch(key, layer)
        with self.quietly():
            height, width = pixels.shape[:2]
            self._show_pixels(key, layer, pixels, glue.quad_affine(layer, quad, (width, height)))
        self._drawn.pop(key, None)

    def _outline(self, session: Session) -> None:
        """The quads, their colours and words."""
        keys, quads, looks = [], [], []
        for key, quad, look in self._wanted_outlines(session):
            layer = self.layer(key)
            if layer is not None:
                keys.append(key)
                quads.append(glue.to_world(layer, quad))
                looks.append(look)
                self._watch(key, layer)
        if self.outlines is None or self.outlines not in self.viewer.layers:
            if not keys:
                return
            self._make_outlines()
        same = keys == self._keys and all(np.allclose(a, b) for a, b in zip(quads, self._quads, strict=True))
        if same and looks == self._looks:
            return
        outlines = self.outlines
        selected = {self._keys[index] for index in outlines.selected_data if index < len(self._keys)}
        self._keys, self._quads, self._looks = keys, quads, looks
        if not same or len(outlines.data) != len(quads):
            width = self._edge_width(session)
            outlines.data = []
            if quads:
                outlines.add(quads, shape_type="polygon", edge_width=width, face_color=[0, 0, 0, 0])
        if quads:
            outlines.edge_color = [colour for colour, _ in looks]
            outlines.features = {"words": [words for _, words in looks]}
            outlines.text = {
                "string": "{words}", "size": 11, "color": [colour for colour, _ in looks], "anchor": "upper_left",
                "translation": [-2 * self._edge_width(session), 0],
            }  # fmt: skip
        outlines.selected_data = {keys.index(key) for key in selected if key in keys}
        if self.viewer.layers[-1] is not outlines:
            self.viewer.layers.move(self.viewer.layers.index(outlines), -1)

    def _frame(self, key: str) -> int | None:
        """The frame of a stack that is seen."""
        layer = self.layer(key)
        return None if layer is None or "#" in key else glue.frame_shown(layer, self.viewer.dims.point)

    def _wanted_outlines(self, session: Session) -> Iterator[tuple[str, Quad, tuple[str, str]]]:
        stack, _, number = session.source.partition("#")
        on_source = not number or number == str(self._frame(stack))
        if session.edit is not None and session.edit.quad and on_source:
            yield session.source, session.edit.quad, (COLOURS["source"], session.edit.name)
        for key, result in session.results.items():
            frame = self._frame(key)
            if result.frames and frame is not None and frame < len(result.track):
                if not (on_source and stack == key):
                    quad, confidence = result.track[frame]
                    hand = frame in session.keyframes.get(key, {})
                    yield key, quad, (COLOURS["hand" if hand else "sure"], "by hand" if hand else f"{confidence:.0%}")
            elif result.quad is not None and key in session.targets:
                yield key, result.quad, (colour_of(result), words_of(result))

    def _edge_width(self, session: Session) -> float:
        layer = self.layer(session.source)
        if layer is None:
            return 2.0
        low, high = glue.world_box(layer)
        return float(np.max(high - low)) * 0.003

    def _make_outlines(self) -> None:
        self.outlines = Shapes(ndim=2, name="dift-edit handles", opacity=1.0)
        self.outlines.mouse_drag_callbacks.append(self._dragged)
        self.outlines.events.data.connect(self._edited)
        self.viewer.layers.append(self.outlines)
        self.outlines.mode = "select"
        self._keys, self._quads, self._looks = [], [], []

    # canvas → session

    def _quad(self, index: int) -> Quad | None:
        """What the user made of an outline, in its picture's pixels."""
        layer = self.layer(self._keys[index])
        data = self.outlines.data[index]
        if layer is None or len(data) != 4:
            return None
        return tuple((float(x), float(y)) for x, y in glue.to_picture(layer, data))

    def _dragged(self, layer: Any, event: Any) -> Iterator[None]:
        """While a handle is dragged the sticker follows; at the end it is one step."""
        yield
        while event.type == "mouse_move":
            for index in layer.selected_data:
                quad = self._quad(index) if index < len(self._keys) else None
                if quad is not None and not np.allclose(layer.data[index], self._quads[index]):
                    self.ghost(self._keys[index], quad)
            yield

    def _edited(self, event: Any) -> None:
        """The user moved, reshaped or deleted outlines."""
        if self._ours or self.outlines is None:
            return
        action = str(event.action).rsplit(".", maxsplit=1)[-1].lower()
        if action == "removed":
            gone = [self._keys[index] for index in event.data_indices if index < len(self._keys)]
            self._keys, self._quads = [], []
            for key in gone:
                self.editor.review(key, "rejected")
            self.show(self.editor.session)
        elif action == "added" or (action == "changed" and len(self.outlines.data) != len(self._keys)):
            self._keys, self._quads = [], []
            self.show(self.editor.session)
            self.editor.said.emit("Only the outlines of the edit live in this layer: draw in another one")
        elif action == "changed":
            self._commit(sorted(event.data_indices))

    def _commit(self, indices: list[int]) -> None:
        session = self.editor.session
        for index in indices:
            quad, key = self._quad(index), self._keys[index]
            if quad is not None and np.allclose(self.outlines.data[index], self._quads[index]):
                continue
            movable = session.edit is not None and (key != session.source or session.edit.kind == "sticker")
            if quad is None or not movable:
                self._quads = []
                self._keys = []
                self.show(session)
                self.editor.said.emit("This edit belongs to the source's pixels: correct it on the targets")
                return
            self._quads[index] = np.array(self.outlines.data[index])
            if key == session.source:
                self.editor.move_edit(quad)
            else:
                self.editor.correct(key, quad, self._frame(key))

    def _stepped(self, _: Any = None) -> None:
        """Another frame is seen."""
        session = self.editor.session
        if "#" in session.source and self.outlines is not None:
            with self.quietly():
                self._outline(session)

    def _removed(self, event: Any) -> None:
        """A layer was taken out of the viewer."""
        if self._ours:
            return
        layer = event.value
        for key, shown in list(self.results.items()):
            if shown is layer:
                del self.results[key]
                self._drawn.pop(key, None)
                if key in self.editor.session.results:
                    self.editor.review(key, "rejected")
                return
        self._keys, self._quads = [], []
        self.show(self.editor.session)

    def _watch(self, key: str, layer: Any) -> None:
        """Follow a picture's layer when the user moves it."""
        if key in self._watched:
            return
        self._watched.add(key)
        for name in _MOVES:
            layer.events[name].connect(lambda _=None, key=key: self._moved(key))

    def _moved(self, key: str) -> None:
        if self._ours or self.layer(key) is None:
            return
        layer, shown = self.layer(key), self.results.get(key)
        crop = self._drawn.get(key)
        if shown is not None and crop is not None:
            shown.affine = glue.patch_affine(layer, crop.x, crop.y)
        with self.quietly():
            self._outline(self.editor.session)

    # looks

    def set_opacity(self, value: float) -> None:
        """Of all edited parts."""
        self.opacity = value
        for layer in self.results.values():
            layer.opacity = value

    def set_after(self, after: bool) -> None:
        """Show the pictures after, or before, the edit."""
        self.after = after
        for layer in self.results.values():
            layer.visible = after

    def select(self, key: str) -> None:
        """Select the outline of one picture, so that its handles are there to drag."""
        if self.outlines is None or self.outlines not in self.viewer.layers:
            return
        self.viewer.layers.selection.active = self.outlines
        if self.outlines.mode not in ("select", "direct"):
            self.outlines.mode = "select"
        self.outlines.selected_data = {self._keys.index(key)} if key in self._keys else set()

    def look_at(self, key: str) -> None:
        """Centre the camera on one picture if it is out of view."""
        layer = self.layer(key)
        if layer is not None:
            low, high = glue.world_box(layer)
            self.viewer.camera.center = (0.0, *((low + high) / 2))


def _stacked(crops: tuple[Crop, ...], count: int) -> Crop:
    """Crops of several frames as one (T, h, w, 4) stack."""
    left, top = min(crop.x for crop in crops), min(crop.y for crop in crops)
    right = max(crop.x + crop.pixels.shape[1] for crop in crops)
    bottom = max(crop.y + crop.pixels.shape[0] for crop in crops)
    pixels = np.zeros((count, bottom - top, right - left, 4), np.uint8)
    for crop in crops:
        height, width = crop.pixels.shape[:2]
        pixels[crop.frame, crop.y - top : crop.y - top + height, crop.x - left : crop.x - left + width] = crop.pixels
    return Crop(left, top, pixels)


def words_of(result: Result) -> str:
    """What stands beside an outline."""
    if result.review:
        return {"accepted": "✓ accepted", "rejected": "✗ rejected"}[result.review]
    if result.by_hand:
        return "by hand"
    return f"{result.confidence:.0%}" + ("" if result.status == "applied" else " ?")
