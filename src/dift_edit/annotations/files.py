"""Read and write annotations in the formats that people use: see docs/annotation-formats.md."""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import ParseError

from dift_edit.annotations import coco, cvat, deeplabcut, labelme, napari_csv, tps, yolo
from dift_edit.annotations.model import AnnotatedImage, AnnotatedObject, Annotations, Keypoint
from dift_edit.annotations.pictures import ImagePlaces, Pictures
from dift_edit.atomic_files import NotRegularError, read_regular, write_text
from dift_edit.errors import AnnotationError, OutputError, first_line
from dift_edit.settings import ANNOTATION_FORMATS
from dift_edit.types import AnnotationFormat

__all__ = ["annotation_format", "read_annotations", "write_annotations"]

_DAMAGED = (
    LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, MemoryError, csv.Error,
    ParseError, OSError, RuntimeError,
)  # fmt: skip
"""What a reader may meet in a file that is not as its format says."""

_HEAD = ["image", "object", "id", "category", "keypoint", "confidence"]


@dataclass(frozen=True)
class _Format:
    read: Callable[[Path, Pictures], Annotations]
    write: Callable[[Annotations, Path], None]
    holds: frozenset[str]


def _format(name: str, annotations: Annotations | None = None) -> _Format:
    if name.startswith("yolo"):
        task = name.partition("-")[2] or (yolo.task_of(annotations) if annotations else yolo.TASKS[0])
        return _Format(yolo.read, partial(yolo.write, task=task), yolo.holds(task))
    module = {
        "coco": coco, "labelme": labelme, "cvat": cvat, "tps": tps, "deeplabcut": deeplabcut, "napari": napari_csv,
    }[name]  # fmt: skip
    return _Format(module.read, module.write, module.HOLDS)


def annotation_format(path: str | os.PathLike[str]) -> AnnotationFormat:
    """Which format a file or folder of annotations has.

    Parameters
    ----------
    path : path
        A file or folder that exists, or one that shall be written.

    Returns
    -------
    str
        One of `ANNOTATION_FORMATS`, found from the name and, where there is a file, from what it holds.

    Raises
    ------
    AnnotationError
        If it cannot be told.
    """
    path = Path(path)
    found: AnnotationFormat | None = None
    if path.is_dir():
        found = _format_of_folder(path)
    else:
        suffix = path.suffix.lower()
        by_suffix: Mapping[str, AnnotationFormat] = {
            ".xml": "cvat", ".tps": "tps", ".h5": "deeplabcut", ".hdf5": "deeplabcut", ".yaml": "yolo", ".yml": "yolo",
        }  # fmt: skip
        found = by_suffix.get(suffix)
        if suffix in (".json", ".csv"):
            found = _format_of_text(path)
    if found is None:
        raise AnnotationError(
            f"The format of {path} cannot be told from its name and content: say which it is of "
            f"{', '.join(ANNOTATION_FORMATS)}."
        )
    return found


def _format_of_folder(path: Path) -> AnnotationFormat | None:
    if (path / "data.yaml").is_file():
        return "yolo"
    first = next(iter(sorted(path.rglob("*.json"))), None) or next(iter(sorted(path.rglob("*.csv"))), None)
    found = None if first is None else _format_of_text(first)
    return found if found in ("labelme", "napari") else None


def _format_of_text(path: Path) -> AnnotationFormat:
    json = path.suffix.lower() == ".json"
    try:
        text = read_regular(path, links=True)
    except OSError:
        return "coco" if json else "deeplabcut" if path.name.startswith("CollectedData") else "napari"
    if json:
        return "labelme" if b'"shapes"' in text and b'"annotations"' not in text else "coco"
    return "deeplabcut" if text.lstrip(b"\xef\xbb\xbf").startswith(b"scorer") else "napari"


