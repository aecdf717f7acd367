"""Adding a signature to a bundle that stands: two small files, the signature last.

Nothing else of the bundle is touched. Killed in between, the medium holds a public key without
its signature, which proves nothing and harms nothing; the next run completes it.
"""

from pathlib import Path

from modelvault import fsio
from modelvault.bundle.format import names
from modelvault.bundle.medium.files import medium_errors
from modelvault.bundle.write.publication import Publication


def write_signatures(bundle: Path, *, signatures: bytes, publishers: bytes) -> None:
    """Replace a bundle's envelope and the public keys beside it, each durably.

    Args:
        bundle: The bundle's own folder.
        signatures: The envelope, with the signatures that it had and the new one.
        publishers: The public keys, as PEM.

    Raises:
        VaultBusy: An export is writing to the medium.
        StorageError: The medium is full, read-only or gone.
    """
    with medium_errors(bundle), Publication(bundle.parent).lock():
        fsio.write_durably(bundle / names.PUBLISHER, publishers)
        fsio.write_durably(bundle / names.SIGNATURE, signatures)
