"""Explore: point at something in one picture and see where it lies in the others."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Points
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_dift_edit import layers as glue
from napari_dift_edit.colours import colour_of_confidence
from napari_dift_edit.editor import Editor
from napari_dift_edit.jobs import Lane
from napari_dift_edit.scene import Scene

__all__ = ["Explorer"]

_GRAB = 18
"""Screen pixels within which a point is taken hold of."""
_POINT = 34
"""Screen pixels across the ring round a point, which leaves what it marks to be seen."""
_PATIENCE = 150
"""Milliseconds after which the asked point is shown though no answer has come."""


class Explorer:
    """Heat maps and matched points, live; a matched point that is dragged becomes a pin.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the pointer moves.
    editor : Editor
        Knows the pictures and gets the pins.
    scene : Scene
        Knows which layers are shown.
    """

    progressed = Signal(int, int)
    """So many of so many targets are ready, or have answered."""

    def __init__(self, viewer: Any, editor: Editor, scene: Scene) -> None:
        self.viewer = viewer
        self.editor = editor
        self.scene = scene
        self.on = False
        self.hover = False
        self.query: tuple[str, tuple[float, float]] | None = None
        self.found: dict[str, tuple[tuple[float, float], float]] = {}
        self.points: Any = None
        self.heat: dict[str, Any] = {}
        self.lane = Lane()
        self._answers: dict[str, dict[str, Any]] = {}
        self._looks: list[tuple[str, str]] = []
        self._count = 0
        self._answered: set[str] = set()
        self._turn = QTimer()
        self._turn.setSingleShot(True)
        self._turn.timeout.connect(self._show_next)
        scene.followers.append(self._picture_moved)

    def turn(self, on: bool) -> None:
        """Begin or end."""
        if on == self.on:
            return
        self.on = on
        if on:
            self.viewer.mouse_drag_callbacks.append(self._pressed)
            self.viewer.mouse_move_callbacks.append(self._moved)
            self.scene.handles.listening = False
            self.viewer.layers.selection.active = self.scene.layer(self.editor.session.source)
            self._warm()
        else:
            self.scene.handles.listening = True
            self.viewer.mouse_drag_callbacks.remove(self._pressed)
            self.viewer.mouse_move_callbacks.remove(self._moved)
            self._clear()

    @property
    def busy(self) -> bool:
        """Whether answers are awaited, or not shown yet."""
        return self.lane.busy or self._turn.isActive()

    def _clear(self) -> None:
        self.query, self.found, self._answers = None, {}, {}
        self._turn.stop()
        for layer in (self.points, *self.heat.values()):
            self.scene.drop(layer)
        self.points, self.heat = None, {}

    def _warm(self) -> None:
        """Let the engine prepare for questions about the source."""
        keys = [self.editor.pictures.content(key) for key in self.pictures()]
        if len(keys) > 1:
            ready: set[str] = set()  # a key comes again where pictures had to be sent first

            def hear(key: str) -> None:
                new = key not in ready
                ready.add(key)
                if self.on and new:
                    done, total = len(ready), len(keys) - 1
                    words = f"getting ready: {done} of {total} targets" if done < total else "click in the source"
                    self.editor.said.emit(f"Explore: {words}")
                    self.progressed.emit(done, total)

            model = self.editor.settings.message()
            self.editor.ask_aside("warm", hear, source=keys[0], targets=keys[1:], model=model)

    def pictures(self) -> list[str]:
        """Keys of the source and the targets that are open."""
        session = self.editor.session
        keys = (session.source, *session.targets)
        return [key for key in keys if key and self.scene.layer(key) is not None]

    def picture_at(self, world: Any) -> tuple[str, tuple[float, float]] | None:
        """Which picture is under a point of the world, and which of its pixels."""
        for key in self.pictures():
            layer = self.scene.layer(key)
            x, y = glue.to_picture(layer, [tuple(world)[-2:]])[0]
            width, height = glue.picture_size(layer)
            if layer.visible and -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5:
                return key, (float(x), float(y))
        return None

    def _moved(self, _: Any, event: Any) -> None:
        if (self.hover or "Shift" in event.modifiers) and not self.editor.job:
            place = self.picture_at(event.position)
            if place is not None and place[0] == self.editor.session.source:
                self.ask(*place)

    def _pressed(self, viewer: Any, event: Any) -> Iterator[None]:
        """A click asks; taking hold of a match and dragging it pins it."""
        held = self._match_under(event.position)
        start = np.array(event.position)[-2:]
        camera = glue.camera(viewer)
        pan = camera.mouse_pan
        if held:
            camera.mouse_pan = False
        moved = False

        def follow() -> None:
            nonlocal moved
            place = np.array(event.position)[-2:]
            moved = moved or bool(np.abs(place - start).max() * camera.zoom > 4)
            if held and moved:
                x, y = glue.to_picture(self.scene.layer(held), [place])[0]
                self.found[held] = ((float(x), float(y)), 1.0)
                self._show_points()

        try:
            yield
            while event.type == "mouse_move":
                follow()
                yield
            follow()  # to where it was let go: the last moves may have been left out
        finally:
            camera.mouse_pan = pan
        if held and moved and self.query is not None:
            self._pin(held)
        elif not moved:
            place = self.picture_at(event.position)
            if place is not None:
                self.ask(*place)

    def _match_under(self, world: Any) -> str:
        for key, (point, _) in self.found.items():
            layer = self.scene.layer(key)
            if layer is not None:
                away = glue.to_world(layer, [point])[0] - np.array(world)[-2:]
                if float(np.hypot(*away)) * glue.camera(self.viewer).zoom <= _GRAB:
                    return key
        return ""

    def _pin(self, key: str) -> None:
        assert self.query is not None
        if self.query[0] == self.editor.session.source and key in self.editor.session.targets:
            self.editor.pin(key, self.query[1], self.found[key][0])
        else:
            self.editor.said.emit("Ask at a point of the source first: pins tie the source to a target")

    def ask(self, key: str, point: tuple[float, float]) -> None:
        """Show where a point of a picture lies in all others."""
        self.query = (key, point)
        self.found.pop(key, None)
        others = [other for other in self.pictures() if other != key]
        question: dict[str, Any] = {
            "source": self.editor.pictures.content(key), "point": point,
            "targets": [self.editor.pictures.content(other) for other in others],
            "model": self.editor.settings.message(),
        }  # fmt: skip
        names = dict(zip(question["targets"], others, strict=True))

        def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
            yield from self.editor.ask("explore", cancelled=cancelled, urgency=0, **question)

        self._count, self._answered = len(others), set()
        self.progressed.emit(0, self._count)
        self._turn.start(_PATIENCE)
        self.lane.submit(steps, lambda answer: self._take(names[answer["key"]], answer))

    def _take(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer; it is shown in a turn of the event loop of its own, as it may need a new layer."""
        if self.on:
            self._answers[key] = answer
            self._turn.start(0)

    def _show_next(self) -> None:
        if self._answers:
            key = next(iter(self._answers))
            answer = self._answers.pop(key)
            if self.query is not None and key != self.query[0] and self.scene.layer(key) is not None:
                self.found[key] = (answer["point"], answer["confidence"])
                self._show_heat(key, answer["heat"])
                self._answered.add(key)
                self.progressed.emit(len(self._answered), self._count)
        if self._answers:
            self._turn.start(0)
        else:
            self._show_points()

    def _picture_moved(self, key: str, layer: Any) -> None:
        """A picture moved: its heat map and the points go with it."""
        heat = self.heat.get(key)
        if heat is not None and heat in self.viewer.layers:
            heat.affine = self._heat_affine(layer, heat.data.shape)
        if self.on and (key in self.found or (self.query or ("",))[0] == key):
            self._show_points()

    @staticmethod
    def _heat_affine(layer: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        width, height = glue.picture_size(layer)
        step = (width / shape[1], height / shape[0])
        return glue.patch_affine(layer, 0.5 * step[0] - 0.5, 0.5 * step[1] - 0.5, step)

    def _show_heat(self, key: str, heat: npt.NDArray[np.float32]) -> None:
        layer = self.scene.layer(key)
        affine = self._heat_affine(layer, heat.shape)
        self.scene.watch(key, layer)
        shown = self.heat.get(key)
        if shown is not None and shown in self.viewer.layers and shown.data.shape == heat.shape:
            shown.data[...] = heat
            shown.refresh(thumbnail=False, highlight=False, extent=False)  # a third of what setting data takes
            if not np.allclose(shown.affine.affine_matrix, affine):
                shown.affine = affine
            return
        self.scene.drop(shown)
        shown = Image(
            heat, name=f"{self.editor.pictures.name(key)} · similarity", affine=affine, contrast_limits=(0, 1),
            colormap="inferno", **glue.units(layer), blending="additive", opacity=0.75, interpolation2d="linear",
        )  # fmt: skip
        shown.metadata["dift-edit"] = {"result of": key}
        self.heat[key] = shown
        self.scene.insert_above(layer, shown)

    def _show_points(self) -> None:
        """The asked point and its matches; the surer, the greener."""
        if self.query is None:
            return
        rows = [(self.query[0], self.query[1], "white", "")]
        rows += [
            (key, point, colour_of_confidence(confidence), f"{confidence:.0%}")
            for key, (point, confidence) in self.found.items()
        ]
        rows = [row for row in rows if self.scene.layer(row[0]) is not None]
        if self.points is None or self.points not in self.viewer.layers:
            self._make_points()
        rings = [glue.to_world(self.scene.layer(row[0]), [row[1]])[0] for row in rows]
        points, places = self.points, [*rings, *rings]  # below each ring a dark one, to be seen on bright heat
        if len(points.data) == len(places):
            points.data[...] = places
            points.selected_data = set()
        else:
            points.data = np.array(places)
        sizes = np.repeat([1.25 * self._size(), self._size()], len(rows))
        if not np.allclose(points.size, sizes):
            points.size = sizes
            points.text.translation = [-0.5 * self._size(), 0.5 * self._size()]
        looks = [("black", "") for _ in rows] + [row[2:] for row in rows]
        if looks != self._looks:
            self._looks = looks
            points.border_color = colours = [colour for colour, _ in looks]
            points.features = {"words": [words for _, words in looks], "colour": colours}
        points.refresh(thumbnail=False, highlight=False, extent=False)
        self.scene.watch(self.query[0], self.scene.layer(self.query[0]))

    def _make_points(self) -> None:
        self._looks = []
        layer = self.scene.layer(self.query[0]) if self.query else None
        self.points = Points(
            **({} if layer is None else glue.units(layer)),
            ndim=2, name="dift-edit matches", symbol="disc", border_width=0.12, face_color=[0, 0, 0, 0],
            size=self._size(), features={"words": np.array([], dtype=object), "colour": np.array([], dtype=object)},
            text={
                "string": "{words}", "size": 10, "color": {"feature": "colour"}, "anchor": "upper_left",
                "translation": [-0.5 * self._size(), 0.5 * self._size()],
            },
        )  # fmt: skip
        self.points.metadata["dift-edit"] = {"helper": True}
        with self.scene.quietly():
            self.viewer.layers.append(self.points)

    def _size(self) -> float:
        """Of the rings in the world, so that they are as large on the screen at any zoom."""
        return _POINT / float(glue.camera(self.viewer).zoom)
