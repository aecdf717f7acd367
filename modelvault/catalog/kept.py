"""Which blobs of a store are records of artefacts: what a catalogue can be rebuilt from.

Importable without SQLAlchemy.
"""

from collections.abc import Iterable, Iterator

from modelvault.core.artifact import ARTIFACT_LIMIT
from modelvault.store.blobs import BlobFile, Store

_START = b'{"_type":"modelvault/artifact/v'
"""How a record of any version begins: canonical JSON puts its type first."""


def find_records(store: Store, blobs: Iterable[BlobFile] | None = None) -> Iterator[BlobFile]:
    """Yield the blobs that are records of artefacts; a few bytes of each are read.

    Args:
        store: Where the blobs are.
        blobs: Which of them to look at; None for all.
    """
    for blob in store.blobs() if blobs is None else blobs:
        if len(_START) < blob.size <= ARTIFACT_LIMIT:
            with store.open_blob(blob.digest) as file:
                if file.read(len(_START)) == _START:
                    yield blob
