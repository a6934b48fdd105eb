"""Pairs of landmarks of two images, for BigWarp and for elastix and other programs of ITK.

Both count from the centre of the first pixel, as here, when the image has a spacing of 1 and its origin at 0.
"""

import csv
import io
import os
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from dift_edit.atomic_files import read_regular, write_text
from dift_edit.errors import AnnotationError, GeometryError
from dift_edit.geometry.coords import Points, as_points
from dift_edit.types import PointsLike

__all__ = ["PairFormat", "read_landmark_pairs", "write_landmark_pairs"]

PairFormat: TypeAlias = Literal["bigwarp", "elastix"]


def write_landmark_pairs(
    path: str | os.PathLike[str],
    moving: PointsLike,
    fixed: PointsLike,
    *,
    names: list[str] | None = None,
    format: PairFormat = "bigwarp",
) -> list[Path]:
    """Write pairs of landmarks.

    Parameters
    ----------
    path : path
        For BigWarp the file, ``landmarks.csv``. For elastix ``NAME.txt``, of which ``NAME.moving.txt`` and
        ``NAME.fixed.txt`` are made, for its options ``-mp`` and ``-fp``.
    moving, fixed : array_like
        (N, 2) pixels of the image that is to be warped, and of the one that it is to be laid onto.
    names : list of str, optional
        Names of the pairs, which only BigWarp keeps; Pt-0, Pt-1… by default.
    format : {"bigwarp", "elastix"}
        Whose file it shall be.

    Returns
    -------
    list of Path
        The files: for elastix those of the moving and the fixed image.

    Raises
    ------
    AnnotationError
        If there are not as many points, or names, of one as of the other, or a point is not finite.
    OutputError
        If a file cannot be written.
    """
    path, first, second = Path(path), _points(moving), _points(fixed)
    labels = [f"Pt-{i}" for i in range(len(first))] if names is None else names
    if not len(first) == len(second) == len(labels):
        raise AnnotationError(
            f"There are {len(first)} moving and {len(second)} fixed landmarks and {len(labels)} names: give pairs."
        )
    if format == "bigwarp":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for label, a, b in zip(labels, first.tolist(), second.tolist(), strict=True):
            writer.writerow([label, "true", *a, *b])
        write_text(path, text.getvalue())
        return [path]
    files = [path.with_suffix(f".{which}.txt") for which in ("moving", "fixed")]
    for file, points in zip(files, (first, second), strict=True):
        rows = "".join(f"{x!r} {y!r}\n" for x, y in points.tolist())
        write_text(file, f"point\n{len(points)}\n{rows}")
    return files


def read_landmark_pairs(path: str | os.PathLike[str]) -> tuple[Points, Points]:
    """Read pairs of landmarks.

    Parameters
    ----------
    path : path
        BigWarp's csv, or one of the two files of elastix that `write_landmark_pairs` writes.

    Returns
    -------
    moving, fixed : ndarray
        (N, 2) pixels; of BigWarp only those that are active.

    Raises
    ------
    AnnotationError
        If a file is missing or damaged.
    """
    path = Path(path)
    if path.suffix.lower() == ".txt":
        stem = path.name.removesuffix(".txt").removesuffix(".moving").removesuffix(".fixed")
        moving, fixed = (_point_set(path.with_name(f"{stem}.{which}.txt")) for which in ("moving", "fixed"))
        if len(moving) != len(fixed):
            raise AnnotationError(f"{path} has {len(moving)} moving, but {len(fixed)} fixed landmarks: give pairs.")
        return moving, fixed
    rows = []
    try:
        for number, row in enumerate(csv.reader(io.StringIO(_text(path), newline="")), start=1):
            if row and row[1].strip().lower() == "true":
                if len(row) != 6:
                    raise AnnotationError(f"{path}, line {number} has {len(row)} columns: landmarks in 2D have 6.")
                rows.append([float(word) for word in row[2:]])
    except (ValueError, IndexError, csv.Error) as error:
        raise AnnotationError(
            f"{path} is no landmarks.csv of BigWarp: each row is a name, true, and 4 numbers."
        ) from error
    pairs = _points(np.reshape(np.array(rows, float), (-1, 2)))
    return pairs[::2], pairs[1::2]


def _point_set(path: Path) -> Points:
    words = _text(path).split()
    try:
        if words[0] not in ("point", "index"):
            raise ValueError("it does not begin with point or index")
        points = np.array([float(word) for word in words[2:]]).reshape(int(words[1]), 2)
    except (ValueError, IndexError, OverflowError) as error:
        what = "the word point, their number, and two numbers for each"
        raise AnnotationError(f"{path} is no point set of elastix: it needs {what}.") from error
    return _points(points)


def _text(path: Path) -> str:
    try:
        return read_regular(path, links=True).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise AnnotationError(f"{path} does not exist: check the path of the landmarks.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} cannot be read as text: give a file of landmarks.") from error


def _points(points: PointsLike) -> Points:
    try:
        return as_points(np.reshape(np.asarray(points, float), (-1, 2)), "landmarks")
    except (GeometryError, ValueError, TypeError) as error:
        raise AnnotationError(f"Landmarks must be (N, 2) finite numbers: {error}") from error
