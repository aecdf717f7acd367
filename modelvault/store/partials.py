"""Partials: bytes on their way into the store, kept across kills and reboots.

A partial is a preallocated data file, a journal of the ranges that are known to be on
disk, and a lock. The order is what makes it survive: data is ``fdatasync``ed before the
journal record that vouches for it is appended. A torn last record is ignored. The
journal's first line holds the size, so that a partial of another size is started anew.

A partial vouches for *presence*, not for content: its writer re-hashes the bytes, from
disk after a resume, before ``Store.adopt`` gives them a name.
"""

import contextlib
import os
import re
import stat
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelvault import fsio
from modelvault.core.ranges import RangeSet
from modelvault.errors import BadPath, StorageError

_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")

_KEEP_CACHED = 64 * 1024 * 1024
"""Files up to this many bytes stay in the page cache: they are about to be read again."""

_RELEASE_STEP = 8 * 1024 * 1024


class Partial:
    """An open, locked partial; get one from ``Store.open_partial``.

    Threads may write, read and record at once, as long as no two write the same bytes.
    ``close`` waits for what is under way; whatever comes later is refused.
    """

    def __init__(self, folder: Path, key: str, size: int) -> None:
        """Open or create the files; the caller holds the lock.

        Args:
            folder: The vault's folder of partials.
            key: Name of the content, such as ``sha256-<hex>``.
            size: Final length in bytes.

        Raises:
            NoSpace: The whole length does not fit on the disk.
            StorageError: The file system refuses.
        """
        self.path = folder / key
        self.size = size
        self._journal_path = folder / f"{key}.journal"
        self._mutex = threading.Lock()
        self._gate = threading.Condition(threading.Lock())
        self._users = 0
        self._closed = False
        self._released = 0
        self.present, intact = _read_journal(self._journal_path, size)
        with fsio.every_error(self.path):
            self._data = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fsio.share_file(self._data, folder)
            if os.fstat(self._data).st_size != size:
                self.present, intact = RangeSet(), 0
        try:
            if intact == 0:
                self._start_anew()
            with fsio.every_error(self._journal_path):
                self._journal = os.open(self._journal_path, os.O_RDWR | os.O_CLOEXEC)
                if intact:
                    os.ftruncate(self._journal, intact)  # drop a torn last record
                os.lseek(self._journal, 0, os.SEEK_END)
        except BaseException:
            os.close(self._data)
            raise

    def _start_anew(self) -> None:
        try:
            fsio.preallocate(self._data, self.size, self.path)
        except StorageError:
            with contextlib.suppress(OSError):  # the first error is the one to report
                self.path.unlink(missing_ok=True)  # a failed reservation may hold some space
            raise
        with fsio.every_error(self.path):
            os.ftruncate(self._data, self.size)
            mode = stat.S_IMODE(os.fstat(self._data).st_mode)  # who may go on needs both files
            fsio.write_durably(self._journal_path, _record(f"size {self.size}"), mode=mode | 0o044)

    @contextlib.contextmanager
    def _using(self, path: Path) -> Iterator[None]:
        with self._gate:
            if self._closed:
                raise StorageError(f"{path}: was closed while bytes were under way")
            self._users += 1
        try:
            with fsio.every_error(path):
                yield
        finally:
            with self._gate:
                self._users -= 1
                self._gate.notify_all()

    @property
    def complete(self) -> bool:
        """Whether every byte is there."""
        with self._mutex:
            return self.present.total == self.size

    def missing(self) -> list[tuple[int, int]]:
        """Return the ranges still to come, as (start, end) pairs in order."""
        with self._mutex:
            return self.present.gaps(self.size)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes at ``offset``; they count only after ``record``.

        Raises:
            BadPath: The range leaves the file: more was offered than declared.
        """
        if offset < 0 or offset + len(data) > self.size:
            raise BadPath(f"{self.path.name}: bytes beyond the declared size were offered")
        view = memoryview(data)
        with self._using(self.path):
            while view:
                written = os.pwrite(self._data, view, offset)
                view, offset = view[written:], offset + written

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset``; return the number of bytes read."""
        with self._using(self.path):
            return os.preadv(self._data, [buffer], offset)

    def record(self, start: int, end: int) -> None:
        """Make the range durable, then vouch for it in the journal."""
        self.record_all([(start, end)])

    def record_all(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Make ranges durable with one flush, then vouch for each in the journal.

        Args:
            ranges: (start, end) pairs, every byte of which was written before this call.
        """
        ranges = [(start, end) for start, end in ranges if start < end]
        with self._using(self.path):
            fsio.flush_data(self._data)
            with self._mutex:
                records = b"".join(_record(f"range {start} {end}") for start, end in ranges)
                while records:  # a full disk may take a part: then the next write says so
                    records = records[os.write(self._journal, records) :]
                for start, end in ranges:
                    self.present.add(start, end)

    def release(self, prefix: int) -> None:
        """Let go of the page cache of the first ``prefix`` bytes, as far as they are durable.

        A file larger than memory would push everything else out of the cache, and every
        page it takes anew has to be cleared first; what was read for the last time here
        need not stay.
        """
        if self.size <= _KEEP_CACHED or prefix < self._released + _RELEASE_STEP:
            return
        with self._mutex:
            durable = min(prefix, self.present.prefix)
        if durable < self._released + _RELEASE_STEP:
            return
        with self._using(self.path):
            length = durable - self._released
            fsio.advise(self._data, self._released, length, os.POSIX_FADV_DONTNEED)
        self._released = durable

    def restart(self) -> None:
        """Forget every byte, keeping the reserved space."""
        with self._mutex, self._using(self._journal_path):
            os.ftruncate(self._journal, len(_record(f"size {self.size}")))
            os.lseek(self._journal, 0, os.SEEK_END)
            fsio.flush(self._journal)
            self.present = RangeSet()

    def close(self) -> None:
        """Close the files; what is recorded stays."""
        with self._gate:
            self._closed = True
            self._gate.wait_for(lambda: self._users == 0)
        os.close(self._data)
        os.close(self._journal)

    def discard(self) -> None:
        """Remove the files from disk (they may be open)."""
        with fsio.every_error(self.path):
            self.path.unlink(missing_ok=True)
            self._journal_path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_partial(folder: Path, key: str, size: int, *, wait: float) -> Iterator[Partial]:
    """Yield the partial ``key``, locked against other processes.

    Raises:
        VaultBusy: Another process is filling it.
        NoSpace: Its length does not fit on the disk.
    """
    if not _KEY.fullmatch(key):
        raise BadPath(f"{key!r} is not a partial's key")
    fsio.make_folder(folder)  # copies of a vault often lack what was empty
    with fsio.lock(folder / f"{key}.lock", wait=wait, transient=True):
        partial = Partial(folder, key, size)
        try:
            yield partial
        finally:
            partial.close()


def _record(text: str) -> bytes:
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def _read_journal(path: Path, size: int) -> tuple[RangeSet, int]:
    """Return the recorded ranges and the length of the intact part, in bytes."""
    present = RangeSet()
    try:
        with fsio.storage_errors(path):
            lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return present, 0
    intact = 0
    for number, line in enumerate(lines[:-1]):
        text = line.decode("ascii", "replace").rpartition(" ")[0]
        if _record(text) != line + b"\n":
            break
        words = text.split()
        if number == 0:
            if words != ["size", str(size)]:
                return RangeSet(), 0
        else:
            start, end = int(words[1]), int(words[2])
            if not 0 <= start < end <= size:
                break
            present.add(start, end)
        intact += len(line) + 1
    return present, intact
