"""What annotations hold, whatever file they come from.

Points are (x, y) in pixels of the image as displayed, with pixel centres at whole numbers, as everywhere
(`dift_edit.geometry.coords`): the pixel in the top-left corner covers [-0.5, 0.5] × [-0.5, 0.5], and an image of W × H
pixels the area from -0.5 to W - 0.5 and H - 0.5. Readers and writers convert each format from and to this frame.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from dift_edit.errors import AnnotationError, GeometryError
from dift_edit.geometry.coords import Points, as_points
from dift_edit.types import MaskLike, PointsLike

__all__ = [
    "AnnotatedImage",
    "AnnotatedObject",
    "Annotations",
    "Attribute",
    "Box",
    "Category",
    "Curve",
    "Keypoint",
    "ObjectMask",
    "Outline",
    "Visibility",
]

Visibility: TypeAlias = Literal["visible", "hidden", "missing"]
"""Whether a keypoint is seen, is in the image but covered, or is not in the image (or has not been annotated)."""

Box: TypeAlias = tuple[float, float, float, float]
"""Edges (left, top, right, bottom) of an upright box: the whole first pixel is (-0.5, -0.5, 0.5, 0.5)."""

Attribute: TypeAlias = str | int | float | bool

LARGEST = 1e7
"""No coordinate may be larger, in pixels: the largest images have less than a million pixels across (chosen)."""


@dataclass(frozen=True)
class Keypoint:
    """A named point of an object.

    Attributes
    ----------
    name : str
        Its name, which is unique in its object.
    x, y : float
        Where it is, in pixels; NaN when it is missing, whatever was given.
    visibility : {"visible", "hidden", "missing"}
        See `Visibility`.
    confidence : float or None
        Probability from 0 to 1 that it is right; None when nothing is known of it.

    Raises
    ------
    AnnotationError
        If a coordinate is not finite (and it is not missing) or the confidence is not from 0 to 1.
    """

    name: str
    x: float
    y: float
    visibility: Visibility = "visible"
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.visibility not in get_args(Visibility):
            choices = ", ".join(get_args(Visibility))
            raise AnnotationError(f"The keypoint {self.name!r} is {self.visibility!r}, but must be one of {choices}.")
        _checked_names("a keypoint", self.name)
        missing = self.visibility == "missing"
        x, y = (math.nan, math.nan) if missing else _checked_points((self.x, self.y), f"keypoint {self.name!r}")[0]
        object.__setattr__(self, "x", float(x))
        object.__setattr__(self, "y", float(y))
        object.__setattr__(self, "confidence", _probability(self.confidence, f"keypoint {self.name!r}"))

    @property
    def missing(self) -> bool:
        """Whether it has no place in the image."""
        return self.visibility == "missing"


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed outline, perhaps with holes.

    Attributes
    ----------
    points : ndarray
        (N, 2) pixels, N ≥ 3, without the first point again at the end.
    holes : tuple of ndarray
        Outlines of the holes in it, each (M, 2), M ≥ 3.

    Raises
    ------
    AnnotationError
        If an outline has fewer than three points or one that is not finite.
    """

    points: Points
    holes: tuple[Points, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _checked_points(self.points, "outline", least=3))
        object.__setattr__(self, "holes", tuple(_checked_points(hole, "hole", least=3) for hole in self.holes))


@dataclass(frozen=True, eq=False)
class Curve:
    """Points along a line, in order.

    Attributes
    ----------
    points : ndarray
        (N, 2) pixels, N ≥ 2, without the first point again at the end.
    closed : bool
        Whether the last point is followed by the first.
    name : str
        Its name, which may be empty.

    Raises
    ------
    AnnotationError
        If it has fewer than two points or one that is not finite.
    """

    points: Points
    closed: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        _checked_names("a curve", self.name)
        object.__setattr__(self, "points", _checked_points(self.points, f"curve {self.name!r}", least=2))


