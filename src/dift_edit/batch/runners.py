"""Who does the work on this machine: one process with overlapping stages, or several processes.

A runner is a generator function: it takes the work and a queue of tasks, and yields an `Outcome` for each as it is
finished. Whoever takes the last outcome may put further tasks into the queue. Closing the generator stops it.
"""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from dift_edit.batch.threads import worker_threads
from dift_edit.batch.work import Outcome, Task, Work, Worker, lost_row
from dift_edit.features.threads import set_arithmetic_threads

__all__ = ["Runner", "run_in_one_process", "run_in_processes"]

_log = logging.getLogger(__name__)

Runner = Callable[[Work, deque[Task]], Generator[Outcome]]

ATTEMPTS = 3
"""How often a target may lose its worker process before it is given up (chosen)."""


def run_in_one_process(work: Work, tasks: deque[Task]) -> Generator[Outcome]:
    """One model and a few threads, each with a target of its own: one uses the network, the others the other cores."""
    worker = Worker(work)
    workers = worker_threads()
    running: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(workers, initializer=set_arithmetic_threads, initargs=(work.threads,)) as threads:

        def start() -> None:
            while tasks and len(running) < 2 * workers:
                running.append(threads.submit(worker.process, tasks.popleft()))

        try:
            start()
            while running:
                outcome = running.popleft().result()
                start()
                yield outcome
                start()
        finally:
            for pending in running:
                pending.cancel()


def run_in_processes(
    work: Work, tasks: deque[Task], *, workers: int, devices: tuple[str, ...] = ()
) -> Generator[Outcome]:
    """Several processes, each with its own model; with `devices`, one process per device, taken in turn.

    A target whose process dies (out of memory, killed) is tried again, the last times alone; then its row says so.
    """
    waiting: deque[Task] = deque()
    deaths: dict[str, int] = {}
    pool = _Pool(work, workers, devices)
    try:
        while True:
            alone = bool(waiting)
            window = 1 if alone else 2 * workers
            while len(pool.running) < window:
                queue = waiting if alone else tasks
                if not queue:
                    break
                pool.submit(queue.popleft())
            if not pool.running:
                if waiting:
                    continue
                return
            for task, outcome in pool.finished():
                if outcome is not None:
                    yield outcome
                    continue
                key = task.target.id
                deaths[key] = deaths.get(key, 0) + 1
                _log.info("A worker process died on %s.", task.target.path)
                if deaths[key] >= ATTEMPTS:
                    yield Outcome(row=lost_row(work, task.target, ATTEMPTS), kept=bool(task.views))
                else:
                    waiting.append(task)
    finally:
        pool.close()


class _Pool:
    """A process pool that is replaced when one of its processes dies."""

    def __init__(self, work: Work, workers: int, devices: tuple[str, ...]) -> None:
        self._arguments = (work, workers, devices)
        self.running: dict[Future[Outcome], Task] = {}
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        work, workers, devices = self._arguments
        context = _context(devices)
        turns: Any = context.Queue()
        for number in range(workers):
            turns.put(devices[number % len(devices)] if devices else None)
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_process_start, initargs=(work, turns))

    def submit(self, task: Task) -> None:
        """Hand one target to a process."""
        try:
            future = self._pool.submit(_process_one, task)
        except BrokenProcessPool:
            self._replace()
            future = self._pool.submit(_process_one, task)
        self.running[future] = task

    def finished(self) -> Iterator[tuple[Task, Outcome | None]]:
        """Wait for one or more; None stands for a target whose process died."""
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        broken = any(isinstance(future.exception(), BrokenProcessPool) for future in done)
        if broken:
            done, _ = wait(self.running)
        for future in done:
            task = self.running.pop(future)
            yield task, None if isinstance(future.exception(), BrokenProcessPool) else future.result()
        if broken:
            self._replace()

    def _replace(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._start()

    def close(self) -> None:
        """End the processes; what they are in the middle of is finished first."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _context(devices: tuple[str, ...]) -> Any:
    """Processes that start from one that has imported everything; from nothing where a device cannot be forked."""
    if all(device.startswith("cpu") for device in devices) and "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "dift_edit.features.unet_2d"])
        return context
    return multiprocessing.get_context("spawn")


_worker: Worker | None = None


def _process_start(work: Work, turns: Any) -> None:
    """Load the model once per process, and leave when the parent is gone."""
    global _worker  # noqa: PLW0603 - the one thing that a pool's process keeps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _worker = Worker(work, device=turns.get())


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _process_one(task: Task) -> Outcome:
    assert _worker is not None
    return _worker.process(task)
