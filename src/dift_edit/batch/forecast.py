"""What a job would do, without doing it: counts, disk space and time, from a small sample."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dift_edit.batch.model import ModelSpec
from dift_edit.batch.placed import targets_of
from dift_edit.batch.work import Task, Work, Worker
from dift_edit.errors import DiftEditError
from dift_edit.imaging.files import load_image
from dift_edit.job.recipe import Job
from dift_edit.results.names import safe_name
from dift_edit.targets.collect import Targets
from dift_edit.targets.storage import local_path

__all__ = ["Forecast", "forecast"]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What to expect of a job.

    Attributes
    ----------
    targets, skipped : int
        Images found, and files that are none.
    sampled : int
        Images that were really handled for the estimate.
    failed : int
        How many of them failed.
    seconds_each : float
        Time a target in one process.
    bytes_each : float
        Disk space a target: result and previews.
    workers : int
        Processes of the job.
    free : int or None
        Bytes free where the output goes; None when that is remote.
    """

    targets: int
    skipped: int
    sampled: int
    failed: int
    seconds_each: float
    bytes_each: float
    workers: int
    free: int | None

    @property
    def seconds(self) -> float:
        """Estimated time of the job."""
        return self.seconds_each * self.targets / self.workers

    @property
    def bytes(self) -> float:
        """Estimated disk space of the job."""
        return self.bytes_each * self.targets

    def text(self) -> str:
        """The same for people."""
        free = "" if self.free is None else f" of {self.free / 1e6:.0f} MB free"
        processes = plural(self.workers, "process", "es")
        lines = [
            f"targets: {self.targets} ({plural(self.skipped, 'other file')} left out)",
            f"sample:  {self.sampled} handled, {self.failed} of them failed",
            f"time:    about {_duration(self.seconds)} in {processes}, {self.seconds_each:.2f} s a photo",
            f"space:   about {self.bytes / 1e6:.0f} MB{free}",
        ]
        if self.free is not None and self.bytes > self.free:
            lines.append("warning: the disk will be full before the job is done")
        return "\n".join(lines)


def forecast(job: Job, *, sample: int = 3) -> Forecast:
    """Estimate a job from a few of its targets; nothing is written to its output folder.

    Parameters
    ----------
    job : Job
        The job.
    sample : int
        How many targets to try, evenly spread.

    Returns
    -------
    Forecast

    Raises
    ------
    DiftEditError
        As `run_job`.
    """
    source = load_image(job.source)
    edit = job.load_edit(source)
    found = targets_of(job, source)
    if not len(found):
        raise DiftEditError("There is no target: name picture files, or folders or patterns that contain some.")
    with TemporaryDirectory(prefix="dift-edit-") as folder:
        work = Work(
            source=source,
            edit=edit,
            settings=job.transfer,
            compositing=job.compositing,
            output=f"{folder}/out",
            model=ModelSpec.of_job(job),
            batch=job.batch,
        )
        worker = Worker(work)
        if job.needs_model:
            worker.featurizer(source, seed=job.transfer.seed)
        seconds, failed, tried = _try(worker, found, sample)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    local = local_path(job.output)
    return Forecast(
        targets=len(found),
        skipped=len(found.skipped),
        sampled=tried,
        failed=failed,
        seconds_each=seconds / tried,
        bytes_each=size / max(tried - failed, 1),
        workers=job.batch.workers,
        free=None if local is None else shutil.disk_usage(_existing(local)).free,
    )


def _try(worker: Worker, found: Targets, sample: int) -> tuple[float, int, int]:
    count = min(sample, len(found))
    chosen = [found.targets[(2 * i + 1) * len(found) // (2 * count)] for i in range(count)]
    start = time.perf_counter()
    outcomes = [
        worker.process(Task(target=target, name=f"{number}{Path(safe_name(target.name)).suffix}"))
        for number, target in enumerate(chosen)
    ]
    return time.perf_counter() - start, sum(outcome.row.status == "failed" for outcome in outcomes), count


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def plural(count: int, noun: str, ending: str = "s") -> str:
    """A number and its noun."""
    return f"{count} {noun}{'' if count == 1 else ending}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
