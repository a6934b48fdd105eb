"""DeepLabCut's tables: CollectedData_SCORER.csv and .h5, of one animal or several, and predictions with likelihood.

Points are indices of pixels, as here; an empty cell is a missing point. An HDF5 file is read without pandas, whose
reader would run code that is stored in it (pickles).
"""

import csv
import io
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dift_edit.annotations.model import AnnotatedImage, AnnotatedObject, Annotations, Category, Keypoint
from dift_edit.annotations.pictures import Pictures, plain_name
from dift_edit.atomic_files import read_regular, write_atomic, write_text
from dift_edit.errors import AnnotationError, MissingDependencyError

__all__ = ["HOLDS", "read", "write"]

HOLDS = frozenset({"keypoints", "names", "ids"})
_CATEGORY = "animal"
_KEY = "df_with_missing"
Column = tuple[str, str, str, str]
"""Scorer, individual (empty where there is one), body part, coordinate."""


def read(path: Path, pictures: Pictures) -> Annotations:
    """See `dift_edit.annotations.read_annotations`."""
    columns, rows = _from_h5(path) if path.suffix.lower() in (".h5", ".hdf5") else _from_csv(path)
    parts: dict[str, None] = dict.fromkeys(part for _, _, part, _ in columns)
    images = []
    for name, values in rows:
        if not pictures.wants(name):
            continue
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (_, individual, part, coordinate), value in zip(columns, values, strict=True):
            found.setdefault(individual, {}).setdefault(part, {})[coordinate] = value
        objects = []
        for individual, points in found.items():
            keypoints = [_keypoint(part, point, f"{path}, {name}") for part, point in points.items()]
            if any(not keypoint.missing for keypoint in keypoints):
                objects.append(AnnotatedObject(category=_CATEGORY, keypoints=keypoints, id=individual))
        images.append(AnnotatedImage(path=name, size=pictures.size(name), objects=objects))
    return Annotations(images, [Category(name=_CATEGORY, keypoints=list(parts))])


def _keypoint(part: str, point: dict[str, float], what: str) -> Keypoint:
    if not {"x", "y"} <= point.keys():
        raise AnnotationError(f"{what} has no x and y of {part!r}: add the columns.")
    likelihood = point.get("likelihood", math.nan)
    missing = math.isnan(point["x"]) or math.isnan(point["y"])
    confidence = None if math.isnan(likelihood) or missing else likelihood
    return Keypoint(part, point["x"], point["y"], "missing" if missing else "visible", confidence)


def _from_csv(path: Path) -> tuple[list[Column], list[tuple[str, list[float]]]]:
    table = list(csv.reader(io.StringIO(read_regular(path, links=True).decode("utf-8-sig"), newline="")))
    head = {row[0]: row for row in table[:4] if row and row[0] in ("scorer", "individuals", "bodyparts", "coords")}
    if not {"scorer", "bodyparts", "coords"} <= head.keys():
        raise AnnotationError(f"{path} is no table of DeepLabCut: its first column must be scorer, bodyparts, coords.")
    width = len(head["coords"])
    first = next((i for i, word in enumerate(head["coords"]) if word in ("x", "y", "likelihood")), width)
    if first not in (1, 3) or any(len(row) != width for row in head.values()):
        raise AnnotationError(f"{path} must have 1 or 3 columns of the image's path, then x and y of each body part.")
    individuals = head.get("individuals", [""] * width)
    columns = [
        (head["scorer"][i], individuals[i], head["bodyparts"][i], head["coords"][i]) for i in range(first, width)
    ]
    rows = []
    for number, row in enumerate(table[len(head) :], start=len(head) + 1):
        if not row:
            continue
        if len(row) != width:
            raise AnnotationError(
                f"{path}, line {number} has {len(row)} columns, but the head has {width}: correct it."
            )
        rows.append(("/".join(row[:first]), [_value(cell, f"{path}, line {number}") for cell in row[first:]]))
    return columns, _named(rows)


def _value(cell: str, what: str) -> float:
    try:
        return float(cell) if cell.strip() else math.nan
    except ValueError as error:
        raise AnnotationError(f"{what}: {cell[:40]!r} must be a number or empty.") from error


def _named(rows: Sequence[tuple[str, list[float]]]) -> list[tuple[str, list[float]]]:
    return [(plain_name(name), values) for name, values in rows]


