"""CVAT's XML for images, version 1.1.

The corner of the first pixel lies at (0, 0), so half a pixel is taken off; a mask's corner is a pixel's index. Shapes
with one label and one ``group_id`` are one object. Keypoints are a skeleton, or ``points``, which are called 1, 2, 3….
Confidence stands in the attribute ``confidence``. A document type is refused, so no entity can be expanded.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeElementTree

from dift_edit.annotations.model import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Attribute,
    Box,
    Category,
    Curve,
    Keypoint,
    ObjectMask,
    Outline,
)
from dift_edit.annotations.outlines import box_corners, decoded_runs, rings, runs_of
from dift_edit.annotations.pictures import Pictures
from dift_edit.atomic_files import read_regular, write_atomic
from dift_edit.errors import AnnotationError
from dift_edit.geometry.coords import Points

__all__ = ["HOLDS", "read", "write"]

HOLDS = frozenset({
    "boxes", "outlines", "curves", "masks", "keypoints", "hidden", "confidence", "names", "ids", "attributes",
})  # fmt: skip
_ELLIPSE = 64
_OTHERS = {"cuboid": "a cuboid", "track": "a track of CVAT for video"}


def read(path: Path, pictures: Pictures) -> Annotations:
    """See `dift_edit.annotations.read_annotations`."""
    try:
        root = SafeElementTree.fromstring(read_regular(path, links=True), forbid_dtd=True)
    except ET.ParseError as error:
        raise AnnotationError(f"{path} is no XML ({error}): give annotations as CVAT exports them.") from error
    except DefusedXmlException as error:
        raise AnnotationError(
            f"{path} has a document type or entities, which CVAT never writes: remove them."
        ) from error
    if root.tag != "annotations":
        raise AnnotationError(f"{path} is no file of CVAT: its first element is {root.tag!r}, not 'annotations'.")
    if root.find("track") is not None:
        raise AnnotationError(f"{path} is CVAT for video: export the task as CVAT for images.")
    categories, points = _labels(root)
    images = []
    for element in root.iterfind("image"):
        name = element.attrib["name"]
        if not pictures.wants(name):
            continue
        stated = (int(element.attrib["width"]), int(element.attrib["height"]))
        try:
            objects = list(_objects(element, categories if points else None))
        except AnnotationError as error:
            raise AnnotationError(f"{path}, image {name}: {error}") from error
        attributes = {"id": int(element.attrib["id"])} if "id" in element.attrib else {}
        images.append(
            AnnotatedImage(path=name, size=pictures.size(name, stated), objects=objects, attributes=attributes)
        )
    found = {thing.category: [k.name for k in thing.keypoints] for image in images for thing in image.objects}
    known = [
        Category(name=name, keypoints=names or _longest(images, name) if found.get(name) else names)
        for name, names in categories.items()
    ]
    return Annotations(images, known)


def _longest(images: Iterable[AnnotatedImage], category: str) -> list[str]:
    """Names of all keypoints of a label for which the file gives none."""
    names: dict[str, None] = {}
    for thing in (thing for image in images for thing in image.objects if thing.category == category):
        names.update(dict.fromkeys(keypoint.name for keypoint in thing.keypoints))
    return list(names)


def _labels(root: ET.Element) -> tuple[dict[str, list[str]], bool]:
    """Each label's keypoints, and whether the file says which labels there are."""
    labels: dict[str, list[str]] = {}
    parents: dict[str, list[str]] = {}
    meta = root.find("meta")
    for label in [] if meta is None else meta.iter("label"):
        name, parent = label.findtext("name"), label.findtext("parent")
        if name is None:
            raise ValueError("a label has no name")
        if parent:
            parents.setdefault(parent, []).append(name)
        else:
            labels[name] = []
    for parent, names in parents.items():
        labels[parent] = names
    return labels, bool(labels)


def _objects(image: ET.Element, labels: Mapping[str, Any] | None) -> Iterator[AnnotatedObject]:
    groups: dict[Any, list[ET.Element]] = {}
    for number, shape in enumerate(image):
        if shape.tag == "tag":
            continue
        label, group = shape.attrib["label"], shape.attrib.get("group_id", "0")
        if labels is not None and label not in labels:
            raise AnnotationError(f"a {shape.tag} has the label {label!r}, which the file does not list: add it.")
        groups.setdefault((label, group) if group != "0" else number, []).append(shape)
    for shapes in groups.values():
        yield _object(shapes)


