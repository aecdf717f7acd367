"""What the vault holds against what its sources offer now, and following a branch or a list.

Each artefact that was pulled from a Hub is compared with the revision it was asked for, at
the endpoint it came from, through the filters it was pulled with: what an update would
change, and nothing else, counts as a difference.
"""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from modelvault.app.filters import recall_filters
from modelvault.app.outcomes import Failure, collecting
from modelvault.app.pull import Pulled, plan_pull, pull
from modelvault.app.sources import SourceOptions, reopen
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.catalog.values import CatalogedArtifact
from modelvault.core.artifact import Artifact, Followable, SumsOrigin
from modelvault.core.manifest import Manifest
from modelvault.core.names import AnyReference, is_commit
from modelvault.core.ports import Progress
from modelvault.core.repository import is_dataset
from modelvault.errors import (
    AccessDenied,
    BadInput,
    BadOption,
    FetchError,
    NotFound,
    NothingSelected,
    UpstreamChanged,
)
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.fetch.stored import same_content
from modelvault.sources.selection import select

_log = logging.getLogger(__name__)


class State(StrEnum):
    """How an artefact stands to its origin."""

    UNCHANGED = "unchanged"
    """What was asked for is still this revision."""
    MOVED = "moved"
    """The branch or tag is another commit now; the list of checksums names other content."""
    GONE = "gone"
    """The repository, revision or list is no longer there, or no longer open to this token."""
    UNKNOWN = "unknown"
    """The server could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What an update of one artefact would change; paths, sorted."""

    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One artefact and its origin."""

    artifact: Artifact
    origin: Followable
    state: State
    commit: str = ""
    """The revision upstream now; empty where it is not known."""
    difference: Difference | None = None
    """Which files differ, where the revision moved."""
    reason: str = ""
    """Why the state is ``gone`` or ``unknown``."""


def compare_upstream(
    vault: Vault, references: Sequence[AnyReference], options: SourceOptions
) -> Iterator[Upstream]:
    """Yield how artefacts stand to their sources; with no reference, all that can be asked.

    Args:
        vault: The vault.
        references: Which artefacts; those whose source cannot be asked are passed over.
        options: Token, certificates and connections; the endpoint is each artefact's own.

    Raises:
        ArtifactNotFound: A reference names nothing.
    """
    for item in _chosen(vault, references):
        origin = item.artifact.origin
        if isinstance(origin, Followable):
            yield _compare(vault, item.artifact, origin, options)


def _chosen(vault: Vault, references: Sequence[AnyReference]) -> Iterator[CatalogedArtifact]:
    if references:
        yield from map(vault.catalog.find, references)
    else:
        yield from vault.catalog.artifacts()


def _compare(
    vault: Vault, artifact: Artifact, origin: Followable, options: SourceOptions
) -> Upstream:
    try:
        source = reopen(artifact, options)
        commit = source.find_revision()
        if commit == artifact.revision:
            state, difference = State.UNCHANGED, None
        else:
            state = State.MOVED
            offer = source.offer()
            commit = offer.revision
            difference = _differ(vault, artifact, offer.files)
    except (NotFound, AccessDenied, UpstreamChanged) as error:  # a pinned list is another now
        return Upstream(artifact=artifact, origin=origin, state=State.GONE, reason=error.message)
    except (FetchError, BadInput) as error:
        return Upstream(artifact=artifact, origin=origin, state=State.UNKNOWN, reason=error.message)
    return Upstream(
        artifact=artifact, origin=origin, state=state, commit=commit, difference=difference
    )


def _differ(vault: Vault, artifact: Artifact, files: Sequence[OfferedFile]) -> Difference:
    """Compare what an update would select with what the artefact holds."""
    filters = recall_filters(vault, artifact)
    try:
        chosen = select(
            files,
            include=filters.include,
            exclude=filters.exclude,
            dataset=is_dataset(artifact.model),
        ).chosen
    except NothingSelected:
        chosen = ()  # none of the wanted files is left
    manifest: Manifest = vault.manifest(artifact)
    ours = {entry.path: entry for entry in manifest.files}
    offered = {file.path: file for file in chosen}
    return Difference(
        changed=tuple(
            path
            for path in sorted(ours.keys() & offered.keys())
            if not same_content(offered[path], ours[path].digest, ours[path].size, vault.store)
        ),
        added=tuple(sorted(offered.keys() - ours.keys())),
        removed=tuple(sorted(ours.keys() - offered.keys())),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What following one branch did."""

    before: Artifact
    after: Artifact
    """The same artefact where the branch did not move."""
    fetched: int
    """Bytes that the vault lacked."""
    pulled: Pulled | None = None
    """What the pull did; None where the branch did not move."""


