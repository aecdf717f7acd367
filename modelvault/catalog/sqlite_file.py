"""How to open the SQLite file, whether or not this process may write beside it.

A database in WAL mode needs its ``-shm`` file even for reading. In a vault that we may
only read, on a read-only mount or of another account, SQLite cannot make one and refuses.
Such a file is opened as immutable instead, provided that no write-ahead log holds commits
that would be missed. SQLite then takes no locks: a writer of another account may be at
work, so that such a connection should live for one transaction only.

Source: https://www.sqlite.org/wal.html#readonly
"""

import os
from pathlib import Path
from urllib.parse import quote


def is_immutable(path: Path) -> bool:
    """Return whether the file at ``path`` has to be opened as immutable."""
    if not path.is_file() or os.access(path.parent, os.W_OK, effective_ids=True):
        return False
    try:
        return path.with_name(path.name + "-wal").stat().st_size == 0
    except FileNotFoundError:
        return True


def reading_uri(path: Path) -> str:
    """Return the URI that opens the file at ``path`` for reading."""
    return f"file:{quote(str(path))}?mode=ro" + ("&immutable=1" if is_immutable(path) else "")
