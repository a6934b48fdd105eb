"""The session on the canvas: the edited part of every picture as a layer on it, and the outlines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_dift_edit import layers as glue
from napari_dift_edit.annotations import carried_again, make_layer, show_landmarks
from napari_dift_edit.editor import Editor
from napari_dift_edit.outlines import Outlines
from napari_dift_edit.state import Carried, Crop, Session

__all__ = ["Scene"]

_MOVES = ("scale", "translate", "rotate", "shear", "affine")
_AT_ONCE = 4
"""Layers that are taken away in one turn: napari searches for garbage once for all of them."""


class Scene:
    """Keeps the plugin's own layers equal to the session.

    Making a layer takes napari some 50 to 100 ms in the viewer's thread, so `show` makes one, and removes a few, at a
    turn of the event loop; layers that are there are brought up to date at once.

    Parameters
    ----------
    viewer : napari.Viewer
        Where to show it.
    editor : Editor
        Has the session, and is told what the user drags.
    """

    annotated = Signal(tuple)
    """A layer of carried annotations was made: keys of the source's layer and of the target."""

    def __init__(self, viewer: Any, editor: Editor) -> None:
        self.viewer = viewer
        self.editor = editor
        self.results: dict[str, Any] = {}
        self.annotations: dict[tuple[str, str], Any] = {}
        self._carried: dict[tuple[str, str], Carried] = {}
        self.opacity = 1.0
        self.after = True
        self.own_change = False
        self.handles = Outlines(viewer, editor, self)
        self._watched: dict[str, tuple[Any, Callable[[Any], None]]] = {}
        self._edited: tuple[str, str] | None = None
        self._choose = ""
        self._spare: Any = None
        editor.pictures.shown = lambda layer: layer in viewer.layers
        self._drawn: dict[str, Crop] = {}
        self._leaving: list[Any] = []
        self.followers: list[Callable[[str, Any], None]] = []
        self._turn = QTimer()
        self._turn.setSingleShot(True)
        self._turn.setInterval(0)
        self._turn.timeout.connect(self._go_on)
        viewer.layers.events.removed.connect(self._removed)
        viewer.dims.events.current_step.connect(self._stepped)
        editor.changed.connect(self.show)

    def close(self) -> None:
        """Stop following and take the helper layers away."""
        self._turn.stop()
        self.editor.changed.disconnect(self.show)
        self.viewer.layers.events.removed.disconnect(self._removed)
        self.viewer.dims.events.current_step.disconnect(self._stepped)
        for layer, follow in self._watched.values():
            for name in _MOVES:
                layer.events[name].disconnect(follow)
        self._watched.clear()
        self.handles.close()
        shown = (*self.results.values(), *self.annotations.values())
        self._take_away(self.handles.layer, *shown, *self._leaving, self._spare)

    @property
    def outlines(self) -> Any:
        """The layer with the outlines, or None while there is none."""
        return self.handles.layer

    @property
    def settled(self) -> bool:
        """Whether the canvas shows the session, and nothing is left to do."""
        return not self._turn.isActive()

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Round changes of ours, which must not be taken for the user's; keeps the selected layers."""
        before, self.own_change = self.own_change, True
        layers = self.viewer.layers
        selected, active = set(layers.selection), layers.selection.active
        try:
            yield
        finally:
            kept = {layer for layer in selected if layer in layers}
            if kept and set(layers.selection) != kept:
                layers.selection = kept
                if active in kept:
                    layers.selection.active = active
            self.own_change = before

    def layer(self, key: str) -> Any:
        """The picture's layer while it is in the viewer, else None."""
        layer = self.editor.pictures.layer(key)
        return layer if layer is not None and layer in self.viewer.layers else None

    # session → canvas

    def show(self, session: Session) -> None:
        """Bring the canvas up to date; what needs a new layer follows in the next turns of the event loop."""
        wanted = self._wanted(session)
        with self.quietly():
            for key in [key for key in self.results if key not in wanted]:
                self.drop(self.results.pop(key))
                self._drawn.pop(key, None)
            self._show_carried({each.slot: each for each in session.carried if self.layer(each.target) is not None})
            for key, (layer, crop) in wanted.items():
                if crop is not None and key in self.results:
                    self._put(key, layer, crop)
        edit = session.edit
        if edit is not None and edit.kind == "sticker" and session.preview is None and session.source in wanted:
            self.ghost(session.source, edit.quad)
        self._turn.start()

    def _go_on(self) -> None:
        """Do one thing that is left, and come back while there is more."""
        session, chosen = self.editor.session, ""
        with self.quietly():
            if self._leaving:
                now, self._leaving = self._leaving[:_AT_ONCE], self._leaving[_AT_ONCE:]
                self._take_away(*now)
                self._turn.start()
            elif self._make_one(session) or self._make_annotation(session) or self.handles.show(session):
                self._turn.start()
            else:
                chosen, self._choose = self._choose, ""
        if chosen:  # outside, as `quietly` keeps what is selected
            self.handles.select(chosen)

    def _make_one(self, session: Session) -> bool:
        for key, (layer, crop) in self._wanted(session).items():
            if crop is not None and key not in self.results:
                self._put(key, layer, crop)
                return True
        return False

    def _make_annotation(self, session: Session) -> bool:
        for carried in session.carried:
            layer = self.layer(carried.target)
            if layer is not None and carried.slot not in self.annotations:
                made = make_layer(carried, layer)
                made.metadata["dift-edit"] = {"result of": carried.target}
                self.annotations[carried.slot], self._carried[carried.slot] = made, carried
                self.watch(carried.target, layer)
                self.insert_above(self.results.get(carried.target, layer), made)
                if carried.kind != "labels":  # those are painted in place
                    made.events.data.connect(lambda event, slot=carried.slot: self._annotation_edited(slot, event))
                self.annotated.emit(carried.slot)
                return True
        return False

    def _show_carried(self, wanted: dict[tuple[str, str], Carried]) -> None:
        """Bring the carried layers that are there up to date; what cannot be, is made anew."""
        for slot in list(self.annotations):
            now, shown = wanted.get(slot), self._carried[slot]
            if now is shown:
                continue
            same = now is not None and now.kind == "points" and now.looks is shown.looks and now.rows == shown.rows
            if same and now is not None and len(self.annotations[slot].data) == len(now.data[0]):
                self._carried[slot] = now
                show_landmarks(self.annotations[slot], now)
            elif now is None or self._edited != slot:
                self.drop(self.annotations.pop(slot))
                del self._carried[slot]
            else:  # the layer that the user works in shows it already
                self._carried[slot] = now

    def _annotation_edited(self, slot: tuple[str, str], event: Any) -> None:
        """The user moved, added or deleted points or shapes of a carried layer."""
        layer, target, carried = self.annotations.get(slot), self.layer(slot[1]), self._carried.get(slot)
        action = str(event.action).rsplit(".", maxsplit=1)[-1].lower()
        if self.own_change or layer is None or target is None or carried is None:
            return
        if action not in ("changed", "added", "removed") or layer is not event.source:
            return
        moved = [int(index) % max(len(layer.data), 1) for index in event.data_indices]
        self._edited = slot
        try:
            self.editor.change_carried(carried_again(carried, layer, target, moved))
        finally:
            self._edited = None

    def _wanted(self, session: Session) -> dict[str, tuple[Any, Crop | None]]:
        """By key: the picture's layer, and what of it is edited; None where only the sticker's ghost is shown."""
        wanted: dict[str, tuple[Any, Crop | None]] = {}
        source = self.layer(session.source)
        followed = session.results.get(session.source.split("#")[0])
        if "#" in session.source and followed is not None and followed.shown:
            pass  # the stack's own result shows it
        elif source is not None and session.preview is not None:
            wanted[session.source] = (source, session.preview)
        elif source is not None and session.edit is not None and session.edit.kind == "sticker":
            wanted[session.source] = (source, None)
        for key, result in session.results.items():
            layer = self.layer(key)
            overlay = result.overlay or self.editor.crop(key)
            if layer is not None and result.shown and (overlay or key in self.results):
                wanted[key] = (layer, overlay)
        return wanted

    def hand_over(self, old: str, new: str) -> None:
        """Keep the layer of one file's edit for the next file that has one: making one anew takes napari long."""
        if old and old != new and old in self.results:
            self._spare = self.results.pop(old)
            self._spare.visible = False
            self._drawn.pop(old, None)

    def _put(self, key: str, layer: Any, crop: Crop) -> None:
        """Show the edited part of one picture."""
        self.watch(key, layer)
        if self._drawn.get(key) is not crop:
            affine = glue.patch_affine(layer, crop.x, crop.y, flat=crop.pixels.ndim == 3)
            self._show_pixels(key, layer, crop.pixels, affine)
            self._drawn[key] = crop

    def _show_pixels(self, key: str, layer: Any, pixels: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
        if pixels.ndim == 4:
            pixels = glue.stack_shape(layer, pixels)
        shown = self.results.get(key)
        if shown is None and key.startswith("file:") and self._spare in self.viewer.layers:
            shown, self._spare = self._spare, None
            shown.name = f"{self.editor.pictures.name(key)} · edited"
            shown.metadata["dift-edit"] = {"result of": key}
            self.results[key] = shown
        if shown is not None:
            if shown.data is not pixels:
                shown.data = pixels
            shown.affine = affine
            shown.visible = self.after
            return
        name = f"{self.editor.pictures.name(key)} · edited"
        units = glue.units(layer) if pixels.ndim == 3 else {}
        shown = Image(
            pixels, rgb=True, affine=affine, name=name, opacity=self.opacity, visible=self.after, **units
        )  # fmt: skip
        shown.metadata["dift-edit"] = {"result of": key}
        self.results[key] = shown
        self.insert_above(layer, shown)

    def insert_above(self, layer: Any, new: Any) -> None:
        """Put a layer of ours right above a picture, without changing what is selected."""
        with self.quietly():
            self.viewer.layers.insert(self.viewer.layers.index(layer) + 1, new)

    def drop(self, layer: Any) -> None:
        """Hide a layer of ours at once, and take it away in a turn of its own."""
        if layer is not None and layer in self.viewer.layers:
            layer.visible = False
            self._leaving.append(layer)
            self._turn.start()

    def _take_away(self, *layers: Any) -> None:
        there = [layer for layer in layers if layer is not None and layer in self.viewer.layers]
        if there:
            with self.quietly(), glue.at_once(self.viewer):
                for layer in there:
                    self.viewer.layers.remove(layer)

    def ghost(self, key: str, quad: Any) -> None:
        """Show the sticker under a quad at once, until the engine has made the exact picture."""
        edit = self.editor.session.edit
        layer = self.layer(key)
        result = self.editor.session.results.get(key)
        if edit is None or edit.kind != "sticker" or layer is None or key in self.editor.session.views:
            return
        if result is not None and result.instances:
            return
        pixels = self.editor.pictures.thumbnail(edit.picture)
        self.watch(key, layer)
        with self.quietly():
            height, width = pixels.shape[:2]
            self._show_pixels(key, layer, pixels, glue.quad_affine(layer, quad, (width, height)))
        self._drawn.pop(key, None)

    # canvas → session

    def _stepped(self, _: Any = None) -> None:
        """Another frame is seen."""
        session = self.editor.session
        if "#" in session.source and self.handles.there:
            with self.quietly():
                self.handles.show(session)

    def _removed(self, event: Any) -> None:
        """A layer was taken out of the viewer."""
        if self.own_change:
            return
        layer = event.value
        for slot, shown in list(self.annotations.items()):
            if shown is layer:
                del self.annotations[slot]
                self.editor.drop_carried(self._carried.pop(slot))
                return
        for key, shown in list(self.results.items()):
            if shown is layer:
                del self.results[key]
                self._drawn.pop(key, None)
                if key in self.editor.session.results:
                    self.editor.review(key, "rejected")
                return
        self.handles.forget()
        self.show(self.editor.session)

    def watch(self, key: str, layer: Any) -> None:
        """Follow a picture's layer when the user moves it."""
        if key in self._watched:
            return

        def follow(_: Any = None) -> None:
            self._moved(key)

        self._watched[key] = layer, follow
        for name in _MOVES:
            layer.events[name].connect(follow)

    def _moved(self, key: str) -> None:
        layer = self.layer(key)
        if self.own_change or layer is None:
            return
        shown, crop = self.results.get(key), self._drawn.get(key)
        if shown is not None and crop is not None:
            shown.affine = glue.patch_affine(layer, crop.x, crop.y, flat=crop.pixels.ndim == 3)
        with self.quietly():
            for slot, shown in self.annotations.items():
                if slot[1] == key:
                    shown.affine = glue.patch_affine(layer, *self._carried[slot].corner)
            for follow in self.followers:
                follow(key, layer)
        self._turn.start()

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

    def select_soon(self, key: str) -> None:
        """Select the outline of one picture as soon as it is on the canvas."""
        self._choose = key
        self._turn.start()

    def select(self, key: str) -> None:
        """Select the outline of one picture, so that its handles are there to drag."""
        with self.quietly():
            self.handles.show(self.editor.session)
        self.handles.select(key)

    def look_at(self, key: str) -> None:
        """Fit one picture into the canvas."""
        layer = self.layer(key)
        if layer is not None:
            glue.look_at(self.viewer, *glue.world_box(layer))

    def look_at_point(self, key: str, point: Any) -> None:
        """Show the surroundings of one (x, y) of a picture, a third of it across."""
        layer = self.layer(key)
        if layer is not None:
            low, high = glue.world_box(layer)
            middle, half = glue.to_world(layer, [point])[0], (high - low) / 6
            glue.look_at(self.viewer, middle - half, middle + half)
