"""Annotation layers as plain values and back: what they hold in a picture's pixels, and how they look.

Features of Points and Shapes say what each is: ``name`` of a keypoint, ``category``, ``object``, ``visibility`` and
``confidence``, as in napari's CSV files. A label is an object with a mask.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes

from napari_dift_edit import layers as glue
from napari_dift_edit.colours import colour_of_confidence
from napari_dift_edit.state import Carried

if TYPE_CHECKING:
    from dift_edit.annotations import AnnotatedImage

__all__ = [
    "annotated_image",
    "carried_again",
    "ellipse_points",
    "label_values",
    "looks_of",
    "make_layer",
    "outlines_of",
    "parts_of_carried",
    "parts_of_layer",
    "polygons_of",
    "show_landmarks",
]

Key = tuple[str, str]
"""Category and object: what belongs to one thing."""

_LOOKS = {
    "points": (
        "size", "symbol", "face_color", "border_color", "border_width", "border_width_is_relative", "opacity", "text",
        "features", "blending",
    ),
    "shapes": ("shape_type", "z_index", "edge_width", "face_color", "edge_color", "opacity", "text", "features",
               "blending"),
    "labels": ("colormap", "opacity", "blending"),
}  # fmt: skip
_PER_ROW = ("size", "symbol", "face_color", "border_color", "border_width", "edge_width", "edge_color", "z_index",
            "shape_type")  # fmt: skip


def looks_of(layer: Layer, source: Layer) -> tuple[str, MappingProxyType[str, Any]]:
    """Kind of a layer and how it looks, with sizes in the source's pixels."""
    _, state, kind = layer.as_layer_data_tuple()
    looks = {name: state[name] for name in _LOOKS[kind] if name in state}
    scale = np.sqrt(abs(np.linalg.det(glue.frame_change(layer, source)[:2, :2])))
    for name in ("size", "edge_width"):
        if name in looks:
            looks[name] = np.asarray(looks[name], dtype=float) * scale
    return kind, MappingProxyType(looks)


def make_layer(carried: Carried, target: Layer) -> Layer:
    """The napari layer of carried annotations; its data are (row, column) pixels of the target's picture."""
    looks = dict(carried.looks)
    place = {"affine": glue.patch_affine(target, *carried.corner), "name": carried.name, **glue.units(target)}
    if carried.kind == "labels":
        return Labels(carried.data[0], **looks, **place)
    rows = [np.asarray(points)[:, ::-1].copy() for points in carried.data]  # napari moves them in place
    if carried.rows is not None:
        looks = _of_rows(looks, carried)
    if carried.confidence is not None:
        looks["features"] = looks["features"].assign(confidence=carried.confidence)
    if carried.kind == "shapes":
        if carried.confidence is not None:
            looks["edge_color"] = [colour_of_confidence(value) for value in carried.confidence]
        return Shapes(rows, ndim=2, **looks, **place)
    if carried.confidence is not None:
        looks["border_color"] = [colour_of_confidence(value) for value in carried.confidence]
        looks["border_width"], looks["border_width_is_relative"] = 0.2, True
        if not _has_text(looks["text"]):
            looks["text"] = {
                "string": "{confidence:.0%}", "size": 9, "color": "white", "anchor": "upper_left",
                "translation": [-float(np.max(looks["size"])), float(np.max(looks["size"])) / 2],
            }  # fmt: skip
    return Points(rows[0], ndim=2, **looks, **place)


def _of_rows(looks: dict[str, Any], carried: Carried) -> dict[str, Any]:
    """The looks of those rows of a source's layer that were carried."""
    rows, count = list(carried.rows or ()), len(looks["features"])
    if carried.kinds:
        looks = {**looks, "shape_type": [carried.kinds.get(row, looks["shape_type"][row]) for row in range(count)]}
    if rows == list(range(count)):
        return looks
    picked = {
        name: [value[row] for row in rows] for name, value in looks.items()
        if name in _PER_ROW and not isinstance(value, str) and np.ndim(value) and len(value) == count
    }  # fmt: skip
    return {**looks, **picked, "features": looks["features"].iloc[rows].reset_index(drop=True)}


