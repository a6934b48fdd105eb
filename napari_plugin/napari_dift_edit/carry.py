"""Annotations that go along: labels, points and shapes of the source, on every target.

They follow the place of the edit, or are found by the landmark engine, which needs no edit; then each point and shape
has a confidence of its own.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes

from dift_edit.errors import DiftEditError
from napari_dift_edit.annotations import (
    label_values,
    looks_of,
    outlines_of,
    parts_of_layer,
    polygons_of,
)
from napari_dift_edit.editor import Editor
from napari_dift_edit.jobs import Job
from napari_dift_edit.scene import Scene
from napari_dift_edit.state import Carried

__all__ = ["SURE", "Unsure", "carry_landmarks", "carry_layer", "pin_layers", "recipe_annotations"]

SURE = 0.8
"""Landmarks below this confidence are called unsure; chosen."""


def carry_layer(editor: Editor, scene: Scene, layer: Layer) -> int:
    """Put copies of an annotation layer of the source on each target that has a trusted place, where the edit is.

    Parameters
    ----------
    editor : Editor
        Has the results, and gets the copies as one step.
    scene : Scene
        Knows which layers are shown.
    layer : Labels, Points or Shapes
        Drawn on the source.

    Returns
    -------
    int
        How many targets get one.

    Raises
    ------
    DiftEditError
        If there are no results to follow, or something is running.
    """
    session = editor.session
    source = scene.layer(session.source)
    keys = [
        key for key, result in session.results.items() if result.shown and result.quad and editor.pictures.here(key)
    ]
    if source is None or session.edit is None or not keys:
        raise DiftEditError("Propagate an edit first: annotations follow its place in each target.")
    asked = []
    for key in keys:
        result, question = session.results[key], editor.question(session, key)
        more = {"quad": result.quad, "transform": result.transform}
        asked.append((key, {name: question[name] for name in ("source", "edit")} | more))
    labels = label_values(layer, source) if isinstance(layer, Labels) else None
    outlines = [] if labels is not None else outlines_of(layer, source)
    kinds = {row: "polygon" for row, kind in enumerate(getattr(layer, "shape_type", ())) if kind == "rectangle"}
    rows = len(layer.data) if labels is None else 0

    def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
        for key, question in asked:
            if labels is not None:
                more = {"labels": labels, "target": editor.pictures.content(key)}
                for answer in editor.ask("carry_labels", cancelled=cancelled, **question, **more):
                    yield key, {"data": (answer["labels"],), "corner": (answer["x"], answer["y"])}
            else:
                points = np.concatenate(outlines)
                for answer in editor.ask("carry_points", cancelled=cancelled, **question, points=points):
                    yield key, {"data": tuple(np.split(answer, np.cumsum([len(row) for row in outlines])[:-1])),
                                "kinds": kinds, "rows": tuple(range(rows))}  # fmt: skip

    return _carry(editor, source, layer, steps, len(keys))


def carry_landmarks(editor: Editor, scene: Scene, layer: Labels | Points | Shapes) -> int:
    """Find the annotations of a layer of the source in every target, each by itself; no edit is needed.

    Points of one object (column ``object`` of the features; all of the layer where there is none) keep their shape
    together. Shapes and labels follow the deformation of what lies in and round them.

    Parameters
    ----------
    editor, scene, layer
        As for `carry_layer`.

    Returns
    -------
    int
        How many targets get them.

    Raises
    ------
    DiftEditError
        If there is no source, target or annotation, or something is running.
    """
    session = editor.session
    source = scene.layer(session.source)
    keys = [key for key in session.targets if editor.pictures.here(key) and not editor.pictures.frames(key)]
    if source is None or not keys:
        raise DiftEditError("Landmarks go from the source to targets: open at least two pictures.")
    things = _things(layer, source)
    if not things:
        what = "labels" if isinstance(layer, Labels) else "points" if isinstance(layer, Points) else "shapes"
        raise DiftEditError(f"There are no {what} in {layer.name}: add some on the source first.")
    question = {
        "source": editor.pictures.content(session.source), "things": things, "model": editor.settings.message(),
        "mirror": editor.settings.transfer.get("mirror", "auto"),
    }  # fmt: skip
    targets = [(key, editor.pictures.content(key)) for key in keys]
    dtype = np.asarray(_first_level(layer)).dtype if isinstance(layer, Labels) else None

    def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
        for key, target in targets:
            for answer in editor.ask("annotate", cancelled=cancelled, target=target, **question):
                found = _points_found(answer) if isinstance(layer, Points) else _objects_found(answer, dtype)
                if found is not None:
                    yield key, {**found, "size": answer["size"], "things": things}

    return _carry(editor, source, layer, steps, len(keys))


def _first_level(layer: Labels) -> Any:
    return layer.data[0] if layer.multiscale else layer.data


def _things(layer: Labels | Points | Shapes, source: Layer) -> list[dict[str, Any]]:
    """What the landmark engine looks for, see `tasks.annotate`."""
    from dift_edit.annotations import AnnotatedObject

    parts = list(parts_of_layer(layer, source))
    if not isinstance(layer, Points):
        return [
            {"rows": [row], "object": AnnotatedObject(category=category, **part)} for (category, _), part, row in parts
        ]
    rows: dict[Any, list[int]] = {}
    for key, _, row in parts:
        rows.setdefault(key, []).append(row)
    (points,) = outlines_of(layer, source)
    return [{"rows": group, "points": points[group]} for group in rows.values()]


def _points_found(answer: dict[str, Any]) -> dict[str, Any]:
    rows = tuple(sorted(answer["points"]))
    points = np.array([answer["points"][row] for row in rows])
    return {"data": (points,), "confidence": tuple(answer["confidence"][row] for row in rows), "rows": rows}


def _objects_found(answer: dict[str, Any], dtype: Any) -> dict[str, Any] | None:
    """Shapes, or labels of a dtype; None where none is in the target."""
    objects = {row: found for row, found in answer["objects"].items() if found is not None}
    if not objects:
        return None
    if dtype is None:
        shapes = {row: _shape(found) for row, found in objects.items()}
        return {
            "data": tuple(points for points, _ in shapes.values()), "rows": tuple(shapes),
            "kinds": {row: kind for row, (_, kind) in shapes.items()},
            "confidence": tuple(float(found.confidence) for found in objects.values()),
        }  # fmt: skip
    boxes = np.array([found.mask.box for found in objects.values()])
    left, top = (int(edge) for edge in np.floor(boxes[:, :2].min(0) + 0.5))
    right, bottom = (int(edge) for edge in np.ceil(boxes[:, 2:].max(0) + 0.5))
    values = np.zeros((bottom - top, right - left), dtype)
    for value, found in objects.items():
        mask, (rows, columns) = found.mask, found.mask.pixels.shape
        part = values[mask.top - top : mask.top - top + rows, mask.left - left : mask.left - left + columns]
        part[mask.pixels] = value
    return {"data": (values,), "corner": (left, top)}


def _shape(found: Any) -> tuple[Any, str]:
    """(x, y) points and napari's kind of shape."""
    if found.box is not None:
        left, top, right, bottom = found.box
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), "rectangle"
    if found.outlines:
        return found.outlines[0].points, "polygon"
    points = found.curves[0].points
    return (np.concatenate([points, points[:1]]) if found.curves[0].closed else points), "path"


