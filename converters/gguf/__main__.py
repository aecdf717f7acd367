"""The converter's process: one request on standard input, events on standard output.

The protocol is ``modelvault.core.protocol``. Whatever is refused leaves as one ``Failed``
event; a fault of this program leaves as a traceback on standard error and exit status 1.
Standard output belongs to the protocol: what libraries print goes to standard error.
"""

import errno
import os
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from typing import BinaryIO

from modelvault.core.protocol import (
    Advanced,
    Event,
    Failed,
    Request,
    encode_event,
)
from modelvault.errors import (
    ConverterCrashed,
    ConverterMissing,
    MediumVanished,
    ModelVaultError,
    NoSpace,
    PermissionRefused,
    ReadOnly,
    StorageError,
)

_LARGEST_REQUEST = 256 * 1024 * 1024
_INTERVAL = 0.25
"""Seconds between two reports of a target's progress."""

_STORAGE: dict[int | None, type[StorageError]] = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EROFS: ReadOnly,
    errno.EACCES: PermissionRefused,
    errno.EPERM: PermissionRefused,
    errno.EIO: MediumVanished,
    errno.ENODEV: MediumVanished,
    errno.ESTALE: MediumVanished,
}


def main() -> int:
    """Serve one request; return the exit status."""
    events = _take_stdout()
    data = sys.stdin.buffer.read(_LARGEST_REQUEST + 1)
    with closing(serve(data)) as served:
        try:
            for event in served:
                events.write(encode_event(event))
                events.flush()
        except BrokenPipeError:
            return 1  # the vault is gone; closing removes what was begun
    return 0


def serve(data: bytes) -> Generator[Event, None, None]:
    """Carry out the request in ``data``; yield its events, ``Failed`` as the last one.

    Args:
        data: The request as ``Request.encode`` writes it.
    """
    try:
        if len(data) > _LARGEST_REQUEST:
            raise ConverterCrashed("the request is larger than any real one")
        yield from _convert(Request.parse(data))
    except ModelVaultError as error:
        yield _failed(error)
    except ImportError as error:
        hint = "pip install 'modelvault[gguf]'"
        yield _failed(ConverterMissing(f"a library is missing: {error}", hint=hint))
    except OSError as error:
        yield _failed(_translate(error))


def _convert(request: Request) -> Generator[Event, None, None]:
    # Imported here: a missing numpy is to be reported, not to be a traceback.
    from converters.gguf.convert import convert

    with ExitStack() as stack:
        told: dict[str, float] = {}
        for event in convert(request, stack):
            if isinstance(event, Advanced):
                now = time.monotonic()
                if now - told.get(event.target, 0.0) < _INTERVAL:
                    continue
                told[event.target] = now
            yield event


def _failed(error: ModelVaultError) -> Failed:
    return Failed(
        error=type(error).__name__, message=error.message, hint=error.hint, issues=error.issues
    )


def _translate(error: OSError) -> StorageError:
    kind = _STORAGE.get(error.errno, StorageError)
    place = f"{error.filename}: " if error.filename else ""
    return kind(f"{place}{os.strerror(error.errno) if error.errno else error}")


def _take_stdout() -> BinaryIO:
    """Return a private copy of standard output; what anyone else prints goes to standard error."""
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return events


if __name__ == "__main__":
    sys.exit(main())
