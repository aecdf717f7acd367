"""``modelvault key`` and ``modelvault trust``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelvault.cli.lines import text
from modelvault.cli.session import Session, command

if TYPE_CHECKING:
    from modelvault.app.keys import OwnKey
    from modelvault.trust.keys import PublicKey

_PANEL = "Trust"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    key = typer.Typer(help="This site's signing key.", no_args_is_help=True)
    command(key, "generate")(_generate)
    command(key, "list")(_list_own)
    command(key, "export")(_export)
    app.add_typer(key, name="key", rich_help_panel=_PANEL)
    trust = typer.Typer(help="The keys whose bundles are imported.", no_args_is_help=True)
    command(trust, "add")(_add)
    command(trust, "list")(_list_trusted)
    command(trust, "remove")(_remove)
    app.add_typer(trust, name="trust", rich_help_panel=_PANEL)


def _generate(session: Session) -> None:
    """Make the signing key, where there is none yet."""
    from modelvault.app.keys import own_key

    with session.open_vault(create=True) as vault:
        key = own_key(vault, create=True)
    state = "made" if key.created else "already here"
    _show_own(session, key, f"signing key {state}: {key.fingerprint}")


def _list_own(session: Session) -> None:
    """Show the signing key's fingerprint."""
    from modelvault.app.keys import own_key

    with session.open_vault() as vault:
        key = own_key(vault, create=False)
    _show_own(session, key, f"signing key: {key.fingerprint}")


def _show_own(session: Session, key: "OwnKey", headline: str) -> None:
    session.result(
        {
            "fingerprint": key.fingerprint,
            "spoken": key.spoken,
            "public_key": key.public_key.decode("ascii"),
            "created": key.created,
        },
        [
            headline,
            f"to read out: {key.spoken}",
            "give the fingerprint to the importing site over another channel than the medium",
        ],
    )


def _export(
    session: Session,
    *,
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("publisher.pem"),
) -> None:
    """Write the public key to a file, for sites that import."""
    from modelvault.app.keys import export_key

    with session.open_vault() as vault:
        key = export_key(vault, out)
    session.result(
        {"file": str(out), "fingerprint": key.fingerprint}, [f"{out}: public key {key.fingerprint}"]
    )


def _add(
    session: Session,
    origin: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="PEM file, or a bundle.")],
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", help="What the key's owner told you.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="Whose key it is.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Trust it without a comparison.")] = False,
) -> None:
    """Trust a publisher's key: its bundles can be imported from now on."""
    from modelvault.app.keys import trust_key

    confirm = None
    if yes:
        confirm = _always
    elif sys.stdin.isatty() and not session.json:
        confirm = _ask
    with session.open_vault(create=True) as vault:
        trusted = trust_key(vault, origin, label=label, fingerprint=fingerprint, confirm=confirm)
    session.result(
        {"fingerprint": trusted.fingerprint, "label": trusted.label},
        [f"trusted from now on: {trusted.label}, {trusted.fingerprint}"],
    )


def _always(key: "PublicKey") -> bool:
    return bool(key)


def _ask(key: "PublicKey") -> bool:
    from modelvault.trust.keys import spoken_fingerprint

    typer.echo(f"fingerprint: {key.fingerprint}", err=True)
    typer.echo(f"to compare:  {spoken_fingerprint(key.fingerprint)}", err=True)
    return typer.confirm("Does the key's owner confirm this fingerprint?", err=True)


def _list_trusted(session: Session) -> None:
    """List the keys that are trusted."""
    with session.open_vault() as vault:
        keys = vault.keystore.trusted()
    rows = [("FINGERPRINT", "LABEL", "SINCE")]
    rows += [(key.fingerprint, key.label, f"{key.added:%Y-%m-%d}") for key in keys]
    session.result(
        [
            {"fingerprint": key.fingerprint, "label": key.label, "added": key.added.isoformat()}
            for key in keys
        ],
        text.columns(rows) if keys else ["no key is trusted: modelvault trust add FILE|DIR"],
    )


def _remove(
    session: Session,
    fingerprint: Annotated[str, typer.Argument(help="Fingerprint, or the start of one.")],
) -> None:
    """Trust a key no longer."""
    from modelvault.app.keys import distrust_key

    with session.open_vault() as vault:
        removed = distrust_key(vault, fingerprint)
    session.result(
        {"fingerprint": removed.fingerprint, "label": removed.label},
        [f"no longer trusted: {removed.label}, {removed.fingerprint}"],
    )
