"""A converter's process: one request on standard input, events on standard output.

The protocol is ``modelvault.core.protocol``. Whatever is refused leaves as one ``Failed``
event; a fault of the program leaves as a traceback on standard error and exit status 1.
Standard output belongs to the protocol: what libraries print goes to standard error.
"""

import ctypes
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from typing import BinaryIO

from modelvault.core.protocol import Advanced, Event, Failed, Request, encode_event
from modelvault.errors import (
    ConverterCrashed,
    ConverterMissing,
    MalformedRecord,
    MediumVanished,
    ModelVaultError,
    NoSpace,
    PermissionRefused,
    ReadOnly,
    StorageError,
)

_LARGEST_REQUEST = 256 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_INTERVAL = 0.25
"""Seconds between two reports of a target's progress."""

_STORAGE: dict[int | None, type[StorageError]] = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: NoSpace,  # FAT32 ends at 4 GiB a file
    errno.EROFS: ReadOnly,
    errno.EACCES: PermissionRefused,
    errno.EPERM: PermissionRefused,
    errno.EIO: MediumVanished,
    errno.ENODEV: MediumVanished,
    errno.ESTALE: MediumVanished,
}
_DAMAGED = "the file is damaged or hostile: compare it with the one on the Hub"
_HINTS: dict[type[StorageError], str] = {
    NoSpace: "free some space, or keep the vault on a disk that takes such a file; then run "
    "this again",
    ReadOnly: "remount it writable, or choose another folder",
    PermissionRefused: "run as a user who may write there",
    MediumVanished: "check the medium and its cable, then run this again",
}

Convert = Callable[[Request, ExitStack], Iterator[Event]]
"""Carries a request out; what it opens it leaves to the stack."""


def main(load: Callable[[], Convert], *, extra: str) -> int:
    """Serve one request; return the exit status.

    Args:
        load: Imports the converter: a missing library is to be reported, not a traceback.
        extra: The extra of the package that brings its libraries, for the hint.
    """
    _die_with_parent()
    events = _take_stdout()
    data = sys.stdin.buffer.read(_LARGEST_REQUEST + 1)
    with closing(serve(data, load, extra=extra)) as served:
        try:
            for event in served:
                events.write(encode_event(event))
                events.flush()
        except BrokenPipeError:
            return 1  # the vault is gone; closing removes what was begun
    return 0


def serve(data: bytes, load: Callable[[], Convert], *, extra: str) -> Generator[Event, None, None]:
    """Carry out the request in ``data``; yield its events, ``Failed`` as the last one.

    Args:
        data: The request as ``Request.encode`` writes it.
        load: As for ``main``.
        extra: As for ``main``.
    """
    try:
        if len(data) > _LARGEST_REQUEST:
            raise ConverterCrashed("the request is larger than any real one")
        request = Request.parse(data)
        with ExitStack() as stack:
            yield from _thinned(load()(request, stack))
    except ModelVaultError as error:
        yield Failed(
            error=type(error).__name__,
            message=error.message,
            hint=error.hint,
            issues=error.issues,
        )
    except ImportError as error:
        hint = f"pip install 'modelvault[{extra}]'"
        missing = ConverterMissing(f"a library is missing: {error}", hint=hint)
        yield Failed(error="ConverterMissing", message=missing.message, hint=missing.hint)
    except RecursionError:
        # Newer Pythons parse JSON nested deeper than they can walk; no real file comes near.
        deep = MalformedRecord("a file of the model is nested without end", hint=_DAMAGED)
        yield Failed(error=type(deep).__name__, message=deep.message, hint=deep.hint)
    except OSError as error:
        kind = _STORAGE.get(error.errno, StorageError)
        place = f"{error.filename}: " if error.filename else ""
        reason = os.strerror(error.errno) if error.errno else str(error)
        yield Failed(error=kind.__name__, message=f"{place}{reason}", hint=_HINTS.get(kind, ""))


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
    """Return a private copy of standard output; what anyone else prints goes to standard error."""
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return events
