"""``modelvault pull --from-file``."""

from collections.abc import Callable, Sequence
from pathlib import Path

from modelvault.app.config import Config
from modelvault.app.conversion.assess import Convertible, assess
from modelvault.app.mirror_list import Mirrored, MirrorList, pull_list, read_mirror_list
from modelvault.app.mirror_plan import PlannedEntry, plan_list, refuse_unheeded
from modelvault.app.outcomes import Failure, raise_worst
from modelvault.app.sources import SourceOptions
from modelvault.app.vault import Vault, locate
from modelvault.cli.documents.pull_list import FinishedList, PlannedList
from modelvault.cli.lines import text
from modelvault.cli.lines.pull import convertible_lines, left_out_notes, left_out_warnings
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.errors import VaultNotFound


def pull_from_file(
    session: Session,
    path: Path,
    options: SourceOptions,
    config: Config,
    *,
    locked: bool,
    dry_run: bool,
) -> None:
    """Pull every entry of a mirror list, or of a lock file, or say what that would bring."""
    mirror = read_mirror_list(path, locked=locked)
    refuse_unheeded(mirror, options)
    options = options.or_configured(config)
    if dry_run:
        _plan(session, mirror, options)
        return
    with (
        Vault.open(session.vault, create=True) as vault,
        show_progress(session, expected=None) as progress,
    ):
        done, failures = pull_list(vault, mirror, options, progress, _announce(session))
    for item in done:
        _tell(session, item)
    lines = [_mirrored_line(item) for item in done] + _failed_lines(failures)
    if mirror.lock is not None:
        lines.append(f"pinned in {mirror.lock}")
    session.result(FinishedList.of(done, failures, lock=mirror.lock), lines)
    raise_worst(failures, total=len(mirror.entries))


def _plan(session: Session, mirror: MirrorList, options: SourceOptions) -> None:
    paths, _ = locate(session.vault)
    try:
        with Vault.open(session.vault) as vault:
            plan = plan_list(vault, paths, mirror, options, _announce(session))
    except VaultNotFound:
        plan = plan_list(None, paths, mirror, options, _announce(session))
    found = {item.entry.subject: assess(item.plan) for item in plan.entries if item.plan}
    lines: list[str] = []
    for item in plan.entries:
        lines += _planned_lines(item, found.get(item.entry.subject, ()))
    lines += _failed_lines(plan.failures)
    lines.append(
        f"{text.size(plan.size)} in all; {text.size(plan.to_fetch)} to fetch,"
        f" {text.size(plan.free)} free"
    )
    session.result(PlannedList.of(plan, found), lines)
    raise_worst(plan.failures, total=len(mirror.entries))


def _announce(session: Session) -> Callable[[int, int, str], None]:
    def announce(number: int, total: int, subject: str) -> None:
        session.note(f"[{number}/{total}] {subject}")

    return announce


def _tell(session: Session, item: Mirrored) -> None:
    """Say what should be known of a pull, and what it left out: each line names its entry."""
    if item.pulled is None:
        return
    plan = item.pulled.plan
    for line in (*plan.warnings, *item.pulled.notes, *left_out_warnings(plan)):
        session.warn(f"{item.entry.subject}: {line}")
    for line in left_out_notes(plan):
        session.note(f"{item.entry.subject}: {line}")


def _failed_lines(failures: Sequence[Failure]) -> list[str]:
    return [f"{failure.label}: failed: {failure.error.message}" for failure in failures]


def _mirrored_line(item: Mirrored) -> str:
    at = f"{item.entry.subject} at {item.pin.commit[:12]}"
    if item.pulled is None:
        return f"{at}: already here"
    files = text.count(len(item.pin.manifest.files), "file")
    fetched = text.size(item.pulled.plan.to_fetch)
    return f"{at}: {files}, {text.size(item.pin.manifest.size)}, {fetched} fetched"


def _planned_lines(item: PlannedEntry, found: Sequence[Convertible]) -> list[str]:
    plan = item.plan
    if plan is None:
        return [f"{item.entry.subject}: already here"]
    told = (
        *plan.warnings,
        *left_out_warnings(plan),
        *left_out_notes(plan),
        *convertible_lines(found),
    )
    return [
        (
            f"{item.entry.subject} at {plan.offer.revision[:12]}:"
            f" {text.count(len(plan.files), 'file')}, {text.size(plan.size)},"
            f" {text.size(plan.to_fetch)} to fetch"
        ),
        *(f"  {line}" for line in told),
    ]