def _carry(editor: Editor, source: Layer, layer: Layer, steps: Callable[..., Iterator[Any]], count: int) -> int:
    """Run `steps`, which yield a target and fields of `Carried`, as one step that can be undone."""
    if editor.job is not None:
        raise DiftEditError("Something is still running: wait for it, or cancel it.")
    kind, looks = looks_of(layer, source)
    origins = outlines_of(layer, source)[0] if isinstance(layer, Points) else None
    key = editor.pictures.key(layer)
    number = editor.begin(f"Carry {layer.name} along")
    done: list[Carried] = []

    def hear(item: Any) -> bool:
        target, found = item
        name = f"{editor.pictures.name(target)} · {layer.name}"
        done.append(Carried(layer=key, target=target, name=name, kind=kind, looks=looks, origins=origins, **found))
        editor.add_carried(done[-1], number)
        return True

    def end(outcome: str) -> None:
        editor.job = None
        unsure = sum(value < SURE for each in done for value in each.confidence or ())
        words = f"{layer.name}: carried to {len(done)} of {count} pictures"
        if unsure:
            words += f"; {unsure} {kind} are unsure: press U to go from one to the next"
        editor.said.emit(words if outcome == "done" else f"Cancelled. {words}")
        editor.working.emit(False)

    editor.job = Job(steps, on_item=hear, on_end=end, title=f"dift-edit: {layer.name}", total=count)
    editor.job.start()
    editor.working.emit(True)
    return count


