"""Annotations as an edit: polygons, keypoints and label maps carried from the source to the targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from dift_edit.annotations.model import AnnotatedImage, AnnotatedObject, Keypoint, ObjectMask, Outline, Visibility
from dift_edit.annotations.outlines import box_corners, outlines_of, rings
from dift_edit.edits.region import Region
from dift_edit.errors import EditError, GeometryError
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points, as_points, inside
from dift_edit.geometry.quad import box_quad
from dift_edit.imaging.image import Image
from dift_edit.rendering.compositing import Compositing, write
from dift_edit.rendering.warp import warp_layer

__all__ = ["Keypoints", "LabelLayer", "Polygon", "clip_polygon"]

_VISIBLE: tuple[Visibility, ...] = ("missing", "hidden", "visible")
"""What the numbers of `Keypoints.visible` mean."""

_STEP = 6.0
"""Longest edge of a polygon, in source pixels, that a bent transform may keep straight (chosen)."""


@dataclass(frozen=True, eq=False)
class Polygon:
    """The outline of a thing.

    Attributes
    ----------
    points : ndarray
        (N, 2) pixels, N ≥ 3.
    label : str
        What it is.
    group : str
        Which thing it belongs to, when a thing has several parts; empty when alone.
    """

    points: Points
    label: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _points(self.points, 3, f"polygon {self.label!r}"))


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Named points of a thing.

    Attributes
    ----------
    points : ndarray
        (K, 2) pixels.
    names : tuple of str
        One for each point; may be empty.
    visible : ndarray
        (K,) int as in COCO: 0 not in the image, 1 hidden, 2 visible.
    label : str
        What the thing is.
    group : str
        Which thing, when there are several.
    """

    points: Points
    names: tuple[str, ...] = ()
    visible: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    label: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        points = _points(self.points, 1, f"keypoints {self.label!r}")
        visible = np.asarray(self.visible, dtype=np.int64)
        visible = np.full(len(points), 2) if len(visible) == 0 else visible
        if len(visible) != len(points) or (self.names and len(self.names) != len(points)):
            raise EditError(
                f"The keypoints {self.label!r} have {len(points)} points, {len(visible)} visibilities and "
                f"{len(self.names)} names: give one for each."
            )
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "visible", visible)
        object.__setattr__(self, "names", tuple(self.names))


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelLayer:
    """Annotations of one image.

    Attributes
    ----------
    polygons : tuple of Polygon
    keypoints : tuple of Keypoints
    label_map : ndarray or None
        (H, W) whole numbers of the image's size, 0 for background.

    Raises
    ------
    EditError
        If there is nothing in it.
    """

    polygons: Sequence[Polygon] = ()
    keypoints: Sequence[Keypoints] = ()
    label_map: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "polygons", tuple(self.polygons))
        object.__setattr__(self, "keypoints", tuple(self.keypoints))
        if self.label_map is not None and (self.label_map.ndim != 2 or self.label_map.dtype.kind not in "bui"):
            raise EditError(
                f"A label map must be (H, W) whole numbers, but is {self.label_map.shape} {self.label_map.dtype}."
            )
        if not (self.polygons or self.keypoints or (self.label_map is not None and self.label_map.any())):
            raise EditError("There are no annotations to carry: give polygons, keypoints or a label map.")

    @property
    def quad(self) -> Points:
        """(4, 2) corners of the upright box round all annotations."""
        parts = [polygon.points for polygon in self.polygons]
        parts += [keypoints.points[keypoints.visible > 0] for keypoints in self.keypoints]
        if self.label_map is not None and self.label_map.any():
            rows, columns = np.nonzero(self.label_map)
            parts.append(box_quad((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)))
        points = np.concatenate(parts)
        if len(points) == 0:
            raise EditError("None of the keypoints is in the picture, so there is nothing to carry.")
        low, high = points.min(axis=0), points.max(axis=0)
        room = np.maximum(0, 8 - (high - low)) / 2  # a single point has no extent, but a neighbourhood
        (left, top), (right, bottom) = low - room, high + room
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])

    @classmethod
    def from_annotations(cls, image: AnnotatedImage) -> "LabelLayer":
        """The annotations of an image that `dift_edit.annotations.read_annotations` has read.

        Parameters
        ----------
        image : AnnotatedImage
            Outlines, masks (by their outlines), boxes of objects that have neither, and keypoints are taken.

        Returns
        -------
        LabelLayer

        Raises
        ------
        EditError
            If there is a curve, which has no inside, or nothing at all.
        """
        polygons: list[Polygon] = []
        keypoints: list[Keypoints] = []
        for number, thing in enumerate(image.objects):
            label, group = thing.category, thing.id or f"#{number}"
            if thing.curves:
                raise EditError(
                    f"The curve of {label!r} in {image.path} has no inside: only areas and keypoints are carried."
                )
            outlines = outlines_of(thing)
            parts = rings(outlines) or ([box_corners(thing.box)] if thing.box and not thing.keypoints else [])
            polygons += [Polygon(part, label, group) for part in parts]
            if any(not k.missing for k in thing.keypoints):
                places = [(0.0, 0.0) if k.missing else (k.x, k.y) for k in thing.keypoints]
                seen = [_VISIBLE.index(k.visibility) for k in thing.keypoints]
                names = tuple(k.name for k in thing.keypoints)
                keypoints.append(Keypoints(np.array(places), names, np.array(seen), label, group))
        return cls(polygons=polygons, keypoints=keypoints)

    def annotated(self, path: str, size: tuple[int, int]) -> AnnotatedImage:
        """As annotations, for `dift_edit.annotations.write_annotations`.

        Parameters
        ----------
        path : str
            The image's file, as the annotations shall name it.
        size : (W, H)
            Its size.

        Returns
        -------
        AnnotatedImage
            Parts with one label and one group are one object; each value of a label map is an object with a mask.
        """
        things: dict[tuple[str, str], dict[str, Any]] = {}
        parts: list[Polygon | Keypoints] = [*self.polygons, *self.keypoints]
        for number, part in enumerate(parts):
            key = (part.label or "object", part.group or f"#{number}")
            thing = things.setdefault(key, {"outlines": [], "keypoints": []})
            if isinstance(part, Polygon):
                thing["outlines"].append(Outline(part.points))
            else:
                rows = zip(
                    part.names or map(str, range(1, len(part.points) + 1)), part.points, part.visible, strict=True
                )
                thing["keypoints"] += [Keypoint(name, x, y, _VISIBLE[seen]) for name, (x, y), seen in rows]
        objects = [
            AnnotatedObject(category=label, id="" if group.startswith("#") else group, **made)
            for (label, group), made in things.items()
        ]
        if self.label_map is not None:
            for value in np.unique(self.label_map[self.label_map != 0]):
                mask = ObjectMask.of(self.label_map == value)
                objects.append(AnnotatedObject(category=str(value), mask=mask))
        return AnnotatedImage(path=path, size=size, objects=objects)

    def carry(self, transform: Transform, size: tuple[int, int]) -> "LabelLayer | None":
        """The annotations on a target.

        Parameters
        ----------
        transform : Transform
            Source pixels to target pixels.
        size : (W, H)
            Size of the target: polygons are cut at its edge, keypoints outside become invisible (0).

        Returns
        -------
        LabelLayer or None
            None when nothing is left in the image.
        """
        straight = transform.matrix is not None
        polygons = []
        for polygon in self.polygons:
            mapped = np.asarray(transform(polygon.points if straight else _densified(polygon.points)))
            there = np.asarray(np.isfinite(mapped).all(axis=1))
            cut = clip_polygon(mapped[there], size)
            if len(cut) >= 3:
                polygons.append(Polygon(cut, polygon.label, polygon.group))
        keypoints = []
        for group in self.keypoints:
            mapped = np.asarray(transform(group.points))
            there = np.asarray(np.isfinite(mapped).all(axis=1))
            mapped = np.where(there[:, None], mapped, 0.0)
            seen = np.where(there & inside(mapped, size), group.visible, 0)
            if seen.any():
                keypoints.append(Keypoints(mapped, group.names, seen, group.label, group.group))
        label_map = None if self.label_map is None else _carried_map(self.label_map, transform, size)
        if not (polygons or keypoints or (label_map is not None and label_map.any())):
            return None
        return LabelLayer(polygons=polygons, keypoints=keypoints, label_map=label_map)

    def apply(
        self,
        target: Image,
        transform: Transform,
        *,
        source: Image | None = None,
        compositing: Compositing | None = None,
    ) -> Image:
        """Draw the annotations on a target, half transparent: see `dift_edit.edits.base.Edit`."""
        carried = self.carry(transform, target.size)
        if carried is None:
            return target
        opacity = (compositing or Compositing()).opacity
        masks: list[tuple[str, Region]] = [
            (p.label or str(i), Region.polygon(p.points)) for i, p in enumerate(carried.polygons)
        ]
        if carried.label_map is not None:
            for value in np.unique(carried.label_map[carried.label_map != 0]):
                masks.append((str(value), Region.mask(carried.label_map == value)))
        radius = max(1.5, min(target.size) / 120)
        for group in carried.keypoints:
            for i in np.flatnonzero(group.visible):
                x, y = group.points[i]
                spot = Region.ellipse(x - radius, y - radius, 2 * radius + 1, 2 * radius + 1)
                masks.append((group.names[i] if group.names else str(i), spot))
        for name, region in masks:
            target = _tinted(target, region, name, opacity)
        return target

    def to_dict(self) -> dict[str, Any]:
        """Plain data: see `dift_edit.edits.stored`."""
        return {
            "type": "labels",
            "polygons": [{"points": p.points.tolist(), "label": p.label, "group": p.group} for p in self.polygons],
            "keypoints": [
                {
                    "points": k.points.tolist(), "names": list(k.names), "visible": k.visible.tolist(),
                    "label": k.label, "group": k.group,
                }
                for k in self.keypoints
            ],
            "label_map": self.label_map,
        }  # fmt: skip

    @classmethod
    def from_plain(cls, data: dict[str, Any], label_map: npt.NDArray[Any] | None) -> "LabelLayer":
        """What `to_dict` gave, with the label map already read."""
        return cls(
            polygons=[Polygon(**given) for given in data["polygons"]],
            keypoints=[Keypoints(**given) for given in data["keypoints"]],
            label_map=label_map,
        )


