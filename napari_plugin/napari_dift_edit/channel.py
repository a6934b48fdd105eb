"""Messages between the viewer and the engine process: pickles with their arrays beside them, over two pipes.

Both ends are started by the viewer and run the same code, so unpickling is safe here; nothing read from a file or a
network ever passes through.
"""

import contextlib
import pickle
import struct
import threading
from typing import IO, Any

__all__ = ["Channel", "Missing"]

_HEADER = struct.Struct("<QQ")
_LENGTH = struct.Struct("<Q")


class Missing(Exception):  # noqa: N818  (it is a request)
    """Pictures that the viewer has to send first."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys


class Channel:
    """One end of a connection.

    Large arrays travel outside the pickle (protocol 5), so neither side holds Python's interpreter lock for long.

    Parameters
    ----------
    reader, writer : binary files
        Pipes from and to the other end.
    """

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self._reader = reader
        self._writer = writer
        self._sending = threading.Lock()

    def send(self, message: Any) -> None:
        """Write one message; several threads may send.

        Raises
        ------
        OSError
            If the other end is gone.
        """
        buffers: list[pickle.PickleBuffer] = []
        body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        with self._sending:
            self._writer.write(_HEADER.pack(len(body), len(views)))
            self._writer.write(b"".join(_LENGTH.pack(view.nbytes) for view in views))
            self._writer.write(body)
            for view in views:
                self._writer.write(view)
            self._writer.flush()

    def receive(self) -> Any:
        """Read one message.

        Raises
        ------
        EOFError
            If the other end is gone.
        """
        body_length, count = _HEADER.unpack(self._exactly(_HEADER.size))
        lengths = [_LENGTH.unpack(self._exactly(_LENGTH.size))[0] for _ in range(count)]
        body = self._exactly(body_length)
        buffers = [self._exactly(length) for length in lengths]
        return pickle.loads(body, buffers=buffers)

    def _exactly(self, length: int) -> bytearray:
        content = bytearray(length)
        view = memoryview(content)
        done = 0
        while done < length:
            try:
                got = self._reader.readinto(view[done:])  # type: ignore[attr-defined]
            except (OSError, ValueError) as error:
                raise EOFError("the connection is closed") from error
            if not got:
                raise EOFError("the connection is closed")
            done += got
        return content

    def close(self) -> None:
        """Close the writing pipe, which ends the other side."""
        with contextlib.suppress(OSError):
            self._writer.close()
