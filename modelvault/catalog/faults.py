"""What database drivers raise, told as ModelVault's own errors.

Every way into a database runs inside ``database_errors``. SQLite's result codes and
PostgreSQL's SQLSTATEs decide; message texts, which change between releases, do not.
Importable without SQLAlchemy.

Source: https://www.sqlite.org/rescode.html and
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import contextlib
import sqlite3
from collections.abc import Iterator

from modelvault.errors import (
    CatalogDamaged,
    CatalogUnavailable,
    MediumVanished,
    ModelVaultError,
    NoSpace,
    PermissionRefused,
    ReadOnly,
    VaultBusy,
)

_Fault = tuple[type[ModelVaultError], str]

_BUSY = (VaultBusy, "another modelvault process is writing: wait for it, then run this again")
_FULL = (NoSpace, "free some space, then run this again")
_READ_ONLY = (ReadOnly, "make the database writable, or use another vault")
_REFUSED = (PermissionRefused, "run as a user who may use the catalogue")
_DAMAGED = (CatalogDamaged, "restore the catalogue from a backup, or rebuild it from the store")
_VANISHED = (MediumVanished, "check the disk, then run this again")
_CLOSED = (CatalogUnavailable, "check that its folder exists and may be read and written")
_UNREACHABLE = (CatalogUnavailable, "check that the database can be reached, then run this again")

_SQLITE: dict[int, _Fault] = {
    sqlite3.SQLITE_ERROR: _DAMAGED,  # a table or column is missing: the SQL itself is ours
    sqlite3.SQLITE_PERM: _REFUSED,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_IOERR: _VANISHED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_CONSTRAINT: _DAMAGED,
    sqlite3.SQLITE_AUTH: _REFUSED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}

_POSTGRESQL: dict[str, _Fault] = {  # the longest matching prefix of the SQLSTATE decides
    "23": _DAMAGED,
    "25006": _READ_ONLY,
    "40": _BUSY,
    "42": _DAMAGED,
    "42501": _REFUSED,
    "53100": _FULL,
    "55P03": _BUSY,
    "58030": _VANISHED,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}


def translate(error: BaseException, where: str, *, secret: str | None = None) -> ModelVaultError:
    """Return the error that stands for what a driver or SQLAlchemy raised.

    Args:
        error: What was raised; SQLAlchemy's wrapping is looked through.
        where: The database, for the message, without its password.
        secret: The password, removed should the driver repeat it.
    """
    cause: object = getattr(error, "orig", None) or error
    kind, hint = _judge(cause)
    reason = " ".join(str(cause).split()) or type(cause).__name__
    if secret:
        reason = reason.replace(secret, "***")
    return kind(f"{where}: {reason}", hint=hint)


def _judge(cause: object) -> _Fault:
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        if code is None:  # the driver's own: text in the file that is not UTF-8
            return _DAMAGED
        return _SQLITE.get(code & 0xFF, _UNREACHABLE)
    state = getattr(cause, "sqlstate", None) or ""
    for length in range(len(state), 1, -1):
        if state[:length] in _POSTGRESQL:
            return _POSTGRESQL[state[:length]]
    return _UNREACHABLE


@contextlib.contextmanager
def sqlite_errors(where: str) -> Iterator[None]:
    """Translate the errors of the standard library's ``sqlite3`` in the block."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, where) from error
