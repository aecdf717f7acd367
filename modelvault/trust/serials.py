"""The highest serial of each key, beside the keys: ``keys/serials.json``.

The catalogue knows the same from its log. Either alone suffices, so that neither a rebuild nor
the loss of the database lets an older bundle pass for a new one.

Format: ``docs/formats/serials.md``.

Example:
    >>> parse_serials(Serials().encode()) == Serials()
    True
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelvault import fsio
from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import Fields
from modelvault.errors import BadDigest, MalformedRecord
from modelvault.trust import keys

KIND = "modelvault/serials"
LIMIT = 4 * 1024 * 1024
"""Largest ``serials.json``, in bytes."""
NAME = "serials.json"

_WAIT = 30.0
"""Seconds to wait for another process that is noting a serial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """The newest bundle that a key has signed, as far as it arrived here."""

    serial: int
    index: Digest
    """Of the bundle's index: the same bundle again is not an older one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serials:
    """The highest serials, by the fingerprint of the key."""

    exported: Mapping[str, int] = field(default_factory=dict)
    """Of bundles that were written here."""
    imported: Mapping[str, Received] = field(default_factory=dict)
    """Of bundles that were taken in here."""

    def with_exported(self, fingerprint: str, serial: int) -> "Serials":
        """Return the serials after an export."""
        highest = max(serial, self.exported.get(fingerprint, 0))
        return dataclasses.replace(self, exported={**self.exported, fingerprint: highest})

    def with_imported(self, signers: Iterable[str], received: Received) -> "Serials":
        """Return the serials after an import; an older bundle lowers none."""
        changed = dict(self.imported)
        for signer in signers:
            known = changed.get(signer)
            if known is None or known.serial < received.serial:
                changed[signer] = received
        return dataclasses.replace(self, imported=changed)

    def encode(self) -> bytes:
        """Return the canonical JSON of ``serials.json``."""
        return canonical.encode(
            {
                "_type": f"{KIND}/v1",
                "exported": dict(self.exported),
                "imported": {
                    signer: {"serial": item.serial, "index": str(item.index)}
                    for signer, item in self.imported.items()
                },
            }
        )


def parse_serials(data: bytes) -> Serials:
    """Return the serials encoded in ``data``.

    Raises:
        UnsupportedVersion: A newer release wrote them.
        MalformedRecord: They are damaged.
    """
    fields = Fields(canonical.parse(data, limit=LIMIT), where=NAME)
    fields.version(KIND)
    exported, imported = fields.object("exported"), fields.object("imported")
    fields.finish()
    try:
        return Serials(
            exported={name: exported.integer(name, least=1) for name in exported.names()},
            imported={name: _parse_received(imported.object(name)) for name in imported.names()},
        )
    except BadDigest as error:
        raise MalformedRecord(f"{NAME}: {error}") from error


def _parse_received(fields: Fields) -> Received:
    item = Received(
        serial=fields.integer("serial", least=1), index=Digest.parse(fields.text("index"))
    )
    fields.finish()
    return item


class SerialFile:
    """``serials.json`` in one vault's folder of keys."""

    def __init__(self, folder: Path) -> None:
        """Use a folder of keys, which need not exist; nothing is created before ``write``."""
        self._folder = folder
        self._path = folder / NAME

    def read(self) -> Serials:
        """Return what is noted; nothing where there is no file.

        Raises:
            UnsupportedVersion: A newer release wrote it.
            MalformedRecord: It is damaged.
            StorageError: The file system refuses.
        """
        try:
            with fsio.storage_errors(self._path), open(self._path, "rb") as file:
                data = file.read(LIMIT + 1)
        except FileNotFoundError:
            return Serials()
        try:
            return parse_serials(data)
        except MalformedRecord as error:
            raise MalformedRecord(
                f"{self._path}: {error.message}",
                hint="restore it from a backup; or remove it: the catalogue's log knows the same",
            ) from error

    def write(self, serials: Serials) -> None:
        """Note serials, durably; the caller holds ``lock``.

        Raises:
            StorageError: The file system refuses.
        """
        if serials != self.read():
            fsio.write_durably(self._path, serials.encode())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from judging or noting serials meanwhile.

        Raises:
            VaultBusy: One of them takes long.
            StorageError: The file system refuses.
        """
        keys.make_private(self._folder)
        with fsio.lock(self._path.with_name(f"{NAME}.lock"), wait=_WAIT, transient=True):
            yield
