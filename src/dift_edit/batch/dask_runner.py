"""The same work on a dask cluster: a scheduler's address, or a cluster of this machine."""

import contextlib
import hashlib
import os
import pickle
import threading
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

from dift_edit.batch.runners import ATTEMPTS
from dift_edit.batch.work import Outcome, Task, Work, Worker, lost_row
from dift_edit.errors import DiftEditError, MissingDependencyError
from dift_edit.targets.collect import Target
from dift_edit.targets.storage import is_url

__all__ = ["run_on_cluster"]

_ADDRESS_SECONDS = 15
"""How long a scheduler is waited for (chosen)."""
_LOCAL: Any = {"host": "127.0.0.1", "dashboard_address": None, "memory_limit": 0, "silence_logs": "ERROR"}


def run_on_cluster(work: Work, tasks: deque[Task], *, address: str, workers: int) -> Generator[Outcome]:
    """Yield an `Outcome` a target, computed by dask workers; the outputs are written by them.

    A target whose worker dies is given to another one; after three deaths its row says so. The output folder, and the
    targets, must be reachable under the same paths (or be URLs) from every worker.

    Parameters
    ----------
    work : Work
        What is the same for all targets; it travels to each worker once.
    tasks : deque of Task
        What is to be done; no more than a few a worker are underway at a time. Whoever takes the last outcome may add
        further ones.
    address : str
        ``tcp://host:port`` of a scheduler, or "local".
    workers : int
        Processes of a local cluster.

    Yields
    ------
    Outcome

    Raises
    ------
    MissingDependencyError
        If distributed is not installed.
    DiftEditError
        If the scheduler cannot be reached, or a worker cannot be prepared.
    """
    try:
        import distributed
    except ImportError as error:
        raise MissingDependencyError("distributed", "distributed", "--cluster") from error
    with _client(address, workers) as client:
        data = pickle.dumps(work)
        key = hashlib.sha256(data).hexdigest()  # not that of the job, which says nothing about where results go
        payload = client.submit(_keep, data, key=f"dift-edit-work-{key}-{os.getpid()}")
        running: dict[Any, Task] = {}
        finished = distributed.as_completed(loop=client.loop)

        most = 2 * max(workers, sum(client.nthreads().values()))

        def start() -> None:
            while tasks and len(running) < most:
                task = tasks.popleft()
                sent = replace(task, target=_absolute(task.target))
                future = client.submit(_process, payload, key, sent, pure=False)
                running[future] = task
                finished.add(future)

        start()
        while running:
            future = next(finished)
            yield _outcome(future, work, running.pop(future), distributed.KilledWorker)
            future.release()
            start()


def _outcome(future: Any, work: Work, task: Task, killed: type[BaseException]) -> Outcome:
    target = task.target
    try:
        outcome: Outcome = future.result()
    except killed:
        return Outcome(row=lost_row(work, target, ATTEMPTS), kept=bool(task.views))
    reason = outcome.row.reason.replace(_absolute(target).path, target.path)
    return replace(outcome, row=replace(outcome.row, target=target.path, reason=reason))


def _absolute(target: Target) -> Target:
    """A worker's current folder may be another one."""

    def here(path: str) -> str:
        return path if is_url(path) or not path else os.path.abspath(path)

    return replace(target, path=here(target.path), hints=replace(target.hints, mask=here(target.hints.mask)))


@contextlib.contextmanager
def _client(address: str, workers: int) -> Iterator[Any]:
    """A client of the scheduler at an address, or of a new cluster of this machine."""
    import dask
    import distributed

    environment = dict(dask.config.get("distributed.nanny.pre-spawn-environ"))
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)  # with it, the C library maps each large array anew
    settings = {
        "distributed.scheduler.allowed-failures": ATTEMPTS - 1, "distributed.admin.low-level-log-length": 100,
        "distributed.nanny.pre-spawn-environ": environment,
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if address == "local":
            cluster = stack.enter_context(distributed.LocalCluster(n_workers=workers, threads_per_worker=1, **_LOCAL))
            yield stack.enter_context(distributed.Client(cluster, set_as_default=False))
            return
        try:
            client = distributed.Client(address, timeout=_ADDRESS_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise DiftEditError(
                f"The dask scheduler {address} cannot be reached: start it with  dask scheduler  and give its address, "
                "or use --cluster local."
            ) from error
        yield stack.enter_context(client)


def _keep(payload: bytes) -> bytes:
    """A task that gives the work as bytes; dask makes them again when the worker that holds them dies."""
    return payload


_workers: dict[str, Worker] = {}
_one_at_a_time = threading.Lock()
"""A model's hooks serve one thread; workers with several threads gain nothing here."""


def _process(payload: bytes, key: str, task: Task) -> Outcome:
    """Do one target on a dask worker, with a model that is loaded once."""
    with _one_at_a_time:
        if key not in _workers:
            _workers.clear()
            _workers[key] = Worker(pickle.loads(payload))
        return _workers[key].process(task)
