"""``install`` and ``uninstall``: models in runtimes, with receipts."""

import dataclasses
import datetime as dt
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.receipts import (
    entry_of,
    find_install,
    find_standing,
    install_event,
    label_of,
    lists_the_same,
    read_receipt,
    runtime_of,
)
from modelvault.app.refusals import logs_refusals
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.catalog.values import RecordedInstall
from modelvault.core.artifact import Artifact
from modelvault.core.names import AnyReference
from modelvault.core.ports import Progress, Silence
from modelvault.errors import (
    CatalogDamaged,
    ModelVaultError,
    TargetChanged,
    TargetConflict,
    UnsupportedVersion,
)
from modelvault.targets.receipt import Receipt
from modelvault.targets.registry import runtime
from modelvault.targets.runtime import InstallPlan, Removal
from modelvault.targets.standing import inspect_install

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an install did."""

    artifact: Artifact
    receipt: Receipt
    new: bool
    """False when exactly this was installed before; its files were checked and mended."""
    replaced: str | None = None
    """Reference of the artefact that this vault had installed under the name; None for none."""
    signature: str | None = None
    """Path of the ``model.sig`` beside it, relative to the location; None where it has none."""
    unsigned: str = ""
    """Why it has none where the runtime has a place for one, for people."""
    warnings: tuple[str, ...] = ()
    """What the user should know, one sentence each."""


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
        BadOption: The folder or name is not acceptable.
        TargetError: The runtime is not known, cannot use the artefact, or something stands
            in the way: where this vault has put it there, the message says what it is.
        UnsupportedVersion: A newer release installed the model that would be replaced.
    """
    artifact = vault.catalog.find(reference).artifact
    manifest = vault.manifest(artifact)
    when = dt.datetime.now(dt.UTC).replace(microsecond=0)

    def make(*, replace: bool) -> InstallPlan:
        return runtime(target).plan(
            artifact,
            manifest,
            vault.store,
            folder=folder.absolute() if folder else None,
            name=name,
            when=when,
            replace=replace,
        )

    try:
        plan = make(replace=replace)
    except TargetConflict as conflict:
        try:
            wanted = make(replace=True)
        except ModelVaultError:
            raise conflict from None
        raise _own_conflict(vault, wanted, artifact) or conflict from None
    _refuse_newer(vault, plan)
    # The runtime may have room for both; the vault has one receipt for the name.
    if not replace and _holds_other(vault, plan) and (own := _own_conflict(vault, plan, artifact)):
        raise own
    return plan


def _own_conflict(vault: Vault, plan: InstallPlan, artifact: Artifact) -> TargetConflict | None:
    """Return what is to be said where this vault has put there what stands in the way."""
    standing = find_standing(vault, plan)
    receipt = _standing_receipt(standing)
    if standing is None or receipt is None:
        return None
    where = f"{plan.name} in {plan.location}"
    if inspect_install(receipt, read=False, progress=Silence()).changed:
        return TargetConflict(
            f"{where} was installed by this vault, and something else stands there now",
            hint=f"'modelvault uninstall {plan.name} --forget' leaves that alone and forgets the "
            "install; --replace puts this model in its place",
        )
    if standing.install.artifact == artifact.digest:
        return None
    held = label_of(vault, standing, revision=True)
    return TargetConflict(
        f"{where} is {held}, which this vault installed on {standing.installed_at:%Y-%m-%d}",
        hint=f"--replace puts {artifact.reference} in its place; --as NAME keeps both",
    )


def _holds_other(vault: Vault, plan: InstallPlan) -> bool:
    """Return whether another artefact that this vault installed stands under a plan's name."""
    standing = find_standing(vault, plan)
    if standing is None or standing.install.artifact == plan.artifact:
        return False
    return _standing_receipt(standing) is not None


