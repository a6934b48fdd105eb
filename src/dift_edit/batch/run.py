"""A whole job on files: plan, skip what is done, run the rest, and leave a manifest, a contact sheet and a page."""

import contextlib
import hashlib
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dift_edit.batch.finish import journal_path, remove_review, write_manifest, write_review
from dift_edit.batch.identity import describe, load_as_made
from dift_edit.batch.learning import ROUNDS, KnownPlace, Teachers, known_places, least_sure, most_alike
from dift_edit.batch.model import ModelSpec
from dift_edit.batch.placed import placed_by, targets_of
from dift_edit.batch.resume import check_free, still_valid
from dift_edit.batch.runners import Runner, run_in_one_process, run_in_processes
from dift_edit.batch.summary import OnEvent, Summary
from dift_edit.batch.work import Outcome, Task, Work
from dift_edit.edits.base import Edit
from dift_edit.edits.layers import cautions, hides_content
from dift_edit.errors import DiftEditError, OutputError
from dift_edit.features.base import Featurizer
from dift_edit.features.cache import CachedFeaturizer, FeatureCache
from dift_edit.features.threads import arithmetic_threads
from dift_edit.imaging.files import as_image, load_image
from dift_edit.imaging.image import Image
from dift_edit.job.recipe import Job, save_job
from dift_edit.landmarks.annotate import SourceLabels
from dift_edit.placement.views import View
from dift_edit.rendering.compositing import Compositing
from dift_edit.report.previews import remove_previews, write_source_previews
from dift_edit.report.side_files import possible_files, remove_files
from dift_edit.results.folder import OutputFolder, open_output, unredacted_folder
from dift_edit.results.journal import Journal
from dift_edit.results.manifest import Row
from dift_edit.results.names import RESERVED_FOLDERS, name_outputs
from dift_edit.settings import SURE, BatchSettings, TransferSettings
from dift_edit.settings import fingerprint as digest_of
from dift_edit.targets.collect import Paths, Target, Targets, collect_targets, row_path, with_settled_ids
from dift_edit.targets.storage import local_path
from dift_edit.types import ImageLike

__all__ = ["learn_from_review", "run_batch", "run_job"]


def run_job(job: Job, *, cache: str = "", on_event: OnEvent | None = None) -> Summary:
    """Run a job: one edit to many targets, as `run_batch`, from a recipe.

    Parameters
    ----------
    job : Job
        The recipe.
    cache : str
        Folder in which features are kept for the next job on the same targets; "" for none.
    on_event : callable, optional
        Called as ``on_event(event, **data)`` while the run goes on, see `OnEvent`.

    Returns
    -------
    Summary

    Raises
    ------
    DiftEditError
        If the source, the edit, the model, a setting or the output folder is unusable. Bad targets raise nothing:
        they are rows.
    """
    source = load_image(job.source)
    edit = job.load_edit(source)
    targets = targets_of(job, source)
    devices = tuple(part.strip() for part in job.device.split(",") if part.strip())
    return run_batch(
        source,
        edit,
        targets,
        job.output,
        featurizer=ModelSpec.of_job(job, cache),
        settings=job.transfer,
        compositing=job.compositing,
        batch=job.batch,
        devices=devices,
        views=[view.load() for view in job.views],
        recipe=job,
        on_event=on_event,
    )


