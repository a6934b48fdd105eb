"""Work beside the viewer's thread: one long job with progress and Cancel, and lanes in which only the latest counts."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from napari.utils.notifications import show_error
from napari.utils.progress import cancelable_progress
from superqt.utils import create_worker

from dift_edit.errors import DiftEditError
from napari_dift_edit.client import Cancelled

__all__ = ["Job", "Lane"]

Steps = Callable[[Callable[[], bool]], Iterator[Any]]
"""Gets a function that says whether it was cancelled; yields what the viewer's thread shall hear."""


class _Bar(cancelable_progress):
    """A bar of the activity dock whose Cancel button ends the job at once."""

    def __init__(self, job: "Job", **options: Any) -> None:
        self._job = job
        super().__init__(**options)

    def cancel(self) -> None:
        super().cancel()
        self._job.cancel()


class Job:
    """A long piece of work in a thread, with a bar in the activity dock.

    Parameters
    ----------
    steps : callable
        The work.
    on_item : callable
        Hears, in the viewer's thread, each thing that `steps` yields; returns whether it is one step of progress.
    on_end : callable
        Hears "done", "cancelled" or "failed" at the end.
    title : str
        What the bar says.
    total : int
        Steps.
    """

    def __init__(
        self, steps: Steps, *, on_item: Callable[[Any], bool], on_end: Callable[[str], None], title: str, total: int
    ) -> None:
        self._cancelled = threading.Event()
        self._on_item = on_item
        self._on_end = on_end
        self._outcome = "done"
        self.bar = _Bar(self, total=total, desc=title)
        self._worker = create_worker(self._run, steps, _start_thread=False, _ignore_errors=True)
        self._worker.yielded.connect(self._hear)
        self._worker.errored.connect(self._broken)
        self._worker.finished.connect(self._ended)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def cancel(self) -> None:
        """Stop as soon as possible; what is done stays."""
        self._cancelled.set()
        self._worker.quit()

    def _run(self, steps: Steps) -> Iterator[Any]:
        try:
            yield from steps(self._cancelled.is_set)
        except Cancelled:
            return
        except DiftEditError as error:
            yield error

    def _hear(self, item: Any) -> None:
        if isinstance(item, DiftEditError):
            self._outcome = "failed"
            show_error(str(item))
        elif not self._cancelled.is_set() and self._on_item(item):
            self.bar.update(1)

    def _broken(self, error: BaseException) -> None:
        self._outcome = "failed"
        _relay(error)

    def _ended(self) -> None:
        self.bar.close()
        self._on_end("cancelled" if self._cancelled.is_set() else self._outcome)


class Lane:
    """Short tasks of one kind, one at a time; of those that wait only the latest is run.

    Parameters
    ----------
    on_idle : callable
        Called in the viewer's thread when nothing is left to do.
    """

    def __init__(self, on_idle: Callable[[], None] = lambda: None) -> None:
        self._waiting: tuple[Steps, Callable[[Any], Any]] | None = None
        self._worker: Any = None
        self._stopped = threading.Event()
        self._on_idle = on_idle

    @property
    def busy(self) -> bool:
        """Whether a task runs or waits."""
        return self._worker is not None

    def submit(self, steps: Steps, on_item: Callable[[Any], Any]) -> None:
        """Run a task, after the present one and instead of those that wait."""
        self._waiting = (steps, on_item)
        if self._worker is None:
            self._next()

    def _next(self) -> None:
        if self._waiting is None or self._stopped.is_set():
            self._worker = None
            self._on_idle()
            return
        (steps, on_item), self._waiting = self._waiting, None
        self._worker = create_worker(self._run, steps, _start_thread=False, _ignore_errors=True)
        self._worker.yielded.connect(lambda item: self._hear(item, on_item))
        self._worker.errored.connect(_relay)
        self._worker.finished.connect(self._next)
        self._worker.start()

    def _run(self, steps: Steps) -> Iterator[Any]:
        try:
            yield from steps(self._stopped.is_set)
        except Cancelled:
            return
        except DiftEditError as error:
            yield error

    def _hear(self, item: Any, on_item: Callable[[Any], Any]) -> None:
        if self._stopped.is_set():
            return
        if isinstance(item, DiftEditError):
            show_error(str(item))
        else:
            on_item(item)

    def stop(self) -> None:
        """Run nothing more."""
        self._stopped.set()
        self._waiting = None


def _relay(error: BaseException) -> None:
    """Show an error that nobody foresaw; napari's own worker means to, but meets an error of its own in 0.9."""
    from napari.utils.notifications import notification_manager

    notification_manager.receive_error(type(error), error, error.__traceback__)
