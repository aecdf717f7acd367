"""``modelvault list``, ``verify``, ``remove``, ``gc``, ``history``, ``rebuild``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelvault.cli.completion import (
    OptionalReferenceArgument,
    ReferenceArgument,
    ReferencesArgument,
)
from modelvault.cli.lines import text
from modelvault.cli.lines.upstream import upstream_document, upstream_lines
from modelvault.cli.session import Session, command
from modelvault.core.names import Reference

if TYPE_CHECKING:
    from modelvault.app.upstream import Upstream
    from modelvault.app.vault import Vault
    from modelvault.catalog.values import ListingRow, RecordedEvent

_PANEL = "The vault"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, function in (
        ("list", _list),
        ("verify", _verify),
        ("remove", _remove),
        ("gc", _gc),
        ("history", _history),
        ("rebuild", _rebuild),
    ):
        command(app, name, rich_help_panel=_PANEL)(function)


def _list(session: Session) -> None:
    """List what the vault holds."""
    from modelvault.catalog.listing import read_listing

    paths, config = session.locate()
    rows = read_listing(paths, config.database_url)
    if session.json:
        session.result([_row_document(row) for row in rows], ())
        return
    if not rows:
        session.note("the vault is empty: modelvault pull ORG/NAME, or modelvault import")
        return
    table = [("REFERENCE", "FORMAT", "SIZE", "LICENCE", "REVISION", "ADDED", "INSTALLED")]
    table += [
        (
            row.reference.label,
            row.quantization or row.format,
            text.size(row.size),
            row.license or "-",
            " ".join(((row.reference.revision or "")[:12], *row.labels)),
            row.created_at[:10],
            ", ".join(row.targets),
        )
        for row in rows
    ]
    session.result([], text.columns(table, right=frozenset({2})))


def _row_document(row: "ListingRow") -> dict[str, Any]:
    return {
        "reference": str(row.reference),
        "artifact": row.digest,
        "format": row.format,
        "quantization": row.quantization,
        "license": row.license,
        "size": row.size,
        "files": row.file_count,
        "labels": list(row.labels),
        "added": row.created_at,
        "installed": list(row.targets),
    }


def _verify(
    session: Session,
    references: ReferencesArgument = None,
    *,
    upstream: Annotated[
        bool,
        typer.Option("--upstream", help="Also compare with what the Hub offers now."),
    ] = False,
) -> None:
    """Re-hash everything the vault holds, or the artefacts named, and the event log."""
    from modelvault.app.verify import verify

    parsed = [Reference.parse(item) for item in references or ()]
    with session.open_vault() as vault:
        with session.progress() as progress:
            found = verify(vault, parsed, progress)
        compared = _compare(session, vault, parsed) if upstream else []
    log = "" if found.events is None else f"; {text.count(found.events, 'event')} in the log"
    document = {
        "artifacts": [str(artifact.reference) for artifact in found.artifacts],
        "blobs": found.blobs,
        "size": found.size,
        "events": found.events,
    }
    if upstream:
        document["upstream"] = [upstream_document(item) for item in compared]
    intact = (
        f"intact: {text.count(len(found.artifacts), 'artefact')}, "
        f"{text.count(found.blobs, 'blob')}, {text.size(found.size)} re-hashed{log}"
    )
    session.result(document, [intact, *upstream_lines(compared)])


def _compare(session: Session, vault: "Vault", references: list[Reference]) -> "list[Upstream]":
    from modelvault.app.sources import SourceOptions
    from modelvault.app.upstream import State, compare_upstream

    options = SourceOptions(ca_bundle=vault.config.ca_bundle)
    compared = list(compare_upstream(vault, references, options))
    for item in compared:
        if item.state is State.UNKNOWN:
            session.warn(f"{item.artifact.reference}: the Hub could not be asked: {item.reason}")
    return compared


def _remove(session: Session, reference: ReferenceArgument) -> None:
    """Forget an artefact; gc then frees its bytes."""
    from modelvault.app.housekeeping import remove

    with session.open_vault() as vault:
        artifact = remove(vault, Reference.parse(reference))
        free = vault.command("gc")
    session.result(
        {"removed": str(artifact.reference), "artifact": str(artifact.digest)},
        [f"removed {artifact.reference}", f"its bytes stay until: {free}"],
    )


def _gc(
    session: Session,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    partials: Annotated[
        bool,
        typer.Option("--partials", help="Also drop unfinished downloads, imports and conversions."),
    ] = False,
) -> None:
    """Free the bytes that no artefact refers to."""
    from modelvault.app.housekeeping import collect_garbage

    with session.open_vault() as vault:
        found = collect_garbage(vault, dry_run=dry_run, partials=partials)
    total = found.garbage.size + found.leftover_size
    session.result(
        {
            "blobs": [blob.digest.hex for blob in found.garbage.blobs],
            "leftovers": [path.name for path in found.leftovers],
            "size": total,
            "dry_run": dry_run,
        },
        [
            (
                f"{'would remove' if dry_run else 'removed'} "
                f"{text.count(len(found.garbage.blobs), 'blob')} and "
                f"{text.count(len(found.leftovers), 'leftover file')}, {text.size(total)}"
            )
        ],
    )


def _history(session: Session, reference: OptionalReferenceArgument = None) -> None:
    """Show the event log, oldest first; its hash chain is checked first."""
    from modelvault.app.housekeeping import history

    with session.open_vault() as vault:
        events = list(history(vault, Reference.parse(reference) if reference else None))
    session.result(
        [_event_document(event) for event in events],
        (
            f"{event.time:%Y-%m-%d %H:%M:%S}Z  {event.actor}@{event.host}  {event.verb}  "
            f"{event.subject}  "
            + " ".join(f"{key}={value}" for key, value in event.details.items())
            for event in events
        ),
    )


def _event_document(event: "RecordedEvent") -> dict[str, Any]:
    return {
        "sequence": event.sequence,
        "time": event.time.isoformat(),
        "actor": event.actor,
        "host": event.host,
        "verb": event.verb,
        "subject": event.subject,
        "details": dict(event.details),
        "hash": str(event.hash),
    }


def _rebuild(session: Session) -> None:
    """Restore the catalogue from the records in the store."""
    from modelvault.app.housekeeping import rebuild

    with session.open_vault() as vault:
        found = rebuild(vault)
    for issue in found.issues:
        session.warn(issue)
    lines = [f"catalogue restored: {text.count(len(found.artifacts), 'artefact')}"]
    if found.set_aside:
        lines.append(f"the damaged catalogue is kept as {found.set_aside}")
    session.result(
        {
            "artifacts": [str(artifact.reference) for artifact in found.artifacts],
            "set_aside": str(found.set_aside) if found.set_aside else None,
            "issues": list(found.issues),
        },
        lines,
    )
