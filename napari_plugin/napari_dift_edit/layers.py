"""The one place that knows napari's coordinates and layer types.

napari orders coordinates (…, row, column) and has a world round its layers' data; dift-edit speaks (x, y) pixels with
centres at integers, which is the layer's data grid. A picture lies in a layer's last two axes. Those before them make
it a stack: its frames lie along one of them (`choose_axis`), at one place of the others.
"""

import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer, Shapes

__all__ = [
    "LONGEST_SIDE",
    "at_once",
    "camera",
    "canvas_size",
    "channel_groups",
    "choose_axis",
    "composite",
    "frame_change",
    "frame_count",
    "frame_shown",
    "has_alpha",
    "is_picture",
    "level_read",
    "look_at",
    "mask_pixels",
    "matrix",
    "patch_affine",
    "picture_size",
    "quad_affine",
    "read_pixels",
    "read_values",
    "stack_axis",
    "stack_matrix",
    "stack_shape",
    "stretched",
    "to_picture",
    "to_rgba",
    "to_world",
    "units",
    "world_box",
]

Array = npt.NDArray[np.float64]

_stacks: weakref.WeakKeyDictionary[Layer, tuple[int, tuple[int, ...]]] = weakref.WeakKeyDictionary()
"""Of layers with axes before those of the picture: the one along which the frames lie, and the place in all of them."""

LONGEST_SIDE = 8192
"""Of multiscale layers, in pixels: larger levels are not read; chosen, as some 200 MB for a colour picture."""


def at_once(viewer: Any) -> AbstractContextManager[Any]:
    """Round the removal of several layers: napari since 0.9 then searches for garbage, and draws, once for all."""
    batch: Callable[[], AbstractContextManager[Any]] = getattr(viewer.layers, "batched_update", nullcontext)
    return batch()


def camera(viewer: Any) -> Any:
    """The viewer's camera, which lives in its scene since napari 0.9."""
    return getattr(viewer, "scene", viewer).camera


def canvas_size(viewer: Any) -> tuple[int, int]:
    """(height, width) of the canvas in screen pixels."""
    height, width = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size
    return int(height), int(width)


def look_at(viewer: Any, low: Array, high: Array, margin: float = 0.05) -> None:
    """Fit a box of the world, from lowest to highest (row, column), into the canvas."""
    view = camera(viewer)
    view.center = (0.0, *((low + high) / 2))
    view.zoom = (1 - margin) * float(np.min(np.array(canvas_size(viewer)) / np.maximum(high - low, 1e-9)))


def is_picture(layer: Layer) -> bool:
    """Whether a layer shows a picture or a stack of pictures."""
    return isinstance(layer, Image) and not isinstance(layer, Labels) and layer.ndim >= 2


def stack_axis(layer: Layer) -> int:
    """The axis of a stack along which its frames lie; the first one unless another was chosen."""
    return _stacks.get(layer, (0, ()))[0]


def choose_axis(layer: Layer, axis: int, point: Sequence[float]) -> bool:
    """Let a stack's frames lie along an axis, at the place of the others that is seen at a point of the world.

    Returns
    -------
    bool
        Whether the stack has other frames now.
    """
    lengths = _level(layer).shape[: layer.ndim - 2]
    inside = np.asarray(layer.world_to_data(np.asarray(point)[-layer.ndim :]))
    place = tuple(int(np.clip(np.round(inside[k]), 0, count - 1)) for k, count in enumerate(lengths))
    before, place = _stack(layer), (*place[:axis], 0, *place[axis + 1 :])
    _stacks[layer] = (axis, place)
    return before != (axis, place)


def _stack(layer: Layer) -> tuple[int, tuple[int, ...]]:
    axis, place = _stacks.get(layer, (0, ()))
    return axis, place or (0,) * (layer.ndim - 2)


def _part(layer: Layer, frame: int | None) -> Any:
    """The picture, or one frame of a stack; lazy data stay lazy."""
    data = _level(layer)
    if frame is None:
        return data
    axis, place = _stack(layer)
    return data[(*place[:axis], frame, *place[axis + 1 :])]


