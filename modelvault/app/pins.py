"""What a lock file pins: whether the vault has it, and exactly that of what a source offers."""

from modelvault.app.supersede import contains, find_siblings
from modelvault.app.vault import Vault
from modelvault.core.lockfile import LockEntry
from modelvault.core.names import Reference
from modelvault.errors import UpstreamChanged
from modelvault.sources.selection import LeftOut, Selection
from modelvault.sources.source import Offer

_MOST_ISSUES = 100


def is_stored(vault: Vault, pin: LockEntry) -> bool:
    """Return whether the vault holds everything a pin names, catalogued and in the store."""
    reference = Reference(model=pin.model, revision=pin.commit)
    return any(
        contains(sibling.manifest, pin.manifest) for sibling in find_siblings(vault, reference)
    ) and all(vault.store.has(file.digest, file.size) for file in pin.manifest.files)


def select_pinned(offer: Offer, pin: LockEntry) -> tuple[Offer, Selection]:
    """Return the offer under the name that was pinned, and exactly the pinned files of it.

    Raises:
        UpstreamChanged: The source offers something else; ``issues`` names each file.
    """
    offered = {file.path: file for file in offer.files}
    issues: list[str] = []
    for entry in pin.manifest.files:
        file = offered.get(entry.path)
        if file is None:
            issues.append(f"{entry.path}: no longer there")
        elif file.size not in (None, entry.size):
            issues.append(f"{entry.path}: {file.size} bytes instead of {entry.size}")
        elif file.sha256 not in (None, entry.digest):
            issues.append(f"{entry.path}: {file.sha256} instead of {entry.digest}")
    if issues:
        raise UpstreamChanged(
            f"{pin.model}: the source offers other files than are pinned: {issues[0]}",
            hint="this endpoint does not serve what was locked: find out why before going on",
            issues=issues[:_MOST_ISSUES],
        )
    paths = {entry.path for entry in pin.manifest.files}
    selection = Selection(
        chosen=tuple(file for file in offer.files if file.path in paths),
        left_out=tuple(
            LeftOut(path=file.path, size=file.size, reason="not in the lock file")
            for file in offer.files
            if file.path not in paths
        ),
        notes=(),
    )
    return offer.asked_as(pin.requested), selection  # so that the record is the locked one
