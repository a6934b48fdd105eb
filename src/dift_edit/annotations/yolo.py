"""YOLO's folders of text files with a data.yaml: detect, segment, pose and oriented boxes.

Values are shares of the image's width and height from its upper left corner, so x = value · W - 0.5. Training labels
have no place for a confidence; a last column of it, as predictions have, is read.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from dift_edit.annotations.model import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Category,
    Keypoint,
    Outline,
    Visibility,
)
from dift_edit.annotations.outlines import box_corners, joined_ring, outlines_of
from dift_edit.annotations.pictures import Pictures, label_files
from dift_edit.atomic_files import read_regular, write_text
from dift_edit.errors import AnnotationError, OutputError
from dift_edit.geometry.coords import Points

__all__ = ["TASKS", "holds", "read", "write"]

TASKS = ("detect", "segment", "pose", "obb")
_SEEN: tuple[Visibility, ...] = ("missing", "hidden", "visible")
_MOST_CLASSES = 100_000
_DEEPEST = 8
"""Lists and tables of a data.yaml lie at most 3 deep in each other."""


def holds(task: str) -> frozenset[str]:
    """What a task's labels hold; "areas" are boxes and masks, written as outlines, "stems" the images' names."""
    return frozenset({"stems"}) | {
        "detect": {"boxes"},
        "segment": {"outlines", "areas"},
        "pose": {"boxes", "keypoints", "hidden", "names"},
        "obb": {"outlines", "areas"},
    }[task]  # fmt: skip


def task_of(annotations: Annotations) -> str:
    """The task whose labels hold most of the annotations."""
    things = [thing for image in annotations.images for thing in image.objects]
    if any(thing.keypoints for thing in things):
        return "pose"
    return "segment" if any(thing.outlines or thing.mask for thing in things) else "detect"


def read(path: Path, pictures: Pictures) -> Annotations:
    """See `dift_edit.annotations.read_annotations`."""
    path = path / "data.yaml" if path.is_dir() else path
    data = _yaml(path)
    categories, shape = _categories(data, path)
    images = []
    for file, stem in _label_files(path, data):
        found = pictures.find_stem(stem)
        name = f"{stem}{found.suffix}" if found else stem
        if not pictures.wants(name):
            continue
        size = pictures.needed_size(name, "YOLO's labels are shares of its width and height")
        objects = list(_objects(read_regular(file, links=True).decode(), categories, shape, size, file))
        images.append(AnnotatedImage(path=name, size=size, objects=objects))
    return Annotations(images, list(categories.values()))


def _yaml(path: Path) -> dict[str, Any]:
    text = read_regular(path, links=True).decode()
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                raise AnnotationError(
                    f"{path} has YAML aliases or nests too deep, which no data.yaml needs: remove them."
                )
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise AnnotationError(f"{path} is no YAML ({' '.join(str(error).split())}): correct it.") from error
    if not isinstance(data, dict) or "names" not in data:
        raise AnnotationError(f"{path} is no data.yaml of YOLO: it needs the names of the classes.")
    return data


def _categories(data: Mapping[str, Any], path: Path) -> tuple[dict[int, Category], tuple[int, int]]:
    names = data["names"]
    numbered = {int(key): str(name) for key, name in (names.items() if isinstance(names, dict) else enumerate(names))}
    count, values = map(int, data.get("kpt_shape") or (0, 3))
    if not 0 <= count <= _MOST_CLASSES or values not in (2, 3) or len(numbered) > _MOST_CLASSES:
        raise AnnotationError(f"{path}: kpt_shape must be [count, 2] or [count, 3], but is {data['kpt_shape']}.")
    given = data.get("kpt_names") or {}
    turned = [int(index) for index in data.get("flip_idx") or ()]
    categories = {}
    for number, name in numbered.items():
        keypoints = [str(each) for each in given.get(number, ())] if isinstance(given, dict) else list(map(str, given))
        keypoints = keypoints or [str(i + 1) for i in range(count)]
        if len(keypoints) > count:
            raise AnnotationError(f"{path} names {len(keypoints)} keypoints of {name!r}, but kpt_shape says {count}.")
        mirrored = turned if sorted(turned) == list(range(len(keypoints))) else []
        categories[number] = Category(name=name, keypoints=keypoints, id=number, mirrored=mirrored)
    return categories, (count, values)


def _label_files(path: Path, data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Label files and the names of their images without suffix, of the folders and lists that data.yaml names."""
    home = path.parent
    root = home / str(data.get("path") or ".")
    root = root if root.is_dir() else home
    places = [data[key] for key in ("train", "val", "test") if data.get(key)]
    folders: dict[Path, str] = {}
    for place in [each for given in places for each in (given if isinstance(given, list) else [given])]:
        parts = list(PurePosixPath(str(place).replace("\\", "/")).parts)
        last = max((i for i, part in enumerate(parts) if part == "images"), default=-1)
        labels = root.joinpath(*parts[:last], "labels", *parts[last + 1 :]) if last >= 0 else root / "labels"
        if labels.is_dir():
            folders[labels] = "/".join(parts[last + 1 :])
    if not folders and (root / "labels").is_dir():
        folders = {root / "labels": ""}
    seen: set[Path] = set()
    for labels, prefix in folders.items():
        for file in sorted(labels.rglob("*.txt")):
            if file.resolve() not in seen:
                seen.add(file.resolve())
                inner = file.relative_to(labels).with_suffix("").as_posix()
                yield file, f"{prefix}/{inner}" if prefix else inner
    if not seen:
        raise AnnotationError(f"{path} leads to no label files: they lie in a folder named labels, beside images.")


