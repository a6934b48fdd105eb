"""Rows of a manifest, one per target."""

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dift_edit._version import __version__
from dift_edit.errors import MissingDependencyError
from dift_edit.geometry.base import MatrixTransform, Transform
from dift_edit.geometry.estimate import Correspondences, fit_affine
from dift_edit.geometry.mesh import PiecewiseAffine, triangulate
from dift_edit.geometry.quad import quad_lattice
from dift_edit.results.names import is_output_name, is_side_name
from dift_edit.types import QuadLike, Status

if TYPE_CHECKING:
    from dift_edit.geometry.coords import Points
    from dift_edit.placement.placement import Placement

__all__ = ["PLACED", "Row", "edit_lattice", "is_array", "manifest_jsonl", "manifest_parquet", "placed_transform"]

_LINES = 7
"""Points along each side of the mesh that a row keeps of a bent placement (chosen)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target's result, as plain data.

    Attributes
    ----------
    id, target : str
        Stable name (the path from the output folder, unless a list gave one), and the path or URL as it was given.
    output : str or None
        Name of the result relative to the output folder; None unless applied, and with ``--no-flattened``.
    status : {"applied", "abstained", "failed"}
    reason : str
        Why it was not applied, in words; or what speaks against a placement.
    confidence : float or None
        In [0, 1]; None when the target failed.
    confidence_source : str or None
        What the confidence rests on: "fitted" (calibrated), "uncalibrated", "surface", "pins", "fixed" or "none" (no
        placement was found).
    quad : list or None
        Four corners [x, y] in target pixels: top left, top right, bottom right, bottom left of the edit.
    matrix : list or None
        (3, 3) from source to target pixels, row by row, where the engine's result is a matrix.
    mesh : list or None
        (7, 7) points [x, y] in target pixels of a lattice over the edit, where the engine's result is no matrix.
    mirrored : bool
        Whether the target shows the object mirrored.
    artwork : {"", "kept", "flipped", "partly kept"}
        How a sticker was put on a mirrored target; empty where nothing is mirrored. See ``--artwork``.
    instances : int
        Places in the target that look like the object.
    placements : list of dict
        Each instance that was found, when more than one was looked for, the row's own first; empty otherwise. Each has
        the keys of `PLACED`, and ``status``: "applied", "abstained" (found, but beyond the number that was asked for)
        or "rejected" by a reviewer.
    warning : str
        What is wrong with a result that was made: a redaction that leaves instances of the object to be seen.
    engine : str
        What placed it.
    on_surface : bool
        Whether the source's very surface was recognised in the target.
    model : dict
        ``id``, ``revision`` and ``sha256`` of the weights.
    seed : int
    seconds : float
        Time for this target.
    size : list or None
        [W, H] of the target in pixels.
    target_sha256, output_sha256 : str or None
        Of the files' bytes.
    hints : str
        Digest of what a list or recipe said about this target alone; empty where it said nothing.
    job : str
        Fingerprint of source, edit, model and settings.
    version : str
        Of dift-edit.
    review, note : str
        What a reviewer decided ("accepted", "rejected" or nothing) and wrote.
    instances_reviewed : bool
        Whether a reviewer decided on single instances.
    pins : list
        Pairs [[x, y] in the source, [x, y] in the target] that a reviewer gave.
    moved : dict
        What a reviewer corrected of the target's annotations: key of a part, see `dift_edit.report.marks`, → its
        points; none where it is missing. The target's own file holds them as they were found, the file of all
        annotations as corrected.
    views : list of str
        Ids of the targets whose results were tried as further views of the edit when it was placed again last; the
        placement stayed as it was where they gave none of more confidence.
    earlier : dict or None
        ``quad`` and ``confidence`` before the target was first placed again with further views.
    round : int
        The last round of its folder in which it was placed again; 0 before.
    look : str
        What the target looks like, see `dift_edit.results.looks`; the journal has it, and the manifest does not;
        empty where the edit hides something.
    files : dict
        Names of the result's layers and masks relative to the output folder → SHA-256 of their bytes.
    baked : str
        What the format of the layers cannot keep apart, in words; empty where there is nothing.
    untouched : dict
        With ``--verify``, how the output compares with the target outside the edit (`dift_edit.imaging.Untouched`):
        ``reach`` (share of the pixels that the edit may set), ``unit`` ("pixels", or "blocks" of a lossy format),
        ``compared``, ``changed`` (numbers of units), ``largest`` (difference in 255ths), ``tables_kept`` (of JPEG: the
        quantisation tables and subsampling; else None).
    placed_by : str
        Fingerprint of the run that the placement comes from, where an earlier one found it (``dift-edit render``).
    """

    id: str
    target: str
    output: str | None = None
    status: Status
    reason: str = ""
    confidence: float | None = None
    confidence_source: str | None = None
    quad: list[list[float]] | None = None
    matrix: list[list[float]] | None = None
    mesh: list[list[list[float]]] | None = None
    mirrored: bool = False
    artwork: str = ""
    instances: int = 1
    placements: list[dict[str, Any]] = field(default_factory=list)
    warning: str = ""
    engine: str = ""
    on_surface: bool = False
    model: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    seconds: float = 0.0
    size: list[int] | None = None
    target_sha256: str | None = None
    output_sha256: str | None = None
    hints: str = ""
    job: str = ""
    version: str = __version__
    review: str = ""
    instances_reviewed: bool = False
    note: str = ""
    pins: list[list[list[float]]] = field(default_factory=list)
    moved: dict[str, list[list[float]]] = field(default_factory=dict)
    views: list[str] = field(default_factory=list)
    earlier: dict[str, Any] | None = None
    round: int = 0
    look: str = ""
    files: dict[str, str] = field(default_factory=dict)
    baked: str = ""
    untouched: dict[str, Any] = field(default_factory=dict)
    placed_by: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Row":
        """A row from a journal or manifest; keys that are not known are left out.

        Raises
        ------
        ValueError
            If a value is missing, or is none that a row can have.
        """
        given = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        wrong = [name for name, value in given.items() if not _FITS.get(name, _is_text)(value)]
        if wrong or not given.keys() >= {"id", "target", "status"}:
            raise ValueError(f"a row has no fitting value of {wrong[0] if wrong else 'id, target or status'!r}")
        return cls(**given)

    @property
    def decided(self) -> bool:
        """Whether a person accepted, rejected or corrected the result or an instance, or placed it by hand."""
        by_hand = bool(self.pins) or bool(self.moved) or self.engine == "pins"
        return bool(self.review) or self.instances_reviewed or by_hand

    @property
    def applied_places(self) -> int:
        """At how many places the target has the edit."""
        if self.placements:
            return sum(each["status"] == "applied" for each in self.placements)
        return int(self.status == "applied")

    @property
    def alone(self) -> tuple[list[list[float]] | None, float]:
        """Quad and confidence that were found without further views."""
        if self.earlier is not None:
            return self.earlier["quad"], self.earlier["confidence"]
        return self.quad, self.confidence or 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def with_placement(self, placement: "Placement", quad: QuadLike) -> "Row":
        """The row with a placement's quad, matrix or mesh, confidence, mirroring and engine, rounded.

        Parameters
        ----------
        placement : Placement
            What was found.
        quad : array_like
            (4, 2) corners of the edit in source pixels.
        """
        return replace(self, instances=int(placement.instances), **_placed(placement, quad))

    def with_placements(self, applied: Sequence["Placement"], missed: Sequence["Placement"], quad: QuadLike) -> "Row":
        """The row with every instance that was found, as `placements`.

        Parameters
        ----------
        applied, missed : sequence of Placement
            With the edit, and without.
        quad : array_like
            (4, 2) corners of the edit in source pixels.
        """
        placements = [
            {"status": status, **_placed(placement, quad)}
            for status, group in (("applied", applied), ("abstained", missed))
            for placement in group
        ]
        return replace(self, placements=placements)


