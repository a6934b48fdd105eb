"""The file, or folder, with the annotations of all targets: made at the end of a run, and after a review."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from dift_edit.annotations import AnnotatedImage, Annotations, Category, write_annotations
from dift_edit.atomic_files import parse_json
from dift_edit.errors import OutputError
from dift_edit.landmarks.stored import annotated_from_bytes
from dift_edit.report.marks import moved_parts
from dift_edit.results.folder import REJECTED, OutputFolder
from dift_edit.results.manifest import Row
from dift_edit.types import AnnotationFormat

__all__ = ["TARGETS", "AllAnnotations", "annotated_of"]

TARGETS = "targets"
"""Folder with one file for each target."""
NAMES = {
    "coco": "annotations.json", "cvat": "annotations.xml", "tps": "annotations.tps", "labelme": "labelme",
    "deeplabcut": "CollectedData_dift-edit.csv", "napari": "napari",
}  # fmt: skip
"""Format → name of the file or folder with all annotations; of the others, "yolo"."""
_RECORD = ".dift-edit/annotations.json"


class AllAnnotations:
    """What the annotations of all targets are written from.

    Parameters
    ----------
    format : str
        One of `ANNOTATION_FORMATS`.
    categories : iterable of Category
        Of the sources.
    names : mapping
        Target id → the name that its result was planned with, in order.
    """

    def __init__(self, format: AnnotationFormat, categories: Iterable[Category], names: Mapping[str, str]) -> None:
        self.format, self.categories, self.names = format, tuple(categories), dict(names)

    @classmethod
    def load(cls, folder: OutputFolder) -> "AllAnnotations":
        """Of an earlier run.

        Raises
        ------
        OutputError
            If the folder does not say it.
        """
        try:
            plain = parse_json(folder.read(_RECORD))
            return cls(plain["format"], [Category(**each) for each in plain["categories"]], plain["names"])
        except (OSError, OutputError, KeyError, TypeError, ValueError) as error:
            raise OutputError(
                f"{folder} does not say which annotations belong to it ({_RECORD}): run the job again."
            ) from error

    def save(self, folder: OutputFolder) -> None:
        """Keep it in the output folder."""
        plain = {"format": self.format, "categories": list(map(asdict, self.categories)), "names": self.names}
        folder.write(_RECORD, json.dumps(plain).encode())

    @property
    def name(self) -> str:
        """Of the file or folder."""
        return NAMES.get(self.format, "yolo")

    def write(self, folder: OutputFolder, rows: Mapping[str, Row]) -> tuple[int, list[str]]:
        """Write the file from the files of the targets, with what reviewers corrected.

        Parameters
        ----------
        folder : OutputFolder
            Where the results are.
        rows : mapping
            Target id → its row. Failed targets are left out, rejected ones have no objects.

        Returns
        -------
        int
            How many images are in it.
        list of str
            What the format cannot hold.
        """
        found = [(rows[key], name) for key, name in self.names.items() if key in rows]
        images = [annotated_of(folder, row, name) for row, name in found if row.status != "failed"]
        with TemporaryDirectory(prefix="dift-edit-") as made:
            lost = write_annotations(Annotations(images, self.categories), Path(made) / self.name, format=self.format)
            for file in sorted(path for path in Path(made).rglob("*") if path.is_file()):
                folder.write(file.relative_to(made).as_posix(), file.read_bytes())  # follows no link
        return len(images), lost


def annotated_of(folder: OutputFolder, row: Row, planned: str) -> AnnotatedImage:
    """What is annotated in a target, under the name that its result has, which leads out of no folder."""
    name = (row.output or planned).removeprefix(REJECTED).removeprefix(f"{TARGETS}/").removesuffix(".json")
    if row.output is not None and row.review != "rejected":
        return moved_parts(annotated_from_bytes(folder.read(row.output), name), row.moved)
    return AnnotatedImage(path=name, size=None if row.size is None else (row.size[0], row.size[1]))