def refuse_unheeded(vault: Vault, reference: AnyReference, options: SourceOptions) -> None:
    """Refuse options that an artefact's source cannot heed; call it before ``or_configured``.

    Raises:
        ArtifactNotFound: The reference names nothing.
        BadOption: An option is for the Hub, and the artefact came from elsewhere.
    """
    if isinstance(vault.catalog.find(reference).artifact.origin, SumsOrigin):
        options.refuse(("engine",), "a list of checksums")


def find_branches(vault: Vault, reference: AnyReference | None) -> tuple[Artifact, ...]:
    """Return the artefacts whose branches or tags an update follows.

    Args:
        vault: The vault.
        reference: One artefact; None for the current one of every branch in the vault.

    Raises:
        ArtifactNotFound: The reference names nothing.
        BadOption: It is pinned, or came from nothing that can be asked again.
    """
    if reference is None:
        return tuple(
            item.artifact
            for item in vault.catalog.artifacts()
            if isinstance(item.artifact.origin, Followable)
            and item.artifact.origin.requested in item.labels
        )
    artifact = vault.catalog.find(reference).artifact
    if not isinstance(artifact.origin, Followable):
        raise BadOption(
            f"{reference} came neither from a Hub nor by a list of checksums: there is nothing to"
            " follow"
        )
    if is_commit(artifact.origin.requested):
        raise BadOption(
            f"{reference} is pinned to revision {artifact.revision}",
            hint=f"pull {_unpinned(artifact)}",
        )
    return (artifact,)


def _unpinned(artifact: Artifact) -> str:
    """Return what to pull instead of a pinned artefact so that it can be followed."""
    if isinstance(artifact.origin, SumsOrigin):
        again = f"modelvault pull {artifact.origin.url} --as {artifact.model}"
        return f"the list as it is now: {again} (over plain http with its --sums-digest)"
    return f"the branch instead: modelvault pull {artifact.model}"


def follow(
    vault: Vault, artifact: Artifact, options: SourceOptions, progress: Progress
) -> Followed:
    """Pull what the artefact's branch holds now, with the filters of its last pull.

    Raises:
        BadOption: The artefact came from nothing that can be asked again.
        NotFound: The repository or branch is gone, or the filters fit no file any more.
        FetchError: The source cannot be reached or refuses; what came is kept.
        Corruption: Bytes do not match what the source declares.
        StorageError: The disk is full or refuses.
    """
    source = reopen(artifact, options)
    if source.find_revision() == artifact.revision:
        return Followed(before=artifact, after=artifact, fetched=0)
    filters = recall_filters(vault, artifact)
    plan = plan_pull(source, vault.store.paths, include=filters.include, exclude=filters.exclude)
    done = pull(vault, plan, progress)
    return Followed(before=artifact, after=done.artifact, fetched=plan.to_fetch, pulled=done)


@timed(_log, "update")
def update(
    vault: Vault, reference: AnyReference | None, options: SourceOptions, progress: Progress
) -> tuple[tuple[Followed, ...], tuple[Failure, ...]]:
    """Follow one branch, or every branch in the vault; one that fails does not stop the rest.

    Returns:
        What was followed, and what failed.

    Raises:
        ArtifactNotFound: The reference names nothing.
        BadOption: It cannot be followed.
    """
    done: list[Followed] = []
    failures: list[Failure] = []
    options = dataclasses.replace(options, many=reference is None)
    for artifact in find_branches(vault, reference):
        with collecting(failures, str(artifact.reference)):
            done.append(follow(vault, artifact, options, progress))
    return tuple(done), tuple(failures)
