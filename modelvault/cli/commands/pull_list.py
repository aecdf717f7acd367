"""``modelvault pull --from-file``."""

from pathlib import Path

from modelvault.app.mirror_list import Mirrored, pull_list, read_mirror_list
from modelvault.app.outcomes import raise_worst
from modelvault.app.sources import SourceOptions
from modelvault.app.vault import Vault
from modelvault.cli.documents.pull import FinishedList
from modelvault.cli.lines import text
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session


def pull_from_file(session: Session, path: Path, options: SourceOptions, *, locked: bool) -> None:
    """Pull every entry of a mirror list, or of a lock file."""

    def announce(number: int, total: int, subject: str) -> None:
        session.note(f"[{number}/{total}] {subject}")

    mirror = read_mirror_list(path, locked=locked)
    with (
        Vault.open(session.vault, create=True) as vault,
        show_progress(session, expected=None) as progress,
    ):
        done, failures = pull_list(vault, mirror, options, progress, announce)
    for item in done:
        for note in _notes(item):
            session.warn(f"{item.entry.subject}: {note}")
    lines = [_mirrored_line(item) for item in done]
    lines += [f"{failure.label}: failed: {failure.error.message}" for failure in failures]
    if mirror.lock is not None:
        lines.append(f"pinned in {mirror.lock}")
    session.result(FinishedList.of(done, failures, lock=mirror.lock), lines)
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
