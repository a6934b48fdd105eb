"""Annotation files as layers and layers as annotation files, for napari's menus: Open, and Save Selected Layers.

What the layers' features mean is said in `annotations`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dift_edit.annotations import AnnotatedImage

__all__ = ["reader_of", "write_layers"]

LayerData = tuple[Any, dict[str, Any], str]


def write_layers(path: str, layers: list[LayerData]) -> list[str]:
    """Write Points, Shapes and Labels layers as annotations, in the format of the path's suffix.

    The Image layer that is selected with them gives the image's name and size, which CVAT and TPS need.
    """
    from napari.layers import Image, Layer
    from napari.utils.notifications import show_info

    from dift_edit.annotations import Annotations, write_annotations
    from dift_edit.errors import DiftEditError

    made = [Layer.create(*layer) for layer in layers]
    images = [layer for layer in made if isinstance(layer, Image)]
    if len(images) > 1:
        raise DiftEditError("Select one Image layer with its annotations: a file of several is written by 'annotate'.")
    source = images[0] if images else None
    lost = write_annotations(Annotations([_annotated(path, made, source)]), path)
    if lost:
        show_info(f"{Path(path).name} cannot hold {', '.join(lost)}.")
    return [path]


def _annotated(path: str, layers: Sequence[Any], source: Any) -> "AnnotatedImage":
    from napari.layers import Labels

    from napari_dift_edit import layers as glue
    from napari_dift_edit.annotations import annotated_image, parts_of_layer

    size = None if source is None else glue.picture_size(source)
    parts: list[Any] = []
    for layer in layers:
        if layer is source:
            continue
        if isinstance(layer, Labels):
            size = size or (int(layer.data.shape[-1]), int(layer.data.shape[-2]))
        parts += parts_of_layer(layer, source or layer)
    return annotated_image(Path(path).stem if source is None else _file_name(source.name), size, parts)


def _file_name(layer: str) -> str:
    """The file that a layer of the window was opened from; the layer's name where it was not."""
    from napari import current_viewer

    viewer = current_viewer()
    file = viewer.layers[layer].source.path if viewer is not None and layer in viewer.layers else None
    return Path(file).name if file else layer


def reader_of(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """The reader of a file of annotations; None when it is none."""
    if not isinstance(path, str) or not Path(path).is_file():
        return None
    name = Path(path).name.lower()
    if name.endswith(".json"):
        with Path(path).open("rb") as file:
            head = file.read(1_000_000)
        return read_layers if b'"shapes"' in head or b'"annotations"' in head or b'"images"' in head else None
    if name.endswith(".xml"):
        with Path(path).open("rb") as file:
            return read_layers if b"<annotations" in file.read(4096) else None
    known = name.endswith(".tps") or (name.startswith("collecteddata") and name.endswith((".csv", ".h5")))
    return read_layers if known else None


def read_layers(path: str) -> list[LayerData]:
    """Points, Shapes and Labels layers of the annotations of an image: of those that are open, or the only one."""
    from dift_edit.annotations import read_annotations
    from dift_edit.errors import DiftEditError
    from napari import current_viewer

    viewer = current_viewer()
    shown = {Path(layer.name).stem for layer in viewer.layers} if viewer is not None else set()
    images = read_annotations(path).images
    found = [image for image in images if Path(image.path).stem in shown] or list(images)
    if len(found) != 1:
        raise DiftEditError(f"{path} annotates {len(found)} images: open one of them first, to see its annotations.")
    return _layers(found[0])


def _layers(image: "AnnotatedImage") -> list[LayerData]:
    points: list[tuple[Any, ...]] = []
    shapes: list[tuple[Any, ...]] = []
    masks = []
    for number, thing in enumerate(image.objects):
        about = (thing.category, thing.id or f"#{number}")
        points += [((k.y, k.x), k.name, *about, k.visibility, k.confidence) for k in thing.keypoints if not k.missing]
        if thing.box:
            left, top, right, bottom = thing.box
            corners = np.array([(top, left), (top, right), (bottom, right), (bottom, left)])
            shapes.append((corners, "rectangle", *about, thing.confidence))
        for outline in thing.outlines:
            shapes.append((outline.points[:, ::-1], "polygon", *about, thing.confidence))
        for curve in thing.curves:
            line = np.concatenate([curve.points, curve.points[:1]]) if curve.closed else curve.points
            shapes.append((line[:, ::-1], "path", *about, thing.confidence))
        if thing.mask:
            masks.append(thing.mask)
    stem = Path(image.path).stem
    made: list[LayerData] = []
    if masks:
        width, height = image.size or (0, 0)
        boxes = np.array([mask.box for mask in masks])
        size = (max(width, int(boxes[:, 2].max() + 0.5)), max(height, int(boxes[:, 3].max() + 0.5)))
        values = np.zeros(size[::-1], np.int32)
        for value, mask in enumerate(masks, start=1):
            values[mask.in_image(size)] = value
        made.append((values, {"name": f"{stem} masks"}, "labels"))
    if shapes:
        rows, kinds, *columns = zip(*shapes, strict=True)
        features = _features(("category", "object", "confidence"), columns)
        made.append((list(rows), {"name": f"{stem} shapes", "shape_type": list(kinds), "features": features}, "shapes"))
    if points:
        rows, *columns = zip(*points, strict=True)
        features = _features(("name", "category", "object", "visibility", "confidence"), columns)
        looks = {"name": f"{stem} points", "features": features, "text": {"string": "{name}", "color": "white"}}
        made.append((np.array(rows), looks, "points"))
    return made


def _features(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> dict[str, Any]:
    made = dict(zip(names, map(list, columns), strict=True))
    made["confidence"] = [np.nan if value is None else value for value in made["confidence"]]
    return made
