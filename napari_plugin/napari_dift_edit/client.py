"""The viewer's end of the engine process: start it, ask it, cancel, survive its death."""

import contextlib
import itertools
import os
import queue
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal

from dift_edit.errors import DiftEditError
from napari_dift_edit.channel import Channel

__all__ = ["Cancelled", "Engine", "EngineError", "shared_engine"]

_Answers = queue.SimpleQueue[tuple[Any, ...]]
_shared: dict[str, "Engine"] = {}

_START = "import sys; sys.path[:0] = {path!r}; from napari_dift_edit.engine import main; main()"


class EngineError(DiftEditError):
    """The engine process ended or met an error that is not the user's."""


class Cancelled(Exception):  # noqa: N818  (it is no error)
    """The caller does not want the answer any more."""


def shared_engine(purpose: str = "placing") -> "Engine":
    """The engine of this napari for a purpose: one for all its windows, so that the model is in memory once.

    "placing" does the long work. "viewing" shows files of a folder meanwhile, so that looking through them never waits
    for a placement; it is started only when a folder is looked through.
    """
    return _shared.setdefault(purpose, Engine())


class _Voice(QObject):
    """Brings sentences from worker threads to the viewer's thread."""

    said = Signal(str)


class Engine:
    """A process that runs `napari_dift_edit.engine`, started at the first question and again after a crash.

    Any thread may ask; questions are answered one at a time, those with a low `urgency` number first.
    """

    def __init__(self) -> None:
        self.voice = _Voice()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, _Answers] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._log: Any = None
        self._ender: weakref.finalize[..., Any] | None = None

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> Channel:
        """Start the process if it does not run."""
        with self._lock:
            if self._channel is not None and self._process is not None and self._process.poll() is None:
                return self._channel
            self._forget()
            import dift_edit

            homes = [str(Path(__file__).parents[1]), str(Path(dift_edit.__file__).parents[1])]
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(path=homes)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            assert self._process.stdin is not None and self._process.stdout is not None
            self._channel = Channel(self._process.stdout, self._process.stdin)
            self._ender = weakref.finalize(self, _end, self._process)
            threading.Thread(
                target=_listen, args=(self._channel, self._process, self._waiting, self._log), daemon=True
            ).start()
            return self._channel

    def ask(
        self,
        name: str,
        *,
        read: Callable[[str], Any],
        cancelled: Callable[[], bool] = lambda: False,
        urgency: int = 1,
        **arguments: Any,
    ) -> Iterator[Any]:
        """Run one of the engine's functions and yield what it yields.

        Parameters
        ----------
        name : str
            A key of `napari_dift_edit.tasks.HANDLERS`.
        read : callable
            Gives the pixels of a picture by its key, when the engine asks for them; called in this thread.
        cancelled : callable
            Asked every few milliseconds; when it says True the engine is told to stop and `Cancelled` is raised.
        urgency : int
            0 before 1 before 2.
        **arguments
            For the function: plain data and arrays.

        Raises
        ------
        Cancelled
            As `cancelled` said so.
        DiftEditError
            As the function raised it.
        EngineError
            If the process ended, or the function met another error.
        """
        while missing := (yield from self._ask_once(name, cancelled, urgency, arguments)):
            for key in missing:
                pixels = read(key)
                yield from self._ask_once("put", cancelled, urgency, {"key": key, "pixels": pixels})

    def _ask_once(
        self, name: str, cancelled: Callable[[], bool], urgency: int, arguments: dict[str, Any]
    ) -> Generator[Any, None, list[str]]:
        number = next(self._numbers)
        answers: _Answers = queue.SimpleQueue()
        channel = self.start()
        self._waiting[number] = answers
        try:
            with contextlib.suppress(OSError, ValueError):  # it died: the listener says so
                channel.send(("ask", number, urgency, name, arguments))
            while True:
                if cancelled():
                    self._cancel(channel, number)
                try:
                    kind, *content = answers.get(timeout=0.02)
                except queue.Empty:
                    continue
                if kind == "item":
                    yield content[0]
                elif kind == "note":
                    self.voice.said.emit(content[0])
                elif kind == "done":
                    return []
                elif kind == "missing":
                    return list(content[0])
                elif kind == "error":
                    raise DiftEditError(content[0])
                else:
                    raise EngineError(content[0])
        except GeneratorExit:
            self._tell_cancel(channel, number)
            raise
        finally:
            self._waiting.pop(number, None)

    def _cancel(self, channel: Channel, number: int) -> None:
        self._tell_cancel(channel, number)
        raise Cancelled

    @staticmethod
    def _tell_cancel(channel: Channel, number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            channel.send(("cancel", number))

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._ender is not None:
            self._ender()
        self._process = self._channel = self._ender = None


def _listen(
    channel: Channel,
    process: "subprocess.Popen[bytes]",
    waiting: dict[int, _Answers],
    log: Any,
) -> None:
    """Hand answers to those who wait for them, until the process ends."""
    while True:
        try:
            number, *answer = channel.receive()
        except EOFError:
            break
        answers = waiting.get(number)
        if answers is not None:
            answers.put(tuple(answer))
    status = process.wait()
    log.seek(0)
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    last = f" ({lines[-1].strip()})" if lines and status else ""
    sentence = (
        f"The dift-edit engine process ended with status {status}{last}: what is done is kept; "
        "run the rest again, it is restarted by itself."
    )
    for answers in list(waiting.values()):
        answers.put(("dead", sentence))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Close its input, which ends the engine; insist after a moment."""
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
