"""``modelvault trust``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from modelvault.app.keys import distrust_key, trust_key
from modelvault.app.vault import Vault
from modelvault.cli.completion import complete_fingerprint
from modelvault.cli.documents.keys import NamedKey, TrustedKey
from modelvault.cli.lines.table import Column, Table
from modelvault.cli.session import Session
from modelvault.trust.keys import PublicKey, spoken_fingerprint


def add(
    context: typer.Context,
    origin: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="PEM file, or a bundle.")],
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", help="What the key's owner told you.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="Whose key it is.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Trust it without a comparison.")] = False,
) -> None:
    """Trust a publisher's key: its bundles can be imported from now on."""
    session = Session.of(context)
    confirm = _ask if sys.stdin.isatty() and not session.json else None
    with Vault.open(session.vault, create=True) as vault:
        trusted = trust_key(
            vault, origin, label=label, fingerprint=fingerprint, confirm=confirm, unchecked=yes
        )
    session.result(
        NamedKey(fingerprint=trusted.fingerprint, label=trusted.label),
        [f"trusted from now on: {trusted.label}, {trusted.fingerprint}"],
    )


def list_(context: typer.Context) -> None:
    """List the keys that are trusted."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        keys = vault.keystore.trusted()
    table = Table(
        columns=(Column("FINGERPRINT"), Column("LABEL", least=8), Column("SINCE", spare=1)),
        rows=[(key.fingerprint, key.label, f"{key.added:%Y-%m-%d}") for key in keys],
    )
    session.result(
        [TrustedKey.of(key) for key in keys],
        [table] if keys else ["no key is trusted: modelvault trust add FILE|DIR"],
    )


def remove(
    context: typer.Context,
    fingerprint: Annotated[
        str,
        typer.Argument(
            help="Fingerprint, or the start of one.", autocompletion=complete_fingerprint
        ),
    ],
) -> None:
    """Trust a key no longer."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        removed = distrust_key(vault, fingerprint)
    session.result(
        NamedKey(fingerprint=removed.fingerprint, label=removed.label),
        [f"no longer trusted: {removed.label}, {removed.fingerprint}"],
    )


def _ask(key: PublicKey) -> bool:
    typer.echo(f"fingerprint: {key.fingerprint}", err=True)
    typer.echo(f"to compare:  {spoken_fingerprint(key.fingerprint)}", err=True)
    return typer.confirm("Does the key's owner confirm this fingerprint?", err=True)
