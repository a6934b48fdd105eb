"""The engine process: everything that needs torch, asked by the viewer through a `Channel`.

It is a process of its own because importing and running a network in a thread of the viewer holds Python's
interpreter lock for up to 0.4 s at a time, which is felt as a stutter; and because a crash in here loses nothing.
"""

import _thread
import contextlib
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_dift_edit.channel import Channel, Missing

__all__ = ["main"]


_IDLE_SECONDS = 900


class _Cancel(BaseException):
    """Raised in the main thread, wherever it is, when the viewer cancels."""


class _Server:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.questions: queue.PriorityQueue[tuple[int, int, str, dict[str, Any]]] = queue.PriorityQueue()
        self.cancelled: set[int] = set()
        self.current = -1
        self.open_to_cancel = False

    def listen(self) -> None:
        """Take questions in, until the viewer is gone."""
        while True:
            try:
                kind, number, *rest = self.channel.receive()
            except EOFError:
                os._exit(0)
            if kind == "ask":
                urgency, name, arguments = rest
                self.questions.put((urgency, number, name, arguments))
            else:
                self.cancelled.add(number)
                if number == self.current:
                    _thread.interrupt_main(signal.SIGINT)

    def interrupted(self, *_: Any) -> None:
        """SIGINT: from `listen`, or Ctrl-C in the terminal, which is the viewer's business."""
        if self.open_to_cancel and self.current in self.cancelled:
            raise _Cancel

    def serve(self) -> None:
        """Answer questions for ever."""
        from napari_dift_edit.store import Store
        from napari_dift_edit.tasks import HANDLERS

        store = Store(self.loading, self.tell, self.note)
        while True:
            try:
                _, number, name, arguments = self.questions.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                os._exit(0)  # frees the memory; the viewer starts it again when it is needed
            if number in self.cancelled:
                self.cancelled.discard(number)
                continue
            self.current = number
            try:
                for item in self._steps(HANDLERS[name](store, **arguments)):
                    self.channel.send((number, "item", item))
                if name != "put":
                    store.trim()
                self.channel.send((number, "done"))
            except _Cancel:
                pass
            except Missing as error:
                self.channel.send((number, "missing", error.keys))
            except Exception as error:  # noqa: BLE001  (reported in the viewer)
                self._report(number, name, error)
            finally:
                self.current = -1
                self.cancelled.discard(number)

    def _steps(self, items: Iterator[Any]) -> Iterator[Any]:
        """The items; only their making can be cancelled, not their sending."""
        while True:
            self.open_to_cancel = True
            try:
                if self.current in self.cancelled:
                    raise _Cancel
                item = next(items, self)
            finally:
                self.open_to_cancel = False
            if item is self:
                return
            yield item

    def tell(self, item: Any) -> None:
        """Send something in the middle of a step."""
        with self.loading():
            self.channel.send((self.current, "item", item))

    def note(self, sentence: str) -> None:
        """Say something to the user in the middle of a step."""
        with self.loading():
            self.channel.send((self.current, "note", sentence))

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Round what must not be left half done: imports and loading a model."""
        before, self.open_to_cancel = self.open_to_cancel, False
        try:
            yield
        finally:
            self.open_to_cancel = before
        if before and self.current in self.cancelled:
            raise _Cancel

    def _report(self, number: int, name: str, error: Exception) -> None:
        from dift_edit.errors import DiftEditError

        if isinstance(error, DiftEditError):
            self.channel.send((number, "error", str(error)))
            return
        traceback.print_exc()
        sys.stderr.flush()
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name} line {last.lineno}"
        self.channel.send(
            (number, "broken", f"dift-edit met an error in {name!r} ({type(error).__name__}: {error}, {where}); "
             "what is done is kept.")
        )  # fmt: skip


def main() -> None:
    """Serve on standard input and output; what libraries print goes to standard error."""
    channel = Channel(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    server = _Server(channel)
    signal.signal(signal.SIGINT, server.interrupted)
    threading.Thread(target=server.listen, daemon=True).start()
    server.serve()


if __name__ == "__main__":
    main()