def _objects(
    text: str, categories: Mapping[int, Category], shape: tuple[int, int], size: tuple[int, int], file: Path
) -> Iterator[AnnotatedObject]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        what = f"{file}, line {number}"
        try:
            kind, *values = [float(word) for word in line.split()]
            category = categories[int(kind)]
        except (ValueError, OverflowError) as error:
            raise AnnotationError(f"{what} must be numbers: of a class, and shares of the image.") from error
        except KeyError as error:
            raise AnnotationError(f"{what} has the class {kind:g}, which data.yaml does not name: add it.") from error
        yield _object(values, category, shape, size, what)


def _object(
    values: list[float], category: Category, shape: tuple[int, int], size: tuple[int, int], what: str
) -> AnnotatedObject:
    count, width = shape
    boxed = 4 + count * width
    confidence = None
    if len(values) in ((boxed + 1,) if count else (5,)) or (not count and len(values) > 6 and len(values) % 2):
        *values, confidence = values
    with np.errstate(over="ignore"):  # what is not finite is refused below
        points = np.array(values[: len(values) // 2 * 2]).reshape(-1, 2) * size - 0.5
    if len(values) == boxed:
        x, y, w, h = (value * size[i % 2] for i, value in enumerate(values[:4]))
        box = (x - w / 2 - 0.5, y - h / 2 - 0.5, x + w / 2 - 0.5, y + h / 2 - 0.5)
        keypoints = _keypoints(np.reshape(values[4:], (count, width)), category, size) if count else []
        return AnnotatedObject(category=category.name, box=box, keypoints=keypoints, confidence=confidence)
    if len(values) < 6 or len(values) % 2 or count:
        expected = f"{boxed} values" if count else "4 values of a box, or 3 or more corners"
        raise AnnotationError(f"{what} has {len(values)} values after the class, but needs {expected}.")
    return AnnotatedObject(category=category.name, outlines=[Outline(points)], confidence=confidence)


def _keypoints(rows: Points, category: Category, size: tuple[int, int]) -> list[Keypoint]:
    found = []
    for name, row in zip(
        category.keypoints, rows.tolist(), strict=False
    ):  # classes with fewer are filled up with zeros
        x, y = row[0] * size[0] - 0.5, row[1] * size[1] - 0.5
        seen = int(row[2]) if len(row) == 3 else 2 * int(min(row) >= 0)
        found.append(Keypoint(name, x, y, _SEEN[min(max(seen, 0), 2)]))
    return [] if all(keypoint.missing for keypoint in found) else found


def write(annotations: Annotations, path: Path, task: str) -> None:
    """See `dift_edit.annotations.write_annotations`; `path` is the folder."""
    numbers = [category.id for category in annotations.categories]
    if set(numbers) != set(range(len(numbers))):
        numbers = list(range(len(numbers)))  # readers of YOLO want classes from 0 without a gap
    count = max((len(category.keypoints) for category in annotations.categories), default=0) if task == "pose" else 0
    if task == "pose" and count == 0:
        raise AnnotationError("There are no keypoints to write as YOLO pose: write yolo-detect or yolo-segment.")
    number_of = {category.name: number for category, number in zip(annotations.categories, numbers, strict=True)}
    texts: dict[PurePosixPath, str] = {}
    files = label_files([image.path for image in annotations.images], ".txt")
    for image, file in zip(annotations.images, files, strict=True):
        if image.size is None:
            raise AnnotationError(f"The size of {image.path} is not known, which YOLO's labels need: give the image.")
        rows = [_row(thing, image.size, task, count) for thing in image.objects]
        lines = [
            " ".join([str(number_of[thing.category]), *(f"{value:.10g}" for value in row)])
            for thing, row in zip(image.objects, rows, strict=True)
            if row
        ]
        texts["labels" / file] = "".join(f"{line}\n" for line in lines)
    try:
        for file, text in texts.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            write_text(path / file, text)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    write_text(
        path / "data.yaml", yaml.safe_dump(_data(annotations, number_of, count), sort_keys=False, allow_unicode=True)
    )


def _data(annotations: Annotations, number_of: Mapping[str, int | None], count: int) -> dict[str, Any]:
    data: dict[str, Any] = {"path": ".", "train": "images", "val": "images"}
    data["names"] = {number_of[category.name]: category.name for category in annotations.categories}
    if count:
        data["kpt_shape"] = [count, 3]
        whole = [category for category in annotations.categories if len(category.keypoints) == count]
        if len({category.mirrored for category in whole}) == 1:
            data["flip_idx"] = list(whole[0].mirrored)
        data["kpt_names"] = {number_of[c.name]: list(c.keypoints) for c in annotations.categories if c.keypoints}
    return data


def _row(thing: AnnotatedObject, size: tuple[int, int], task: str, count: int) -> list[float]:
    """The values after the class; empty when the task's labels hold nothing of the object."""
    if task in ("segment", "obb"):
        outlines = outlines_of(thing)
        if not outlines and thing.box:
            outlines = [Outline(box_corners(thing.box))]
        if not outlines:
            return []
        ring = joined_ring(outlines)
        if task == "obb" and len(ring) != 4:
            ring = _oriented_box(ring)
        return _flat((ring + 0.5) / size)
    box = thing.box or thing.extent()
    if box is None:
        return []
    left, top, right, bottom = box
    row = _flat([((left + right + 1) / 2 / size[0], (top + bottom + 1) / 2 / size[1])])
    row += [(right - left) / size[0], (bottom - top) / size[1]]
    rows = [
        (0.0, 0.0, 0) if k.missing else ((k.x + 0.5) / size[0], (k.y + 0.5) / size[1], _SEEN.index(k.visibility))
        for k in thing.keypoints
    ]
    padded = [*rows, *[(0.0, 0.0, 0)] * (count - len(rows))][:count]
    return row + [value for each in padded for value in each]


def _flat(points: Iterable[Iterable[float]]) -> list[float]:
    return [float(value) for point in points for value in point]


def _oriented_box(ring: Points) -> Points:
    """The smallest box of any direction round a ring, as four corners."""
    import cv2

    return np.asarray(cv2.boxPoints(cv2.minAreaRect(ring.astype(np.float32))), float)
