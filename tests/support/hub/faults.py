"""What can go wrong at the loopback hub, on demand.

A fault is armed for a stage of the conversation and a glob over repository paths, and is
used up after ``times`` matching requests. Several faults may hit one request.

Example:
    >>> faults = Faults()
    >>> faults.add(Fault(kind=Kind.CUT, stage=Stage.CDN, path="*.safetensors", after=1000))
    >>> [fault.kind.value for fault in faults.take(Stage.CDN, "GET", "model.safetensors")]
    ['cut']
    >>> faults.take(Stage.CDN, "GET", "model.safetensors")
    ()
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase


class Stage(StrEnum):
    """Which part of the hub a request is for."""

    API = "api"
    """JSON calls; the fault's path is the call: ``info``, ``tree``, ``paths-info`` …"""
    RESOLVE = "resolve"
    """``HEAD`` or ``GET`` of ``…/resolve/…``; the path is the file's."""
    CDN = "cdn"
    """The second origin, where LFS files come from; the path is the file's."""


class Kind(StrEnum):
    """What happens."""

    STATUS = "status"
    """The answer is ``status`` with ``headers``: 429, 503, 401, 403, 404, 410 …"""
    DROP = "drop"
    """The connection closes without an answer."""
    DELAY = "delay"
    """The answer starts ``seconds`` late."""
    CUT = "cut"
    """The connection closes after ``after`` bytes of the body."""
    STALL = "stall"
    """Sending stops after ``after`` bytes for ``seconds``, then the connection closes."""
    SLOW = "slow"
    """The body comes at ``rate`` bytes a second."""
    CORRUPT = "corrupt"
    """One byte of the body, ``after`` bytes into it, is flipped."""
    SHORT = "short"
    """``Content-Length`` and the body are ``after`` bytes less than the range asked for."""
    OVERLONG = "overlong"
    """The body is chunked and ``after`` bytes longer than the range asked for."""
    IGNORE_RANGE = "ignore-range"
    """A range request is answered by 200 and the whole file."""
    SHIFT_RANGE = "shift-range"
    """206 with a ``Content-Range`` (and bytes) ``after`` bytes further on."""
    ETAG = "etag"
    """The answer's ``ETag`` is ``value``."""
    LINKED_ETAG = "linked-etag"
    """The resolve answer's ``X-Linked-Etag`` is ``value``."""
    COMMIT = "commit"
    """The resolve answer's ``X-Repo-Commit`` is ``value``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong."""

    kind: Kind
    stage: Stage = Stage.CDN
    path: str = "*"
    """Glob over the file's path in its repository (or over the call's name, for the API)."""
    method: str | None = None
    """``HEAD``, ``GET`` or ``POST``; None for any."""
    times: int | None = 1
    """Requests it hits before it is used up; None for ever."""
    skip: int = 0
    """Matching requests that pass unharmed first."""
    after: int = 0
    """Bytes; see the kinds."""
    seconds: float = 3600.0
    rate: int = 0
    """Bytes a second."""
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    value: str = ""


class Faults:
    """The armed faults of one hub; safe to use from any thread."""

    def __init__(self) -> None:
        """Start with none."""
        self._armed: list[tuple[Fault, list[int | None]]] = []
        self._mutex = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Arm faults."""
        with self._mutex:
            self._armed.extend((fault, [fault.skip, fault.times]) for fault in faults)

    def clear(self) -> None:
        """Disarm everything."""
        with self._mutex:
            self._armed.clear()

    @property
    def pending(self) -> int:
        """Number of faults that are not used up, those for ever included."""
        with self._mutex:
            return len(self._armed)

    def take(self, stage: Stage, method: str, path: str) -> tuple[Fault, ...]:
        """Return the faults that hit this request, counting them down."""
        hits: list[Fault] = []
        with self._mutex:
            for fault, counts in self._armed:
                if (
                    fault.stage is not stage
                    or fault.method not in (None, method)
                    or not fnmatchcase(path, fault.path)
                ):
                    continue
                if counts[0]:
                    counts[0] -= 1
                    continue
                hits.append(fault)
                if counts[1] is not None:
                    counts[1] -= 1
            self._armed = [entry for entry in self._armed if entry[1][1] != 0]
        return tuple(hits)
