"""Installs as the catalogue remembers them: found, read, named, and told in the log."""

from collections.abc import Sequence
from pathlib import Path

from modelvault.app.vault import Vault
from modelvault.catalog.values import Event, Install, RecordedInstall
from modelvault.core.names import DigestStart, parse_reference
from modelvault.errors import (
    ArtifactNotFound,
    BadOption,
    BadReference,
    CatalogDamaged,
    InstallNotFound,
    MalformedRecord,
    UnknownTarget,
    UnsupportedVersion,
)
from modelvault.targets.receipt import Receipt
from modelvault.targets.registry import runtime
from modelvault.targets.runtime import InstallPlan, Runtime


def find_standing(vault: Vault, plan: InstallPlan) -> RecordedInstall | None:
    """Return the active install whose place a plan would take; None where there is none."""
    key = (plan.target, str(plan.location), plan.name)
    for recorded in vault.catalog.installs():
        found = recorded.install
        if (found.target, found.location, found.name) == key:
            return recorded
    return None


def find_install(
    vault: Vault, name: str, target: str | None, folder: Path | None
) -> RecordedInstall:
    """Return the one active install that a user means.

    Args:
        vault: The vault that made it.
        name: What the runtime calls the model, or the artefact's reference.
        target: The runtime; None for any.
        folder: The runtime's folder; None for any.

    Raises:
        InstallNotFound: Nothing is installed under this name.
        BadOption: Several installs answer to it.
    """
    installs = [
        recorded
        for recorded in vault.catalog.installs()
        if target in (None, recorded.install.target)
        and (folder is None or Path(recorded.install.location) == folder.absolute())
    ]
    found = [item for item in installs if name in _names(vault, item)] or _of_digest(installs, name)
    if not found:
        raise InstallNotFound(
            f"nothing is installed as '{name}'", hint="'modelvault status' shows what is"
        )
    if len(found) > 1:
        raise BadOption(
            f"'{name}' is installed {len(found)} times",
            hint="say which with --from and --dir",
            issues=[f"{item.install.target} in {item.install.location}" for item in found],
        )
    return found[0]


def read_receipt(recorded: RecordedInstall) -> Receipt:
    """Return the receipt of an install.

    Raises:
        UnsupportedVersion: A newer release wrote it.
        CatalogDamaged: It does not parse, or is another install's.
    """
    install = recorded.install
    damaged = f"the receipt of install {recorded.id} ({install.target} '{install.name}')"
    hint = "install the same model again: that writes a new receipt"
    try:
        receipt = Receipt.parse(install.receipt)
    except MalformedRecord as error:
        raise CatalogDamaged(f"{damaged} does not parse: {error}", hint=hint) from error
    facts = (receipt.artifact, receipt.target, receipt.name, receipt.location)
    if facts != (install.artifact, install.target, install.name, install.location):
        raise CatalogDamaged(f"{damaged} is another install's", hint=hint)
    return receipt


def runtime_of(receipt: Receipt) -> Runtime:
    """Return the runtime that a receipt names.

    Raises:
        UnsupportedVersion: This release does not know it.
    """
    try:
        return runtime(receipt.target)
    except UnknownTarget as error:
        raise UnsupportedVersion(
            f"{receipt.name!r} was installed for {receipt.target!r} by a newer release",
            hint="update modelvault: the release that installed it can uninstall it",
        ) from error


def _names(vault: Vault, recorded: RecordedInstall) -> set[str]:
    names = {recorded.install.name}
    try:
        artifact = vault.catalog.artifact(recorded.install.artifact).artifact
    except ArtifactNotFound:
        return names
    return names | {artifact.label, str(artifact.reference)}


def _of_digest(installs: Sequence[RecordedInstall], text: str) -> list[RecordedInstall]:
    """Return the installs of the artefacts whose digest begins with a text."""
    try:
        start = parse_reference(text)
    except BadReference:
        return []
    return [
        item
        for item in installs
        if isinstance(start, DigestStart) and item.install.artifact.hex.startswith(start.hex)
    ]


def label_of(vault: Vault, recorded: RecordedInstall, *, revision: bool = False) -> str:
    """Return what an install's artefact is called; its digest where the vault forgot it.

    Args:
        vault: The vault that made the install.
        recorded: The install.
        revision: Name its revision, too.
    """
    try:
        artifact = vault.catalog.artifact(recorded.install.artifact).artifact
    except ArtifactNotFound:
        return str(recorded.install.artifact)
    return str(artifact.reference) if revision else artifact.label


def install_event(verb: str, label: str, install: Install, **details: str) -> Event:
    """Return what the log says of an install."""
    return Event(
        verb=verb,
        subject=label,
        details={
            "artifact": str(install.artifact),
            "target": install.target,
            "name": install.name,
            "location": install.location,
            **details,
        },
    )


def entry_of(receipt: Receipt) -> Install:
    """Return an install as the catalogue keeps it."""
    return Install(
        artifact=receipt.artifact,
        target=receipt.target,
        name=receipt.name,
        location=receipt.location,
        receipt=receipt.encode(),
    )


def lists_the_same(one: Receipt, other: Receipt) -> bool:
    """Return whether two receipts of one artefact are about the same files."""
    return _rows(one) == _rows(other)


def _rows(receipt: Receipt) -> Sequence[tuple[str, str, str | None]]:
    return [(file.path, str(file.digest), file.link) for file in receipt.files]
