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

from modelvault.fsio.batch import FileBatch
from modelvault.fsio.durable import (
    TEMPORARY_PREFIX,
    durable_file,
    make_folder,
    publish,
    set_mode,
    sync_folder,
    write_durably,
)
from modelvault.fsio.linking import CHUNK, LinkMode, link_or_copy
from modelvault.fsio.locks import lock
from modelvault.fsio.paths import is_regular, safe_join
from modelvault.fsio.space import free_bytes, preallocate, require_space
from modelvault.fsio.translation import storage_errors, translate

__all__ = [
    "CHUNK",
    "TEMPORARY_PREFIX",
    "FileBatch",
    "LinkMode",
    "durable_file",
    "free_bytes",
    "is_regular",
    "link_or_copy",
    "lock",
    "make_folder",
    "preallocate",
    "publish",
    "require_space",
    "safe_join",
    "set_mode",
    "storage_errors",
    "sync_folder",
    "translate",
    "write_durably",
]