def show_landmarks(layer: Points, carried: Carried) -> None:
    """Move the points of a carried layer, and colour them, without making it anew."""
    places = np.asarray(carried.data[0])[:, ::-1].copy()
    if not np.array_equal(layer.data, places):
        layer.data = places
    if carried.confidence is not None:
        layer.features = layer.features.assign(confidence=carried.confidence)
        layer.border_color = [colour_of_confidence(value) for value in carried.confidence]


def carried_again(carried: Carried, layer: Points | Shapes, target: Layer, moved: Sequence[int]) -> Carried:
    """The annotations as the user made them in their layer; what was `moved` by hand is sure."""
    data = (
        (np.asarray(layer.data)[:, ::-1].copy(),)
        if isinstance(layer, Points)
        else tuple(np.asarray(row)[:, ::-1].copy() for row in layer.data)
    )
    count = len(layer.data)
    if count == len(carried.data[0] if carried.kind == "points" else carried.data):
        hand = carried.by_hand | frozenset(moved)
        sure = carried.confidence and tuple(
            1.0 if row in hand else value for row, value in enumerate(carried.confidence)
        )
        return replace(carried, data=data, by_hand=hand, confidence=sure)
    _, looks = looks_of(layer, target)  # some were added or deleted: they are all the user's own now
    sure = tuple(np.nan_to_num(layer.features["confidence"].to_numpy(float), nan=1.0)) if carried.confidence else None
    return replace(carried, data=data, looks=looks, rows=None, kinds=None, confidence=sure, by_hand=frozenset())


def _has_text(text: dict[str, Any]) -> bool:
    string = text["string"]
    return not (string.get("encoding_type") == "ConstantStringEncoding" and not str(string.get("constant", "")))


def polygons_of(layer: Shapes, source: Layer) -> list[Any]:
    """The closed shapes; an ellipse as the polygon that napari draws."""
    outlines = outlines_of(layer, source)
    for index, kind in enumerate(layer.shape_type):
        if kind == "ellipse":
            outlines[index] = ellipse_points(outlines[index])
    return [outline for outline in outlines if len(outline) > 2]


def ellipse_points(corners: Any) -> Any:
    """The outline of an ellipse of which napari keeps the four corners of its box."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    across, down = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return corners.mean(0) + np.cos(angle) * across + np.sin(angle) * down


def label_values(layer: Labels, source: Layer) -> Any:
    """The labels in the source's frame."""
    from scipy import ndimage

    values = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    values = values if values.ndim == 2 else values[0]
    width, height = glue.picture_size(source)
    forward = glue.frame_change(source, layer)
    if np.allclose(forward, np.eye(3)) and values.shape == (height, width):
        return values
    return ndimage.affine_transform(values, forward[:2, :2], forward[:2, 2], (height, width), order=0)


def outlines_of(layer: Any, source: Layer) -> list[Any]:
    """The (x, y) of each shape, or of each point, in the source's pixels."""
    rows = layer.data if isinstance(layer, Shapes) else [layer.data]
    return [
        glue.to_picture(source, np.array([layer.data_to_world(point)[-2:] for point in np.asarray(row)]).reshape(-1, 2))
        for row in rows
    ]


# as objects


def parts_of_layer(layer: Any, source: Layer, name: str = "") -> Iterable[tuple[Key, dict[str, Any], int]]:
    """Category and object, the part of it, and the number of each point, shape or label, in a picture's pixels.

    The category is `name`, or the layer's, where the features do not say it.
    """
    name = name or str(layer.name)
    if isinstance(layer, Labels):
        yield from _label_parts(name, label_values(layer, source), (0, 0))
        return
    columns = {name: layer.features[name].tolist() for name in layer.features.columns}
    kinds = None if isinstance(layer, Points) else list(layer.shape_type)
    yield from _row_parts(name, outlines_of(layer, source), columns, kinds)