def clip_polygon(points: Points, size: tuple[int, int]) -> Points:
    """The part of a polygon inside an image's area.

    Parameters
    ----------
    points : ndarray
        (N, 2) pixels.
    size : (W, H)
        Size of the image, whose area reaches from -0.5 to W - 0.5.

    Returns
    -------
    ndarray
        (M, 2); empty when nothing is inside.

    References
    ----------
    Sutherland and Hodgman, "Reentrant polygon clipping", 1974.
    """
    for axis, sign, limit in ((0, 1, -0.5), (0, -1, size[0] - 0.5), (1, 1, -0.5), (1, -1, size[1] - 0.5)):
        if len(points) == 0:
            break
        depth = sign * (points[:, axis] - limit)
        kept = []
        for i in range(len(points)):
            here, there = depth[i - 1], depth[i]
            if here * there < 0:
                kept.append(points[i - 1] + (points[i] - points[i - 1]) * (here / (here - there)))
            if there >= 0:
                kept.append(points[i])
        points = np.array(kept).reshape(-1, 2)
    return points


def _densified(points: Points) -> Points:
    """The same outline with no edge longer than `_STEP`."""
    parts = []
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        count = max(1, int(np.ceil(np.linalg.norm(end - start) / _STEP)))
        parts.append(start + (end - start) * np.linspace(0, 1, count, endpoint=False)[:, None])
    return np.concatenate(parts)


