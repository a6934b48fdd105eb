"""One target from its file to its row: read, transfer, write. The same in every runner, to the bit."""

import errno
import hashlib
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

from dift_edit.batch.annotated import annotate_target
from dift_edit.batch.learning import KnownPlace, improves
from dift_edit.batch.model import ModelSpec, SharedFeaturizer
from dift_edit.batch.placed import known_placements, placed_by
from dift_edit.edits.base import Edit
from dift_edit.edits.layers import hides_content
from dift_edit.errors import OutputError
from dift_edit.features.base import Featurizer
from dift_edit.features.threads import set_arithmetic_threads
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.imaging.writing import OUTPUT_FORMATS
from dift_edit.landmarks.annotate import LabelCarrier, SourceLabels
from dift_edit.landmarks.stored import annotated_to_bytes
from dift_edit.pipeline import Transfer, failure, instances_warning, transfer
from dift_edit.placement.views import View
from dift_edit.rendering.compositing import Compositing
from dift_edit.report.previews import write_previews
from dift_edit.report.side_files import save_result
from dift_edit.results.folder import OutputFolder, open_output
from dift_edit.results.looks import look_of
from dift_edit.results.manifest import Row
from dift_edit.settings import BatchSettings, TransferSettings
from dift_edit.targets.collect import Target
from dift_edit.targets.storage import input_sha256, read_image

