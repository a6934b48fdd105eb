"""Annotation layers as plain values and back: what they hold in a picture's pixels, and how they look."""

from types import MappingProxyType
from typing import Any

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes

from napari_dift_edit import layers as glue
from napari_dift_edit.colours import colour_of_confidence
from napari_dift_edit.state import Carried

__all__ = ["ellipse_points", "label_values", "looks_of", "make_layer", "outlines_of", "polygons_of"]

_LOOKS = {
    "points": (
        "size", "symbol", "face_color", "border_color", "border_width", "border_width_is_relative", "opacity", "text",
        "features", "blending",
    ),
    "shapes": ("shape_type", "z_index", "edge_width", "face_color", "edge_color", "opacity", "text", "features",
               "blending"),
    "labels": ("colormap", "opacity", "blending"),
}  # fmt: skip


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
    rows = [np.asarray(points)[:, ::-1] for points in carried.data]
    if carried.kind == "shapes":
        looks["shape_type"] = ["polygon" if kind == "rectangle" else kind for kind in looks["shape_type"]]
        return Shapes(rows, ndim=2, **looks, **place)
    if carried.confidence is not None:
        looks["features"] = looks["features"].assign(confidence=carried.confidence)
        looks["border_color"] = [colour_of_confidence(value) for value in carried.confidence]
        looks["border_width"], looks["border_width_is_relative"] = 0.2, True
        if not _has_text(looks["text"]):
            looks["text"] = {
                "string": "{confidence:.0%}", "size": 9, "color": "white", "anchor": "upper_left",
                "translation": [-float(np.max(looks["size"])), float(np.max(looks["size"])) / 2],
            }  # fmt: skip
    made = Points(rows[0], ndim=2, **looks, **place)
    if carried.confidence is not None:
        made.events.data.connect(lambda event: _sure_by_hand(made, event))
    return made


def _sure_by_hand(layer: Points, event: Any) -> None:
    """A point that the user dragged is right."""
    if str(event.action).rsplit(".", maxsplit=1)[-1].lower() != "changed" or "confidence" not in layer.features:
        return
    confidence = layer.features["confidence"].to_numpy(dtype=float, copy=True)
    confidence[list(event.data_indices)] = 1.0
    layer.features = layer.features.assign(confidence=confidence)
    layer.border_color = [colour_of_confidence(value) for value in confidence]


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
