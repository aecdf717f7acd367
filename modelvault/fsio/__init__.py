"""The one way ModelVault touches a file system.

Invariants:
    * A published file is complete, flushed and named in one step (``durable``).
    * A name that comes from outside goes through ``safe_join``.
    * Every ``OSError`` an operator can meet leaves here as a ``StorageError`` that names
      the path.

Example:
    >>> from modelvault import fsio
    >>> fsio.write_durably(Path("/tmp/example.json"), b"{}")
"""

from modelvault.fsio.advice import advise, flush, flush_data, set_mode
from modelvault.fsio.batch import FileBatch
from modelvault.fsio.durable import (
    TEMPORARY_PREFIX,
    durable_file,
    make_folder,
    sync_folder,
    write_durably,
)
from modelvault.fsio.linking import CHUNK, LinkMode, link_or_copy, reflink
from modelvault.fsio.lock_entries import is_lock_entry
from modelvault.fsio.locks import lock, lock_folder
from modelvault.fsio.moving import publish
from modelvault.fsio.paths import is_folder, is_regular, safe_join, stands
from modelvault.fsio.sharing import is_shared, keeps_modes, share_file
from modelvault.fsio.space import free_bytes, preallocate, require_space
from modelvault.fsio.translation import every_error, storage_errors, translate

__all__ = [
    "CHUNK",
    "TEMPORARY_PREFIX",
    "FileBatch",
    "LinkMode",
    "advise",
    "durable_file",
    "every_error",
    "flush",
    "flush_data",
    "free_bytes",
    "is_folder",
    "is_lock_entry",
    "is_regular",
    "is_shared",
    "keeps_modes",
    "link_or_copy",
    "lock",
    "lock_folder",
    "make_folder",
    "preallocate",
    "publish",
    "reflink",
    "require_space",
    "safe_join",
    "set_mode",
    "share_file",
    "stands",
    "storage_errors",
    "sync_folder",
    "translate",
    "write_durably",
]