def read_annotations(
    path: str | os.PathLike[str], *, format: AnnotationFormat | None = None, images: ImagePlaces | None = None
) -> Annotations:
    """Read annotations from a file or folder.

    Parameters
    ----------
    path : path
        A file of COCO, CVAT for images (XML), TPS, DeepLabCut (csv or h5), LabelMe or napari; a data.yaml of YOLO; or a
        folder of YOLO's, LabelMe's or napari's files.
    format : str, optional
        One of `ANNOTATION_FORMATS`; found from the name and content when left out.
    images : path or sequence of path, optional
        The folder of the annotated images: each must be there then, and have the size that the annotations say. Or
        image files: only the annotations of these are read. When left out, images are looked for beside the
        annotations; YOLO and TPS cannot be read without.

    Returns
    -------
    Annotations
        Confidences are read from the file ``confidence.csv`` that `write_annotations` leaves beside, too.

    Raises
    ------
    AnnotationError
        If the file is missing, damaged or not of that format, or an image is missing or has another size.
    MissingDependencyError
        For HDF5 without h5py.
    """
    path = Path(path)
    _check(format)
    try:
        if not path.exists():
            raise AnnotationError(f"{path} does not exist: check the path of the annotations.")
        chosen = format or annotation_format(path)
        pictures = Pictures(images, path)
        annotations = _format(chosen).read(path, pictures)
        if not annotations.images and pictures.names():
            names = ", ".join(pictures.names()[:3])
            raise AnnotationError(f"{path} has no annotations of {names}: give an image that is annotated there.")
        if "confidence" not in _format(chosen).holds and (beside := _beside(path)).is_file():
            annotations = _with_confidence(annotations, beside)
    except NotRegularError as error:
        raise AnnotationError(f"{path} is no regular file: give a file of annotations.") from error
    except _DAMAGED as error:
        what = f"the entry {error} is missing" if isinstance(error, KeyError) else first_line(error)
        known = f" as {format or 'its format'}"
        raise AnnotationError(f"{path} is damaged{known} ({what}): give a file that follows the format.") from error
    return annotations


def write_annotations(
    annotations: Annotations, path: str | os.PathLike[str], *, format: AnnotationFormat | None = None
) -> list[str]:
    """Write annotations to a file or folder.

    Parameters
    ----------
    annotations : Annotations
    path : path
        A file for COCO, CVAT, TPS and DeepLabCut; a folder for YOLO, LabelMe and napari (or a file, for one image).
    format : str, optional
        One of `ANNOTATION_FORMATS`; found from the name when left out.

    Returns
    -------
    list of str
        What the format could not hold, such as "3 curves"; empty when everything is written. Confidences are then
        written to NAME.confidence.csv, or confidence.csv in the folder, which `read_annotations` reads.

    Raises
    ------
    AnnotationError
        If an image's size is needed, but not known, or a name does not fit into the format.
    OutputError
        If it cannot be written.
    """
    path = Path(path)
    _check(format)
    chosen = _format(format or annotation_format(path), annotations)
    lost = _lost(annotations, chosen.holds)
    kept = Annotations(
        [replace(image, objects=[t for t in image.objects if _held(t, chosen.holds)]) for image in annotations.images],
        annotations.categories,
    )
    try:
        chosen.write(kept, path)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written ({first_line(error)}).") from error
    beside = _beside(path)
    if "confidence" not in chosen.holds:
        text = _confidence_text(kept, named="names" in chosen.holds)
        if text:
            write_text(beside, text)
        else:
            beside.unlink(missing_ok=True)
    return lost


def _check(format: str | None) -> None:
    if format is not None and format not in ANNOTATION_FORMATS:
        raise AnnotationError(f"There is no format {format!r}: choose one of {', '.join(ANNOTATION_FORMATS)}.")


def _held(thing: AnnotatedObject, holds: frozenset[str]) -> bool:
    """Whether a format holds any part of an object; a box can be made of everything."""
    if "ids" not in holds and thing.extent() is None:
        return False
    return bool(
        ("boxes" in holds)
        or ("outlines" in holds and thing.outlines)
        or ("areas" in holds and (thing.mask or thing.box))
        or ("curves" in holds and thing.curves)
        or ("keypoints" in holds and thing.keypoints)
    )