__all__ = ["Item", "Outcome", "Task", "Work", "Worker", "lost_row"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One target that is to be placed.

    Attributes
    ----------
    target : Target
        The target.
    name : str
        Of its result.
    round : int
        Number of the round in which it is placed again; 0 where it is placed for the first time.
    views : tuple of KnownPlace
        Then the results of the set that serve as views.
    earlier : float
        Then the confidence of its placement so far.
    places : int
        Then at how many places it has the edit so far.
    """

    target: Target
    name: str
    round: int = 0
    views: tuple[KnownPlace, ...] = ()
    earlier: float = 0.0
    places: int = 0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is the same for all targets of a run; it can be sent to another process.

    Attributes
    ----------
    source : Image
        The image that the edit was made on.
    edit : Edit
        The edit.
    model : ModelSpec or Featurizer
        What gives features.
    settings : TransferSettings
        How the edit is placed.
    compositing : Compositing or None
        How it is blended.
    views : tuple of View
        Further images that carry the edit.
    output : str
        The output folder or URL.
    job : str
        Fingerprint of all of this, for the rows.
    batch : BatchSettings
        What is written, and the largest targets.
    threads : int
        Arithmetic threads per process.
    """

    source: Image
    edit: Edit
    model: ModelSpec | Featurizer
    settings: TransferSettings
    compositing: Compositing | None = None
    views: tuple[View, ...] = ()
    output: str
    job: str = ""
    batch: BatchSettings = field(default_factory=BatchSettings)
    threads: int = 1

    @property
    def preview_size(self) -> int:
        """Longest side of the review page's images in pixels; 0 makes none."""
        return self.batch.preview_size if self.batch.report else 0

    @property
    def suffixes(self) -> Collection[str]:
        """Endings that results may have."""
        return (".json",) if isinstance(self.edit, SourceLabels) else OUTPUT_FORMATS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a runner hands back for one target.

    Attributes
    ----------
    row : Row
        The result.
    times : dict
        Stage → seconds: read, features, placement, write.
    stop : str
        Why the whole run must end (the disk is full); then the row does not count.
    kept : bool
        Whether the earlier result holds: then nothing was written, and the row only says what was tried.
    """

    row: Row
    times: dict[str, float] = field(default_factory=dict)
    stop: str = ""
    kept: bool = False


@dataclass
class Item:
    """A target on its way through the stages."""

    task: Task
    image: Image | None = None
    sha256: str | None = None
    result: Transfer | None = None
    failure: str = ""
    look: str = ""
    times: dict[str, float] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """The target."""
        return self.task.target

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the block's duration to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.times[stage] = self.times.get(stage, 0.0) + time.perf_counter() - start


class Worker:
    """The stages, with a loaded model and the source's features kept; several threads may use one.

    Parameters
    ----------
    work : Work
        What is the same for all targets.
    device : str, optional
        Instead of the model's own.
    """

    def __init__(self, work: Work, *, device: str | None = None) -> None:
        set_arithmetic_threads(work.threads)
        self.work = work
        featurizer = work.model.load(device) if isinstance(work.model, ModelSpec) else work.model
        views = [as_image(view.image).digest for view in work.views]
        self.featurizer = SharedFeaturizer(featurizer, work.source.digest, *views)
        self._carrier = LabelCarrier(work.edit, self.featurizer) if isinstance(work.edit, SourceLabels) else None
        self.output: OutputFolder = open_output(work.output, hides_content=hides_content(work.edit))
        self._views: dict[KnownPlace, View] = {}
        self._views_lock = threading.Lock()

    def process(self, task: Task) -> Outcome:
        """All stages of one target."""
        item = Item(task)
        self.read(item)
        self.place(item)
        return self.write(item)

    def read(self, item: Item) -> None:
        """Decode the target."""
        if item.target.hints.problem:
            item.failure = item.target.hints.problem
            return
        with item.timed("read"):
            try:
                item.image, item.sha256 = read_image(item.target.path, max_pixels=self.work.batch.max_pixels)
            except Exception as error:  # noqa: BLE001 - one bad target must not end a run of thousands
                item.failure = failure(error, item.target.path)

    def place(self, item: Item) -> None:
        """Features, placement and compositing."""
        if item.image is None:
            return
        waited, computed = self.featurizer.spent
        self.featurizer.take_first()
        with item.timed("placement"):
            try:
                item.result = self._transfer(item, item.image)
            except Exception as error:  # noqa: BLE001 - one bad target must not end a run of thousands
                item.failure = failure(error, item.target.path)
        first = self.featurizer.take_first()
        placed = item.result is not None and item.result.placement is not None
        if placed and first is not None and not self.output.hides_content:  # guesses could be tried out on it
            item.look = look_of(first, self.featurizer(self.work.source, seed=self.work.settings.seed))
        waited, computed = self.featurizer.spent[0] - waited, self.featurizer.spent[1] - computed
        item.times["features"] = computed
        item.times["placement"] -= waited + computed

    def write(self, item: Item) -> Outcome:
        """Encode the result and the previews, and make the row."""
        row = self._row(item)
        if item.task.views and not self._improves(item):
            return Outcome(row=row, times=item.times, kept=True)
        stop = ""
        with item.timed("write"):
            try:
                result = item.result
                if result is not None and result.status == "applied" and result.image is not None:
                    row = self._save(item, row, result, result.image)
                if item.image is not None and self.work.preview_size:
                    after = result.image if result and result.status == "applied" else None
                    write_previews(self.output, item.target.id, item.image, after, self.work.preview_size)
            except OutputError as error:
                row = replace(self._row(item), status="failed", reason=str(error))
                stop = str(error) if _ends_the_run(error) else ""
            except Exception as error:  # noqa: BLE001 - such as no memory for encoding
                row = replace(self._row(item), status="failed", reason=failure(error, item.target.path))
        row = replace(row, seconds=round(sum(item.times.values()), 4))
        return Outcome(row=row, times=item.times, stop=stop)

    def _transfer(self, item: Item, image: Image) -> Transfer:
        work, hints = self.work, item.target.hints
        if self._carrier is not None:
            return annotate_target(self._carrier, image)
        known = known_placements(item.target, item.sha256, work.edit)
        result = transfer(
            work.source,
            work.edit,
            image,
            featurizer=self.featurizer,
            settings=work.settings,
            mirror=hints.mirror,
            min_confidence=hints.min_confidence,
            compositing=work.compositing,
            placements=known.applied,
            pins=hints.pins,
            target_mask=hints.region(image.size, max_pixels=work.batch.max_pixels),
            target_quad=hints.quad,
            views=(*work.views, *map(self._view, item.task.views)),
        )
        if not known.missed:
            return result
        warning = instances_warning(work.edit, len(result.placements), len(known.missed))
        return replace(result, missed=tuple(known.missed), warning=warning)

    def _view(self, place: KnownPlace) -> View:
        """A result of the set as a view, read once."""
        with self._views_lock:
            if place not in self._views:
                view = place.view(self.work.edit.quad, max_pixels=self.work.batch.max_pixels)
                self.featurizer.keep(as_image(view.image).digest)
                self._views[place] = view
            return self._views[place]

    def _save(self, item: Item, row: Row, result: Transfer, image: Image) -> Row:
        if result.annotated is not None:
            data = annotated_to_bytes(result.annotated)
            self.output.write(item.task.name, data)
            return replace(row, output=item.task.name, output_sha256=hashlib.sha256(data).hexdigest())
        work = self.work
        assert item.image is not None
        return save_result(
            self.output, row, item.task.name, image, target=item.image, edit=work.edit,
            transforms=[each.transform for each in result.placements], source=work.source,
            compositing=work.compositing, batch=work.batch,
        )  # fmt: skip

    def _improves(self, item: Item) -> bool:
        """Whether a target that was placed again lies better than before."""
        result = item.result
        if result is None or result.placement is None:
            return False
        if self.output.hides_content and len(result.placements) < item.task.places:
            return False  # what is hidden would be seen again
        return improves(result.placement, item.task.earlier, result.settings.min_confidence, item.task.views)

    def _row(self, item: Item) -> Row:
        target, work, result = item.target, self.work, item.result
        row = Row(
            id=target.id,
            target=target.path,
            status="failed",
            reason=item.failure,
            engine=work.settings.engine,
            model=(target.placed or {}).get("model") or asdict(self.featurizer.model),
            placed_by=placed_by(target),
            seed=work.settings.seed,
            size=list(item.image.size) if item.image else None,
            target_sha256=item.sha256 or input_sha256(target.path),
            hints=target.hints.digest,
            job=work.job,
            look=item.look,
        )
        if result is None:
            return row
        row = replace(row, status=result.status, reason=result.reason, warning=result.warning, artwork=result.artwork)
        if result.placement is None:
            return row
        row = row.with_placement(result.placement, work.edit.quad)
        if work.settings.instances == 1 and len(result.placements) < 2 and not result.missed:
            return row
        return row.with_placements(result.placements, result.missed, work.edit.quad)


def lost_row(work: Work, target: Target, attempts: int) -> Row:
    """The row of a target whose worker process died every time."""
    return Row(
        id=target.id,
        target=target.path,
        status="failed",
        reason=f"The worker process died {attempts} times on {target.path}: it may need more memory than there is; "
        "use fewer workers or a smaller image.",
        engine=work.settings.engine,
        seed=work.settings.seed,
        target_sha256=input_sha256(target.path),
        hints=target.hints.digest,
        job=work.job,
    )


def _ends_the_run(error: BaseException) -> bool:
    """Whether the next target would fail in the same way: the disk is full, or the output folder is read-only."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