def pin_layers(editor: Editor, scene: Scene, key: str, first: Points, second: Points) -> None:
    """Pin a target by two layers of points: those of `first` lie on the source, those of `second` on the target.

    Raises
    ------
    DiftEditError
        If source or target are not open, or the layers have not as many points.
    """
    source, target = scene.layer(editor.session.source), scene.layer(key)
    if source is None or target is None:
        raise DiftEditError("Points on a picture that is not open: open source and target first.")
    if len(first.data) != len(second.data) or not len(first.data):
        raise DiftEditError(
            f"{first.name} has {len(first.data)} points and {second.name} has {len(second.data)}: pins are pairs."
        )
    (ours,), (theirs,) = outlines_of(first, source), outlines_of(second, target)
    editor.pin_pairs(key, list(zip(ours.tolist(), theirs.tolist(), strict=True)))


def recipe_annotations(editor: Editor, scene: Scene) -> list[dict[str, Any]]:
    """The layers that were carried along and are still there, in the source's pixels, as the engine writes them."""
    source, found = scene.layer(editor.session.source), []
    for key in dict.fromkeys(carried.layer for carried in editor.session.carried):
        layer = scene.layer(key)
        if layer is None or source is None:
            continue
        labels = label_values(layer, source) if isinstance(layer, Labels) else None
        found.append({
            "label": str(layer.name), "labels": labels,
            "polygons": polygons_of(layer, source) if isinstance(layer, Shapes) else [],
            "points": outlines_of(layer, source)[0] if isinstance(layer, Points) else [],
        })  # fmt: skip
    return found


class Unsure:
    """Goes from one unsure landmark to the next, least sure first.

    Parameters
    ----------
    editor : Editor
        Has them, and says where it is.
    scene : Scene
        Has the layers.
    show : callable
        Shows a target that is a file; its annotations follow.
    """

    def __init__(self, editor: Editor, scene: Scene, show: Callable[[str], None]) -> None:
        self.editor = editor
        self.scene = scene
        self._show = show
        self._last: tuple[Any, int] | None = None
        self._awaited: tuple[Any, int, str] | None = None
        scene.annotated.connect(self._made)

    def all(self) -> list[tuple[float, Carried, int]]:
        """(confidence, what was carried, index) of each point or shape, the least sure first."""
        found = [
            (float(value), carried, index)
            for carried in self.editor.session.carried if carried.target in self.editor.session.targets
            for index, value in enumerate(carried.confidence or ())
        ]  # fmt: skip
        return sorted(found, key=lambda item: item[0])

    def points(self) -> list[tuple[float, Carried, int]]:
        """Those of `all` that are unsure."""
        return [item for item in self.all() if item[0] < SURE]

    def next(self) -> None:
        """Go to the next one: it is selected, in the middle of the canvas, and can be dragged."""
        points = self.points()
        if not points:
            some = any(each.confidence is not None for each in self.editor.session.carried)
            self.editor.said.emit("No landmark is unsure" if some else "No landmarks were carried yet")
            return
        places = [(carried.slot, index) for _, carried, index in points]
        number = (places.index(self._last) + 1) % len(points) if self._last in places else 0
        confidence, carried, index = points[number]
        self.go(
            carried.slot, index,
            f"{carried.name}, {number + 1} of {len(points)} unsure ones: {confidence:.0%} sure. Drag it to where it "
            "belongs; U goes to the next",
        )  # fmt: skip

    def go(self, slot: tuple[str, str], index: int, words: str = "") -> None:
        """Go to one landmark or shape; a file is shown first."""
        self._last = (slot, index)
        if slot in self.scene.annotations:
            self._select(slot, index, words)
        else:
            self._awaited = (slot, index, words)
            self._show(slot[1])

    def _made(self, slot: tuple[str, str]) -> None:
        if self._awaited is not None and self._awaited[0] == slot:
            awaited, self._awaited = self._awaited, None
            self._select(*awaited)

    def _select(self, slot: tuple[str, str], index: int, words: str) -> None:
        layer = self.scene.annotations[slot]
        if index >= len(layer.data):
            return
        self.scene.look_at_point(slot[1], np.mean(np.reshape(layer.data[index], (-1, 2)), axis=0)[::-1])
        self.scene.viewer.layers.selection.active = layer
        layer.mode = "select"
        layer.selected_data = {index}
        if words:
            self.editor.said.emit(words)