def run_batch(
    source: ImageLike,
    edit: Edit,
    targets: Targets | Paths,
    output: str | Path,
    *,
    featurizer: Featurizer | ModelSpec | None = None,
    settings: TransferSettings | None = None,
    compositing: Compositing | None = None,
    batch: BatchSettings | None = None,
    views: Sequence[View] = (),
    devices: tuple[str, ...] = (),
    recipe: Job | None = None,
    on_event: OnEvent | None = None,
) -> Summary:
    """Carry an edit to images in files.

    Parameters
    ----------
    source : Image, path or array
        The image that the edit was made on.
    edit : Edit
        The edit.
    targets : Targets, path, or iterable of path
        See `collect_targets`.
    output : path or URL
        Where results go.
    featurizer : Featurizer or ModelSpec, optional
        Gives the features. With several processes a `ModelSpec` avoids sending the weights. Without one the engine must
        be "fixed", or the targets those of `placed_targets`.
    settings : TransferSettings, optional
        Engine, mirror test, least confidence, seed.
    compositing : Compositing, optional
        How it is blended.
    batch : BatchSettings, optional
        Number of processes, resuming, previews, learning.
    views : sequence of View
        Further images that carry the edit, see `locate`.
    devices : tuple of str
        One process per device.
    recipe : Job, optional
        Kept as ``job.toml`` in the output folder, to continue from and to put edits on again after a review.
    on_event : callable, optional
        Called as ``on_event(event, **data)`` while the run goes on, see `OnEvent`.

    Returns
    -------
    Summary

    Raises
    ------
    DiftEditError
        If the source, the edit, a setting or the output folder is unusable, or there is no target. Bad targets raise
        nothing: they are rows.

    Examples
    --------
    >>> import dift_edit as de
    >>> from dift_edit.samples import FOLDER
    >>> featurizer = de.load_featurizer("lite")
    >>> sticker = de.Sticker(FOLDER / "glasses.png", at=(122, 104, 620, 478))
    >>> settings = de.TransferSettings(mirror="never")
    >>> summary = de.run_batch(
    ...     FOLDER / "cat.jpg", sticker, FOLDER / "kitten.jpg", "out", featurizer=featurizer, settings=settings
    ... )
    >>> summary.counts, summary.rows[0].output
    ({'applied': 1, 'abstained': 0, 'failed': 0}, 'kitten.jpg')
    """
    if not str(output) or "\0" in str(output):
        raise OutputError(f"The output folder cannot be {str(output)!r}: give its path, or . for the current folder.")
    batch = batch or BatchSettings()
    settings = settings or TransferSettings()
    on_event = on_event or _ignore
    if not isinstance(targets, Targets):
        targets = collect_targets(targets, leave_out=[p for p in (output, unredacted_folder(output)) if p])
    targets = with_settled_ids(targets, output)
    for path, reason in targets.skipped:
        on_event("skipped", path=path, reason=reason)
    if not len(targets):
        raise DiftEditError("There is no target: name image files, or folders or patterns that contain some.")
    source = as_image(source)
    featurizer = featurizer or ModelSpec(name="none")
    if targets.placed_by or featurizer == ModelSpec(name="none") or settings.engine == "fixed":
        batch = replace(batch, learn="off")
    views = tuple(view.facing(edit.quad) for view in views)
    with contextlib.ExitStack() as stack:
        stack.enter_context(arithmetic_threads())
        if batch.learn == "auto" and batch.cluster in (None, "local"):
            featurizer = _keeping(featurizer, stack.enter_context(TemporaryDirectory(prefix="dift-edit-features-")))
        loaded = featurizer.load() if isinstance(featurizer, ModelSpec) else featurizer
        job = describe(source, edit, loaded, settings, compositing, views)
        if targets.placed_by:
            job["placed"] = targets.placed_by
        runner = _runner(batch, devices)
        work = Work(
            source=Image(source.pixels, source.alpha), edit=edit, settings=settings,
            model=loaded if runner is run_in_one_process else featurizer,
            compositing=compositing, views=views, output=_absolute(output), job=digest_of(job), batch=batch,
        )  # fmt: skip
        del loaded  # each process loads its own
        folder = open_output(str(output), hides_content=hides_content(edit))
        with Journal(journal_path(folder)) as journal:
            run = _Run(work, targets, batch, folder, journal, on_event)
            todo = run.plan(job)
            if recipe is not None and folder.local is not None:
                with contextlib.suppress(DiftEditError):  # a recipe cannot hold names that are not Unicode
                    save_job(recipe, folder.path("job.toml"))
            return run.go(todo, runner)