def _object(shapes: list[ET.Element]) -> AnnotatedObject:
    parts: dict[str, list[Any]] = {"boxes": [], "outlines": [], "curves": [], "masks": [], "keypoints": []}
    attributes: dict[str, Attribute] = {}
    for shape in shapes:
        kind, made = _part(shape)
        parts[kind] += made
        attributes |= {each.attrib["name"]: each.text or "" for each in shape.iterfind("attribute")}
        if shape.attrib.get("occluded") == "1":
            attributes["occluded"] = True
        if shape.attrib.get("z_order", "0") != "0":
            attributes["z_order"] = int(shape.attrib["z_order"])
    label, group = shapes[0].attrib["label"], shapes[0].attrib.get("group_id", "0")
    if len(parts["boxes"]) > 1 or len(parts["masks"]) > 1:
        raise AnnotationError(f"the group {group} has two boxes or masks {label!r}: ungroup them.")
    confidence = attributes.pop("confidence", None)
    id_ = str(attributes.pop("id", "" if group == "0" else group))
    return AnnotatedObject(
        category=label, box=next(iter(parts["boxes"]), None), outlines=parts["outlines"], curves=parts["curves"],
        mask=next(iter(parts["masks"]), None), keypoints=parts["keypoints"],
        confidence=None if confidence is None else float(confidence), attributes=attributes, id=id_,
    )  # fmt: skip


def _part(shape: ET.Element) -> tuple[str, list[Any]]:
    given, turn = shape.attrib, np.deg2rad(float(shape.attrib.get("rotation", "0")))
    if shape.tag == "box":
        box: Box = tuple(float(given[key]) - 0.5 for key in ("xtl", "ytl", "xbr", "ybr"))  # type: ignore[assignment]
        if turn == 0:
            return "boxes", [box]
        return "outlines", [Outline(_turned(box_corners(box), turn))]
    if shape.tag == "ellipse":
        angle = np.linspace(0, 2 * np.pi, _ELLIPSE, endpoint=False)
        across = np.c_[float(given["rx"]) * np.cos(angle), float(given["ry"]) * np.sin(angle)]
        return "outlines", [Outline(_turned(across, turn) + (float(given["cx"]) - 0.5, float(given["cy"]) - 0.5))]
    if shape.tag == "polygon":
        return "outlines", [Outline(_points(shape))]
    if shape.tag == "polyline":
        points = _points(shape)
        closed = len(points) > 3 and bool((points[0] == points[-1]).all())
        return "curves", [Curve(points[:-1] if closed else points, closed)]
    if shape.tag == "points":
        return "keypoints", [Keypoint(str(i), x, y) for i, (x, y) in enumerate(_points(shape).tolist(), start=1)]
    if shape.tag == "mask":
        left, top, width, height = (int(given[key]) for key in ("left", "top", "width", "height"))
        runs = [int(word) for word in given["rle"].split(",")]
        return "masks", [ObjectMask(left, top, decoded_runs(runs, width * height).reshape(height, width))]
    if shape.tag == "skeleton":
        return "keypoints", [_keypoint(each) for each in shape.iterfind("points")]
    raise AnnotationError(f"a shape is {_OTHERS.get(shape.tag, repr(shape.tag))}, which cannot be carried: remove it.")


def _turned(points: Points, turn: float) -> Points:
    """Turned clockwise as seen, about their middle."""
    middle, cos, sin = points.mean(axis=0), np.cos(turn), np.sin(turn)
    turned: Points = (points - middle) @ np.array([(cos, sin), (-sin, cos)]) + middle
    return turned


def _points(shape: ET.Element) -> Points:
    return np.array([[float(v) for v in pair.split(",")] for pair in shape.attrib["points"].split(";")]) - 0.5


def _keypoint(element: ET.Element) -> Keypoint:
    ((x, y),) = _points(element).tolist()
    seen = "missing" if element.attrib.get("outside") == "1" else "visible"
    seen = "hidden" if seen == "visible" and element.attrib.get("occluded") == "1" else seen
    score = next((each.text for each in element.iterfind("attribute") if each.attrib["name"] == "confidence"), None)
    return Keypoint(element.attrib["label"], x, y, seen, None if score is None else float(score))  # type: ignore[arg-type]


def write(annotations: Annotations, path: Path) -> None:
    """See `dift_edit.annotations.write_annotations`."""
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    root.append(_meta(annotations))
    for number, image in enumerate(annotations.images):
        if image.size is None:
            raise AnnotationError(f"The size of {image.path} is not known, which CVAT needs: give the image.")
        width, height = map(str, image.size)
        made = ET.SubElement(root, "image", id=str(number), name=image.path, width=width, height=height)
        used = {int(thing.id) for thing in image.objects if _number(thing.id)}
        free = (number for number in range(1, len(used) + len(image.objects) + 2) if number not in used)
        for thing in image.objects:
            shapes = list(_shapes(thing))
            group = int(thing.id) if _number(thing.id) else next(free) if len(shapes) > 1 else 0
            attributes = {key: v for key, v in thing.attributes.items() if key not in ("occluded", "z_order")}
            if thing.id and not _number(thing.id):
                attributes["id"] = thing.id
            if thing.confidence is not None:
                attributes["confidence"] = thing.confidence
            hidden = str(int(bool(thing.attributes.get("occluded"))))
            for shape in shapes:
                shape.attrib |= {
                    "label": thing.category, "source": "auto", "occluded": hidden,
                    "z_order": str(thing.attributes.get("z_order", 0)),
                }  # fmt: skip
                if group:
                    shape.attrib["group_id"] = str(group)
                for key, value in attributes.items():
                    ET.SubElement(shape, "attribute", name=key).text = _text(value)
                made.append(shape)
    ET.indent(root)
    tree = ET.ElementTree(root)
    write_atomic(path, lambda file: tree.write(file, "utf-8", xml_declaration=True))


