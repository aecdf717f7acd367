"""A library that fetches, in a process of its own: heard, watched over, and killed at will.

The libraries hang where they should fail, hold the interpreter's lock, or keep a signal to
themselves; from outside, all of that ends with ``kill``.
"""

import contextlib
import fcntl
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any, Self

from modelvault import fsio
from modelvault.sources.fetch.engine import EngineFailed
from modelvault.sources.fetch.libraries.frames import (
    DATA,
    DONE,
    ERROR,
    HEADER,
    LONGEST_MESSAGE,
    PULSE,
)

_READ = 1024 * 1024
_TAIL = 300
_TO_END = 2.0
"""Seconds that a process gets to end after its last word."""

_QUERY = re.compile(r"\?[^\s)\"']*")


class Silent(EngineFailed):
    """The library makes no progress."""


class Child:
    """A running library; use it in a ``with`` block, which kills it at the end."""

    def __init__(
        self,
        module: str,
        request: Mapping[str, Any],
        *,
        settings: Mapping[str, str],
        window: float,
    ) -> None:
        """Describe the process; ``with`` starts it.

        Args:
            module: What ``python -m`` runs; it calls ``frames.begin_child``.
            request: What to do; handed over by a pipe, so it may hold secrets.
            settings: Environment variables for the library.
            window: Seconds without progress after which it is given up.
        """
        self._module = module
        self._request = {**request, "parent": os.getpid()}
        self._settings = settings
        self._window = window
        self._deadline = 0.0
        self._pulse = -1
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the process.

        Raises:
            EngineFailed: It cannot be started.
        """
        with contextlib.ExitStack() as stack, _no_process():
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            self._complaints: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                env={
                    **_surroundings(),
                    **self._settings,
                    "HF_HOME": folder,
                    "HF_XET_CACHE": folder,
                },
                start_new_session=True,  # the terminal's Ctrl-C is for us alone
            )
            stack.callback(self._process.__exit__, None, None, None)
            stack.callback(self._process.kill)
            self._stack = stack.pop_all()
        try:
            self._hand_over()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process and wait for its end: it writes nothing any more."""
        self._stack.close()

    def frames(self) -> Iterator[bytes | int]:
        """Yield content as bytes, and the library's own progress as numbers, until done.

        Raises:
            Silent: No progress for the window.
            EngineFailed: The library fails, or its process dies.
        """
        self._deadline = time.monotonic() + self._window
        while True:
            kind, number = HEADER.unpack(self._read_exactly(HEADER.size))
            if kind == DATA:
                yield from self._read_data(number)
            elif kind == PULSE:
                if number != self._pulse:
                    self._pulse = number
                    self._progressed()
                yield number
            elif kind == ERROR and number <= LONGEST_MESSAGE:
                raise EngineFailed(self._shown(self._read_exactly(number)))
            elif kind == DONE:
                return
            else:
                raise EngineFailed("its process does not keep to the protocol")

    def _hand_over(self) -> None:
        if self._process.stdin is None or self._process.stdout is None:
            raise EngineFailed("its process has no pipes")
        self._output = self._process.stdout.fileno()
        with contextlib.suppress(OSError):  # only makes it faster
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, _READ)
        with contextlib.suppress(BrokenPipeError):  # reading its frames tells why
            self._process.stdin.write(json.dumps(self._request).encode())
            self._process.stdin.close()

    def _progressed(self) -> None:
        self._deadline = time.monotonic() + self._window

    def _read_data(self, count: int) -> Iterator[bytes]:
        while count:
            data = self._read(min(count, _READ))
            self._progressed()
            count -= len(data)
            yield data

    def _read_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self._read(count - len(data))
        return data

    def _read(self, limit: int) -> bytes:
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        left = self._deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise Silent(f"no progress for {self._window:.0f} seconds")
        with fsio.storage_errors("a pipe"):
            data = os.read(self._output, limit)
        if not data:
            raise EngineFailed(self._death())
        return data

    def _death(self) -> str:
        try:
            status = self._process.wait(_TO_END)
        except subprocess.TimeoutExpired:
            return "its process closed its output and lives on"
        end = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        size = self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(0, size - _TAIL))
        lines = self._shown(self._complaints.read()).strip().splitlines()
        return f"its process {end}" + (f": {lines[-1]}" if lines else "")

    def _shown(self, message: bytes) -> str:
        """Return a library's words without queries of URLs: those may hold signatures."""
        text = _QUERY.sub("", message.decode("utf-8", "replace"))
        shown = "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
        return shown[-_TAIL:] if len(shown) > _TAIL else shown


@contextlib.contextmanager
def _no_process() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineFailed(f"its process cannot be started ({error.strerror})") from error


def _surroundings() -> dict[str, str]:
    """Return our environment without the Hub's tokens: no library has a use for them."""
    return {name: value for name, value in os.environ.items() if "TOKEN" not in name}