def learn_from_review(
    job: Job, folder: OutputFolder, journal: Journal, on_event: OnEvent | None = None
) -> list[tuple[Row, Row]]:
    """Place targets that nobody decided and that are not sure again, with what was decided as further views.

    Parameters
    ----------
    job : Job
        The folder's recipe.
    folder : OutputFolder
        Where the results are.
    journal : Journal
        Of that folder; gets the new rows.
    on_event : callable, optional
        See `OnEvent`.

    Returns
    -------
    list of (Row, Row)
        The earlier and the new row of each target that was placed otherwise.

    Raises
    ------
    DiftEditError
        If the source, the edit, the model or a view is unusable.
    """
    source, edit, views = load_as_made(job, journal.job, str(folder))
    earlier = {key: Row.from_dict(row) for key, row in journal.rows.items()}
    targets = Targets([
        Target(id=key, path=row_path(row.target, key, str(folder)), name=journal.plan[key])
        for key, row in earlier.items()
    ])  # fmt: skip
    runner = _runner(job.batch, ())
    with contextlib.ExitStack() as stack:
        stack.enter_context(arithmetic_threads())
        needed = ModelSpec.of_job(replace(job, placed=None))
        spec = _keeping(needed, stack.enter_context(TemporaryDirectory(prefix="dift-edit-features-")))
        model = spec.load() if isinstance(spec, ModelSpec) and runner is run_in_one_process else spec
        work = Work(
            source=source, edit=edit, settings=job.transfer, model=model, compositing=job.compositing,
            views=views, output=_absolute(str(folder)), job=journal.job["fingerprint"], batch=job.batch,
        )  # fmt: skip
        run = _Run(work, targets, job.batch, folder, journal, on_event or _ignore)
        run.work_through([], runner, run.rounds(anew=True))
    rows = {key: Row.from_dict(row) for key, row in journal.rows.items()}
    return [(earlier[key], row) for key, row in rows.items() if row.quad != earlier[key].quad]


def _ignore(event: str, /, **data: Any) -> None:
    """Stands in where nobody listens."""


def _keeping(featurizer: Featurizer | ModelSpec, folder: str) -> Featurizer | ModelSpec:
    """A featurizer that keeps what it made in a folder: features are needed again when the set teaches."""
    if isinstance(featurizer, ModelSpec):
        return featurizer if featurizer.cache else replace(featurizer, cache=folder)
    return CachedFeaturizer(featurizer, FeatureCache(folder))


def _absolute(output: str | Path) -> str:
    """Workers may have another current folder."""
    local = local_path(str(output))
    return str(output) if local is None else str(local.absolute())


def _runner(batch: BatchSettings, devices: tuple[str, ...]) -> Runner:
    if batch.cluster:
        from dift_edit.batch.dask_runner import run_on_cluster

        return partial(run_on_cluster, address=batch.cluster, workers=batch.workers)
    workers = max(batch.workers, len(devices))
    return partial(run_in_processes, workers=workers, devices=devices) if workers > 1 else run_in_one_process


