"""Outlines with handles: where the edit lies in each picture, to be dragged, scaled and turned."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from napari.layers import Shapes

from napari_dift_edit import layers as glue
from napari_dift_edit.colours import COLOURS, colour_of, colour_of_instance
from napari_dift_edit.editor import Editor
from napari_dift_edit.state import Instance, Quad, Result, Session

__all__ = ["Outlines"]

_SELECTING = ("select", "direct")
_IDLE = ("pan_zoom", "select", "direct", "transform")
"""Modes of other layers in which a press draws nothing."""
_REACH = 8
"""Screen pixels within which the edge of an outline is hit."""


def words_of(result: Result | Instance) -> str:
    """What stands beside an outline."""
    if result.review:
        return {"accepted": "✓ accepted", "rejected": "✗ rejected"}[result.review]
    if result.by_hand:
        return "by hand"
    return f"{result.confidence:.0%}" + ("" if result.shown else " ?")


class Canvas(Protocol):
    """What the outlines need to know of the canvas that they lie on."""

    own_change: bool

    def layer(self, key: str) -> Any:
        """The picture's layer while it is in the viewer, else None."""

    def watch(self, key: str, layer: Any) -> None:
        """Follow a picture's layer when the user moves it."""

    def ghost(self, key: str, quad: Any) -> None:
        """Show the sticker under a quad at once."""

    def show(self, session: Session) -> None:
        """Bring the canvas up to date."""


