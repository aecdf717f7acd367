"""A converter's process: one request on standard input, events on standard output.

The protocol is ``modelvault.core.protocol``. Whatever is refused leaves as one ``Failed``
event; a fault of the program leaves as a traceback on standard error and exit status 1.
Standard output belongs to the protocol: what libraries print goes to standard error.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from typing import BinaryIO

from modelvault.core.protocol import Advanced, Event, Failed, Request, encode_event
from modelvault.core.storage_errors import storage_error
from modelvault.errors import (
    ConverterCrashed,
    ConverterMissing,
    MalformedRecord,
    ModelVaultError,
)

_LARGEST_REQUEST = 256 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_INTERVAL = 0.25
"""Seconds between two reports of a target's progress."""

_DAMAGED = "the file is damaged or hostile: compare it with the one on the Hub"

Convert = Callable[[Request, ExitStack], Iterator[Event]]
"""Carries a request out; what it opens it leaves to the stack."""


def main(load: Callable[[], Convert], ask: Callable[[], Convert] | None = None) -> int:
    """Serve one request; return the exit status.

    Args:
        load: Imports the converter: a missing library is to be reported, not a traceback.
        ask: Imports what answers whether a model could be converted; it is quickly there.
    """
    _die_with_parent()
    events = _take_stdout()
    data = sys.stdin.buffer.read(_LARGEST_REQUEST + 1)
    with closing(serve(data, load, ask)) as served:
        try:
            for event in served:
                events.write(encode_event(event))
                events.flush()
        except BrokenPipeError:
            return 1  # the vault is gone; closing removes what was begun
    return 0


def serve(
    data: bytes, load: Callable[[], Convert], ask: Callable[[], Convert] | None = None
) -> Generator[Event, None, None]:
    """Carry out the request in ``data``; yield its events, ``Failed`` as the last one.

    Args:
        data: The request as ``Request.encode`` writes it.
        load: As for ``main``.
        ask: As for ``main``.
    """
    try:
        if len(data) > _LARGEST_REQUEST:
            raise ConverterCrashed("the request is larger than any real one")
        request = Request.parse(data)
        if request.ask_only and ask is None:
            raise ConverterCrashed("this converter answers no questions")
        carry_out = ask if request.ask_only and ask is not None else load
        with ExitStack() as stack:
            yield from _thinned(carry_out()(request, stack))
    except ModelVaultError as error:
        yield _failed(error)
    except ImportError as error:
        # The vault, which knows how it was installed, adds the command that brings it.
        yield _failed(ConverterMissing(f"a library is missing: {error}"))
    except RecursionError:
        # Newer Pythons parse JSON nested deeper than they can walk; no real file comes near.
        yield _failed(MalformedRecord("a file of the model is nested without end", hint=_DAMAGED))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = os.strerror(error.errno) if error.errno else str(error)
        yield _failed(storage_error(error, f"{where}{reason}"))


def _failed(error: ModelVaultError) -> Failed:
    return Failed(
        error=type(error).__name__,
        message=error.message,
        hint=error.hint,
        issues=error.issues,
    )


def _thinned(events: Iterator[Event]) -> Iterator[Event]:
    """Yield the events, of a target's progress a few a second."""
    told: dict[str, float] = {}
    for event in events:
        if isinstance(event, Advanced):
            now = time.monotonic()
            if now - told.get(event.target, 0.0) < _INTERVAL:
                continue
            told[event.target] = now
        yield event


def _die_with_parent() -> None:
    """Have the kernel kill this process when the vault dies, however that ends.

    A layer may take minutes: without this a new run of the same work could begin in the same
    folder before the old one finds its pipe closed. Other systems than Linux have no such call.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_stdout() -> BinaryIO:
    """Return a private copy of standard output; what libraries print goes to standard error."""
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return events
