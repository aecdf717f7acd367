"""``modelvault pull --from-file``."""

from pathlib import Path
from typing import Any

from modelvault.app.mirror_list import Mirrored, pull_list, read_mirror_list
from modelvault.app.outcomes import raise_worst
from modelvault.app.sources import SourceOptions
from modelvault.app.vault import Vault
from modelvault.cli.commands.pull_update import failed_document
from modelvault.cli.lines import text
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session


def pull_from_file(session: Session, path: Path, options: SourceOptions, *, locked: bool) -> None:
    """Pull every entry of a mirror list, or of a lock file."""

    def announce(number: int, total: int, subject: str) -> None:
        session.note(f"[{number}/{total}] {subject}")

    mirror = read_mirror_list(path, locked=locked)
    with Vault.open(session.vault, create=True) as vault, show_progress(session) as progress:
        done, failures = pull_list(vault, mirror, options, progress, announce)
    for item in done:
        for note in _notes(item):
            session.warn(f"{item.entry.subject}: {note}")
    documents = [_mirrored_document(item) for item in done]
    documents += [failed_document(failure) for failure in failures]
    lines = [_mirrored_line(item) for item in done]
    lines += [f"{failure.subject}: failed: {failure.error.message}" for failure in failures]
    if mirror.lock is not None:
        lines.append(f"pinned in {mirror.lock}")
    lock = str(mirror.lock) if mirror.lock else None
    session.result({"entries": documents, "lock": lock}, lines)
    raise_worst(failures, total=len(mirror.entries))


def _notes(item: Mirrored) -> tuple[str, ...]:
    return () if item.pulled is None else (*item.pulled.plan.warnings, *item.pulled.notes)


def _mirrored_line(item: Mirrored) -> str:
    at = f"{item.entry.subject} at {item.pin.commit[:12]}"
    if item.pulled is None:
        return f"{at}: already here"
    files = text.count(len(item.pin.manifest.files), "file")
    fetched = text.size(item.pulled.plan.to_fetch)
    return f"{at}: {files}, {text.size(item.pin.manifest.size)}, {fetched} fetched"


def _mirrored_document(item: Mirrored) -> dict[str, Any]:
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
