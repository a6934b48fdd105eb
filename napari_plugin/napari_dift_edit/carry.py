"""Annotations that go along: labels, points and shapes of the source, as layers on every target."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes

from dift_edit.errors import DiftEditError
from napari_dift_edit import layers as glue
from napari_dift_edit.editor import Editor
from napari_dift_edit.jobs import Job
from napari_dift_edit.scene import Scene

__all__ = ["annotations", "carry_layer"]


def carry_layer(editor: Editor, scene: Scene, layer: Layer) -> int:
    """Make copies of an annotation layer of the source on each target that has a trusted place.

    Parameters
    ----------
    editor : Editor
        Has the results.
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
        If there are no results to follow.
    """
    session = editor.session
    source = scene.layer(session.source)
    keys = [key for key, result in session.results.items() if result.shown and result.quad and scene.layer(key)]
    if source is None or session.edit is None or not keys:
        raise DiftEditError("Propagate an edit first: annotations follow its place in each target.")
    if editor.job is not None:
        raise DiftEditError("Something is still running: wait for it, or cancel it.")
    asked = []
    for key in keys:
        result = session.results[key]
        question = {name: editor.question(session, key)[name] for name in ("source", "edit")}
        asked.append((key, {**question, "quad": result.quad, "transform": result.transform}))
    make = _labels if isinstance(layer, Labels) else _vectors

    def steps(cancelled: Callable[[], bool]) -> Iterator[Any]:
        content = _label_values(layer, source) if isinstance(layer, Labels) else None
        for key, question in asked:
            if content is not None:
                more = {"labels": content, "size": glue.picture_size(scene.layer(key))}
                answers = editor.ask("carry_labels", cancelled=cancelled, **question, **more)
            else:
                points = np.concatenate(_outlines(layer, source))
                answers = editor.ask("carry_points", cancelled=cancelled, **question, points=points)
            for answer in answers:
                yield key, answer

    def hear(item: Any) -> bool:
        key, answer = item
        target = scene.layer(key)
        if target is not None:
            made = make(layer, target, answer)
            made.name = f"{editor.pictures.name(key)} · {layer.name}"
            made.metadata["dift-edit"] = {"result of": key}
            scene.insert_above(target, made)
        return True

    def end(outcome: str) -> None:
        editor.job = None
        editor.said.emit(f"{layer.name}: carried to {len(keys)} pictures" if outcome == "done" else "Cancelled")
        editor.working.emit(False)

    key = editor.pictures.key(layer)
    if key not in editor.carried:
        editor.carried.append(key)
    editor.job = Job(steps, on_item=hear, on_end=end, title=f"dift-edit: {layer.name}", total=len(keys))
    editor.job.start()
    editor.working.emit(True)
    return len(keys)


def annotations(editor: Editor, scene: Scene) -> list[dict[str, Any]]:
    """The layers that were carried along and are still there, in the source's pixels, as the engine writes them."""
    source, found = scene.layer(editor.session.source), []
    for key in editor.carried:
        layer = scene.layer(key)
        if layer is None or source is None:
            continue
        labels = _label_values(layer, source) if isinstance(layer, Labels) else None
        found.append({
            "label": str(layer.name), "labels": labels,
            "polygons": _polygons(layer, source) if isinstance(layer, Shapes) else [],
            "points": _outlines(layer, source)[0] if isinstance(layer, Points) else [],
        })  # fmt: skip
    return found


def _polygons(layer: Shapes, source: Layer) -> list[Any]:
    """The closed shapes; an ellipse as the polygon that napari draws."""
    outlines = _outlines(layer, source)
    for index, kind in enumerate(layer.shape_type):
        if kind == "ellipse":
            corners = outlines[index]
            angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
            across, down = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
            outlines[index] = corners.mean(0) + np.cos(angle) * across + np.sin(angle) * down
    return [outline for outline in outlines if len(outline) > 2]


def _label_values(layer: Labels, source: Layer) -> Any:
    """The labels in the source's frame."""
    from scipy import ndimage

    values = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    values = values if values.ndim == 2 else values[0]
    width, height = glue.picture_size(source)
    forward = glue.frame_change(source, layer)
    if np.allclose(forward, np.eye(3)) and values.shape == (height, width):
        return values
    return ndimage.affine_transform(values, forward[:2, :2], forward[:2, 2], (height, width), order=0)


def _outlines(layer: Any, source: Layer) -> list[Any]:
    """The (x, y) of each shape, or of each point, in the source's pixels."""
    rows = layer.data if isinstance(layer, Shapes) else [layer.data]
    return [
        glue.to_picture(source, np.array([layer.data_to_world(point)[-2:] for point in np.asarray(row)]).reshape(-1, 2))
        for row in rows
    ]


def _labels(layer: Labels, target: Layer, answer: dict[str, Any]) -> Layer:
    return Labels(
        answer["labels"], affine=glue.patch_affine(target, answer["x"], answer["y"]), colormap=layer.colormap,
        opacity=layer.opacity,
    )  # fmt: skip


def _vectors(layer: Any, target: Layer, points: Any) -> Layer:
    """Points or shapes with the looks and features of the original."""
    world = glue.to_world(target, points)
    if isinstance(layer, Points):
        return Points(
            world, ndim=2, size=layer.size, symbol=layer.symbol, face_color=layer.face_color,
            border_color=layer.border_color, features=layer.features, opacity=layer.opacity,
        )  # fmt: skip
    counts = np.cumsum([len(row) for row in layer.data])[:-1]
    kinds = ["polygon" if kind == "rectangle" else kind for kind in layer.shape_type]
    return Shapes(
        list(np.split(world, counts)), ndim=2, shape_type=kinds, face_color=layer.face_color,
        edge_color=layer.edge_color, edge_width=layer.edge_width, features=layer.features, opacity=layer.opacity,
    )  # fmt: skip
