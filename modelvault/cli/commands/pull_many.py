"""Pull what several references name, and say what came of each."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelvault.cli.lines import text
from modelvault.cli.session import Session
from modelvault.core.names import Reference

if TYPE_CHECKING:
    from modelvault.app.mirror_list import Mirrored
    from modelvault.app.outcomes import Failure
    from modelvault.app.sources import SourceOptions
    from modelvault.app.upstream import Followed


def pull_update(session: Session, reference: str | None, options: "SourceOptions") -> None:
    """Follow the branch of one reference, or every branch in the vault."""
    from modelvault.app.outcomes import raise_worst
    from modelvault.app.upstream import update

    parsed = Reference.parse(reference) if reference else None
    with session.open_vault() as vault, session.progress() as progress:
        done, failures = update(vault, parsed, options, progress)
    documents = [_followed_document(item) for item in done]
    documents += [_failed_document(failure) for failure in failures]
    lines = [_followed_line(item) for item in done]
    lines += [f"{failure.subject}: failed: {failure.error.message}" for failure in failures]
    if not lines:
        lines = ["no branch to follow: nothing in the vault was pulled from one"]
    session.result({"updates": documents}, lines)
    raise_worst(failures, total=len(documents))


def pull_from_file(session: Session, path: Path, options: "SourceOptions", *, locked: bool) -> None:
    """Pull every entry of a mirror list, or of a lock file."""
    from modelvault.app.mirror_list import pull_list, read_mirror_list
    from modelvault.app.outcomes import raise_worst

    def announce(number: int, total: int, subject: str) -> None:
        session.note(f"[{number}/{total}] {subject}")

    mirror = read_mirror_list(path, locked=locked)
    with session.open_vault(create=True) as vault, session.progress() as progress:
        done, failures = pull_list(vault, mirror, options, progress, announce)
    for item in done:
        for note in _notes(item):
            session.warn(f"{item.entry.subject}: {note}")
    documents = [_mirrored_document(item) for item in done]
    documents += [_failed_document(failure) for failure in failures]
    lines = [_mirrored_line(item) for item in done]
    lines += [f"{failure.subject}: failed: {failure.error.message}" for failure in failures]
    if mirror.lock is not None:
        lines.append(f"pinned in {mirror.lock}")
    lock = str(mirror.lock) if mirror.lock else None
    session.result({"entries": documents, "lock": lock}, lines)
    raise_worst(failures, total=len(mirror.entries))


def _notes(item: "Mirrored") -> tuple[str, ...]:
    return () if item.pulled is None else (*item.pulled.plan.warnings, *item.pulled.notes)


def _mirrored_line(item: "Mirrored") -> str:
    at = f"{item.entry.subject} at {item.pin.commit[:12]}"
    if item.pulled is None:
        return f"{at}: already here"
    files = text.count(len(item.pin.manifest.files), "file")
    fetched = text.size(item.pulled.plan.to_fetch)
    return f"{at}: {files}, {text.size(item.pin.manifest.size)}, {fetched} fetched"


def _mirrored_document(item: "Mirrored") -> dict[str, Any]:
    pulled = item.pulled
    return {
        "reference": f"{item.entry.model}@{item.pin.commit}",
        "requested": item.entry.requested,
        "state": "held" if pulled is None else "pulled",
        "artifact": None if pulled is None else str(pulled.artifact.digest),
        "files": len(item.pin.manifest.files),
        "size": item.pin.manifest.size,
        "fetched": 0 if pulled is None else pulled.plan.to_fetch,
    }


def _followed_line(item: "Followed") -> str:
    before, after = item.before, item.after
    if before.revision == after.revision:
        return f"{before.label}: unchanged at {before.revision[:12]}"
    return (
        f"{before.label}: {before.revision[:12]} → {after.revision[:12]}, "
        f"{text.size(item.fetched)} fetched"
    )


def _followed_document(item: "Followed") -> dict[str, Any]:
    same = item.before.revision == item.after.revision
    return {
        "reference": str(item.before.reference),
        "state": "unchanged" if same else "updated",
        "revision": item.after.revision,
        "artifact": str(item.after.digest),
        "fetched": item.fetched,
    }


def _failed_document(failure: "Failure") -> dict[str, Any]:
    return {
        "reference": failure.subject,
        "state": "failed",
        "error": type(failure.error).__name__,
        "message": failure.error.message,
    }