def parts_of_carried(carried: Carried, name: str) -> Iterable[tuple[Key, dict[str, Any], int]]:
    """The same of annotations that were carried from a layer of a name."""
    if carried.kind == "labels":
        yield from _label_parts(name, carried.data[0], carried.corner)
        return
    looks = dict(carried.looks) if carried.rows is None else _of_rows(dict(carried.looks), carried)
    columns = {column: looks["features"][column].tolist() for column in looks["features"].columns}
    if carried.confidence is not None:
        columns["confidence"] = list(carried.confidence)
    yield from _row_parts(name, list(carried.data), columns, looks.get("shape_type"))


def _label_parts(name: str, values: Any, corner: tuple[float, float]) -> Iterable[tuple[Key, dict[str, Any], int]]:
    from dift_edit.annotations import ObjectMask

    for value in np.unique(values[values > 0]).tolist():
        yield (name, str(value)), {"mask": ObjectMask(round(corner[0]), round(corner[1]), values == value)}, value


def _row_parts(
    name: str, outlines: list[Any], columns: Mapping[str, list[Any]], kinds: Sequence[str] | None
) -> Iterable[tuple[Key, dict[str, Any], int]]:
    """Of points where there are no kinds of shapes."""
    from dift_edit.annotations import Curve, Keypoint, Outline

    def about(column: str, i: int, other: Any) -> Any:
        value = columns[column][i] if column in columns else None
        missing = value is None or (isinstance(value, float) and np.isnan(value)) or value == ""
        return other if missing else value

    if kinds is None:
        for i, (x, y) in enumerate(outlines[0].tolist()):
            score = about("confidence", i, None)
            point = Keypoint(str(about("name", i, i + 1)), x, y, about("visibility", i, "visible"), score)
            yield (str(about("category", i, name)), str(about("object", i, ""))), {"keypoints": [point]}, i
        return
    for i, (kind, points) in enumerate(zip(kinds, outlines, strict=True)):
        key = (str(about("category", i, name)), str(about("object", i, f"#{name} {i}")))
        part: dict[str, Any] = {"outlines": [Outline(points)]} if len(points) > 2 else {}
        if kind == "rectangle" and _is_upright(points):
            (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
            part = {"box": (left, top, right, bottom)}
        elif kind == "ellipse":
            part = {"outlines": [Outline(ellipse_points(points))]}
        elif kind in ("path", "line"):
            closed = len(points) > 3 and bool((points[0] == points[-1]).all())
            part = {"curves": [Curve(points[:-1] if closed else points, closed)]}
        score = about("confidence", i, None)
        yield key, part if score is None else {**part, "confidence": score}, i


def _is_upright(corners: Any) -> bool:
    """Whether the four corners of a rectangle have two abscissas and two ordinates, but for rounding."""
    return all(len(np.unique(np.round(corners[:, axis], 6))) == 2 for axis in (0, 1))


def annotated_image(
    path: str, size: tuple[int, int] | None, parts: Iterable[tuple[Key, dict[str, Any], int]]
) -> "AnnotatedImage":
    """A picture and what is annotated in it; keypoints beyond its edges are missing."""
    from dift_edit.annotations import AnnotatedImage, AnnotatedObject

    things: dict[Key, dict[str, Any]] = {}
    for key, part, _ in parts:
        thing = things.setdefault(key, {})
        for name, value in part.items():
            thing[name] = [*thing.get(name, []), *value] if isinstance(value, list) else value
    if size is not None:
        for thing in things.values():
            for at, point in enumerate(thing.get("keypoints", ())):
                if not (-0.5 <= point.x < size[0] - 0.5 and -0.5 <= point.y < size[1] - 0.5):
                    thing["keypoints"][at] = replace(point, visibility="missing")
    objects = [
        AnnotatedObject(category=category, id="" if name.startswith("#") else name, **parts_)
        for (category, name), parts_ in things.items()
    ]
    return AnnotatedImage(path=path, size=size, objects=objects)
