"""How a child process with a library in it reports: frames on its standard output.

A frame is a kind (one byte) and a number (eight bytes, big-endian):

* ``D``: that many bytes of content follow.
* ``P``: a counter of the library's own progress; only its changes mean something.
* ``E``: that many bytes of a message follow; nothing comes after it.
* ``Z``: everything has come.

Example:
    >>> HEADER.unpack(HEADER.pack(DATA, 5))
    (b'D', 5)
"""

import ctypes
import json
import os
import signal
import struct
import sys
import threading
from typing import Any, BinaryIO

HEADER = struct.Struct(">cQ")
DATA, PULSE, ERROR, DONE = b"D", b"P", b"E", b"Z"
LONGEST_MESSAGE = 4096
_LONGEST_REQUEST = 256 * 1024
_PR_SET_PDEATHSIG = 1


class Reporter:
    """Writes frames; safe to use from any thread."""

    def __init__(self, output: BinaryIO) -> None:
        """Write nothing yet.

        Args:
            output: Where frames go; nothing else may write to it.
        """
        self._output = output
        self._mutex = threading.Lock()

    def data(self, data: bytes) -> None:
        """Hand over content."""
        self._send(DATA, len(data), data)

    def pulse(self, number: int) -> None:
        """Report the library's progress."""
        self._send(PULSE, number)

    def error(self, text: str) -> None:
        """Report why it ends."""
        message = text.encode("utf-8", "replace")[:LONGEST_MESSAGE]
        self._send(ERROR, len(message), message)

    def done(self) -> None:
        """Report that everything has come."""
        self._send(DONE, 0)

    def _send(self, kind: bytes, number: int, data: bytes = b"") -> None:
        with self._mutex:
            self._output.write(HEADER.pack(kind, number))
            self._output.write(data)
            self._output.flush()


def begin_child() -> tuple[dict[str, Any], Reporter]:
    """Return what the parent asks of this process, and how to answer.

    The process dies with its parent from here on, however that ends. Standard output
    belongs to the reporter; whatever else prints does so on standard error.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    request = json.loads(sys.stdin.buffer.read(_LONGEST_REQUEST))
    if request["parent"] != parent or os.getppid() != parent:
        os._exit(1)  # the parent was gone before the kernel knew what to do then
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return request, Reporter(output)