class Outlines:
    """A layer of shapes that has one quad for each picture with the edit.

    Parameters
    ----------
    viewer : napari.Viewer
        Where to show it.
    editor : Editor
        Has the session, and is told what the user drags.
    scene : Canvas
        Knows which layers are shown, and shows the sticker while it is dragged.
    """

    def __init__(self, viewer: Any, editor: Editor, scene: Canvas) -> None:
        self.viewer = viewer
        self.editor = editor
        self.scene = scene
        self.layer: Any = None
        self._keys: list[tuple[str, int]] = []
        self._quads: list[npt.NDArray[np.float64]] = []
        self._looks: list[tuple[str, str]] = []
        self.listening = True
        self.chosen: Callable[[str], None] = lambda key: None

    @property
    def there(self) -> bool:
        """Whether the layer is in the viewer."""
        return self.layer is not None and self.layer in self.viewer.layers

    def forget(self) -> None:
        """Make everything anew at the next `show`."""
        self._keys, self._quads, self._looks = [], [], []

    # session → canvas

    def show(self, session: Session) -> bool:
        """Bring the outlines up to date; returns whether there was something to do."""
        keys, quads, looks = [], [], []
        for (key, number), quad, look in self._wanted(session):
            layer = self.scene.layer(key)
            if layer is not None:
                keys.append((key, number))
                quads.append(glue.to_world(layer, quad))
                looks.append(look)
                self.scene.watch(key, layer)
        if not self.there:
            if not keys:
                return False
            self._make()
        known = len(self._keys)
        kept = keys[:known] == self._keys and all(map(np.allclose, quads[:known], self._quads))
        if kept and len(keys) == known and looks == self._looks:
            return False
        outlines = self.layer
        selected = {self._keys[index] for index in outlines.selected_data if index < known}
        if not kept or len(outlines.data) != known:
            outlines.data, known = [], 0
        if quads[known:]:
            outlines.add(
                quads[known:], shape_type="polygon", edge_width=self._edge_width(session), face_color=[0, 0, 0, 0]
            )
        colours = [colour for colour, _ in looks]
        if quads:
            outlines.edge_color = colours
            outlines.features = {"words": [words for _, words in looks], "colour": colours}
        self._keys, self._quads, self._looks = keys, quads, looks
        outlines.selected_data = {keys.index(key) for key in selected if key in keys}
        if self.viewer.layers[-1] is not outlines:
            self.viewer.layers.move(self.viewer.layers.index(outlines), -1)
        return True

    def _wanted(self, session: Session) -> Iterator[tuple[tuple[str, int], Quad, tuple[str, str]]]:
        """Picture and number of the instance, its place, its colour and words."""
        stack, _, number = session.source.partition("#")
        on_source = not number or number == str(self.frame(stack))
        edit = None if session.edit is None else session.edit.handled
        quad = None if edit is None or session.edit is None else edit.quad or session.edit.quad
        if edit is not None and quad and on_source:
            yield (session.source, 0), quad, (COLOURS["source"], edit.name)
        for key, quad in session.views.items():
            yield (key, 0), quad, (COLOURS["source"], "further view")
        for key, result in session.results.items():
            frame = self.frame(key)
            if result.frames and frame is not None and frame < len(result.track):
                if not (on_source and stack == key):
                    quad, confidence = result.track[frame]
                    hand = frame in session.keyframes.get(key, {})
                    colour = COLOURS["hand" if hand else "sure"]
                    yield (key, 0), quad, (colour, "by hand" if hand else f"{confidence:.0%}")
            elif result.instances and key in session.targets:
                for k, each in enumerate(result.instances):
                    look = COLOURS["stale"] if result.stale else colour_of_instance(each)
                    yield (key, k), each.quad, (look, f"{k + 1}: {words_of(each)}")
            elif result.quad is not None and key in session.targets:
                yield (key, 0), result.quad, (colour_of(result), words_of(result))

    def frame(self, key: str) -> int | None:
        """The frame of a stack that is seen."""
        layer = self.scene.layer(key)
        return None if layer is None or "#" in key else glue.frame_shown(layer, self.viewer.dims.point)

    def _edge_width(self, session: Session) -> float:
        layer = self.scene.layer(session.source)
        if layer is None:
            return 2.0
        low, high = glue.world_box(layer)
        return float(np.max(high - low)) * 0.005

    def _make(self) -> None:
        text = {
            "string": "{words}", "size": 10, "anchor": "upper_left", "color": {"feature": "colour"},
            "translation": [-2 * self._edge_width(self.editor.session), 0],
        }  # fmt: skip
        nothing = np.array([], dtype=object)
        features = {"words": nothing, "colour": nothing}
        source = self.scene.layer(self.editor.session.source)
        units = {} if source is None else glue.units(source)
        self.layer = Shapes(ndim=2, name="dift-edit handles", features=features, text=text, opacity=1.0, **units)
        self.layer.metadata["dift-edit"] = {"helper": True}
        self.layer.mouse_drag_callbacks.append(self._dragged)
        self.layer.events.data.connect(self._edited)
        self.viewer.layers.append(self.layer)
        self.layer.mode = "select"
        self.viewer.mouse_drag_callbacks.append(self._pressed)
        self.forget()

    def instance(self, key: str) -> int | None:
        """Number of the only outline of a picture that is chosen; None when there is none, or several are."""
        if not self.there:
            return None
        chosen = [self._keys[index] for index in self.layer.selected_data if index < len(self._keys)]
        return chosen[0][1] if len(chosen) == 1 and chosen[0][0] == key else None

    def select(self, key: str, instance: int | None = None) -> None:
        """Select the outline of one picture, so that its handles are there to drag; of several the undecided first."""
        if not self.there:
            return
        self.viewer.layers.selection.active = self.layer
        if self.layer.mode not in _SELECTING:
            self.layer.mode = "select"
        result = self.editor.session.results.get(key)
        if instance is None and result is not None:
            instance = next((n for n, each in enumerate(result.instances) if not each.decided), 0)
        wanted = (key, instance or 0)
        self.layer.selected_data = {self._keys.index(wanted)} if wanted in self._keys else set()

    def close(self) -> None:
        """Stop listening to the mouse."""
        if self._pressed in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._pressed)

    def under(self, world: Any) -> tuple[str, int] | None:
        """Picture and instance whose outline a point of the world is in or on; the smallest, if several."""
        point = np.asarray(world, dtype=np.float64)[-2:]
        reach = _REACH / float(glue.camera(self.viewer).zoom)
        found = [
            (_area(quad), key) for key, quad in zip(self._keys, self._quads, strict=True) if _inside(quad, point, reach)
        ]
        return min(found)[1] if found else None

    # canvas → session

    def _pressed(self, viewer: Any, event: Any) -> Iterator[None]:
        """A press on an outline chooses it, whatever layer is active, unless the user is drawing in another one."""
        active = viewer.layers.selection.active
        drawing = active is not None and active is not self.layer and str(active.mode) not in _IDLE
        if self.listening and not drawing and active is not self.layer and self.there and self.layer.visible:
            found = self.under(event.position)
            if found:
                key, instance = found
                self.select(key, instance)  # before napari hands the press on, so that it can be dragged at once
                self.chosen(key)
        yield

    def _quad(self, index: int) -> Quad | None:
        """What the user made of an outline, in its picture's pixels."""
        layer = self.scene.layer(self._keys[index][0])
        data = self.layer.data[index]
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
                    self.scene.ghost(self._keys[index][0], quad)
            yield

    def _edited(self, event: Any) -> None:
        """The user moved, reshaped or deleted outlines."""
        if self.scene.own_change:
            return
        action = str(event.action).rsplit(".", maxsplit=1)[-1].lower()
        if action == "removed":
            gone = [self._keys[index] for index in event.data_indices if index < len(self._keys)]
            self._put_back()
            for key, number in gone:
                if key in self.editor.session.views:
                    self.editor.drop_view(key)
                    continue
                self.editor.review(key, "rejected", number)
        elif action == "added" or (action == "changed" and len(self.layer.data) != len(self._keys)):
            self._put_back()
            self.editor.said.emit("Only the outlines of the edit live in this layer: draw in another one")
        elif action == "changed":
            self._commit(sorted(event.data_indices))

    def _put_back(self) -> None:
        self.forget()
        self.scene.show(self.editor.session)

    def _commit(self, indices: list[int]) -> None:
        """Hand what was dragged to the editor, as one step each."""
        session = self.editor.session
        for index in indices:
            quad, (key, number) = self._quad(index), self._keys[index]
            if quad is not None and np.allclose(self.layer.data[index], self._quads[index]):
                continue
            if key in session.views and quad is not None:
                self._quads[index] = np.array(self.layer.data[index])
                self.editor.move_view(key, quad)
                continue
            movable = session.edit is not None and (key != session.source or session.edit.handled.kind == "sticker")
            if quad is None or not movable:
                self._put_back()
                self.editor.said.emit("This edit belongs to the source's pixels: correct it on the targets")
                return
            self._quads[index] = np.array(self.layer.data[index])
            if key == session.source:
                self.editor.move_edit(quad)
            else:
                self.editor.correct(key, quad, self.frame(key), number)


def _area(quad: npt.NDArray[np.float64]) -> float:
    y, x = quad.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _inside(quad: npt.NDArray[np.float64], point: npt.NDArray[np.float64], reach: float) -> bool:
    """Whether a point is inside a quad, or nearer than `reach` to its edge."""
    start, along = quad, np.roll(quad, -1, axis=0) - quad
    to = point - start
    part = np.clip((to * along).sum(1) / np.maximum((along**2).sum(1), 1e-12), 0, 1)
    if float(np.hypot(*(to - part[:, None] * along).T).min()) <= reach:
        return True
    (row, column), rows, columns = point, quad[:, 0], quad[:, 1]
    ends = np.roll(quad, -1, axis=0)
    crosses = (rows > row) != (ends[:, 0] > row)
    at = columns + (row - rows) / np.where(crosses, ends[:, 0] - rows, 1) * (ends[:, 1] - columns)
    return bool(np.count_nonzero(crosses & (column < at)) % 2)
