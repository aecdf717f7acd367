"""``modelvault pull --update``."""

from modelvault.app.outcomes import raise_worst
from modelvault.app.sources import SourceOptions
from modelvault.app.upstream import Followed, update
from modelvault.app.vault import Vault
from modelvault.cli.documents.pull import FinishedUpdate
from modelvault.cli.lines import text
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference


def pull_update(session: Session, reference: str | None, options: SourceOptions) -> None:
    """Follow the branch of one reference, or every branch in the vault."""
    parsed = parse_reference(reference) if reference else None
    with Vault.open(session.vault) as vault, show_progress(session, expected=None) as progress:
        done, failures = update(vault, parsed, options, progress)
    lines = [_followed_line(item) for item in done]
    lines += [f"{failure.label}: failed: {failure.error.message}" for failure in failures]
    if not lines:
        lines = ["no branch to follow: nothing in the vault was pulled from one"]
    document = FinishedUpdate.of(done, failures)
    session.result(document, lines)
    raise_worst(failures, total=len(document.updates))


def _followed_line(item: Followed) -> str:
    before, after = item.before, item.after
    if before.revision == after.revision:
        return f"{before.label}: unchanged at {before.revision[:12]}"
    return (
        f"{before.label}: {before.revision[:12]} → {after.revision[:12]}, "
        f"{text.size(item.fetched)} fetched"
    )