class _Run:
    """One run; keeps what its steps share."""

    def __init__(
        self,
        work: Work,
        targets: Targets,
        batch: BatchSettings,
        folder: OutputFolder,
        journal: Journal,
        on_event: OnEvent,
    ) -> None:
        self.work = work
        self.targets = targets
        self.batch = batch
        self.folder = folder
        self.journal = journal
        self.on_event = on_event
        self._paths = {target.id: target.path for target in targets}
        self._taken: set[str] = set()  # names of files that no run of this folder made
        self._again: dict[str, Task] = {}  # by target, what is placed again in the round that is going on
        unredacted = str(folder.unredacted or "") if work.preview_size else ""
        self.summary = Summary(
            str(folder), skipped=targets.skipped, redaction=folder.hides_content, unredacted_folder=unredacted
        )

    def go(self, todo: list[Task], runner: Runner) -> Summary:
        """Run and finish; what is done is in the manifest also when the run is stopped."""
        start = time.perf_counter()
        self.on_event("planned", total=len(self.targets), kept=self.summary.kept, todo=len(todo), job=self.work.job)
        if self.journal.damaged:
            self.on_event("note", text=f"{self.journal.damaged} damaged lines of the journal were left out.")
        for text in cautions(self.work.edit):
            self.on_event("note", text=text)
        try:
            self.work_through(todo, runner, self.rounds() if self.batch.learn == "auto" else iter(()))
        except BaseException:
            with contextlib.suppress(OutputError):
                if self.journal.is_in_place:
                    write_manifest(self.folder, self.journal)
            raise
        write_manifest(self.folder, self.journal)
        ids = [target.id for target in self.targets]
        self.summary.rows = [Row.from_dict(self.journal.rows[key]) for key in ids]
        if self.batch.report:
            write_source_previews(self.folder, self.work.source, self.work.edit, self.work.preview_size)
            write_review(self.folder, self.journal)
        self.summary.seconds = time.perf_counter() - start
        self.on_event("summary", summary=self.summary)
        return self.summary

    def work_through(self, todo: list[Task], runner: Runner, rounds: Iterator[list[Task]]) -> None:
        """Do what is to be done, and then each round: its tasks are known when those before are in the journal."""
        tasks = deque(todo or next(rounds, []))
        left = total = len(tasks)
        if not tasks:
            return
        with contextlib.closing(runner(self.work, tasks)) as outcomes:
            for outcome in outcomes:
                self._take(outcome, total)
                left -= 1
                if not left:
                    tasks.extend(next(rounds, []))
                    left = total = len(tasks)

    def plan(self, job: dict[str, str]) -> list[Task]:
        """Which targets are to be done, under which names."""
        journal = self.journal
        self.folder.clean()
        if self.folder.local is not None:
            for name in RESERVED_FOLDERS:  # one sentence at once, not one for each target
                self.folder.path(f"{name}/any")
        if not journal.job and not self.batch.overwrite and self.folder.exists("manifest.jsonl"):
            raise OutputError(
                f"{self.folder} has a manifest but not its journal (.dift-edit/journal.jsonl), so it cannot be "
                "continued: choose another folder, or --overwrite."
            )
        if journal.job and not self.batch.overwrite:
            if not self.batch.resume:
                raise OutputError(f"{self.folder} holds results already: choose another folder, or --overwrite.")
            changed = [name for name in job if job[name] != journal.job.get(name)]
            if changed and journal.job.get("fingerprint") != self.work.job:
                known = f" (another {' and '.join(changed)})" if journal.job.keys() >= job.keys() else ""
                raise OutputError(
                    f"{self.folder} holds results of another job{known}: choose another folder, or --overwrite to "
                    "replace them."
                )
        names = name_outputs(self.targets, journal.plan, suffixes=self.work.suffixes)
        check_free(self.folder, self.targets, names, journal.plan, overwrite=self.batch.overwrite)
        if self.batch.overwrite:
            self._taken = {name for key, name in names.items() if key not in journal.plan and self.folder.exists(name)}
            self._forget()
        quad = np.round(np.asarray(self.work.edit.quad, dtype=np.float64), 6).tolist()
        about = {"quad": quad, "source_size": list(self.work.source.size), "redaction": hides_content(self.work.edit)}
        about["annotations"] = isinstance(self.work.edit, SourceLabels)
        journal.set_job({**job, "fingerprint": self.work.job, **about})
        journal.set_plan(names)
        todo = []
        for target in self.targets:
            earlier = journal.rows.get(target.id)
            row = earlier and Row.from_dict({**earlier, "target": target.path})
            if row and row.placed_by == placed_by(target) and still_valid(row, target, self.folder, self.batch):
                self.summary.kept += 1
            else:
                todo.append(Task(target=target, name=names[target.id]))
        return todo

    def _forget(self) -> None:
        """Remove what earlier runs made, from where it lies for an edit that hides something and for one that does not:
        the edit of an earlier run may have been of the other kind.
        """
        hid = bool(self.journal.job.get("redaction")) or self.folder.hides_content
        for hides in {False, hid}:
            folder = open_output(str(self.folder), hides_content=hides)
            for values in self.journal.rows.values():
                row = Row.from_dict(values)
                remove_files(folder, {*row.files, *filter(None, [row.output])})
                remove_previews(folder, replace(row, status="failed", size=None))
            remove_review(folder)
        self.folder.remove("job.toml")
        self.journal.clear()

    def _without_stale(self, row: Row) -> Row:
        """Remove what earlier runs left of a target: an image of what it was, or one without a row (a killed run).

        Before the row is recorded: a run that is killed in between finds that the old row does not hold, and goes on.
        """
        old = self.journal.rows.get(row.id)
        names = {Row.from_dict(old).output if old else None, self.journal.plan[row.id]} - {row.output} - self._taken
        try:
            for name in names:
                if name and self.folder.keeps(name):
                    self.folder.remove(name)
            if old or row.output is None:
                known = Row.from_dict(old).files if old else {}
                possible = possible_files(self.work.edit, self.journal.plan[row.id])
                remove_files(self.folder, {*known, *possible} - row.files.keys())
            if old or row.output is None:
                remove_previews(self.folder, row if self.work.preview_size else replace(row, size=None))
        except OutputError as error:
            return replace(row, reason=f"{row.reason} An earlier result is left: {error}".strip())
        return row

    def rounds(self, *, anew: bool = False) -> Iterator[list[Task]]:
        """The tasks of each round in which targets that are not sure are placed again, with what the others teach.

        What a person decided stays. Which results teach is in the journal before a round begins, so that a run that
        was interrupted goes on with the same. `anew`: once for what is decided now, also after other rounds.
        """
        session = self._decided() if anew else "auto"
        known = self.journal.rounds
        mine = [number for number, each in enumerate(known, 1) if each["session"] == session]
        first = mine[0] if mine else len(known) + 1
        taught: list[dict[str, Any]] = []
        for number in mine:
            taught = known[number - 1]["views"]
            if tasks := self._round(number, taught, first=first, anew=anew):
                yield tasks
        if mine and not taught:
            return
        teachers = None
        for _ in range(len(mine), ROUNDS if anew else 1):
            places = known_places(self._rows().values())
            if not places or not self._unsure(anew):
                return
            teachers = teachers or self._teachers()
            views = [place.to_dict() for place in teachers.choose(places)]
            if views == taught:
                break
            taught = views
            self.journal.add_round(session, views)
            if tasks := self._round(len(known), views, first=first, anew=anew):
                self.on_event("learning", views=[view["id"] for view in views], todo=len(tasks))
                yield tasks
        self.journal.add_round(session, [])

    def _round(self, number: int, taught: list[dict[str, Any]], *, first: int, anew: bool) -> list[Task]:
        """What is placed again in a round of a session that began with the first: with other views than before."""
        rows = self._rows()
        places = [self._at_path(KnownPlace.from_dict(view)) for view in taught if view["id"] in rows]
        places = [place for place in places if place.sha256 == rows[place.id].target_sha256]  # not changed since
        looks = {key: row.look for key, row in rows.items()}
        tasks = []
        for target, row in self._unsure(anew):
            views = most_alike(places, looks, row.id)
            same = row.round >= first and row.views == [place.id for place in views]
            if views and row.round < number and not same:
                name = self.journal.plan[row.id]
                tasks.append(
                    Task(
                        target=target, name=name, round=number, views=views, earlier=row.confidence or 0.0,
                        places=row.applied_places,
                    )
                )  # fmt: skip
        self._again = {task.target.id: task for task in tasks}
        return tasks

    def _unsure(self, anew: bool) -> list[tuple[Target, Row]]:
        """Targets that may be placed again. What a list or recipe says about one alone is not known after a review."""
        rows = {key: row for key, row in self._rows().items() if row.status != "failed" and not row.decided}
        may = rows.keys() if anew else least_sure({key: row.alone[1] for key, row in rows.items()})
        return [
            (target, row)
            for target in self.targets
            if target.id in may and ((row := rows[target.id]).confidence or 0) < SURE and not (anew and row.hints)
        ]

    def _at_path(self, place: KnownPlace) -> KnownPlace:
        return replace(place, path=self._paths[place.id])

    def _teachers(self) -> Teachers:
        work = self.work
        featurizer = work.model.load() if isinstance(work.model, ModelSpec) else work.model

        def look(place: KnownPlace) -> View:
            return self._at_path(place).view(work.edit.quad, max_pixels=work.batch.max_pixels)

        return Teachers(look, featurizer, seed=work.settings.seed)

    def _decided(self) -> str:
        """Digest of what people decided."""
        decided = sorted((row.id, row.review, row.quad) for row in self._rows().values() if row.decided)
        return hashlib.sha256(json.dumps(decided).encode()).hexdigest()

    def _rows(self) -> dict[str, Row]:
        return {target.id: Row.from_dict(self.journal.rows[target.id]) for target in self.targets}

    def _placed_again(self, outcome: Outcome, task: Task) -> Outcome:
        """The outcome of a target that was placed again, with what its row says of that."""
        earlier = Row.from_dict(self.journal.rows[outcome.row.id])
        quad, confidence = earlier.alone
        row = earlier if outcome.kept else outcome.row
        if not outcome.kept and quad is not None:
            row = replace(row, earlier={"quad": quad, "confidence": confidence})
        seconds = round(earlier.seconds + outcome.row.seconds, 4)
        views = [place.id for place in task.views]
        row = replace(row, views=views, round=task.round, seconds=seconds, look=earlier.look)
        return replace(outcome, row=row)

    def _take(self, outcome: Outcome, total: int) -> None:
        if outcome.stop:
            raise OutputError(outcome.stop)
        if task := self._again.get(outcome.row.id):
            outcome = self._placed_again(outcome, task)
        self.journal.add((outcome.row if outcome.kept else self._without_stale(outcome.row)).to_dict())
        for stage, seconds in outcome.times.items():
            self.summary.times[stage] = self.summary.times.get(stage, 0.0) + seconds
        self.on_event("row", row=outcome.row, total=total)
