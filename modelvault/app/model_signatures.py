"""``model.sig``: who signs what is installed, and what of that travels.

An install knows which files stand under which names, so it is the vault that installs which signs.
A vault without a key, as on a closed host, takes the signature of a trusted publisher that came
with the bundle, where it is about exactly the files that are installed. See
``docs/adr/0024-who-signs-what-is-installed.md``.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.app.receipts import find_standing, read_receipt
from modelvault.app.vault import Vault
from modelvault.bundle.format import names
from modelvault.bundle.medium.files import read_capped
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.errors import (
    CatalogDamaged,
    Corruption,
    KeyNotFound,
    KeyUnusable,
    UnsupportedVersion,
)
from modelvault.targets.registry import usual_contents
from modelvault.targets.runtime import InstallPlan
from modelvault.trust import oms
from modelvault.trust.keys import PublicKey, parse_public_key
from modelvault.trust.model_signatures import (
    ModelSignatureFile,
    ModelSignatures,
    Signed,
    parse_model_signatures,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedPlan:
    """A plan of an install, with its signature where there is one."""

    plan: InstallPlan
    signed: bool
    """Whether it has one."""
    unsigned: str
    """Why it has none, for people; empty where it has, or where the runtime has no place for it."""


def sign_plan(vault: Vault, plan: InstallPlan, artifact: Artifact) -> SignedPlan:
    """Return a plan with a ``model.sig``, for a runtime that has a place for one.

    What stands there of an earlier install, or by the same key, is kept as it is.

    Args:
        vault: Whose key signs.
        plan: Of the install.
        artifact: What is installed.

    Raises:
        StorageError: The file system refuses.
    """
    if not plan.signature_path:
        return SignedPlan(plan=plan, signed=False, unsigned="")
    standing = _standing(plan)
    if standing is not None and not plan.replace and _is_recorded(vault, plan, standing):
        return _with(plan, standing)
    name = str(artifact.reference)
    try:
        key, _ = vault.keystore.signing_key(passphrase=vault.config.key_passphrase)
    except (KeyNotFound, KeyUnusable) as error:
        if (published := _published(vault, plan, name)) is not None:
            return _with(plan, published)
        without = f"no {oms.SIGNATURE_NAME}: {_NO_KEY}"
        if isinstance(error, KeyUnusable):
            without = f"no {oms.SIGNATURE_NAME}: {error.message}"
        return SignedPlan(plan=plan, signed=False, unsigned=without)
    public = parse_public_key(key.public_key)
    if standing is not None and oms.is_signature_of(standing, plan.contents, public, name=name):
        return _with(plan, standing)
    return _with(plan, oms.model_signature(plan.contents, key, name=name))


_NO_KEY = (
    "this vault has no key, and no publisher's signature is about these files; 'modelvault key "
    "generate' makes a key, and installing again signs with it"
)


def _with(plan: InstallPlan, content: bytes) -> SignedPlan:
    return SignedPlan(plan=plan.with_signature(content), signed=True, unsigned="")


def _published(vault: Vault, plan: InstallPlan, name: str) -> bytes | None:
    """Return the ``model.sig`` of a trusted publisher, where one is about a plan's files."""
    trusted = {item.fingerprint: item.key for item in vault.keystore.trusted()}
    try:
        kept = ModelSignatureFile(vault.store.paths.keys).read().of(plan.contents.digest)
    except (Corruption, UnsupportedVersion) as error:
        _log.info("%s", error)
        return None
    for signer, signature in kept.items():
        if signer in trusted:
            key = trusted[signer]
            restored = oms.restore_signature(plan.contents, key, signature, name=name)
            if restored is not None:
                return restored
    return None


def _standing(plan: InstallPlan) -> bytes | None:
    """Return what stands where the signature goes; None for nothing that could be one."""
    path = fsio.safe_join(plan.location, plan.signature_path)
    if not fsio.is_regular(path) or path.stat().st_size > oms.SIGNATURE_LIMIT:
        return None
    with fsio.storage_errors(path):
        return path.read_bytes()


def _is_recorded(vault: Vault, plan: InstallPlan, content: bytes) -> bool:
    """Return whether this vault has put a signature there, with the same files beside it."""
    recorded = find_standing(vault, plan)
    if recorded is None or recorded.install.artifact != plan.artifact:
        return False
    try:
        receipt = read_receipt(recorded)
    except (CatalogDamaged, UnsupportedVersion):
        return False
    wanted = {(file.path, file.digest) for file in plan.with_signature(content).files}
    return {(file.path, file.digest) for file in receipt.files} == wanted


def sign_for_export(vault: Vault, items: Iterable[tuple[Artifact, Manifest]]) -> bytes:
    """Return what goes beside a bundle: signatures over what its artefacts become.

    Those of others that this vault keeps go along.

    Args:
        vault: Whose key signs.
        items: What is exported.

    Raises:
        KeyNotFound: There is no key.
        KeyUnusable: It cannot be used.
        Corruption: A blob is not what it should be.
    """
    key, _ = vault.keystore.signing_key(passphrase=vault.config.key_passphrase)
    kept = ModelSignatureFile(vault.store.paths.keys).read()
    found: dict[Signed, bytes] = {}
    for artifact, manifest in items:
        for contents in usual_contents(artifact, manifest, vault.store):
            about = contents.digest
            found |= {(about, signer): value for signer, value in kept.of(about).items()}
            found[about, key.fingerprint] = oms.sign_model(
                contents, key, name=str(artifact.reference)
            )
    return ModelSignatures(found=found).encode()


def keep_from_bundle(
    vault: Vault, folder: Path, items: Iterable[tuple[Artifact, Manifest]], signers: Iterable[str]
) -> tuple[str, ...]:
    """Keep the signatures over models that a bundle's trusted signers have made.

    Args:
        vault: Where they are kept.
        folder: The bundle's own.
        items: What was imported; its files are in the store.
        signers: Fingerprints of the trusted keys that signed the bundle.

    Returns:
        What the user should know, one sentence each.

    Raises:
        StorageError: The file system or the medium refuses.
    """
    try:
        data = read_capped(folder / names.MODEL_SIGNATURES, names.MODEL_SIGNATURES_LIMIT)
        carried = parse_model_signatures(data)
        keys = {item.fingerprint: item.key for item in vault.keystore.trusted()}
        trusted = {signer: keys[signer] for signer in signers if signer in keys}
        found: dict[Signed, bytes] = {}
        for artifact, manifest in items:
            for contents in usual_contents(artifact, manifest, vault.store):
                found |= _verified(carried, contents, trusted, str(artifact.reference))
        ModelSignatureFile(vault.store.paths.keys).keep(found)
    except FileNotFoundError:
        return ()
    except (Corruption, UnsupportedVersion) as error:
        return (f"signatures over the models were left out: {error.message}",)
    return ()


def _verified(
    carried: ModelSignatures, contents: Manifest, trusted: dict[str, PublicKey], name: str
) -> dict[Signed, bytes]:
    about: Digest = contents.digest
    return {
        (about, signer): signature
        for signer, signature in carried.of(about).items()
        if signer in trusted
        and oms.restore_signature(contents, trusted[signer], signature, name=name) is not None
    }
