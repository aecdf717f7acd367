"""``history``: what the event log tells, of everything or of one artefact."""

from collections.abc import Callable, Iterator

from modelvault.app.vault import Vault
from modelvault.catalog.values import RecordedEvent
from modelvault.core.artifact import Artifact
from modelvault.core.names import AnyReference, DigestStart, Reference
from modelvault.errors import ArtifactNotFound, BadReference, UnsupportedVersion


def history(vault: Vault, reference: AnyReference | None) -> Iterator[RecordedEvent]:
    """Yield events, oldest first; the chain is checked first.

    What was removed from the vault keeps its history: a name, a commit or the start of a digest
    finds it, too.

    Args:
        vault: The vault.
        reference: Which artefact, or model; None for everything.

    Raises:
        CatalogDamaged: The log was altered.
    """
    vault.catalog.verify_history()
    match reference:
        case None:
            yield from vault.catalog.history()
        case Reference(revision=None):
            yield from vault.catalog.history(str(reference))
        case Reference():
            yield from filter(_of_revision(vault, reference), vault.catalog.history())
        case DigestStart():
            yield from filter(_of_digest(vault, reference), vault.catalog.history())


def _of_revision(vault: Vault, reference: Reference) -> Callable[[RecordedEvent], bool]:
    """Return whether an event tells of one revision, however that was written."""
    found = _find(vault, reference)
    revision = found.revision if found else reference.revision or ""
    subjects = {str(reference), reference.label, *([str(found.reference)] if found else ())}

    def tells(event: RecordedEvent) -> bool:
        if event.subject not in subjects:
            return False
        told = event.details.get("revision", "")
        is_named = event.subject != reference.label
        return is_named or told.startswith(revision) or _is_about(event, found)

    return tells


def _of_digest(vault: Vault, start: DigestStart) -> Callable[[RecordedEvent], bool]:
    """Return whether an event tells of the artefact, bundle or key that the digest begins."""
    found = _find(vault, start)

    def tells(event: RecordedEvent) -> bool:
        digests = (event.subject, event.details.get("artifact", ""))
        if any(digest.startswith(str(start)) for digest in digests):
            return True
        return found is not None and event.subject == str(found.reference)

    return tells


def _is_about(event: RecordedEvent, artifact: Artifact | None) -> bool:
    return artifact is not None and event.details.get("artifact") == str(artifact.digest)


def _find(vault: Vault, reference: AnyReference) -> Artifact | None:
    try:
        return vault.catalog.find(reference).artifact
    except (ArtifactNotFound, BadReference, UnsupportedVersion):
        return None