def stack_shape(layer: Layer, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(T, h, w, 4) frames of a stack with all axes of its layer."""
    axis, place = _stack(layer)
    return pixels.reshape(*(1,) * axis, len(pixels), *(1,) * (len(place) - axis - 1), *pixels.shape[1:])


def stack_matrix(layer: Layer) -> Array:
    """(4, 4) from (frame, row, column) of a stack to the world, without the axes along which it has no frames."""
    whole, axis = matrix(layer), stack_axis(layer)
    kept = [axis, *range(layer.ndim - 2, layer.ndim + 1)]
    return whole[np.ix_(kept, kept)]


def channel_groups(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Layers that are channels of one picture: grey ones of one size and place, the upper ones blended additively."""
    groups: list[list[Layer]] = []
    for layer in layers:
        base = groups[-1] if groups else []
        same = base and not layer.rgb and not base[0].rgb and layer.blending == "additive"
        if same and _level(layer).shape == _level(base[0]).shape and np.allclose(matrix(layer), matrix(base[0])):
            base.append(layer)
        else:
            groups.append([layer])
    return groups


def composite(channels: Sequence[Layer], frame: int | None = None) -> npt.NDArray[np.uint8]:
    """Channels as they are seen together, (H, W, 3) uint8: each in its colour map, the visible ones added up.

    Lazy data is computed here, so call it in a worker thread.
    """
    total: Any = 0.0
    for layer in channels:
        if layer.visible:
            values = np.asarray(_part(layer, frame), np.float32)
            low, high = (float(limit) for limit in layer.contrast_limits)
            unit = np.nan_to_num(np.clip((values - low) / max(high - low, 1e-12), 0, 1)) ** float(layer.gamma)
            colours = np.asarray(layer.colormap.map(unit.ravel()))[:, :3].reshape(*unit.shape, 3)
            total = total + float(layer.opacity) * colours
    shape = (*np.shape(_part(channels[0], frame)), 3)
    return np.round(np.broadcast_to(np.clip(total, 0, 1), shape) * 255).astype(np.uint8)


def picture_size(layer: Layer) -> tuple[int, int]:
    """(W, H) of the layer's picture in pixels; of a multiscale layer at the level of `level_read`."""
    if not isinstance(layer, Image | Labels):
        raise TypeError(f"{layer.name} has no pixels")
    shape = _level(layer).shape
    rows = layer.ndim - 2
    return int(shape[rows + 1]), int(shape[rows])


def frame_count(layer: Layer) -> int | None:
    """Number of frames of a stack; None for a single picture."""
    return int(_level(layer).shape[stack_axis(layer)]) if layer.ndim > 2 else None


def has_alpha(layer: Layer) -> bool:
    """Whether a colour layer has an alpha channel that hides something of it."""
    level = _level(layer)
    return bool(layer.rgb and level.shape[-1] == 4)


def frame_shown(layer: Layer, point: Sequence[float]) -> int | None:
    """Which frame of a stack is seen at a point of the world (the viewer's sliders); None for a single picture."""
    count = frame_count(layer)
    if count is None:
        return None
    inside = layer.world_to_data(np.asarray(point)[-layer.ndim :])
    return int(np.clip(np.round(inside[stack_axis(layer)]), 0, count - 1))


def level_read(layer: Layer) -> int:
    """Which level of a multiscale layer is its picture: the finest one with sides of at most `LONGEST_SIDE` pixels.

    Finer ones are never read. Where all levels are larger it is the coarsest, and for other layers 0.
    """
    if not (isinstance(layer, Image) and layer.multiscale):
        return 0
    sizes = [max(_sides(layer, level.shape)) for level in layer.data]
    return next((number for number, side in enumerate(sizes) if side <= LONGEST_SIDE), len(sizes) - 1)


def _sides(layer: Layer, shape: Sequence[int]) -> tuple[int, int]:
    """(H, W) in an array's shape."""
    return int(shape[layer.ndim - 2]), int(shape[layer.ndim - 1])


def _level(layer: Layer) -> Any:
    return layer.data[level_read(layer)] if layer.multiscale else layer.data


def units(layer: Layer) -> dict[str, Any]:
    """Options with which a flat layer of ours has the units of another layer's world."""
    own = getattr(layer, "units", None)
    return {} if own is None else {"units": tuple(own)[-2:]}


def read_pixels(layer: Layer, frame: int | None = None) -> npt.NDArray[Any]:
    """A layer's picture as it is displayed, as an array that `dift_edit.as_image` takes.

    Colour pictures keep their values; grey ones get the layer's contrast limits and colour map, in their own depth.
    Lazy data is computed here, so call it in a worker thread.

    Parameters
    ----------
    layer : Image layer
        Colour or grey; multiscale gives the level of `level_read`.
    frame : int, optional
        Of a stack.

    Returns
    -------
    ndarray
        (H, W), (H, W, 3) or (H, W, 4), uint8, uint16 or float32 in [0, 1].
    """
    array: npt.NDArray[Any] = np.asarray(_part(layer, frame))
    if layer.rgb:
        return np.clip(array, 0, 1).astype(np.float32) if array.dtype.kind == "f" else array
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    low, high = (float(limit) for limit in layer.contrast_limits)
    full = {"uint8": 255, "uint16": 65535}.get(array.dtype.name)
    grey = layer.colormap.name in ("gray", "grey")
    if full is not None and grey and (low, high) == (0, full):
        return array
    unit: npt.NDArray[np.float32] = np.clip((array.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
    unit[~np.isfinite(unit)] = 0
    if not grey:
        mapped: Array = np.asarray(layer.colormap.map(unit.ravel()))[:, :3].reshape(*unit.shape, 3)
        return np.round(mapped * 255).astype(np.uint8)
    return np.round(unit * full).astype(array.dtype) if full is not None else unit


def stretched(layer: Layer) -> tuple[float, float] | None:
    """The contrast limits of a grey layer of 8 or 16 bits that is not shown with the values it has; else None."""
    full = {"uint8": 255, "uint16": 65535}.get(np.dtype(layer.dtype).name)
    if layer.rgb or full is None or layer.colormap.name not in ("gray", "grey"):
        return None
    low, high = (float(limit) for limit in layer.contrast_limits)
    return None if (low, high) == (0, full) else (low, high)


def read_values(layer: Layer, frame: int | None = None) -> npt.NDArray[Any]:
    """A layer's picture with the values that it has, whatever its contrast limits are; call it in a worker thread."""
    return np.asarray(_part(layer, frame))


def mask_pixels(layer: Layer, size: tuple[int, int], onto: Layer) -> npt.NDArray[np.uint8]:
    """What was painted or drawn on a picture, as (H, W, 4) uint8 in the picture's frame, transparent elsewhere.

    Parameters
    ----------
    layer : Labels, Shapes or Image
        Labels in their colours, shapes in their face and edge colours, or an image's pixels.
    size : (W, H)
        Of the picture.
    onto : Layer
        The picture's layer, whose frame counts.
    """
    from scipy import ndimage

    if isinstance(layer, Shapes):
        return _shape_colours(layer, size, onto)
    if isinstance(layer, Labels):
        values = np.asarray(_level(layer))
        values = values[0] if values.ndim == 3 else values
        colours: npt.NDArray[np.uint8] = np.round(layer.colormap.map(values) * 255).astype(np.uint8)
        colours[values == 0] = 0
    else:
        colours = to_rgba(read_pixels(layer))
    forward = frame_change(onto, layer)
    if np.allclose(forward, np.eye(3)) and colours.shape[:2] == (size[1], size[0]):
        return colours
    order: Literal[0, 1] = 0 if isinstance(layer, Labels) else 1
    shape = (size[1], size[0])
    matrix, offset = forward[:2, :2], forward[:2, 2]
    channels = [
        ndimage.affine_transform(colours[..., c], matrix, offset, output_shape=shape, order=order) for c in range(4)
    ]
    return np.stack(channels, axis=-1)


def _shape_colours(layer: Shapes, size: tuple[int, int], onto: Layer) -> npt.NDArray[np.uint8]:
    """Draw each shape's face, in order, with Pillow at twice the resolution."""
    import PIL.Image
    import PIL.ImageDraw

    canvas = PIL.Image.new("RGBA", (2 * size[0], 2 * size[1]))
    pen = PIL.ImageDraw.Draw(canvas)
    for index in np.argsort(layer.z_index):
        vertices = layer._data_view.shapes[index]._face_vertices if layer.shape_type[index] == "ellipse" else None
        outline = layer.data[index] if vertices is None or not len(vertices) else vertices
        corners = to_picture(onto, np.array([layer.data_to_world(row)[-2:] for row in np.asarray(outline)]))
        face, edge = (tuple(round(255 * float(value)) for value in colour[index])
                      for colour in (layer.face_color, layer.edge_color))  # fmt: skip
        scale = np.sqrt(abs(np.linalg.det(frame_change(layer, onto)[:2, :2])))
        width = max(1, round(2 * float(layer.edge_width[index]) * scale))
        points = [(2 * x + 0.5, 2 * y + 0.5) for x, y in corners]
        if layer.shape_type[index] in ("line", "path"):
            pen.line(points, fill=edge, width=width, joint="curve")
        else:
            pen.polygon(points, fill=face, outline=edge, width=width)
    return np.asarray(canvas.resize(size, PIL.Image.Resampling.BOX)).copy()


def to_rgba(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Pixels of any depth as (H, W, 4) uint8."""
    scale = {"u1": 1, "u2": 1 / 257}.get(pixels.dtype.str[1:], 255)
    eight = np.round(pixels * scale).astype(np.uint8)
    if eight.ndim == 2:
        eight = np.repeat(eight[..., None], 3, axis=2)
    if eight.shape[2] == 3:
        eight = np.concatenate([eight, np.full((*eight.shape[:2], 1), 255, np.uint8)], axis=2)
    return eight


def matrix(layer: Layer) -> Array:
    """(n + 1, n + 1) from the pixels of the layer's picture, or else its data, to the world."""
    n = layer.ndim
    origin = np.asarray(layer.data_to_world(np.zeros(n)), dtype=np.float64)[-n:]
    made = np.eye(n + 1)
    made[:n, n] = origin
    for axis, unit in enumerate(np.eye(n)):
        made[:n, axis] = np.asarray(layer.data_to_world(unit))[-n:] - origin
    if level_read(layer):
        inner = np.eye(n + 1)  # data coordinates are those of the finest level
        full, read = (_sides(layer, level.shape) for level in (layer.data[0], _level(layer)))
        for axis, (finest, side) in enumerate(zip(full, read, strict=True), start=n - 2):
            inner[axis, axis], inner[axis, n] = finest / side, (finest / side - 1) / 2
        made = made @ inner
    return made


def _plane(layer: Layer) -> Array:
    """(3, 3) from (row, column) of the layer's picture to (row, column) of the world."""
    return matrix(layer)[-3:, -3:]


def frame_change(onto: Layer, of: Layer) -> Array:
    """(3, 3) from (row, column) of one layer's picture to (row, column) of another's data."""
    return np.asarray(np.linalg.inv(_plane(of)) @ _plane(onto))


def to_world(layer: Layer, points: Any) -> Array:
    """(N, 2) points (x, y) of a layer's picture as (row, column) of the world."""
    plane = _plane(layer)
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2)[:, ::-1]
    return array @ plane[:2, :2].T + plane[:2, 2]


def to_picture(layer: Layer, world: Any) -> Array:
    """(N, 2) (row, column) of the world as (x, y) of a layer's picture."""
    inverse = np.linalg.inv(_plane(layer))
    array = np.asarray(world, dtype=np.float64).reshape(-1, np.shape(world)[-1])[:, -2:]
    return np.ascontiguousarray((array @ inverse[:2, :2].T + inverse[:2, 2])[:, ::-1])


def patch_affine(
    layer: Layer, x: float, y: float, step: tuple[float, float] = (1.0, 1.0), *, flat: bool = True
) -> Array:
    """The `affine` of a layer that shows a part of another layer's picture where it belongs.

    Parameters
    ----------
    layer : Layer
        Has the whole picture.
    x, y : float
        Where the part's first pixel centre lies in the picture.
    step : (float, float)
        Distance in picture pixels between the part's pixels, along x and y.
    flat : bool
        For a single picture; else keep the layer's time axis.
    """
    inner = np.array([(step[1], 0, y), (0, step[0], x), (0, 0, 1)], dtype=np.float64)
    if flat or layer.ndim == 2:
        return _plane(layer) @ inner
    whole = matrix(layer)
    full = np.eye(len(whole))
    full[-3:, -3:] = inner
    full[: layer.ndim - 2, -1] = _stack(layer)[1]  # where it lies along the axes that have no frames
    return whole @ full


def quad_affine(layer: Layer, quad: Any, size: tuple[int, int]) -> Array:
    """The `affine` of a layer that shows a picture of `size` (W, H) with three outer corners on those of a quad."""
    corners = np.asarray(quad, dtype=np.float64)
    across, down = (corners[1] - corners[0]) / size[0], (corners[3] - corners[0]) / size[1]
    start = corners[0] + (across + down) / 2
    inner = np.array([(down[1], across[1], start[1]), (down[0], across[0], start[0]), (0, 0, 1)])
    placed: Array = _plane(layer) @ inner
    return placed


def world_box(layer: Layer) -> tuple[Array, Array]:
    """Lowest and highest (row, column) of the world that a layer's picture covers."""
    width, height = picture_size(layer)
    corners = to_world(layer, [(-0.5, -0.5), (width - 0.5, -0.5), (width - 0.5, height - 0.5), (-0.5, height - 0.5)])
    return corners.min(0), corners.max(0)