def _standing_receipt(standing: RecordedInstall | None) -> Receipt | None:
    """Return the receipt of an install whose model a runtime still shows."""
    if standing is None:
        return None
    try:
        receipt = read_receipt(standing)
    except (CatalogDamaged, UnsupportedVersion):
        return None
    visible = Path(receipt.location) / receipt.files[-1].path
    return receipt if os.path.lexists(visible) else None


def _about(plan: InstallPlan, *_: object, **__: object) -> str:
    return f"{plan.target} '{plan.name}' in {plan.location}"


@timed(_log, "install")
@logs_refusals("install", about=_about)
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
    # Here, because help and completion of this command need no cryptography.
    from modelvault.app.model_signatures import sign_plan

    artifact = vault.catalog.artifact(plan.artifact).artifact
    with vault.store.writing():
        _refuse_newer(vault, plan)
        signed = sign_plan(vault, plan, artifact)
        receipt = runtime(plan.target).apply(signed.plan, progress=progress)
        for file in receipt.files:
            _log.debug("%s: %s by %s", receipt.location, file.path, file.placement.value)
        done = Installed(
            artifact=artifact,
            receipt=receipt,
            new=False,
            signature=plan.signature_path if signed.signed else None,
            unsigned=signed.unsigned,
        )
        standing = find_standing(vault, plan)
        if standing is not None and _vouches_for(standing, receipt):
            return done
        other = standing is not None and standing.install.artifact != receipt.artifact
        replaced = label_of(vault, standing, revision=True) if standing and other else None
        warnings = _drop_rest(standing, receipt) if standing else ()
        entry = entry_of(receipt)
        details = {"replaces": replaced} if replaced else {}
        vault.catalog.add_install(
            entry,
            event=install_event("install", artifact.label, entry, **details),
            replaces=standing.id if standing else None,
        )
    return dataclasses.replace(done, new=True, replaced=replaced, warnings=warnings)


def _drop_rest(standing: RecordedInstall, receipt: Receipt) -> tuple[str, ...]:
    """Take back what the former install had and the new one has not.

    Returns:
        What was left, one sentence each.
    """
    try:
        former = read_receipt(standing)
        kept = {file.path for file in receipt.files}
        rest = dataclasses.replace(
            former,
            files=tuple(file for file in former.files if file.path not in kept),
            folders=tuple(folder for folder in former.folders if folder not in receipt.folders),
        )
        if rest.files:
            runtime_of(rest).undo(rest)
    except (CatalogDamaged, UnsupportedVersion):
        return ()  # nobody can tell what it had
    except TargetChanged as error:
        return tuple(f"left there: {issue}" for issue in error.issues)
    return ()


def _refuse_newer(vault: Vault, plan: InstallPlan) -> None:
    """Refuse to replace what only a newer release can take back.

    Raises:
        UnsupportedVersion: As said.
    """
    standing = find_standing(vault, plan)
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
        return lists_the_same(read_receipt(standing), receipt)
    except CatalogDamaged:
        return False
    except UnsupportedVersion:
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
    found = find_install(vault, name, target, folder)
    receipt = read_receipt(found)
    removal = runtime_of(receipt).undo(receipt)
    event = install_event("uninstall", label_of(vault, found), found.install)
    vault.catalog.close_install(found.id, event=event)
    return receipt, removal


def forget_install(
    vault: Vault, name: str, target: str | None, folder: Path | None
) -> RecordedInstall:
    """Let an install go without touching what stands there; return it.

    For a name that another program has given to another model since, for a folder that is
    gone for good, and for a receipt that nobody can read.

    Args:
        vault: The vault that made the install.
        name: As for ``uninstall``.
        target: As for ``uninstall``.
        folder: As for ``uninstall``.

    Raises:
        InstallNotFound: Nothing is installed under this name.
        BadOption: Several installs answer to it.
    """
    found = find_install(vault, name, target, folder)
    event = install_event("forget install", label_of(vault, found), found.install)
    return vault.catalog.close_install(found.id, event=event)