def _carried_map(label_map: npt.NDArray[Any], transform: Transform, size: tuple[int, int]) -> npt.NDArray[Any]:
    values, index = np.unique(label_map, return_inverse=True)
    numbers = index.reshape(label_map.shape).astype(np.float32)
    background = int(np.flatnonzero(values == 0)[0]) if (values == 0).any() else None
    # shifted by one, so that 0 means outside the source
    warped = warp_layer(numbers[..., None] + 1, transform, size, resampling="nearest")
    carried = np.zeros((size[1], size[0]), label_map.dtype)
    left, top, right, bottom = warped.box
    found = np.rint(warped.values[..., 0]).astype(np.int64)
    lookup = np.concatenate([[0], values]).astype(label_map.dtype)
    if background is not None:
        lookup[background + 1] = 0
    carried[top:bottom, left:right] = lookup[found]
    return carried


def _tinted(target: Image, region: Region, name: str, opacity: float) -> Image:
    x, y = region.origin
    height, width = region.weight.shape
    box = (max(0, x), max(0, y), min(target.size[0], x + width), min(target.size[1], y + height))
    if box[0] >= box[2] or box[1] >= box[3]:
        return target
    weight = 0.5 * opacity * region.weight[box[1] - y : box[3] - y, box[0] - x : box[2] - x]
    hue = sum(name.encode()) * 47 % 360
    color = np.array(ImageColor.getrgb(f"hsv({hue}, 90%, 95%)")[:3], np.float32) / np.float32(255)
    below = target.crop(box).pixels.astype(np.float32) / np.float32(target.full_scale)
    return write(target, box, below + weight[..., None] * (color - below), weight, keep_alpha=True)


def _points(points: Any, least: int, what: str) -> Points:
    try:
        array = as_points(points, what)
    except GeometryError as error:
        raise EditError(str(error)) from error
    if len(array) < least:
        raise EditError(f"The {what} has {len(array)} points, but needs {least} or more.")
    return array
