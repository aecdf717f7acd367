"""Arguments and options that complete to what there is."""

import re
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from modelvault.app.vault import Vault, locate
from modelvault.catalog.listing import read_listing
from modelvault.catalog.listing_query import Condition, ListingQuery
from modelvault.catalog.values import ListingRow
from modelvault.cli.session import Session
from modelvault.errors import ModelVaultError

Offer = str | tuple[str, str]
"""What a word completes to, alone or with what a shell shows beside it."""

_DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]+", re.IGNORECASE)
_ID = 12


def complete_reference(context: typer.Context, incomplete: str) -> list[Offer]:
    """Return the references in the vault that start with ``incomplete``; without any, digests.

    Branches, tags and commits are offered after an ``@``. What the command has already been
    given is not offered again.
    """
    given = context.params.get("references") or ()
    try:
        rows = _find_rows(context, incomplete)
    except ModelVaultError:
        return []  # a shell's completion has nowhere to show an error
    names = {name for row in rows for name in _names(row, revisions="@" in incomplete)}
    found: list[Offer] = sorted(
        name for name in names if name.startswith(incomplete) and name not in given
    )
    return found or _complete_digest(rows, incomplete)


def _find_rows(context: typer.Context, incomplete: str) -> list[ListingRow]:
    paths, config = locate(Session.of(context).vault)
    if _DIGEST.fullmatch(incomplete):
        return read_listing(paths, config.database_url)  # a name may begin like a digest
    model, at, _ = incomplete.partition("@")
    condition = Condition(key="model" if at else "reference", value=model if at else f"{model}*")
    return read_listing(paths, config.database_url, ListingQuery(conditions=(condition,)))


def _names(row: ListingRow, *, revisions: bool) -> list[str]:
    reference = row.reference
    if not revisions:
        return [reference.label]
    variant = f":{reference.variant}" if reference.variant else ""
    return [
        f"{reference.model}@{revision}{variant}"
        for revision in (*row.labels, reference.revision or "")
    ]


def _complete_digest(rows: Iterable[ListingRow], incomplete: str) -> list[Offer]:
    if not _DIGEST.fullmatch(incomplete):
        return []
    prefix = "sha256:" if incomplete.startswith("sha256:") else ""
    digits = incomplete.removeprefix("sha256:").lower()
    wanted = max(_ID, len(digits) + 4)
    return sorted(
        (prefix + row.digest.removeprefix("sha256:")[:wanted], str(row.reference))
        for row in rows
        if row.digest.startswith(f"sha256:{digits}")
    )


def complete_followed(context: typer.Context, incomplete: str) -> list[Offer]:
    """Return references for ``pull --update``; other pulls name what is not in the vault."""
    return complete_reference(context, incomplete) if context.params.get("update") else []


def complete_installed(context: typer.Context, incomplete: str) -> list[Offer]:
    """Return the names that runtimes know models by, as far as this vault installed them."""
    try:
        with Vault.open(Session.of(context).vault) as vault:
            installs = [recorded.install for recorded in vault.catalog.installs()]
    except ModelVaultError:
        return []
    return sorted(
        (install.name, f"{install.target} in {install.location}")
        for install in installs
        if install.name.startswith(incomplete)
    )


def complete_fingerprint(context: typer.Context, incomplete: str) -> list[Offer]:
    """Return the fingerprints of trusted keys, with or without ``SHA256:`` as they are begun."""
    try:
        with Vault.open(Session.of(context).vault) as vault:
            keys = vault.keystore.trusted()
    except ModelVaultError:
        return []
    return [
        (spelled, key.label)
        for key in keys
        for spelled in (key.fingerprint, key.fingerprint.removeprefix("SHA256:"))
        if spelled.startswith(incomplete) and (incomplete or spelled == key.fingerprint)
    ]


def complete_from(values: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes to those of ``values`` that start as the user began."""
    known = tuple(values)

    def complete(incomplete: str) -> list[str]:
        return [value for value in known if value.lower().startswith(incomplete.lower())]

    return complete


# Escaped, for help texts are markup: "[@REVISION]" would be taken for a tag and vanish.
_HELP = "ORG/NAME\\[@REVISION][:VARIANT], or the start of its digest"

ReferenceArgument = Annotated[
    str, typer.Argument(metavar="REF", help=_HELP, autocompletion=complete_reference)
]
OptionalReferenceArgument = Annotated[
    str | None, typer.Argument(metavar="REF", help=_HELP, autocompletion=complete_reference)
]
ReferencesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="REF…", help=_HELP, autocompletion=complete_reference)
]
SomeReferencesArgument = Annotated[
    list[str], typer.Argument(metavar="REF…", help=_HELP, autocompletion=complete_reference)
]
