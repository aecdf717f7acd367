"""``modelvault pull --update``."""

from typing import Any

from modelvault.app.outcomes import Failure, raise_worst
from modelvault.app.sources import SourceOptions
from modelvault.app.upstream import Followed, update
from modelvault.app.vault import Vault
from modelvault.cli.lines import text
from modelvault.cli.progress import show_progress
from modelvault.cli.session import Session
from modelvault.core.names import Reference


def pull_update(session: Session, reference: str | None, options: SourceOptions) -> None:
    """Follow the branch of one reference, or every branch in the vault."""
    parsed = Reference.parse(reference) if reference else None
    with Vault.open(session.vault) as vault, show_progress(session) as progress:
        done, failures = update(vault, parsed, options, progress)
    documents = [_followed_document(item) for item in done]
    documents += [failed_document(failure) for failure in failures]
    lines = [_followed_line(item) for item in done]
    lines += [f"{failure.subject}: failed: {failure.error.message}" for failure in failures]
    if not lines:
        lines = ["no branch to follow: nothing in the vault was pulled from one"]
    session.result({"updates": documents}, lines)
    raise_worst(failures, total=len(documents))


def _followed_line(item: Followed) -> str:
    before, after = item.before, item.after
    if before.revision == after.revision:
        return f"{before.label}: unchanged at {before.revision[:12]}"
    return (
        f"{before.label}: {before.revision[:12]} → {after.revision[:12]}, "
        f"{text.size(item.fetched)} fetched"
    )


def _followed_document(item: Followed) -> dict[str, Any]:
    same = item.before.revision == item.after.revision
    return {
        "reference": str(item.before.reference),
        "state": "unchanged" if same else "updated",
        "revision": item.after.revision,
        "artifact": str(item.after.digest),
        "fetched": item.fetched,
    }


def failed_document(failure: Failure) -> dict[str, Any]:
    """Return one failure for programs."""
    return {
        "reference": failure.subject,
        "state": "failed",
        "error": type(failure.error).__name__,
        "message": failure.error.message,
    }
