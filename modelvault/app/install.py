"""``install`` and ``uninstall``: models in runtimes, with receipts."""

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event, Install, RecordedInstall
from modelvault.core.artifact import Artifact
from modelvault.core.names import AnyReference, DigestStart, parse_reference
from modelvault.core.ports import Progress
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
from modelvault.targets.runtime import InstallPlan, Removal, Runtime

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an install did."""

    artifact: Artifact
    receipt: Receipt
    new: bool
    """False when exactly this was installed before; its files were checked and mended."""


@timed(_log, "plan of an install")
def plan_install(
    vault: Vault,
    reference: AnyReference,
    target: str,
    folder: Path | None,
    name: str | None,
    *,
    replace: bool,
) -> InstallPlan:
    """Return what an install would do, without touching the target.

    Args:
        vault: Holds the artefact.
        reference: What to install.
        target: The runtime's name, as ``--to`` spells it.
        folder: The runtime's folder; None for its usual one.
        name: What to call the model there; None derives it from the reference.
        replace: Whether a different model of this name may be replaced.

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        TargetError: The runtime is not known, cannot use the artefact, or something stands
            in the way.
        UnsupportedVersion: A newer release installed the model that would be replaced.
    """
    artifact = vault.catalog.find(reference).artifact
    plan = runtime(target).plan(
        artifact,
        vault.manifest(artifact),
        vault.store,
        folder=folder.absolute() if folder else None,
        name=name,
        when=dt.datetime.now(dt.UTC).replace(microsecond=0),
        replace=replace,
    )
    _refuse_newer(vault, plan)
    return plan


@timed(_log, "install")
def install(vault: Vault, plan: InstallPlan, progress: Progress) -> Installed:
    """Carry a plan out and record its receipt.

    Args:
        vault: Holds the artefact; remembers the install.
        plan: What ``plan_install`` returned.
        progress: Told about copied and hashed bytes.

    Raises:
        TargetError: Something stands in the way.
        UnsupportedVersion: A newer release installed the model that would be replaced.
        Corruption: A blob is not what it should be.
        StorageError: The target's disk is full or refuses.
    """
    artifact = vault.catalog.artifact(plan.artifact).artifact
    with vault.store.writing():
        _refuse_newer(vault, plan)
        receipt = runtime(plan.target).apply(plan, progress=progress)
        for file in receipt.files:
            _log.debug("%s: %s by %s", receipt.location, file.path, file.placement.value)
        standing = _find_standing(vault, plan)
        if standing is not None and _vouches_for(standing, receipt):
            return Installed(artifact=artifact, receipt=receipt, new=False)
        entry = Install(
            artifact=receipt.artifact,
            target=receipt.target,
            name=receipt.name,
            location=receipt.location,
            receipt=receipt.encode(),
        )
        vault.catalog.add_install(
            entry,
            event=_event("install", artifact.label, receipt),
            replaces=standing.id if standing else None,
        )
    return Installed(artifact=artifact, receipt=receipt, new=True)


def _find_standing(vault: Vault, plan: InstallPlan) -> RecordedInstall | None:
    key = (plan.target, str(plan.location), plan.name)
    for recorded in vault.catalog.installs():
        found = recorded.install
        if (found.target, found.location, found.name) == key:
            return recorded
    return None


def _refuse_newer(vault: Vault, plan: InstallPlan) -> None:
    """Refuse to replace what only a newer release can take back.

    Raises:
        UnsupportedVersion: As said.
    """
    standing = _find_standing(vault, plan)
    if standing is None or standing.install.artifact == plan.artifact:
        return
    try:
        read_receipt(standing)
    except CatalogDamaged:
        return  # nobody can undo it any more: what is installed now gets a sound receipt


def _vouches_for(standing: RecordedInstall, receipt: Receipt) -> bool:
    """Return whether a recorded install is this very one and its receipt can stay."""
    if standing.install.artifact != receipt.artifact:
        return False
    try:
        read_receipt(standing)
    except CatalogDamaged:
        return False
    except UnsupportedVersion:
        return True
    return True


@timed(_log, "uninstall")
def uninstall(
    vault: Vault, name: str, target: str | None, folder: Path | None
) -> tuple[Receipt, Removal]:
    """Take back what an install did.

    Args:
        vault: The vault that made the install.
        name: What the runtime calls the model, or the artefact's reference or digest.
        target: The runtime; None for any.
        folder: The runtime's folder; None for any.

    Raises:
        InstallNotFound: Nothing is installed under this name.
        BadOption: Several installs answer to it.
        UnsupportedVersion: A newer release made the install; only it can take it back.
        CatalogDamaged: The receipt does not parse, or is another install's.
        TargetChanged: The files are no longer what was installed; nothing was removed.
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
    receipt = read_receipt(found[0])
    removal = _runtime_of(receipt).undo(receipt)
    label = label_of(vault, found[0])
    vault.catalog.close_install(found[0].id, event=_event("uninstall", label, receipt))
    return receipt, removal


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


def _runtime_of(receipt: Receipt) -> Runtime:
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


def label_of(vault: Vault, recorded: RecordedInstall) -> str:
    """Return what people call the artefact of an install; its digest where it is gone."""
    try:
        return vault.catalog.artifact(recorded.install.artifact).artifact.label
    except ArtifactNotFound:
        return str(recorded.install.artifact)


def _event(verb: str, label: str, receipt: Receipt) -> Event:
    return Event(
        verb=verb,
        subject=label,
        details={
            "artifact": str(receipt.artifact),
            "target": receipt.target,
            "name": receipt.name,
            "location": receipt.location,
        },
    )