def _from_h5(path: Path) -> tuple[list[Column], list[tuple[str, list[float]]]]:
    """The table that pandas wrote in its fixed layout, from the arrays alone."""
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("h5py", "deeplabcut", "Reading a table of DeepLabCut in HDF5") from error
    data = read_regular(path, links=True)
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            groups = [group for group in file.values() if isinstance(group, h5py.Group) and "block0_values" in group]
            if len(groups) != 1 or "block1_values" in groups[0]:
                raise AnnotationError(f"{path} holds no table of DeepLabCut as pandas writes it: give the csv file.")
            levels, index = _axis(groups[0], "axis0"), _axis(groups[0], "axis1")
            items = [tuple(words) for words in _axis(groups[0], "block0_items")]
            values = groups[0]["block0_values"][()]
    except OSError as error:
        raise AnnotationError(f"{path} is no HDF5 file that can be read: give the csv file instead.") from error
    if sorted(items) != sorted(map(tuple, levels)) or values.shape != (len(index), len(items)):
        raise AnnotationError(f"{path} holds a table whose head does not fit its values: give the csv file.")
    columns: list[Column] = []
    for words in items:
        if len(words) not in (3, 4):
            raise AnnotationError(f"{path} has {len(words)} rows of heads, but scorer, bodyparts, coords are needed.")
        columns.append((words[0], words[1] if len(words) == 4 else "", words[-2], words[-1]))
    rows = [("/".join(words), [float(v) for v in row]) for words, row in zip(index, values.tolist(), strict=True)]
    return columns, _named(rows)


def _axis(group: Any, name: str) -> list[list[str]]:
    """Labels of an axis: of each place the words of its levels."""
    if name in group:
        return [[_word(value)] for value in group[name][()]]
    levels: list[list[str]] = []
    while f"{name}_level{len(levels)}" in group:
        number = len(levels)
        words = [_word(value) for value in group[f"{name}_level{number}"][()]]
        levels.append([words[code] for code in group[f"{name}_label{number}"][()].tolist()])
    if not levels:
        raise KeyError(name)
    return [list(words) for words in zip(*levels, strict=True)]


def _word(value: Any) -> str:
    if not isinstance(value, bytes | str):
        raise TypeError("an axis holds something else than text")
    return value.decode() if isinstance(value, bytes) else value


def write(annotations: Annotations, path: Path) -> None:
    """See `dift_edit.annotations.write_annotations`; CSV, or HDF5 when `path` ends in ``.h5``."""
    scorer = path.stem.partition("_")[2] or "dift-edit"
    names: dict[tuple[str, str], None] = {}
    for image in annotations.images:
        ids = [thing.id for thing in image.objects if thing.keypoints]
        if len(set(ids)) < len(ids):
            raise AnnotationError(
                f"{image.path} has objects without an id of their own, which DeepLabCut needs: name them."
            )
        names.update({(thing.id, k.name): None for thing in image.objects for k in thing.keypoints})
    if not names:  # nothing was found: a table of empty cells
        names = {("", name): None for category in annotations.categories for name in category.keypoints}
    if not names:
        raise AnnotationError("There are no keypoints to write as a table of DeepLabCut.")
    several = {id_ for id_, _ in names} != {""}
    ordered = sorted(names, key=lambda pair: [id_ for id_, _ in names].index(pair[0]))
    columns: list[Column] = [(scorer, id_, name, axis) for id_, name in ordered for axis in ("x", "y")]
    rows = []
    for image in annotations.images:
        points = {(thing.id, k.name): k for thing in image.objects for k in thing.keypoints if not k.missing}
        found = [points.get(pair) for pair in ordered]
        rows.append((image.path.split("/"), [v for k in found for v in ((k.x, k.y) if k else (math.nan, math.nan))]))
    split = all(len(parts) == 3 for parts, _ in rows)
    if path.suffix.lower() in (".h5", ".hdf5"):
        _to_h5(path, columns, rows, several, split)
    else:
        write_text(path, _csv_text(columns, rows, several, split))


def _csv_text(columns: list[Column], rows: list[tuple[list[str], list[float]]], several: bool, split: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for i, name in enumerate(("scorer", "individuals", "bodyparts", "coords")):
        if several or name != "individuals":
            writer.writerow([name, *([""] * (2 if split else 0)), *(column[i] for column in columns)])
    for parts, values in rows:
        cells = ["" if math.isnan(value) else repr(round(value, 6)) for value in values]
        writer.writerow([*(parts if split else ["/".join(parts)]), *cells])
    return text.getvalue()


def _to_h5(
    path: Path, columns: list[Column], rows: list[tuple[list[str], list[float]]], several: bool, split: bool
) -> None:
    try:
        import pandas as pd
        import tables  # noqa: F401 - pandas needs it
    except ImportError as error:
        raise MissingDependencyError("tables", "deeplabcut", "Writing a table of DeepLabCut in HDF5") from error
    heads = ["scorer", "individuals", "bodyparts", "coords"] if several else ["scorer", "bodyparts", "coords"]
    words = [column if several else (column[0], *column[2:]) for column in columns]
    places = [tuple(parts) if split else "/".join(parts) for parts, _ in rows]
    index = pd.MultiIndex.from_tuples(places) if split else pd.Index(places)
    frame = pd.DataFrame([values for _, values in rows], index, pd.MultiIndex.from_tuples(words, names=heads))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "table.h5"
        frame.to_hdf(made, key=_KEY, mode="w")
        content = made.read_bytes()
    write_atomic(path, lambda file: file.write(content))
