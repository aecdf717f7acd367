"""The log: what is done and decided, on standard error or in a file.

The rooms write to ``logging.getLogger(__name__)``; nothing of it is kept unless ``--verbose``
or ``--log-file`` asks for it. A line has the time in UTC, the level, who tells it, and the
message, without tokens and without what signs an address. With ``--json`` the lines on standard
error are events. Other libraries' loggers are left alone: what they tell is theirs to hide.
"""

import contextlib
import datetime as dt
import logging
import os
import platform
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from modelvault import fsio
from modelvault.cli.documents.document import format_time
from modelvault.cli.documents.log import LogEvent
from modelvault.cli.documents.printing import print_event
from modelvault.cli.lines import text
from modelvault.cli.redaction import known_secrets, redact
from modelvault.cli.session import Session
from modelvault.errors import ModelVaultError, StorageError
from modelvault.version import __version__

_log = logging.getLogger(__name__)

_ROOT = "modelvault"
_LONGEST = 20_000
"""Characters of one line; a hostile server does not fill the disk."""
_FLAGS = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW
) | os.O_NONBLOCK


@contextlib.contextmanager
def keep_log(session: Session, command: str) -> Iterator[None]:
    """Keep the log for the block, as the session's options ask for.

    Args:
        session: Where the log goes.
        command: What the block does; the log begins and ends with it.

    Raises:
        StorageError: ``--log-file`` is a link or no file, or cannot be written.
    """
    logger = logging.getLogger(_ROOT)
    with contextlib.ExitStack() as stack:
        if session.log_file is not None:
            descriptor = _open_file(session.log_file)
            stack.callback(os.close, descriptor)
            stack.enter_context(
                _attached(logger, _FileHandler(descriptor, session.log_file, session))
            )
        if session.verbose:
            stack.enter_context(_attached(logger, _StandardError(json=session.json)))
        with _told(command):
            yield


@contextlib.contextmanager
def _told(command: str) -> Iterator[None]:
    """Log how a command begins and ends, and the traceback of a defect."""
    _log.info(
        "%s begins: version %s, Python %s, %s",
        command,
        __version__,
        platform.python_version(),
        platform.platform(),
    )
    began = time.monotonic()
    try:
        yield
    except ModelVaultError as error:
        words = "; ".join([error.message, *error.issues])
        _log.error("%s: %s", type(error).__name__, words)
        raise
    except KeyboardInterrupt:
        _log.info("stopped by the user")
        raise
    except Exception:
        _log.exception("defect")
        raise
    finally:
        _log.info("%s ends after %.3f s", command, time.monotonic() - began)


@contextlib.contextmanager
def _attached(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


def _open_file(path: Path) -> int:
    """Return a descriptor that appends to a regular file, which is made where there is none.

    Raises:
        StorageError: It is a link or no file, or cannot be written.
    """
    try:
        with fsio.storage_errors(path):
            descriptor = os.open(path, _FLAGS, 0o600)
    except FileNotFoundError as error:
        raise StorageError(
            f"--log-file {path}: there is no such folder", hint="name a file in a folder"
        ) from error
    except StorageError as error:
        if path.is_symlink():
            raise _refused(path, "it is a link") from error
        raise
    found = os.fstat(descriptor)
    reason = "" if stat.S_ISREG(found.st_mode) else "it is not a regular file"
    if not reason and found.st_nlink > 1:
        reason = "it has another name, too"
    if reason:
        os.close(descriptor)
        raise _refused(path, reason)
    return descriptor


def _refused(path: Path, reason: str) -> StorageError:
    return StorageError(f"--log-file {path}: {reason}", hint="name a new file, or an earlier log")


def _time(record: logging.LogRecord) -> dt.datetime:
    return dt.datetime.fromtimestamp(record.created, dt.UTC)


class _Handler(logging.Handler):
    """Puts records into words."""

    def __init__(self) -> None:
        """Learn the secrets of the environment, to blot them out."""
        super().__init__()
        self._secrets = known_secrets()

    def message(self, record: logging.LogRecord) -> list[str]:
        """Return what a record says, its traceback included, as lines that steer no terminal."""
        said = record.getMessage()
        if record.exc_info:
            said += "\n" + logging.Formatter().formatException(record.exc_info)
        lines = redact(said, self._secrets).splitlines()
        return [text.visible(line, longest=_LONGEST) for line in lines]

    def heading(self, record: logging.LogRecord) -> str:
        """Return time, level and logger."""
        return f"{format_time(_time(record))} {record.levelname} {record.name}:"


class _StandardError(_Handler):
    """Shows the log; the stream is looked up each time, for bars stand in its place."""

    def __init__(self, *, json: bool) -> None:
        """Show nothing yet.

        Args:
            json: Whether lines are events for programs.
        """
        super().__init__()
        self._json = json

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        lines = self.message(record)
        if self._json:
            print_event(
                LogEvent(
                    time=_time(record),
                    level=record.levelname,
                    logger=record.name,
                    message="\n".join(lines),
                )
            )
        else:
            print(self.heading(record), "\n".join(lines), file=sys.stderr)


class _FileHandler(_Handler):
    """Appends the log to a file; one that breaks later is told once and stops no work."""

    def __init__(self, descriptor: int, path: Path, session: Session) -> None:
        """Write nothing yet.

        Args:
            descriptor: Of the file, which the caller closes.
            path: Its name, for errors.
            session: Told when the file can no longer be written.
        """
        super().__init__()
        self._descriptor = descriptor
        self._path = path
        self._session = session
        self._begun = self._broken = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line.

        Raises:
            StorageError: It is the first one and cannot be written.
        """
        if self._broken:
            return
        line = f"{self.heading(record)} {' | '.join(self.message(record))}\n"
        left = memoryview(line.encode("utf-8", "backslashreplace"))
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
            self._begun = True
        except OSError as error:
            if not self._begun:
                raise fsio.translate(error, self._path) from error
            self._broken = True
            self._session.warn(f"the log file ends here: {error.strerror}")
