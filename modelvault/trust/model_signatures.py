"""Signatures over models that travel without them: ``model-signatures.json``.

What a ``model.sig`` says follows from the model's files and name; only its signature has to be
carried. A bundle has those of whoever exported it, and a vault keeps what trusted keys have
signed, so that a host without a key of its own can put the publisher's ``model.sig`` beside what
it installs.

Nothing in such a file is believed: each signature is verified over the files at hand, by a key
that is trusted, before it is kept and again before it is used.

Format: ``docs/formats/signature.md``, "model-signatures.json".

Example:
    >>> parse_model_signatures(ModelSignatures().encode()) == ModelSignatures()
    True
"""

import base64
import binascii
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelvault import fsio
from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import Fields
from modelvault.errors import BadDigest, BadOption, MalformedRecord
from modelvault.trust import keys

KIND = "modelvault/model-signatures"
NAME = "model-signatures.json"
LIMIT = 16 * 1024 * 1024
"""Largest file, in bytes; each signature takes some 250."""
MOST = 60_000
"""Most signatures in a file."""

_MOST_VALUES = 4 * MOST + 16
_LONGEST = 512
_WAIT = 30.0
"""Seconds to wait for another process that is keeping signatures."""

Signed = tuple[Digest, str]
"""The digest of the manifest of what was signed, and the fingerprint of the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignatures:
    """Signatures by what they are about, and by whom."""

    found: Mapping[Signed, bytes] = field(default_factory=dict)
    """ECDSA with SHA-256, DER-encoded."""

    def with_others(self, found: Mapping[Signed, bytes]) -> "ModelSignatures":
        """Return these and others; of the same contents and key the later one stays."""
        return ModelSignatures(found={**self.found, **found})

    def of(self, contents: Digest) -> dict[str, bytes]:
        """Return the signatures over some contents, by the fingerprint of the key, sorted."""
        return {
            signer: signature
            for (about, signer), signature in sorted(self.found.items())
            if about == contents
        }

    def encode(self) -> bytes:
        """Return the canonical JSON of the file.

        Raises:
            BadOption: There are too many.
        """
        if len(self.found) > MOST:
            raise BadOption(f"{NAME}: {len(self.found)} signatures; {MOST} are possible")
        return canonical.encode(
            {
                "_type": f"{KIND}/v1",
                "signatures": [
                    {
                        "contents": str(about),
                        "signer": signer,
                        "signature": base64.b64encode(signature).decode("ascii"),
                    }
                    for (about, signer), signature in sorted(self.found.items())
                ],
            }
        )


def parse_model_signatures(data: bytes) -> ModelSignatures:
    """Return the signatures encoded in ``data``; none of them is verified.

    Raises:
        UnsupportedVersion: A newer release wrote them.
        MalformedRecord: They are damaged.
    """
    fields = Fields(canonical.parse(data, limit=LIMIT, values=_MOST_VALUES), where=NAME)
    fields.version(KIND)
    items = fields.items("signatures", most=MOST)
    fields.finish()
    return ModelSignatures(found=dict(_parse_items(items)))


def _parse_items(items: Iterable[canonical.Json]) -> Iterator[tuple[Signed, bytes]]:
    for item in items:
        fields = Fields(item, where=f"{NAME}: signatures")
        try:
            about = Digest.parse(fields.text("contents"))
            signer = keys.parse_fingerprint(fields.text("signer"))
            signature = base64.b64decode(fields.text("signature", longest=_LONGEST), validate=True)
        except (BadDigest, BadOption, binascii.Error, ValueError) as error:
            raise MalformedRecord(f"{NAME}: {error}") from error
        fields.finish()
        yield (about, signer), signature


class ModelSignatureFile:
    """``model-signatures.json`` in one vault's folder of keys."""

    def __init__(self, folder: Path) -> None:
        """Use a folder of keys, which need not exist; nothing is created before ``keep``."""
        self._folder = folder
        self._path = folder / NAME

    def read(self) -> ModelSignatures:
        """Return what was kept; nothing where there is no file.

        Raises:
            UnsupportedVersion: A newer release wrote it.
            MalformedRecord: It is damaged.
            StorageError: The file system refuses.
        """
        try:
            with fsio.storage_errors(self._path), open(self._path, "rb") as file:
                data = file.read(LIMIT + 1)
        except FileNotFoundError:
            return ModelSignatures()
        try:
            return parse_model_signatures(data)
        except MalformedRecord as error:
            raise MalformedRecord(
                f"{self._path}: {error.message}",
                hint="remove it: it holds what the next import of a bundle brings again",
            ) from error

    def keep(self, found: Mapping[Signed, bytes]) -> None:
        """Keep signatures, durably, beside those that were kept before.

        Raises:
            VaultBusy: Another process takes long.
            UnsupportedVersion: A newer release wrote the file.
            MalformedRecord: It is damaged.
            StorageError: The file system refuses.
        """
        if not found:
            return
        keys.make_private(self._folder)
        with self._lock():
            kept = self.read()
            changed = kept.with_others(found)
            if changed != kept:
                fsio.write_durably(self._path, changed.encode())

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with fsio.lock(self._path.with_name(f"{NAME}.lock"), wait=_WAIT, transient=True):
            yield
