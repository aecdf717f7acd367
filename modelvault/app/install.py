"""``install``, ``uninstall`` and ``status``: models in runtimes, with receipts."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.vault import Vault
from modelvault.catalog.values import Event, Install, RecordedInstall
from modelvault.core.artifact import Artifact
from modelvault.core.names import Reference
from modelvault.core.ports import Progress
from modelvault.errors import ArtifactNotFound, BadOption, InstallNotFound
from modelvault.targets.receipt import Receipt
from modelvault.targets.registry import runtime
from modelvault.targets.runtime import InstallPlan, Removal


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
    """``in place``, or which files are missing or changed in size."""


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

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        TargetError: The runtime is not known, cannot use the artefact, or something stands
            in the way.
    """
    artifact = vault.catalog.find(reference).artifact
    return runtime(target).plan(
        artifact,
        vault.manifest(artifact),
        vault.store,
        folder=folder.absolute() if folder else None,
        name=name,
        when=dt.datetime.now(dt.UTC).replace(microsecond=0),
        replace=replace,
    )


def install(vault: Vault, plan: InstallPlan, progress: Progress) -> Installed:
    """Carry a plan out and record its receipt.

    Raises:
        TargetError: Something stands in the way.
        Corruption: A blob is not what it should be.
        StorageError: The target's disk is full or refuses.
    """
    artifact = vault.catalog.artifact(plan.artifact).artifact
    with vault.store.writing():
        receipt = runtime(plan.target).apply(plan, progress=progress)
        standing = _standing(vault, receipt)
        if standing is not None and standing.install.artifact == receipt.artifact:
            return Installed(artifact=artifact, receipt=receipt, new=False)
        entry = Install(
            artifact=receipt.artifact,
            target=receipt.target,
            name=receipt.name,
            location=receipt.location,
            receipt=receipt.as_json(),
        )
        vault.catalog.add_install(
            entry,
            event=_event("install", artifact.label, receipt),
            replaces=standing.id if standing else None,
        )
    return Installed(artifact=artifact, receipt=receipt, new=True)


def _standing(vault: Vault, receipt: Receipt) -> RecordedInstall | None:
    key = (receipt.target, receipt.location, receipt.name)
    for recorded in vault.catalog.installs():
        found = recorded.install
        if (found.target, found.location, found.name) == key:
            return recorded
    return None


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
    receipt = Receipt.from_json(found[0].install.receipt)
    removal = runtime(receipt.target).undo(receipt)
    label = _label(vault, found[0])
    vault.catalog.close_install(found[0].id, event=_event("uninstall", label, receipt))
    return receipt, removal


def status(vault: Vault) -> tuple[StatusRow, ...]:
    """Return the active installs, and whether their files still stand."""
    return tuple(
        StatusRow(
            target=recorded.install.target,
            name=recorded.install.name,
            reference=_label(vault, recorded),
            location=recorded.install.location,
            since=recorded.installed_at.isoformat(timespec="seconds"),
            state=_state(Receipt.from_json(recorded.install.receipt)),
        )
        for recorded in vault.catalog.installs()
    )


def _state(receipt: Receipt) -> str:
    """Compare what stands with the receipt, by presence and size: nothing is read."""
    missing = changed = 0
    for file in receipt.files:
        try:
            found = (Path(receipt.location) / file.path).lstat().st_size
        except (FileNotFoundError, NotADirectoryError):
            missing += 1
            continue
        changed += found != file.size
    words = [f"{missing} missing"] if missing else []
    words += [f"{changed} changed"] if changed else []
    return ", ".join(words) or "in place"


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
