"""One revision of one model has one content: whoever offers another is refused by name.

Parts of one revision go together: a selection that holds all of another, and selections that
share no file with other bytes. Everything else under one full reference is a conflict:

* A file of a revision as pulled has other bytes, whoever offers it.
* Another signer offers a selection that neither holds what is here nor is part of it: it
  would hide what the first one brought.
* Another signer offers other bytes of a conversion. Who brought a conversion may replace it, as
  converting again with other options does; who did not, may not.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from modelvault.app.supersede import Sibling, contains, find_siblings
from modelvault.app.vault import Vault
from modelvault.catalog.values import Direction
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.core.names import Reference
from modelvault.errors import Corruption, RevisionConflict, UnsupportedVersion

_MOST_FILES = 20
"""Files that a refusal names for each artefact."""


def refuse_bundle_conflicts(
    vault: Vault, offered: Iterable[tuple[Artifact, Manifest]], signers: tuple[str, ...]
) -> None:
    """Refuse a bundle that gives a known revision, or one of its own, another content.

    Args:
        vault: Where it is to go.
        offered: The artefacts of the bundle.
        signers: Fingerprints of the trusted keys that signed it.

    Raises:
        RevisionConflict: ``issues`` names both sides and the files of each conflict.
    """
    items = [Sibling(artifact=artifact, manifest=manifest) for artifact, manifest in offered]
    held = _held(vault, {item.artifact.reference for item in items})
    senders = _Senders(vault)
    before: dict[Reference, list[Sibling]] = {}
    issues: list[str] = []
    count = 0
    for new in items:
        reference = new.artifact.reference
        for old in _others(vault, held.get(reference, ()), new):
            if _conflicts(old, new, senders.of(old), signers):
                count += 1
                issues += _describe(old, new, senders.of(old), signers)
        for old in before.setdefault(reference, []):  # the bundle's own, by the same signers
            if _conflicts(old, new, frozenset(signers), signers):
                count += 1
                issues += _describe(old, new, frozenset(signers), signers)
        before[reference].append(new)
    if issues:
        raise RevisionConflict(
            f"{count} of the bundle's artefacts give a known revision another content: {issues[0]}",
            hint="find out whose bytes are right; only if they are the bundle's, then"
            " 'modelvault remove' what is here and import it again",
            issues=issues,
        )


def refuse_moved_revision(
    vault: Vault, reference: Reference, files: Mapping[str, Digest], origin: str
) -> None:
    """Refuse a pull of a known revision whose files have other bytes now.

    Args:
        vault: Where it is to go.
        reference: Model and revision.
        files: Path → digest, as far as it is known.
        origin: Who offers them, for the message.

    Raises:
        RevisionConflict: ``issues`` names the files.
    """
    for old in find_siblings(vault, reference):
        known = {file.path: file.digest for file in old.manifest.files}
        differ = sorted(path for path in files if known.get(path, files[path]) != files[path])
        if differ:
            raise RevisionConflict(
                f"{reference}: {origin} offers other bytes than the vault holds under this"
                f" revision: {differ[0]}",
                hint="a revision never changes: find out whose bytes are right before going on",
                issues=[
                    f"here: {old.artifact.digest}, from {_origin(_Senders(vault).of(old))}",
                    *(
                        f"{path}: {known[path]} here, {files[path]} there"
                        for path in differ[:_MOST_FILES]
                    ),
                ],
            )


def _held(vault: Vault, wanted: set[Reference]) -> dict[Reference, list[Digest]]:
    """Return the identities of what the vault holds under these full references."""
    held: dict[Reference, list[Digest]] = {}
    for row in vault.catalog.listing():
        if row.reference in wanted:
            held.setdefault(row.reference, []).append(Digest.parse(row.digest))
    return held


def _others(vault: Vault, held: Iterable[Digest], new: Sibling) -> Iterator[Sibling]:
    """Yield what is held beside the very artefact that is offered, as far as it can be read."""
    for digest in held:
        if digest == new.artifact.digest:
            continue
        with contextlib.suppress(UnsupportedVersion, Corruption):
            artifact = vault.catalog.artifact(digest).artifact
            yield Sibling(artifact=artifact, manifest=vault.manifest(artifact))


def _conflicts(
    old: Sibling, new: Sibling, senders: frozenset[str], signers: tuple[str, ...]
) -> bool:
    if old.manifest == new.manifest or old.artifact.digest == new.artifact.digest:
        return False
    same = not senders.isdisjoint(signers)
    if new.artifact.variant is not None:
        return not same
    if _differing(old.manifest, new.manifest):
        return True
    parts = contains(old.manifest, new.manifest) or contains(new.manifest, old.manifest)
    return not parts and bool(senders) and not same


def _differing(old: Manifest, new: Manifest) -> list[str]:
    """Return the paths that both have with other bytes; case tells no two files apart."""
    known = {file.path.casefold(): file.digest for file in old.files}
    return [
        file.path
        for file in new.files
        if known.get(file.path.casefold(), file.digest) != file.digest
    ]


def _describe(
    old: Sibling, new: Sibling, by: frozenset[str], signers: tuple[str, ...]
) -> list[str]:
    files = _differing(old.manifest, new.manifest)
    paths = {file.path for file in old.manifest.files} ^ {file.path for file in new.manifest.files}
    named = [f"{path} differs" for path in files] + [
        f"{path} is on one side only" for path in sorted(paths)
    ]
    more = len(named) - _MOST_FILES
    return [
        f"{new.artifact.reference}: {', '.join(named[:_MOST_FILES])}"
        + (f" and {more} more" if more > 0 else ""),
        f"  here: {old.artifact.digest}, from {_origin(by)}",
        f"  in the bundle: {new.artifact.digest}, signed by {', '.join(signers)}",
    ]


def _origin(signers: frozenset[str]) -> str:
    return f"a bundle signed by {', '.join(sorted(signers))}" if signers else "this vault itself"


class _Senders:
    """Who signed the bundles that brought an artefact; looked up when first asked for."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._by_artifact: dict[Digest, set[str]] | None = None

    def of(self, sibling: Sibling) -> frozenset[str]:
        """Return their fingerprints; none for what was pulled or made here, or is not known."""
        if self._by_artifact is None:
            self._by_artifact = self._read()
        return frozenset(self._by_artifact.get(sibling.artifact.digest, ()))

    def _read(self) -> dict[Digest, set[str]]:
        signers = {
            event.subject: event.details.get("signers", "").split()
            for event in self._vault.catalog.history(verb="import")
            if "artifact" not in event.details
        }
        found: dict[Digest, set[str]] = {}
        for item in self._vault.catalog.bundles():
            if item.bundle.direction is not Direction.IMPORTED:
                continue
            by = signers.get(str(item.bundle.index), [item.bundle.publisher])
            for digest in item.bundle.artifacts:
                found.setdefault(digest, set()).update(by)
        return found
