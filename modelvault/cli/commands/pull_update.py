"""``modelvault pull --update``."""

from modelvault.app.config import Config
from modelvault.app.outcomes import raise_worst
from modelvault.app.sources import SourceOptions
from modelvault.app.upstream import Followed, refuse_unheeded, update
from modelvault.app.vault import Vault
from modelvault.cli.documents.pull import FinishedUpdate
from modelvault.cli.lines import text
from modelvault.cli.lines.pull import left_out_warnings
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference


def pull_update(
    session: Session, reference: str | None, options: SourceOptions, config: Config
) -> None:
    """Follow the branch of one reference, or every branch in the vault."""
    parsed = parse_reference(reference) if reference else None
    with Vault.open(session.vault) as vault:
        if parsed is not None:
            refuse_unheeded(vault, parsed, options)
        with show_progress(session, expected=None) as progress:
            done, failures = update(vault, parsed, options.or_configured(config), progress)
    for item in done:
        _tell(session, item)
    lines = [_followed_line(item) for item in done]
    lines += [f"{failure.label}: failed: {failure.error.message}" for failure in failures]
    if not lines:
        lines = ["no branch to follow: nothing in the vault was pulled from one"]
    document = FinishedUpdate.of(done, failures)
    session.result(document, lines)
    raise_worst(failures, total=len(document.updates))


def _tell(session: Session, item: Followed) -> None:
    """Say what should be known of what was pulled, and what it left out."""
    if item.pulled is None:
        return
    plan = item.pulled.plan
    for line in (*plan.warnings, *item.pulled.notes, *left_out_warnings(plan)):
        session.warn(f"{item.after.label}: {line}")


def _followed_line(item: Followed) -> str:
    before, after = item.before, item.after
    if before.revision == after.revision:
        return f"{before.label}: unchanged at {before.revision[:12]}"
    return (
        f"{before.label}: {before.revision[:12]} → {after.revision[:12]}, "
        f"{text.size(item.fetched)} fetched"
    )