def _number(id_: str) -> bool:
    return id_.isascii() and id_.isdigit() and id_ != "0" and not id_.startswith("0")


def _text(value: Attribute) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _meta(annotations: Annotations) -> ET.Element:
    meta = ET.Element("meta")
    task = ET.SubElement(meta, "task")
    ET.SubElement(task, "name").text = "dift-edit"
    ET.SubElement(task, "size").text = str(len(annotations.images))
    ET.SubElement(task, "mode").text = "annotation"
    labels = ET.SubElement(task, "labels")
    skeletons = {
        thing.category
        for image in annotations.images
        for thing in image.objects
        if any(shape.tag == "skeleton" for shape in _shapes(thing))
    }
    for category in annotations.categories:
        whole = category.name in skeletons or _is_skeleton(category.keypoints)
        things = [thing for image in annotations.images for thing in image.objects if thing.category == category.name]
        names = {name for thing in things for name in thing.attributes if name not in ("occluded", "z_order")}
        names |= {"confidence"} if any(thing.confidence is not None for thing in things) else set()
        names |= {"id"} if any(thing.id and not _number(thing.id) for thing in things) else set()
        scored = any(k.confidence is not None for thing in things for k in thing.keypoints)
        _label(labels, category.name, "skeleton" if whole else "any", sorted(names))
        for name in category.keypoints if whole else ():
            label = _label(labels, name, "points", ["confidence"] if scored else [])
            ET.SubElement(label, "parent").text = category.name
    return meta


def _label(labels: ET.Element, name: str, kind: str, attributes: list[str]) -> ET.Element:
    label = ET.SubElement(labels, "label")
    ET.SubElement(label, "name").text = name
    ET.SubElement(label, "type").text = kind
    listed = ET.SubElement(label, "attributes")
    for each in attributes:
        attribute = ET.SubElement(listed, "attribute")
        for key, value in {
            "name": each,
            "mutable": "True",
            "input_type": "text",
            "default_value": "",
            "values": "",
        }.items():
            ET.SubElement(attribute, key).text = value
    return label


def _is_skeleton(names: Iterable[str]) -> bool:
    return any(name != str(i) for i, name in enumerate(names, start=1))


def _shapes(thing: AnnotatedObject) -> Iterator[ET.Element]:
    if thing.box:
        edges = [f"{value + 0.5:.10g}" for value in thing.box]
        yield ET.Element("box", dict(zip(("xtl", "ytl", "xbr", "ybr"), edges, strict=True)))
    for ring in rings(thing.outlines):
        yield ET.Element("polygon", points=_listed(ring))
    for curve in thing.curves:
        points = np.concatenate([curve.points, curve.points[:1]]) if curve.closed else curve.points
        yield ET.Element("polyline", points=_listed(points))
    if thing.mask:
        height, width = thing.mask.pixels.shape
        runs = ", ".join(map(str, runs_of(thing.mask.pixels.ravel())))
        place = {"left": thing.mask.left, "top": thing.mask.top, "width": width, "height": height}
        yield ET.Element("mask", {"rle": runs, **{key: str(value) for key, value in place.items()}})
    plain = all(k.visibility == "visible" and k.confidence is None for k in thing.keypoints)
    if thing.keypoints and plain and not _is_skeleton(k.name for k in thing.keypoints):
        yield ET.Element("points", points=_listed(np.array([(k.x, k.y) for k in thing.keypoints])))
    elif thing.keypoints:
        skeleton = ET.Element("skeleton")
        for k in thing.keypoints:
            spot = np.array([(-0.5, -0.5) if k.missing else (k.x, k.y)])
            element = ET.SubElement(
                skeleton, "points", label=k.name, source="auto", outside=str(int(k.missing)),
                occluded=str(int(k.visibility == "hidden")), points=_listed(spot),
            )  # fmt: skip
            if k.confidence is not None:
                ET.SubElement(element, "attribute", name="confidence").text = str(k.confidence)
        yield skeleton


def _listed(points: Points) -> str:
    return ";".join(",".join(f"{value + 0.5:.10g}" for value in point) for point in points.tolist())
