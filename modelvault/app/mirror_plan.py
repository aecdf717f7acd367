"""``pull --from-file --dry-run``: what a whole list would bring; nothing is made or pinned."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from modelvault import fsio
from modelvault.app.mirror_list import Announce, MirrorEntry, MirrorList, plan_entry
from modelvault.app.outcomes import Failure, collecting
from modelvault.app.pull import PullPlan
from modelvault.app.sources import SourceOptions
from modelvault.app.vault import Vault
from modelvault.store.paths import VaultPaths


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEntry:
    """What would become of one entry."""

    entry: MirrorEntry
    plan: PullPlan | None
    """None where everything is here already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPlan:
    """What a list would bring."""

    entries: tuple[PlannedEntry, ...]
    failures: tuple[Failure, ...]
    free: int
    """Bytes free on the vault's file system."""

    @property
    def size(self) -> int:
        """Bytes of all files that are not pinned and here, those of several entries once each."""
        return sum(self._distinct(missing=False).values())

    @property
    def to_fetch(self) -> int:
        """Bytes that the vault lacks, those of several entries once."""
        return sum(self._distinct(missing=True).values())

    def _distinct(self, *, missing: bool) -> dict[object, int]:
        """Return content → size of the files, or of the missing ones alone."""
        found: dict[object, int] = {}
        for item in self.entries:
            if item.plan is not None:
                delivery = item.plan.delivery
                for file in delivery.missing if missing else delivery.files:
                    key = file.checksum or (item.entry.subject, file.path)
                    found[key] = file.known_size
        return found


def plan_list(
    vault: Vault | None,
    paths: VaultPaths,
    mirror: MirrorList,
    options: SourceOptions,
    announce: Announce,
) -> ListPlan:
    """Return what pulling a list would do; an entry that fails does not stop the others.

    Args:
        vault: Where it would go; None where there is none yet.
        paths: Of that vault.
        mirror: The list.
        options: How its servers are spoken to.
        announce: Told about each entry before it is looked at.

    Raises:
        StorageError: The catalogue cannot be read.
    """
    options = dataclasses.replace(options, many=True)
    planned: list[PlannedEntry] = []
    failures: list[Failure] = []
    for number, entry in enumerate(mirror.entries, start=1):
        announce(number, len(mirror.entries), entry.subject)
        with collecting(failures, entry.subject, where=entry.where):
            plan = plan_entry(vault, paths, entry, options, locked=mirror.locked)
            found = plan if isinstance(plan, PullPlan) else None
            planned.append(PlannedEntry(entry=entry, plan=found))
    return ListPlan(
        entries=tuple(planned), failures=tuple(failures), free=fsio.free_bytes(paths.root)
    )


def refuse_unheeded(mirror: MirrorList, options: SourceOptions) -> None:
    """Refuse options that no line of a list can heed; call it before ``or_configured``.

    Raises:
        BadOption: The list names checksums alone, and an option is for the Hub.
    """
    if mirror.entries and all(entry.url is not None for entry in mirror.entries):
        options.refuse(_OF_THE_HUB, "a list that names no repository of a Hub")


_OF_THE_HUB: Sequence[str] = ("endpoint", "engine", "token_file")