@dataclass(frozen=True, eq=False)
class ObjectMask:
    """The pixels of an object, cut to the smallest box that holds them.

    Attributes
    ----------
    left, top : int
        Pixel of the image at which the first pixel of the mask lies.
    pixels : ndarray
        (h, w) bool.

    Raises
    ------
    AnnotationError
        If it is no two-dimensional array or no pixel is set.
    """

    left: int
    top: int
    pixels: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        pixels = np.asarray(self.pixels)
        if pixels.ndim != 2:
            raise AnnotationError(f"A mask must be (H, W), but has shape {pixels.shape}.")
        pixels = pixels.astype(bool)
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if len(rows) == 0:
            raise AnnotationError("No pixel of the mask is set: leave the mask out.")
        cut = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        object.__setattr__(self, "left", int(self.left) + int(columns[0]))
        object.__setattr__(self, "top", int(self.top) + int(rows[0]))
        object.__setattr__(self, "pixels", cut.copy())

    @classmethod
    def of(cls, mask: MaskLike) -> "ObjectMask":
        """From a mask of the whole image, (H, W)."""
        return cls(0, 0, np.asarray(mask))

    @property
    def box(self) -> Box:
        """The box that it fills."""
        height, width = self.pixels.shape
        return (self.left - 0.5, self.top - 0.5, self.left + width - 0.5, self.top + height - 0.5)

    def in_image(self, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """The mask of the whole image.

        Parameters
        ----------
        size : (W, H)
            Size of the image; what lies outside is left out.

        Returns
        -------
        ndarray
            (H, W) bool.
        """
        whole = np.zeros((size[1], size[0]), bool)
        height, width = self.pixels.shape
        left, top = max(0, self.left), max(0, self.top)
        right, bottom = min(size[0], self.left + width), min(size[1], self.top + height)
        if left < right and top < bottom:
            inside = self.pixels[top - self.top : bottom - self.top, left - self.left : right - self.left]
            whole[top:bottom, left:right] = inside
        return whole


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedObject:
    """One thing in an image.

    Attributes
    ----------
    category : str
        What it is: the name of a `Category`.
    box : Box or None
        Edges (left, top, right, bottom) in pixels.
    outlines : tuple of Outline
        Its parts; more than one when something covers its middle.
    curves : tuple of Curve
        Lines along it.
    mask : ObjectMask or None
        Its pixels.
    keypoints : tuple of Keypoint
        In the order of its category's names.
    confidence : float or None
        Probability from 0 to 1 that it is right; None when nothing is known of it.
    attributes : mapping
        What the format says of it besides: name → string, number or bool.
    id : str
        Names it in its image; the same object has the same id in all images. May be empty.

    Raises
    ------
    AnnotationError
        If it has no part at all, the box has a negative width or height, two keypoints have the same name, or the
        confidence is not from 0 to 1.
    """

    category: str
    box: Box | None = None
    outlines: Sequence[Outline] = ()
    curves: Sequence[Curve] = ()
    mask: ObjectMask | None = None
    keypoints: Sequence[Keypoint] = ()
    confidence: float | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    id: str = ""

    def __post_init__(self) -> None:
        what = f"object {self.id!r} ({self.category!r})" if self.id else f"object {self.category!r}"
        _checked_names("an object", self.category, self.id)
        if self.box is not None:
            edges = _checked_points(np.reshape(self.box, (2, 2)), f"box of the {what}")
            left, top, right, bottom = edges.ravel().tolist()
            if right < left or bottom < top:
                raise AnnotationError(
                    f"The box of the {what} has the width {right - left:g} and the height {bottom - top:g}: "
                    "neither may be negative."
                )
            object.__setattr__(self, "box", (left, top, right, bottom))
        for name in ("outlines", "curves", "keypoints"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        names = [keypoint.name for keypoint in self.keypoints]
        if len(set(names)) < len(names):
            double = next(name for name in names if names.count(name) > 1)
            raise AnnotationError(f"The {what} has the keypoint {double!r} more than once: name each once.")
        if not (self.box or self.outlines or self.curves or self.mask or self.keypoints):
            raise AnnotationError(f"The {what} has no box, outline, curve, mask or keypoint: leave it out.")
        object.__setattr__(self, "confidence", _probability(self.confidence, what))
        object.__setattr__(self, "attributes", dict(self.attributes))

    def extent(self) -> Box | None:
        """The upright box round everything in it: its box, outlines, curves, mask and keypoints that are not missing.

        Returns
        -------
        Box or None
            None when all keypoints are missing and there is nothing else.
        """
        parts = [outline.points for outline in self.outlines] + [curve.points for curve in self.curves]
        parts += [np.reshape(box, (2, 2)) for box in (self.box, self.mask and self.mask.box) if box]
        parts += [np.array([(k.x, k.y)]) for k in self.keypoints if not k.missing]
        if not parts:
            return None
        points = np.concatenate(parts)
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return (left, top, right, bottom)


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedImage:
    """An image and what is annotated in it.

    Attributes
    ----------
    path : str
        Its file as the annotations name it, with ``/`` between folders.
    size : (W, H) or None
        In pixels; None when neither the annotations nor a file tell.
    objects : tuple of AnnotatedObject
    attributes : mapping
        What the format says of the image besides, such as the scale in a TPS file.

    Raises
    ------
    AnnotationError
        If the size is not positive.
    """

    path: str
    size: tuple[int, int] | None = None
    objects: Sequence[AnnotatedObject] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _checked_names("an image", self.path)
        if self.size is not None:
            width, height = self.size
            if not (0 < width < LARGEST and 0 < height < LARGEST):
                raise AnnotationError(f"The size of {self.path} is {width} × {height} pixels: give its true size.")
            object.__setattr__(self, "size", (int(width), int(height)))
        object.__setattr__(self, "objects", tuple(self.objects))
        object.__setattr__(self, "attributes", dict(self.attributes))


@dataclass(frozen=True, kw_only=True)
class Category:
    """A kind of object.

    Attributes
    ----------
    name : str
    keypoints : tuple of str
        Names of its keypoints, in order.
    skeleton : tuple of (int, int)
        Pairs of keypoints that are joined by a line, counted from 0.
    mirrored : tuple of int
        For each keypoint the one that it becomes in a mirror, counted from 0. When left out, it is found from names
        such as left_eye and right_eye, or eyeL and eyeR (`mirror_pairs`).
    id : int or None
        Its number in a format that counts them (COCO, YOLO).
    parent : str
        Name of a more general category (COCO's ``supercategory``).

    Raises
    ------
    AnnotationError
        If a name comes twice, or `skeleton` or `mirrored` name a keypoint that is not there.
    """

    name: str
    keypoints: Sequence[str] = ()
    skeleton: Sequence[tuple[int, int]] = ()
    mirrored: Sequence[int] = ()
    id: int | None = None
    parent: str = ""

    def __post_init__(self) -> None:
        names, count = tuple(self.keypoints), len(self.keypoints)
        _checked_names("a category", self.name, self.parent, *names)
        if len(set(names)) < count:
            raise AnnotationError(f"Two keypoints of the category {self.name!r} have the same name: rename one.")
        bones = tuple((int(a), int(b)) for a, b in self.skeleton)
        mirrored = tuple(map(int, self.mirrored)) or tuple(mirror_pairs(names))
        if not all(0 <= end < count for bone in bones for end in bone):
            raise AnnotationError(f"The skeleton of the category {self.name!r} names a keypoint that is not there.")
        if sorted(mirrored) != list(range(count)) or any(mirrored[mirrored[i]] != i for i in range(count)):
            raise AnnotationError(f"The mirrored keypoints of the category {self.name!r} do not come in pairs.")
        object.__setattr__(self, "keypoints", names)
        object.__setattr__(self, "skeleton", bones)
        object.__setattr__(self, "mirrored", mirrored)


@dataclass(frozen=True, eq=False)
class Annotations:
    """Annotated images, as one file or folder holds them.

    Attributes
    ----------
    images : tuple of AnnotatedImage
        Objects that have keypoints get all that their category names, in its order; those that they lack are missing.
    categories : tuple of Category
        In the order of the file; each object's category is one of them. Those that are left out are added at the end.

    Raises
    ------
    AnnotationError
        If two categories or two images have the same name, or an object has a keypoint that its category does not name.
    """

    images: Sequence[AnnotatedImage]
    categories: Sequence[Category] = ()

    def __post_init__(self) -> None:
        images = tuple(self.images)
        known = {category.name: category for category in self.categories}
        if len(known) < len(self.categories):
            raise AnnotationError("Two categories have the same name: rename one.")
        paths = [image.path for image in images]
        if len(set(paths)) < len(paths):
            double = next(path for path in paths if paths.count(path) > 1)
            raise AnnotationError(f"The image {double} is annotated twice: join its annotations.")
        found: dict[str, dict[str, None]] = {}
        for thing in (thing for image in images for thing in image.objects):
            names = found.setdefault(thing.category, {})
            names.update(dict.fromkeys(keypoint.name for keypoint in thing.keypoints))
        for category in self.categories:
            if unknown := [name for name in found.get(category.name, ()) if name not in category.keypoints]:
                raise AnnotationError(f"The category {category.name!r} has no keypoint {unknown[0]!r}: add its name.")
        added = [Category(name=name, keypoints=tuple(names)) for name, names in found.items() if name not in known]
        object.__setattr__(self, "categories", (*self.categories, *added))
        object.__setattr__(self, "images", tuple(self._with_all_keypoints(image) for image in images))

    def _with_all_keypoints(self, image: AnnotatedImage) -> AnnotatedImage:
        names = {category.name: category.keypoints for category in self.categories}
        objects = [_in_order(thing, names[thing.category]) for thing in image.objects]
        return replace(image, objects=objects) if objects != list(image.objects) else image

    def category(self, name: str) -> Category:
        """The category of that name."""
        for category in self.categories:
            if category.name == name:
                return category
        raise AnnotationError(f"There is no category {name!r}: choose one of {[c.name for c in self.categories]}.")

    def image(self, path: str) -> AnnotatedImage:
        """The image of that path, or, where only one has it, of that file name."""
        found = [image for image in self.images if image.path == path]
        found = found or [image for image in self.images if image.path.rpartition("/")[2] == path]
        if len(found) != 1:
            raise AnnotationError(
                f"{len(found)} of the {len(self.images)} annotated images are called {path}: give the path of one."
            )
        return found[0]


def _in_order(thing: AnnotatedObject, names: Sequence[str]) -> AnnotatedObject:
    if not thing.keypoints or [keypoint.name for keypoint in thing.keypoints] == list(names):
        return thing
    there = {keypoint.name: keypoint for keypoint in thing.keypoints}
    return replace(thing, keypoints=[there.get(name) or Keypoint(name, 0, 0, "missing") for name in names])


def mirror_pairs(names: Sequence[str]) -> list[int]:
    """For each name the index of the name that it becomes in a mirror: its own, unless left and right are in it.

    Parameters
    ----------
    names : sequence of str
        Such as left_eye, eye_left, EyeLeft, l_eye, eye_L, eye.l, eyeL, and the same with right.

    Returns
    -------
    list of int
        One for each name; a name whose partner is missing keeps its own index.
    """
    index = {name: i for i, name in enumerate(names)}
    mirrored = list(range(len(names)))
    for i, name in enumerate(names):
        for partner in _partners(name):
            if partner in index and mirrored[i] == i and mirrored[index[partner]] == index[partner]:
                mirrored[i], mirrored[index[partner]] = index[partner], i
    return mirrored


_SWAPPED = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}
_LEFT = re.compile(r"left|Left|LEFT|(?<![A-Za-z])[lL](?![a-z])|(?<=[a-z])L(?![A-Za-z])")


def _partners(name: str) -> list[str]:
    """What a name could be called on the right, for each sign of left in it."""
    return [f"{name[: m.start()]}{_SWAPPED[m.group()]}{name[m.end() :]}" for m in _LEFT.finditer(name)]


def _checked_points(points: PointsLike | tuple[float, float], what: str, least: int = 1) -> Points:
    try:
        array = as_points(points, what)
    except GeometryError as error:
        raise AnnotationError(str(error)) from error
    if len(array) < least:
        raise AnnotationError(f"The {what} has {len(array)} points, but needs {least} or more.")
    if not (np.abs(array) <= LARGEST).all():
        raise AnnotationError(f"The {what} has a coordinate beyond {LARGEST:.0f} pixels: correct it.")
    return array


def _checked_names(what: str, *names: str) -> None:
    """Names must be text that every format can write."""
    for name in names:
        if any(unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" for c in name):
            raise AnnotationError(f"The name {name!r} of {what} has a control character: rename it.")


def _probability(value: float | None, what: str) -> float | None:
    if value is not None and not 0 <= value <= 1:
        raise AnnotationError(f"The confidence of the {what} is {value}, but must be from 0 to 1.")
    return None if value is None else float(value)
