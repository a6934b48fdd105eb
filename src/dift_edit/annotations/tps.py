"""TPS files of tpsDig, which geomorph and other programs of morphometrics read.

The origin is the lower left corner of the image and y points up: x = X - 0.5 and y = H - 0.5 - Y. So the height of each
image must be known. Landmarks are numbered, so they are called 1, 2, 3…; a missing one is ``-1 -1`` (geomorph's
``negNA``), and ``NA NA`` is read too. The numbers are pixels; ``SCALE=`` is kept as an attribute, but not applied.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.annotations.model import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Attribute,
    Curve,
    Keypoint,
    Outline,
)
from dift_edit.annotations.pictures import Pictures, plain_name
from dift_edit.atomic_files import read_regular, write_text
from dift_edit.errors import AnnotationError
from dift_edit.geometry.coords import Points

__all__ = ["HOLDS", "read", "write"]

HOLDS = frozenset({"outlines", "curves", "keypoints", "ids", "attributes"})
_CATEGORY = "specimen"
_PLAIN = {"SCALE": "scale", "COMMENT": "comment", "VARIABLES": "variables"}
_MOST = 1_000_000


@dataclass
class _Specimen:
    """What one block of the file says."""

    landmarks: list[tuple[float, float]]
    curves: list[list[tuple[float, float]]] = field(default_factory=list)
    outlines: list[list[tuple[float, float]]] = field(default_factory=list)
    image: str = ""
    id: str = ""
    attributes: dict[str, Attribute] = field(default_factory=dict)


def read(path: Path, pictures: Pictures) -> Annotations:
    """See `dift_edit.annotations.read_annotations`."""
    data = read_regular(path, links=True)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")  # tpsDig is a program for Windows
    objects: dict[str, list[AnnotatedObject]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    specimens = list(_specimens(text, path))
    for specimen in specimens:
        name = plain_name(specimen.image or specimen.id)
        if name == ".":
            raise AnnotationError(f"{path} has a specimen without IMAGE= or ID=: say which image it is of.")
        if not pictures.wants(name):
            continue
        if name not in sizes:
            sizes[name] = pictures.needed_size(name, "TPS counts from its lower edge, so its height is needed")
        objects.setdefault(name, []).append(_object(specimen, sizes[name][1]))
    if not specimens:
        raise AnnotationError(f"{path} has no specimen: a TPS file begins with LM= and a number.")
    return Annotations(
        [AnnotatedImage(path=name, size=sizes[name], objects=things) for name, things in objects.items()]
    )


def _specimens(text: str, path: Path) -> Iterator[_Specimen]:
    lines = list(enumerate(text.splitlines(), start=1))
    lines = [(number, line.strip()) for number, line in lines if line.strip()]
    specimen: _Specimen | None = None
    at = 0
    while at < len(lines):
        number, line = lines[at]
        what = f"{path}, line {number}"
        key, equals, value = (part.strip() for part in line.partition("="))
        key = key.upper()
        at += 1
        if not equals:
            raise AnnotationError(f"{what} is {line[:40]!r}, but a key such as LM= was expected: correct it.")
        if key == "LM":
            if specimen:
                yield specimen
            points, at = _rows(lines, at, _count(value, what), path)
            specimen = _Specimen(points)
        elif specimen is None or key == "LM3":
            raise AnnotationError(f"{what} is {key}=: each specimen must begin with LM= (in two dimensions).")
        elif key in ("CURVES", "OUTLINES"):
            for _ in range(_count(value, what)):
                if at >= len(lines) or not lines[at][1].upper().startswith("POINTS="):
                    raise AnnotationError(f"{what}: a curve must begin with POINTS= and a number.")
                number, line = lines[at]
                points, at = _rows(lines, at + 1, _count(line.partition("=")[2], f"{path}, line {number}"), path)
                (specimen.curves if key == "CURVES" else specimen.outlines).append(points)
        elif key == "IMAGE":
            specimen.image = value
        elif key == "ID":
            specimen.id = value
        elif key in _PLAIN:
            specimen.attributes[_PLAIN[key]] = _number(value, what) if key == "SCALE" else value
        else:
            raise AnnotationError(f"{what} is {key}=, which cannot be carried: remove it.")
    if specimen:
        yield specimen


def _count(text: str, what: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit()) or len(text) > 9 or int(text) > _MOST:
        raise AnnotationError(f"{what}: {text[:40]!r} must be a number of points from 0 to {_MOST}.")
    return int(text)


def _number(text: str, what: str) -> float:
    try:
        value = math.nan if text.upper() in ("NA", "NAN") else float(text)
    except ValueError as error:
        raise AnnotationError(f"{what}: {text[:40]!r} must be a number.") from error
    if math.isinf(value):
        raise AnnotationError(f"{what}: {text[:40]!r} must be a finite number.")
    return value


def _rows(lines: list[tuple[int, str]], at: int, count: int, path: Path) -> tuple[list[tuple[float, float]], int]:
    rows = []
    if at + count > len(lines):
        raise AnnotationError(f"{path} ends before the {count} points that line {lines[at - 1][0]} announces.")
    for number, line in lines[at : at + count]:
        what = f"{path}, line {number}"
        words = line.split()
        if len(words) != 2:
            raise AnnotationError(f"{what} is {line[:40]!r}, but must be two numbers, X and Y.")
        rows.append((_number(words[0], what), _number(words[1], what)))
    return rows, at + count


def _object(specimen: _Specimen, height: int) -> AnnotatedObject:
    keypoints = []
    for number, (x, y) in enumerate(specimen.landmarks, start=1):
        missing = math.isnan(x) or math.isnan(y) or (x < 0 and y < 0)
        keypoints.append(Keypoint(str(number), x - 0.5, height - 0.5 - y, "missing" if missing else "visible"))
    curves = []
    for rows in specimen.curves:
        points = _upright(rows, height)
        closed = len(points) > 3 and bool((points[0] == points[-1]).all())
        curves.append(Curve(points[:-1] if closed else points, closed))
    outlines = [Outline(_upright(rows, height)) for rows in specimen.outlines]
    return AnnotatedObject(
        category=_CATEGORY, keypoints=keypoints, curves=curves, outlines=outlines, attributes=specimen.attributes,
        id=specimen.id,
    )  # fmt: skip


def _upright(rows: list[tuple[float, float]], height: int) -> Points:
    points: Points = np.array(rows, float).reshape(-1, 2) * (1, -1) + (-0.5, height - 0.5)
    return points


def write(annotations: Annotations, path: Path) -> None:
    """See `dift_edit.annotations.write_annotations`; landmarks are in the order of the category's keypoints."""
    blocks = [_block(thing, image) for image in annotations.images for thing in image.objects]
    write_text(path, "".join(f"{line}\n" for block in blocks for line in block))


def _block(thing: AnnotatedObject, image: AnnotatedImage) -> Iterator[str]:
    if image.size is None:
        raise AnnotationError(f"The size of {image.path} is not known, which TPS needs: give the image.")
    height = image.size[1]
    yield f"LM={len(thing.keypoints)}"
    for k in thing.keypoints:
        yield "-1 -1" if k.missing else _row(k.x, k.y, height)
    curves: list[Points] = [
        np.concatenate([curve.points, curve.points[:1]]) if curve.closed else curve.points for curve in thing.curves
    ]
    for key, parts in (("CURVES", curves), ("OUTLINES", [outline.points for outline in thing.outlines])):
        if parts:
            yield f"{key}={len(parts)}"
        for points in parts:
            yield f"POINTS={len(points)}"
            yield from (_row(x, y, height) for x, y in points.tolist())
    yield f"IMAGE={image.path}"
    if thing.id:
        yield f"ID={thing.id}"
    for key, name in _PLAIN.items():
        value: Any = thing.attributes.get(name)
        if value is not None:
            yield f"{key}={' '.join(str(value).split())}"


def _row(x: float, y: float, height: int) -> str:
    return f"{x + 0.5:.10g} {height - 0.5 - y:.10g}"
