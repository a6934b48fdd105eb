"""What a reviewer decided, carried out: rejected results are moved away, accepted placements, pins, moved corners and
corrected annotations followed.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from dift_edit.atomic_files import parse_json
from dift_edit.edits.layers import artwork_on, hides_content
from dift_edit.errors import AnnotationError, DiftEditError, EditError, GeometryError, ImageError, OutputError
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import as_points
from dift_edit.landmarks.stored import annotated_from_bytes
from dift_edit.placement.by_hand import place_by_hand
from dift_edit.report.marks import moved_parts
from dift_edit.report.previews import preview_name, write_previews
from dift_edit.report.side_files import move_files, remove_files, save_result
from dift_edit.results.folder import REJECTED, OutputFolder
from dift_edit.results.journal import Journal
from dift_edit.results.manifest import PLACED, Row, placed_transform
from dift_edit.settings import BatchSettings
from dift_edit.targets.collect import row_path
from dift_edit.targets.storage import read_image
from dift_edit.viz.annotated import draw_annotations

__all__ = ["Decision", "Remake", "apply_decisions", "read_decisions"]

_CHOICES = ("", "accepted", "rejected")
_NO_RESULT: dict[str, Any] = {"output": None, "output_sha256": None, "files": {}, "baked": "", "untouched": {}}
_CORNERS = 4


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One target's review.

    Attributes
    ----------
    id : str
        The row's id.
    decision : {"", "accepted", "rejected"}
    note : str
    pins : tuple of ((x, y), (x, y))
        Points of the source and where they belong in the target: up to three lead a new search, four are the corners
        of the edit, moved by hand. They are about the first instance.
    instances : tuple of {"", "accepted", "rejected"}
        What was decided on each of the row's `placements`, in their order; empty where nothing was.
    moved : dict
        Corrected parts of the target's annotations, see `Row.moved`.
    """

    id: str
    decision: str = ""
    note: str = ""
    pins: tuple[tuple[tuple[float, float], tuple[float, float]], ...] = ()
    instances: tuple[str, ...] = ()
    moved: dict[str, list[list[float]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Remake:
    """What is needed to put an edit on again.

    Attributes
    ----------
    source : Image
    edit : Edit
    compositing : Compositing
    locate : callable
        Finds the edit's place in an image with the help of pins: (image, pins) to `Placement`.
    batch : BatchSettings
        What is written of a result.
    """

    source: Any
    edit: Any
    compositing: Any
    locate: Callable[[Any, Any], Any]
    batch: BatchSettings


def read_decisions(path: Path | str, job: str) -> list[Decision]:
    """Read the file that the review page saves.

    Parameters
    ----------
    path : path
        The JSON file.
    job : str
        Fingerprint of the job that it must belong to.

    Raises
    ------
    DiftEditError
        If it cannot be read, is no such file, or belongs to another job.
    """
    try:
        data = parse_json(Path(path).read_bytes())
    except OSError as error:
        raise DiftEditError(f"The decisions {path} cannot be read ({error.strerror}): check the path.") from error
    except ValueError as error:
        raise DiftEditError(f"The decisions {path} are not JSON ({error}): save them again from the page.") from error
    if not isinstance(data, dict) or data.get("format") != "dift-edit review" or data.get("version") != 1:
        raise DiftEditError(f"{path} holds no decisions: give the file that the review page saved.")
    if data.get("job") != job:
        raise DiftEditError(f"The decisions {path} were made for another job: open the page of this folder.")
    if not isinstance(data.get("decisions"), list):
        raise DiftEditError(f"{path} has no list of decisions: save it again from the page.")
    return [_decision(each, path) for each in data["decisions"]]


def _decision(data: Any, path: Path | str) -> Decision:
    try:
        pins = tuple(
            (tuple(as_points(source)[0].tolist()), tuple(as_points(target)[0].tolist()))
            for source, target in data["pins"]
        )
        made = Decision(
            id=str(data["id"]),
            decision=str(data["decision"]),
            note=str(data["note"]),
            pins=pins,
            instances=tuple(map(str, data.get("instances", ()))),
            moved={
                str(key): as_points(np.reshape(points, (-1, 2))).tolist()
                for key, points in data.get("moved", {}).items()
            },
        )
    except (AttributeError, KeyError, TypeError, ValueError, GeometryError) as error:
        raise DiftEditError(f"A decision in {path} is damaged ({error}): save the file again from the page.") from error
    if not {made.decision, *made.instances} <= set(_CHOICES) or len(made.pins) > _CORNERS:
        raise DiftEditError(f"The decision on {made.id!r} in {path} is not one that the page makes: save it again.")
    return made


def apply_decisions(
    folder: OutputFolder, journal: Journal, decisions: list[Decision], remake: Remake | None
) -> Iterator[tuple[Row, str]]:
    """Carry out decisions one by one; doing it again changes nothing.

    Parameters
    ----------
    folder : OutputFolder
        Where the results are.
    journal : Journal
        Of that folder; gets the new rows.
    decisions : list of Decision
        What was decided.
    remake : Remake or None
        For decisions with pins, and for abstained targets that were accepted.

    Yields
    ------
    row : Row
        The new row.
    action : str
        "accepted", "rejected", "remade", "corrected" (annotations), "noted", "applied as shown" or "withdrawn";
        "remade" also where instances were accepted or rejected on their own; or one of these after "not", and the
        reason: then the row stays as it was, but a redaction that cannot be remade fails and loses its result, which
        the reviewer found in the wrong place.

    Notes
    -----
    An abstained target that is accepted gets the edit at the place that the page showed. Its row becomes "applied"
    and keeps its reason, which says what spoke against the placement; taking the decision back withdraws the result.

    Raises
    ------
    DiftEditError
        If a decision names no row of this folder.
    """
    unknown = [made.id for made in decisions if made.id not in journal.rows]
    if unknown:
        raise DiftEditError(f"There is no row {unknown[0]!r} in {folder}: use the page of this folder.")
    for made in decisions:
        row = Row.from_dict(journal.rows[made.id])
        try:
            row, action = _carried_out(folder, row, made, journal, remake)
        except _NotDoneError as error:
            action = str(error)
            if error.row is row:
                yield row, action
                continue
            row = error.row
        journal.add(row.to_dict())
        yield row, action


class _NotDoneError(Exception):
    """One decision cannot be carried out; the others are."""

    def __init__(self, row: Row, text: str) -> None:
        super().__init__(text)
        self.row = row


@contextlib.contextmanager
def _or_not(action: str, row: Row, failed: Callable[[str], Row] | None = None) -> Iterator[None]:
    """Errors of one target are a decision that is not carried out; those of the folder end the review.

    `failed` makes the row of a redaction for whose new place there is no result.
    """
    try:
        yield
    except (ImageError, EditError, GeometryError, AnnotationError, OutputError) as error:
        if isinstance(error, OutputError) and isinstance(error.__cause__, OSError):
            raise  # the folder cannot be written to: the next target would fail in the same way
        if failed is not None and isinstance(error, EditError | GeometryError):
            row = failed(str(error))
        raise _NotDoneError(row, f"not {action}: {error}") from error


def _carried_out(
    folder: OutputFolder, row: Row, made: Decision, journal: Journal, remake: Remake | None
) -> tuple[Row, str]:
    """The row after a decision, and what was done."""
    name, action = journal.plan[row.id], made.decision or "noted"
    shown = row.status == "applied" and bool(row.reason) and not row.pins  # an abstained target that was accepted
    pins = [[list(point) for point in pin] for pin in made.pins]
    if made.pins and made.decision != "rejected" and pins != row.pins:
        remake = _required(remake, folder, f"{row.target} has pins")
        failed = partial(_failed, folder, row) if hides_content(remake.edit) else None
        with _or_not("remade", row, failed):
            row, action = _remade(folder, row, name, made, remake), "remade"
    elif made.moved != row.moved and made.decision != "rejected":
        with _or_not("corrected", row):
            row, action = _with_moved(folder, row, made), "corrected"
    elif made.decision == "accepted" and row.status != "applied":
        if row.status == "failed" or row.quad is None or journal.job.get("annotations"):
            text = f"not applied: there is no placement that could be accepted ({row.reason})"
            raise _NotDoneError(row, text)
        remake = _required(remake, folder, f"{row.target} was accepted")
        with _or_not("applied", row):
            row, action = _applied_as_shown(folder, row, name, remake), "applied as shown"
    elif shown and not made.pins and made.decision == "":
        row, action = _withdrawn(folder, row), "withdrawn"
    if made.instances and made.decision != "rejected":
        remake = _required(remake, folder, f"{row.target} has decided instances")
        with _or_not("remade", row):
            before, row = row, _with_instances(folder, row, name, made, remake)
        action = action if row is before else "remade"
        row = replace(row, instances_reviewed=any(made.instances))
    with _or_not(action, row):
        row = _placed(folder, row, name, rejected=made.decision == "rejected")
    return replace(row, review=made.decision, note=made.note, pins=pins), action


def _with_moved(folder: OutputFolder, row: Row, made: Decision) -> Row:
    """The row with corrected annotations, and its preview with them."""
    if row.output is None:
        raise AnnotationError(f"nothing is annotated in {row.target} that could be corrected")
    annotated = moved_parts(annotated_from_bytes(folder.read(row.output), row.target), made.moved)
    name = preview_name(row.id, "after")
    longest = _longest_side(folder.read(name)) if folder.exists(name) else 0
    if longest:
        with contextlib.suppress(ImageError):  # the target may be gone: the preview stays then
            image, _ = read_image(row_path(row.target, row.id, str(folder)), max_pixels=BatchSettings().max_pixels)
            write_previews(folder, row.id, image, draw_annotations(image, annotated.objects), longest)
    return replace(row, moved=made.moved)


def _longest_side(picture: bytes) -> int:
    """Of a preview, in pixels; 0 where it is damaged."""
    try:
        return max(PIL.Image.open(io.BytesIO(picture)).size)
    except (PIL.UnidentifiedImageError, PIL.Image.DecompressionBombError):
        return 0


def _required(remake: Remake | None, folder: OutputFolder, why: str) -> Remake:
    if remake is None:
        raise DiftEditError(
            f"{why}, but {folder}/job.toml is not there to put the edit on: put it back, or run the job again."
        )
    return remake


def _placed(folder: OutputFolder, row: Row, name: str, *, rejected: bool) -> Row:
    """Move a result to, or back from, the folder of rejected ones."""
    row = move_files(folder, row, rejected=rejected)
    wanted = f"{REJECTED}{name}" if rejected else name
    if row.output is None or row.output == wanted:
        return row
    if folder.hides_content:  # its preview shows the same
        kinds = ("after", "rejected") if rejected else ("rejected", "after")
        before, after = (preview_name(row.id, kind) for kind in kinds)
        if folder.exists(before):
            folder.move(before, after)
    if not folder.keeps(row.output):
        raise OutputError(
            f"The result of {row.target} was not kept when it was rejected: run the job again to make it."
        )
    if folder.exists(row.output):
        folder.move(row.output, wanted)
    elif folder.sha256(wanted) != row.output_sha256:  # else a killed run moved it
        raise OutputError(f"The result {row.output} is not in {folder} any more: run the job again to make it.")
    return replace(row, output=wanted)


def _failed(folder: OutputFolder, row: Row, reason: str) -> Row:
    """A redaction that could not be moved to where the reviewer wants it."""
    _remove_result(folder, row)
    return replace(row, status="failed", reason=reason, confidence=0.0, **_NO_RESULT)


def _remove_result(folder: OutputFolder, row: Row) -> None:
    """Remove a row's result, and what shows it."""
    remove_files(folder, {*row.files, *filter(None, [row.output])})
    for kind in ("after", "rejected"):
        if folder.keeps(preview_name(row.id, kind)):
            folder.remove(preview_name(row.id, kind))


def _applied_as_shown(folder: OutputFolder, row: Row, name: str, remake: Remake) -> Row:
    """Put the edit where the row says that it lies."""
    image, sha256 = _read(folder, row, remake)
    if sha256 != row.target_sha256:
        raise EditError(f"{row.target} was changed after its placement was found: run the job again")
    transform = _transform(row.target, row.to_dict(), remake.edit)
    return _put_on(folder, row, name, remake, (image, sha256), [transform])


def _with_instances(folder: OutputFolder, row: Row, name: str, made: Decision, remake: Remake) -> Row:
    """The edit on the instances that were not rejected; the same row where nothing changes."""
    if len(made.instances) != len(row.placements):
        raise EditError(f"{row.target} has {len(row.placements)} instances, but {len(made.instances)} were decided on")
    kept = {"accepted": "applied", "rejected": "rejected"}
    placements = [
        {**each, "status": kept.get(decision, each["status"])}
        for each, decision in zip(row.placements, made.instances, strict=True)
    ]
    if placements == row.placements:
        return row
    image, sha256 = _read(folder, row, remake)
    if sha256 != row.target_sha256:
        raise EditError(f"{row.target} was changed after its placement was found: run the job again")
    transforms = [_transform(row.target, each, remake.edit) for each in placements if each["status"] == "applied"]
    if not transforms:
        raise EditError(f"every instance in {row.target} was rejected: reject the row itself")
    left = sum(each["status"] == "abstained" for each in placements)
    warning = f"{left} more instances of the object are not hidden" if left and hides_content(remake.edit) else ""
    row = replace(row, placements=placements, warning=warning)
    return _put_on(folder, row, name, remake, (image, sha256), transforms)


def _transform(target: str, placed: dict[str, Any], edit: Any) -> Transform:
    """Source pixels to target pixels, of a row or one of its placements."""
    transform = placed_transform(placed, edit.quad)
    if transform is None:
        raise EditError(f"The row of {target} holds no placement: run the job again")
    return transform


def _withdrawn(folder: OutputFolder, row: Row) -> Row:
    """An abstained target again: what was put on when it was accepted is removed."""
    _remove_result(folder, row)
    return replace(row, status="abstained", artwork="", **_NO_RESULT)


def _read(folder: OutputFolder, row: Row, remake: Remake) -> tuple[Any, str]:
    return read_image(row_path(row.target, row.id, str(folder)), max_pixels=remake.batch.max_pixels)


def _remade(folder: OutputFolder, row: Row, name: str, made: Decision, remake: Remake) -> Row:
    image, sha256 = _read(folder, row, remake)
    if len(made.pins) == _CORNERS:
        placement, reason = place_by_hand(*zip(*made.pins, strict=True)), "placed by hand"
        placement = replace(placement, quad=placement.transform(remake.edit.quad))
    else:
        placement = remake.locate(image, made.pins)
        reason = "; ".join(filter(None, ("searched again with pins", placement.reason)))
    row = replace(row, reason=reason).with_placement(placement, remake.edit.quad)
    others = [each for each in row.placements[1:] if each["status"] == "applied"]
    if row.placements:
        first = {name: value for name, value in row.to_dict().items() if name in PLACED}
        row = replace(
            row, instances=len(row.placements), placements=[{"status": "applied", **first}, *row.placements[1:]]
        )
    transforms = [placement.transform, *(_transform(row.target, each, remake.edit) for each in others)]
    return _put_on(folder, row, name, remake, (image, sha256), transforms)


def _put_on(
    folder: OutputFolder, row: Row, name: str, remake: Remake, read: tuple[Any, str], transforms: list[Transform]
) -> Row:
    image, sha256 = read
    result = image
    for transform in transforms:
        result = remake.edit.apply(result, transform, source=remake.source, compositing=remake.compositing)
    made = save_result(
        folder, row, name, result, target=image, edit=remake.edit, transforms=transforms, source=remake.source,
        compositing=remake.compositing, batch=remake.batch,
    )  # fmt: skip
    write_previews(folder, row.id, image, result, remake.batch.preview_size)
    remove_files(folder, {*row.files, *filter(None, [row.output])} - {*made.files, name})
    return replace(
        made,
        status="applied",
        size=list(image.size),
        target_sha256=sha256,
        artwork=artwork_on(remake.edit, transforms[0], remake.compositing),
    )