def _placed(placement: "Placement", quad: QuadLike) -> dict[str, Any]:
    """A placement as plain data, rounded."""
    matrix, mesh = placement.matrix, None
    if matrix is None:
        mesh = _plain(placement.transform(edit_lattice(quad)).reshape(_LINES, _LINES, 2))
    return {
        "quad": _plain(placement.quad),
        "matrix": None if matrix is None else np.asarray(matrix, dtype=np.float64).tolist(),
        "mesh": mesh,
        "confidence": round(float(placement.confidence), 6),
        "confidence_source": str(placement.confidence_source),
        "mirrored": bool(placement.mirrored),
        "engine": str(placement.engine),
        "on_surface": bool(placement.on_surface),
    }


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool) or _is_text(value) or _is_number(value)


def is_array(value: Any, *shape: int) -> bool:
    """Whether JSON holds nested lists of this shape with finite numbers."""
    if not shape:
        return _is_number(value)
    return isinstance(value, list) and len(value) == shape[0] and all(is_array(each, *shape[1:]) for each in value)


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _is_placement(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("status") not in ("applied", "abstained", "rejected"):
        return False
    return value.keys() == {"status", *PLACED} and all(_FITS.get(name, _is_text)(value[name]) for name in PLACED)


PLACED = ("quad", "matrix", "mesh", "confidence", "confidence_source", "mirrored", "engine", "on_surface")
"""Fields of a row that say where the edit is put, and how sure that is."""
_LARGEST = 1e300
"""Of a number read from a row: its sums and small multiples are finite, too (chosen)."""
_FITS: dict[str, Callable[[Any], bool]] = {
    "status": lambda value: _is_text(value) and value in ("applied", "abstained", "failed"),
    "output": _or_none(is_output_name),
    "confidence": _or_none(_is_number),
    "confidence_source": _or_none(_is_text),
    "quad": _or_none(lambda value: is_array(value, 4, 2)),
    "matrix": _or_none(lambda value: is_array(value, 3, 3)),
    "mesh": _or_none(lambda value: is_array(value, _LINES, _LINES, 2)),
    "mirrored": lambda value: isinstance(value, bool),
    "on_surface": lambda value: isinstance(value, bool),
    "instances_reviewed": lambda value: isinstance(value, bool),
    "model": lambda value: isinstance(value, dict) and all(map(_is_text, (*value, *value.values()))),
    "instances": _is_whole,
    "placements": lambda value: isinstance(value, list) and all(map(_is_placement, value)),
    "seed": _is_whole,
    "round": _is_whole,
    "seconds": _is_number,
    "size": _or_none(lambda value: is_array(value, 2) and all(_is_whole(each) and each > 0 for each in value)),
    "target_sha256": _or_none(_is_text),
    "output_sha256": _or_none(_is_text),
    "files": lambda value: (
        isinstance(value, dict) and all(map(is_side_name, value)) and all(map(_is_text, value.values()))
    ),
    "untouched": lambda value: isinstance(value, dict) and all(map(_is_plain, value.values())),
    "review": lambda value: _is_text(value) and value in ("", "accepted", "rejected"),
    "views": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "earlier": _or_none(
        lambda value: (
            isinstance(value, dict) and is_array(value.get("quad"), 4, 2) and _is_number(value.get("confidence"))
        )
    ),
    "moved": lambda value: (
        isinstance(value, dict)
        and all(map(_is_text, value))
        and all(isinstance(points, list) and is_array(points, len(points), 2) for points in value.values())
    ),
    "pins": lambda value: isinstance(value, list) and len(value) <= 4 and is_array(value, len(value), 2, 2),
}
"""Field of `Row` → whether a value can be its own; the others are texts."""


def edit_lattice(quad: QuadLike) -> "Points":
    """The (49, 2) source points of a row's mesh: over the edit's (4, 2) quad, row by row from its top left corner."""
    return quad_lattice(np.asarray(quad, dtype=np.float64), across=_LINES)


def placed_transform(placed: Mapping[str, Any], quad: QuadLike) -> Transform | None:
    """Source pixels to target pixels, as a row or one of its placements holds them.

    Parameters
    ----------
    placed : mapping
        With ``matrix`` and ``mesh``, as of `Row`.
    quad : array_like
        (4, 2) corners, in source pixels, of the edit that was placed.

    Returns
    -------
    Transform or None
        A matrix, or a mesh that goes on as an affine map outside the edit; None where there is no placement.
    """
    if placed["matrix"] is not None:
        return MatrixTransform(np.asarray(placed["matrix"], dtype=np.float64))
    if placed["mesh"] is None:
        return None
    lattice, mesh = edit_lattice(quad), np.reshape(placed["mesh"], (-1, 2))
    outside = fit_affine(Correspondences(lattice, mesh, np.ones(len(lattice))))
    return PiecewiseAffine(lattice, mesh, triangulate(lattice), outside)


def _plain(points: Any) -> Any:
    return np.round(np.asarray(points, dtype=np.float64), 6).tolist()


def manifest_jsonl(rows: Iterable[Row]) -> bytes:
    """One JSON object per line, in ASCII; names that are not UTF-8 survive as lone surrogates, as Python has them."""
    return b"".join(json.dumps(_written(row), allow_nan=False).encode() + b"\n" for row in rows)


def _written(row: Row) -> dict[str, Any]:
    values = row.to_dict()
    del values["look"]
    return values


def manifest_parquet(rows: Iterable[Row]) -> bytes:
    """The same as a Parquet table (quad, matrix, model, pins as JSON text).

    Raises
    ------
    MissingDependencyError
        If pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.json
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "batch", "Writing Parquet") from error
    kinds = {
        "confidence": pyarrow.float64(),
        "seconds": pyarrow.float64(),
        "mirrored": pyarrow.bool_(),
        "on_surface": pyarrow.bool_(),
        "instances_reviewed": pyarrow.bool_(),
        "instances": pyarrow.int64(),
        "round": pyarrow.int64(),
        "seed": pyarrow.int64(),
    }
    names = [item.name for item in fields(Row) if item.name != "look"]
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in names])
    lines = [
        json.dumps({name: _cell(row[name]) for name in names}, allow_nan=False).encode() for row in map(_written, rows)
    ]
    # by way of JSON: for Python's own values pyarrow imports pandas, where there is one, which takes a second
    table = (
        schema.empty_table()
        if not lines
        else pyarrow.json.read_json(
            io.BytesIO(b"\n".join(lines)),
            pyarrow.json.ReadOptions(block_size=max(1 << 20, 1 + max(map(len, lines)))),
            pyarrow.json.ParseOptions(explicit_schema=schema),
        )
    )
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return json.dumps(value) if isinstance(value, list | dict) else value
