"""``install``, ``uninstall`` and ``status``: models in runtimes, with receipts."""

import datetime as dt
import logging
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.catalog.values import Event, Install, RecordedInstall
from modelvault.core.artifact import Artifact
from modelvault.core.names import Reference
from modelvault.core.ports import Progress
from modelvault.errors import (
    ArtifactNotFound,
    BadOption,
    CatalogDamaged,
    InstallNotFound,
    MalformedRecord,
    StorageError,
    UnknownTarget,
    UnsupportedVersion,
)
from modelvault.targets.receipt import Receipt
from modelvault.targets.registry import runtime
from modelvault.targets.runtime import InstallPlan, Removal, Runtime
from modelvault.targets.standing import Standing, inspect_install

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an install did."""

    artifact: Artifact
    receipt: Receipt
    new: bool
    """False when exactly this was installed before; its files were checked and mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """One active install."""

    target: str
    name: str
    reference: str
    location: str
    since: str
    """UTC, ISO 8601."""
    state: str
    """``in place`` when every file is, byte for byte, what was installed; ``in place by size``
    when large ones were not read; else how many files are missing or changed, or why that
    cannot be told."""


@timed(_log, "plan of an install")
def plan_install(
    vault: Vault,
    reference: Reference,
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
        _read_receipt(standing)
    except CatalogDamaged:
        return  # nobody can undo it any more: what is installed now gets a sound receipt


def _vouches_for(standing: RecordedInstall, receipt: Receipt) -> bool:
    """Return whether a recorded install is this very one and its receipt can stay."""
    if standing.install.artifact != receipt.artifact:
        return False
    try:
        _read_receipt(standing)
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
        name: What the runtime calls the model, or the artefact's reference.
        target: The runtime; None for any.
        folder: The runtime's folder; None for any.

    Raises:
        InstallNotFound: Nothing is installed under this name.
        BadOption: Several installs answer to it.
        UnsupportedVersion: A newer release made the install; only it can take it back.
        CatalogDamaged: The receipt does not parse, or is another install's.
        TargetChanged: The files are no longer what was installed; nothing was removed.
    """
    found = [
        recorded
        for recorded in vault.catalog.installs()
        if name in _names(vault, recorded)
        and target in (None, recorded.install.target)
        and (folder is None or Path(recorded.install.location) == folder.absolute())
    ]
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
    receipt = _read_receipt(found[0])
    removal = _runtime_of(receipt).undo(receipt)
    label = _label(vault, found[0])
    vault.catalog.close_install(found[0].id, event=_event("uninstall", label, receipt))
    return receipt, removal


@timed(_log, "status")
def status(vault: Vault, progress: Progress, *, read: bool = False) -> tuple[StatusRow, ...]:
    """Return the active installs, and whether their files still stand.

    An install whose receipt cannot be read is a row like any other, which says so.

    Args:
        vault: The vault that made the installs.
        progress: Told about hashed bytes.
        read: Read every file, instead of going by the size of large ones.
    """
    return tuple(
        StatusRow(
            target=recorded.install.target,
            name=recorded.install.name,
            reference=_label(vault, recorded),
            location=recorded.install.location,
            since=recorded.installed_at.isoformat(timespec="seconds"),
            state=_state(recorded, progress, read=read),
        )
        for recorded in vault.catalog.installs()
    )


def _state(recorded: RecordedInstall, progress: Progress, *, read: bool) -> str:
    try:
        return _words(inspect_install(_read_receipt(recorded), read=read, progress=progress))
    except UnsupportedVersion:
        return "written by a newer release; update modelvault to uninstall it"
    except CatalogDamaged:
        return "receipt damaged"
    except StorageError as error:
        return f"cannot be read: {error.message}"


def _words(found: Standing) -> str:
    words = [f"{len(found.missing)} missing"] if found.missing else []
    words += [f"{len(found.changed)} changed"] if found.changed else []
    return ", ".join(words) or ("in place by size" if found.unread else "in place")


def _read_receipt(recorded: RecordedInstall) -> Receipt:
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


def _label(vault: Vault, recorded: RecordedInstall) -> str:
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
