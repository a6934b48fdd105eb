"""Annotations that go along: labels, points and shapes of the source, on every target.

Labels and shapes follow the place of the edit. Landmarks are matched one by one, which needs no edit; each has a
confidence of its own.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes

from dift_edit.errors import DiftEditError
from napari_dift_edit.annotations import label_values, looks_of, outlines_of, polygons_of
from napari_dift_edit.editor import Editor
from napari_dift_edit.jobs import Job
from napari_dift_edit.scene import Scene
from napari_dift_edit.state import Carried

__all__ = ["SURE", "Unsure", "carry_landmarks", "carry_layer", "recipe_annotations"]

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

    def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
        for key, question in asked:
            if labels is not None:
                more = {"labels": labels, "target": editor.pictures.content(key)}
                for answer in editor.ask("carry_labels", cancelled=cancelled, **question, **more):
                    yield key, (answer["labels"],), (answer["x"], answer["y"]), None
            else:
                points = np.concatenate(outlines)
                for answer in editor.ask("carry_points", cancelled=cancelled, **question, points=points):
                    yield key, tuple(np.split(answer, np.cumsum([len(row) for row in outlines])[:-1])), (0, 0), None

    return _carry(editor, source, layer, steps, len(keys))


def carry_landmarks(editor: Editor, scene: Scene, layer: Points) -> int:
    """Find each point of a layer of the source in every target, by itself; no edit is needed.

    Parameters
    ----------
    editor, scene, layer
        As for `carry_layer`; the layer is one of points.

    Returns
    -------
    int
        How many targets get them.

    Raises
    ------
    DiftEditError
        If there is no source, target or point, or something is running.
    """
    session = editor.session
    source = scene.layer(session.source)
    keys = [key for key in session.targets if editor.pictures.here(key) and not editor.pictures.frames(key)]
    if source is None or not keys:
        raise DiftEditError("Landmarks go from the source to targets: open at least two pictures.")
    (points,) = outlines_of(layer, source)
    if not len(points):
        raise DiftEditError(f"There are no points in {layer.name}: add some on the source first.")
    content, model = editor.pictures.content(session.source), editor.settings.message()
    targets = [(key, editor.pictures.content(key)) for key in keys]

    def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
        for key, target in targets:
            question = {"source": content, "target": target, "points": points, "model": model}
            for found, confidence in editor.ask("match", cancelled=cancelled, **question):
                yield key, (found,), (0, 0), tuple(map(float, confidence))

    return _carry(editor, source, layer, steps, len(keys))


def _carry(editor: Editor, source: Layer, layer: Layer, steps: Callable[..., Iterator[Any]], count: int) -> int:
    """Run `steps`, which yield (target, arrays, corner, confidence), as one step that can be undone."""
    if editor.job is not None:
        raise DiftEditError("Something is still running: wait for it, or cancel it.")
    kind, looks = looks_of(layer, source)
    key = editor.pictures.key(layer)
    number = editor.begin(f"Carry {layer.name} along")
    done: list[Carried] = []

    def hear(item: Any) -> bool:
        target, data, corner, confidence = item
        done.append(Carried(
            layer=key, target=target, name=f"{editor.pictures.name(target)} · {layer.name}", kind=kind,
            data=data, corner=corner, confidence=confidence, looks=looks,
        ))  # fmt: skip
        editor.add_carried(done[-1], number)
        return True

    def end(outcome: str) -> None:
        editor.job = None
        unsure = sum(value < SURE for each in done for value in each.confidence or ())
        words = f"{layer.name}: carried to {len(done)} of {count} pictures"
        if unsure:
            words += f"; {unsure} points are unsure: press U to go from one to the next"
        editor.said.emit(words if outcome == "done" else f"Cancelled. {words}")
        editor.working.emit(False)

    editor.job = Job(steps, on_item=hear, on_end=end, title=f"dift-edit: {layer.name}", total=count)
    editor.job.start()
    editor.working.emit(True)
    return count


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
        Says where it is.
    scene : Scene
        Has the layers.
    """

    def __init__(self, editor: Editor, scene: Scene) -> None:
        self.editor = editor
        self.scene = scene
        self._last: tuple[Any, int] | None = None

    def points(self) -> list[tuple[float, Any, Any, int]]:
        """(confidence, Carried, layer, index) of each unsure point, the least sure first."""
        found = [
            (float(value), carried, layer, index)
            for carried, layer in self.scene.annotations.items()
            if "confidence" in getattr(layer, "features", ())
            for index, value in enumerate(layer.features["confidence"]) if value < SURE
        ]  # fmt: skip
        return sorted(found, key=lambda item: item[0])

    def next(self) -> None:
        """Go to the next one: it is selected, in the middle of the canvas, and can be dragged."""
        points = self.points()
        if not points:
            self.editor.said.emit(
                "No landmark is unsure" if self.scene.annotations else "No landmarks were carried yet"
            )
            return
        places = [(carried, index) for _, carried, _, index in points]
        number = (places.index(self._last) + 1) % len(points) if self._last in places else 0
        confidence, carried, layer, index = points[number]
        self._last = places[number]
        self.scene.look_at_point(carried.target, layer.data[index][::-1])
        self.scene.viewer.layers.selection.active = layer
        layer.mode = "select"
        layer.selected_data = {index}
        self.editor.said.emit(
            f"{carried.name}, point {index + 1}: {confidence:.0%} sure ({number + 1} of {len(points)}). Drag it to "
            "where it belongs; U goes to the next"
        )
