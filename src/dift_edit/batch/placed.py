"""Targets whose places an earlier run found: "place once, render many"."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dift_edit.batch.finish import journal_path
from dift_edit.edits.base import Edit
from dift_edit.errors import DiftEditError, EditError
from dift_edit.geometry.base import Transform
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.job.recipe import Job
from dift_edit.placement.placement import Placement
from dift_edit.results.folder import open_existing
from dift_edit.results.journal import Journal
from dift_edit.results.manifest import PLACED, Row, placed_transform
from dift_edit.settings import fingerprint
from dift_edit.targets.collect import Target, Targets, collect_targets, row_path, settled_id
from dift_edit.targets.storage import is_url
from dift_edit.types import ImageLike

__all__ = ["Known", "known_placements", "placed_by", "placed_quad", "placed_targets", "targets_of"]


def placed_quad(run: str | Path) -> list[list[float]]:
    """The (4, 2) corners, in source pixels, of the edit that an earlier run placed.

    Raises
    ------
    DiftEditError
        If the folder holds no results of a run.
    """
    with Journal(journal_path(open_existing(str(run)), create=False)) as journal:
        return _quad_of(journal, run)


def placed_targets(run: str | Path, source: ImageLike, *, only: Iterable[str | Path] = ()) -> Targets:
    """The targets of an earlier run, with the places that it found.

    Parameters
    ----------
    run : path or URL
        Its output folder.
    source : Image, path or array
        The source that it was run with: the places are relative to it.
    only : iterable of path
        The targets that are wanted, by path; all of them when empty.

    Returns
    -------
    Targets
        In the order of that run, to be given to `run_batch`.

    Raises
    ------
    DiftEditError
        If the folder holds no results of a run, another source was used, or a wanted target is none of its.
    """
    folder = open_existing(str(run))
    with Journal(journal_path(folder, create=False)) as journal:
        job, names, rows, quad = journal.job, dict(journal.plan), dict(journal.rows), _quad_of(journal, run)
    image = as_image(source)
    if job.get("source") != image.digest:
        raise EditError(
            f"{image.name} is not the source that the placements in {run} were found with: give that one (--source)."
        )
    found = []
    for key, name in names.items():
        if key in rows:
            path = row_path(rows[key]["target"], key, str(folder))
            given = settled_id(path, str(folder)) != key  # by a list
            placed = {**rows[key], "edit_quad": quad}
            found.append(Target(id=key if given else path, path=path, name=name, placed=placed))
    return Targets(_wanted(found, [os.fspath(path) for path in only], run), placed_by=str(job.get("fingerprint", "")))


def targets_of(job: Job, source: Image) -> Targets:
    """The targets of a recipe: those of an earlier run, or those that it names."""
    if job.placed is not None:
        return placed_targets(job.placed, source, only=job.targets)
    return collect_targets(job.targets, lists=job.lists, entries=job.entries, leave_out=job.not_targets())


def _quad_of(journal: Journal, run: str | Path) -> list[list[float]]:
    if "quad" not in journal.job:
        raise DiftEditError(f"{run} does not say what was placed in it: run that job again.")
    quad: list[list[float]] = journal.job["quad"]
    return quad


def _wanted(found: list[Target], only: list[str], run: str | Path) -> list[Target]:
    if not only:
        return found
    known = {_canonical(target.path) for target in found}
    missing = [path for path in only if _canonical(path) not in known]
    if missing:
        raise DiftEditError(f"{missing[0]} is no target of {run}: name one that has a row in its manifest.")
    wanted = set(map(_canonical, only))
    return [target for target in found if _canonical(target.path) in wanted]


def _canonical(path: str) -> str:
    return path if is_url(path) else os.path.realpath(path)


def placed_by(target: Target) -> str:
    """Fingerprints of the run that found a target's place, and of the place; empty where none did."""
    row = target.placed
    if row is None:
        return ""
    kept = ("status", "review", "matrix", "mesh", "placements", "edit_quad", "target_sha256")
    return f"{row.get('job', '')}-{fingerprint({name: row.get(name) for name in kept})}"


@dataclass(frozen=True)
class Known:
    """Where an earlier run found an edit's places in a target: those that it used, and those that it left alone."""

    applied: list[Placement] = field(default_factory=list)
    missed: list[Placement] = field(default_factory=list)


def known_placements(target: Target, sha256: str | None, edit: Edit) -> Known:
    """Where an earlier run found an edit's places.

    Parameters
    ----------
    target : Target
        With the row of that run.
    sha256 : str or None
        Of the target as it is now.
    edit : Edit
        What is put there now.

    Returns
    -------
    Known
        Nothing where no run did. The first placement has a reason where that run abstained, or a reviewer rejected its
        result.

    Raises
    ------
    EditError
        If the target was changed since, or the run failed on it.
    """
    if target.placed is None:
        return Known()
    row = Row.from_dict(target.placed)
    if sha256 != row.target_sha256:
        raise EditError(f"{target.path} was changed after its placement was found: run the job that placed it again.")
    quad = target.placed["edit_quad"]
    reason = "" if row.status == "applied" else row.reason or "the run that placed it abstained"
    if row.review == "rejected":
        reason = "its placement was rejected in the review"
    found: dict[str, list[Placement]] = {"applied": [], "abstained": [], "rejected": []}
    for each in row.placements or [{**target.placed, "status": "applied"}]:
        transform = placed_transform(each, quad)
        if transform is None:
            raise EditError(f"There is no placement of {target.path}: {row.reason or 'the run that placed it failed.'}")
        found[each["status"]].append(_placement(each, transform, edit, reason, row.instances))
    return Known(found["applied"], found["abstained"])


def _placement(placed: dict[str, Any], transform: Transform, edit: Edit, reason: str, instances: int) -> Placement:
    values = {name: placed[name] for name in PLACED if name not in ("quad", "matrix", "mesh")}
    values["confidence"] = values["confidence"] or 0.0
    return Placement(
        quad=transform(edit.quad), transform=transform, reason=reason, instances=instances, **values
    )  # fmt: skip
