"""The file, or folder, with the annotations of all targets: made at the end of a run, and after a review."""

import json
from collections.abc import Iterable, Mapping, Sequence
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
from dift_edit.settings import ANNOTATION_FORMATS
from dift_edit.types import AnnotationFormat

__all__ = ["TARGETS", "AllAnnotations", "annotated_of", "file_name"]

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
    formats : sequence of str
        Of `ANNOTATION_FORMATS`: that of the last run first, then those of earlier runs, which are kept up.
    categories : iterable of Category
        Of the sources.
    names : mapping
        Target id → the name that its result was planned with, in order.
    files : iterable of str
        What earlier runs wrote; what is not written again is removed.
    """

    def __init__(
        self,
        formats: Sequence[AnnotationFormat],
        categories: Iterable[Category],
        names: Mapping[str, str],
        files: Iterable[str] = (),
    ) -> None:
        self.formats, self.categories = tuple(formats), tuple(categories)
        self.names, self.files = dict(names), set(files)

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
            formats, files = plain["formats"], plain["files"]
            if not formats or not all(each in ANNOTATION_FORMATS for each in formats):
                raise ValueError("its formats are not known")
            categories = [Category(**each) for each in plain["categories"]]
            return cls(formats, categories, plain["names"], filter(_is_own, files))
        except (OSError, OutputError, KeyError, TypeError, ValueError) as error:
            raise OutputError(
                f"{folder} does not say which annotations belong to it ({_RECORD}): run the job again."
            ) from error

    def continuing(self, folder: OutputFolder, *, overwrite: bool) -> "AllAnnotations":
        """The same with what earlier runs into the folder wrote; their formats are dropped with `overwrite`."""
        try:
            earlier = AllAnnotations.load(folder)
        except OutputError:
            return self
        mine = {file_name(each) for each in self.formats}
        others = [] if overwrite else [each for each in earlier.formats if file_name(each) not in mine]
        return AllAnnotations([*self.formats, *others], self.categories, self.names, earlier.files)

    @property
    def is_there(self) -> bool:
        """Whether anything was written in the format of the last run."""
        name = file_name(self.formats[0])
        return any(file == name or file.startswith(f"{name}/") for file in self.files)

    def write(self, folder: OutputFolder, rows: Mapping[str, Row]) -> tuple[int, list[str]]:
        """Write the files from the files of the targets, with what reviewers corrected.

        Parameters
        ----------
        folder : OutputFolder
            Where the results are.
        rows : mapping
            Target id → its row. Failed targets are left out, rejected ones have no objects.

        Returns
        -------
        int
            How many images are in them.
        list of str
            What the format of the last run cannot hold.
        """
        found = [(rows[key], name) for key, name in self.names.items() if key in rows]
        images = [annotated_of(folder, row, name) for row, name in found if row.status != "failed"]
        whole = Annotations(images, self.categories)
        with TemporaryDirectory(prefix="dift-edit-") as made:
            lost = [write_annotations(whole, Path(made) / file_name(each), format=each) for each in self.formats]
            paths = {path.relative_to(made).as_posix(): path for path in Path(made).rglob("*") if path.is_file()}
            stale = self.files - paths.keys()
            self._save(folder, self.files | paths.keys())  # before, so that a killed run leaves nothing unknown
            for name in sorted(stale):
                folder.remove(name)
            for name, path in sorted(paths.items()):
                folder.write(name, path.read_bytes())  # follows no link
        self._save(folder, paths.keys())
        return len(images), lost[0]

    def _save(self, folder: OutputFolder, files: Iterable[str]) -> None:
        self.files = set(files)
        plain = {
            "formats": self.formats, "categories": list(map(asdict, self.categories)), "names": self.names,
            "files": sorted(self.files),
        }  # fmt: skip
        folder.write(_RECORD, json.dumps(plain).encode())


def file_name(format: AnnotationFormat) -> str:
    """Name of the file or folder with all annotations."""
    return NAMES.get(format, "yolo")


def _is_own(name: str) -> bool:
    """Whether a name that a record claims to have written is one that `AllAnnotations` may write."""
    first = name.partition("/")[0]
    places = {*NAMES.values(), "yolo"}
    return first in places or first.removesuffix(".confidence.csv") in {Path(place).stem for place in places}


def annotated_of(folder: OutputFolder, row: Row, planned: str) -> AnnotatedImage:
    """What is annotated in a target, under the name that its result has, which leads out of no folder."""
    name = (row.output or planned).removeprefix(REJECTED).removeprefix(f"{TARGETS}/").removesuffix(".json")
    if row.output is not None and row.review != "rejected":
        try:
            stored = folder.read(row.output)
        except OSError as error:
            raise OutputError(f"{folder}/{row.output} cannot be read ({error.strerror}): run the job again.") from error
        return moved_parts(annotated_from_bytes(stored, name), row.moved)
    return AnnotatedImage(path=name, size=None if row.size is None else (row.size[0], row.size[1]))