def _lost(annotations: Annotations, holds: frozenset[str]) -> list[str]:
    things = [thing for image in annotations.images for thing in image.objects]
    points = [k for thing in things for k in thing.keypoints]
    counts = {
        "boxes": sum(bool(thing.box) for thing in things),
        "outlines": sum(len(thing.outlines) for thing in things),
        "outlines beside a mask": sum(len(t.outlines) for t in things if t.mask) if "one area" in holds else 0,
        "masks": sum(thing.mask is not None for thing in things),
        "curves": sum(len(thing.curves) for thing in things),
        "keypoints": sum(not k.missing for k in points),
        "hidden": sum(k.visibility == "hidden" for k in points) if "keypoints" in holds else 0,
        "names": sum(k.name != str(i) for t in things for i, k in enumerate(t.keypoints, 1))
        if "keypoints" in holds
        else 0,
        "attributes": sum(len(thing.attributes) for thing in things),
        "ids": sum(bool(thing.id) for thing in things),
        "endings": _alike_but_for_ending(annotations) if "stems" in holds else 0,
    }
    words = {
        "hidden": "hidden keypoints (written as visible)",
        "names": "names of keypoints (their order is kept)",
        "endings": "images whose names differ only in the ending (their labels keep it: rename the images)",
    }
    return [f"{count} {words.get(what, what)}" for what, count in counts.items() if count and what not in holds]


def _alike_but_for_ending(annotations: Annotations) -> int:
    paths = [PurePosixPath(image.path) for image in annotations.images]
    stems = Counter(str(path.parent / path.stem).casefold() for path in paths)
    return sum(count for count in stems.values() if count > 1)


def _beside(path: Path) -> Path:
    if path.is_dir():
        return path / "confidence.csv"
    return (
        path.with_name("confidence.csv") if path.name == "data.yaml" else path.with_name(f"{path.stem}.confidence.csv")
    )


def _confidence_text(annotations: Annotations, *, named: bool) -> str:
    """Rows for all confidences; keypoints by their number where the format keeps no names."""
    rows: list[list[object]] = []
    for image in annotations.images:
        for number, thing in enumerate(image.objects):
            about = [image.path, number, thing.id, thing.category]
            if thing.confidence is not None:
                rows.append([*about, "", repr(thing.confidence)])
            points = [(k.name if named else str(i), k.confidence) for i, k in enumerate(thing.keypoints, start=1)]
            rows += [[*about, name, repr(score)] for name, score in points if score is not None]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_HEAD, *rows] if rows else [])
    return text.getvalue()


def _with_confidence(annotations: Annotations, path: Path) -> Annotations:
    scores: dict[tuple[str, str, str], float] = {}
    reader = csv.DictReader(io.StringIO(read_regular(path, links=True).decode("utf-8-sig"), newline=""))
    if reader.fieldnames != _HEAD:
        raise AnnotationError(f"{path} must have the columns {', '.join(_HEAD)}: remove it, or correct it.")
    for row in reader:
        try:
            for thing in (f"#{int(row['object'])}", row["id"]):
                scores[row["image"], thing, row["keypoint"]] = float(row["confidence"])
        except (TypeError, ValueError) as error:
            what = f"{path}, line {reader.line_num}"
            raise AnnotationError(f"{what} must have the number of an object and a confidence: correct it.") from error
    return Annotations([_scored(image, scores) for image in annotations.images], annotations.categories)


def _scored(image: AnnotatedImage, scores: Mapping[tuple[str, str, str], float]) -> AnnotatedImage:
    objects = []
    for number, thing in enumerate(image.objects):
        name = thing.id or f"#{number}"
        keypoints: list[Keypoint] = []
        for k in thing.keypoints:
            given = scores.get((image.path, name, k.name))
            keypoints.append(replace(k, confidence=k.confidence if given is None else given))
        own = scores.get((image.path, name, ""), thing.confidence)
        objects.append(replace(thing, keypoints=keypoints, confidence=own))
    return replace(image, objects=objects)
