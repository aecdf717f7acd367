"""``pull --from-file``: a whole list, pinned by a lock file beside it.

A list is resolved anew each time it is pulled, and its lock file says what it stood for; with
``locked``, or when the lock file itself is pulled, the lock file decides and the source has to
offer exactly that. What is pinned and stored costs no request at all.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.app.filters import Filters
from modelvault.app.outcomes import Failure, collecting
from modelvault.app.pins import is_stored, select_pinned
from modelvault.app.pull import Pulled, PullPlan, plan_pull, plan_selection, pull
from modelvault.app.sources import SourceOptions, hub_source, sums_source
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.core.artifact import SumsOrigin
from modelvault.core.digest import Digest
from modelvault.core.lockfile import LOCK_LIMIT, LockEntry, PinnedSums, encode_lock, parse_lock
from modelvault.core.manifest import Manifest
from modelvault.core.mirror_list import ListEntry, parse_list
from modelvault.core.names import ModelName, is_commit
from modelvault.core.ports import Progress
from modelvault.core.sums import SumsUrl
from modelvault.errors import BadInput, MalformedRecord
from modelvault.sources.source import FollowableSource
from modelvault.store.paths import VaultPaths

_log = logging.getLogger(__name__)

_MOST_ISSUES = 100

Announce = Callable[[int, int, str], None]
"""Told number, total and name of each entry before it is pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorEntry:
    """One pull of a list."""

    where: str
    """``line 3``, or ``entry 3`` of a lock file."""
    model: ModelName
    requested: str
    filters: Filters
    pin: LockEntry | None
    """What an earlier pull of this line stood for; None where there was none."""
    url: SumsUrl | None = None
    """The list of checksums to pull by; None for a repository of a Hub."""
    sums_digest: Digest | None = None
    """What that list must hash to."""
    type: str = ""
    """The type of GGUF files that the line names; ``filters`` stands for it. Empty for none."""

    @property
    def subject(self) -> str:
        """The entry as people know it."""
        return f"{self.model}@{self.requested}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorList:
    """A list that was read whole."""

    entries: tuple[MirrorEntry, ...]
    locked: bool
    """Whether the pins decide."""
    lock: Path | None
    """Lock file to write; None where one is being followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """What became of one entry."""

    entry: MirrorEntry
    pin: LockEntry
    pulled: Pulled | None
    """None where everything was here already."""


def read_mirror_list(path: Path, *, locked: bool) -> MirrorList:
    """Return a list with its pins, or the pulls that a lock file stands for.

    Args:
        path: The list, or a lock file.
        locked: Whether the lock file beside the list decides.

    Raises:
        BadInput: It cannot be read, lines are bad, or ``locked`` and lines are not pinned;
            ``issues`` has each of them.
        MalformedRecord: The lock file is damaged.
    """
    data = _read(path)
    if data is None:
        raise BadInput(f"{path}: no such file")
    if data.startswith(b"{"):
        pins = _parse_lock(path, data)
        numbered = enumerate(pins.values(), start=1)
        entries = [_of_pin(f"entry {number}", pin) for number, pin in numbered]
        return MirrorList(entries=tuple(entries), locked=True, lock=None)
    listed = parse_list(data, where=path.name)
    lock = path.with_name(f"{path.name}.lock")
    known = _read(lock)
    if locked and known is None:
        raise BadInput(f"{lock}: no such file", hint="pull once without --locked to make it")
    pins = _parse_lock(lock, known) if known is not None else {}
    entries = []
    for item in listed:
        pin = pins.get((str(item.reference.model), item.requested))
        filters = Filters(include=item.include, exclude=item.exclude)
        if pin is not None and not _is_of(pin, item):
            pin = None  # another selection or list: what was pinned is not what is asked for
        entries.append(
            MirrorEntry(
                where=f"line {item.line}",
                model=item.reference.model,
                requested=item.requested,
                filters=filters,
                pin=pin,
                url=item.url,
                sums_digest=item.pinned,
                type=item.type,
            )
        )
    if locked:
        _require_pins(lock, entries)
    return MirrorList(entries=tuple(entries), locked=locked, lock=None if locked else lock)


def _is_of(pin: LockEntry, item: ListEntry) -> bool:
    """Return whether a line still asks for what was pinned under its name."""
    url = pin.sums.url if pin.sums is not None else None
    return (pin.include, pin.exclude, url) == (item.include, item.exclude, item.url)


def _of_pin(where: str, pin: LockEntry) -> MirrorEntry:
    return MirrorEntry(
        where=where,
        model=pin.model,
        requested=pin.requested,
        filters=Filters(include=pin.include, exclude=pin.exclude),
        pin=pin,
        url=pin.sums.url if pin.sums is not None else None,
        sums_digest=pin.sums.digest if pin.sums is not None else None,
    )


def _read(path: Path) -> bytes | None:
    try:
        with fsio.storage_errors(path), open(path, "rb") as file:
            return file.read(LOCK_LIMIT + 1)
    except FileNotFoundError:
        return None


def _parse_lock(path: Path, data: bytes) -> dict[tuple[str, str], LockEntry]:
    try:
        return {entry.key: entry for entry in parse_lock(data)}
    except MalformedRecord as error:
        raise MalformedRecord(
            f"{path}: {error.message}", hint="restore it, or remove it and pull the list anew"
        ) from error


def _require_pins(lock: Path, entries: Sequence[MirrorEntry]) -> None:
    issues = [f"{entry.where}: {entry.subject}" for entry in entries if entry.pin is None]
    if issues:
        raise BadInput(
            f"{lock}: {len(issues)} of {len(entries)} lines are not pinned as they stand",
            hint="pull once without --locked to pin them",
            issues=issues[:_MOST_ISSUES],
        )


@timed(_log, "pull of a list")
def pull_list(
    vault: Vault,
    mirror: MirrorList,
    options: SourceOptions,
    progress: Progress,
    announce: Announce,
) -> tuple[tuple[Mirrored, ...], tuple[Failure, ...]]:
    """Pull every entry; one that fails does not stop the others.

    The lock file is written after each entry that changed it, so that an interrupted run
    leaves what is done on record.

    Returns:
        What was pulled or found, and what failed.

    Raises:
        StorageError: The lock file cannot be written.
    """
    options = dataclasses.replace(options, many=True)
    done: dict[str, Mirrored] = {}
    failures: list[Failure] = []
    for number, entry in enumerate(mirror.entries, start=1):
        announce(number, len(mirror.entries), entry.subject)
        with collecting(failures, entry.subject, where=entry.where):
            done[entry.subject] = _pull_entry(vault, entry, options, progress, mirror.locked)
            if mirror.lock is not None and done[entry.subject].pin != entry.pin:
                _write_lock(mirror.lock, mirror.entries, done)
    if mirror.lock is not None:
        _write_lock(mirror.lock, mirror.entries, done)
    return tuple(done.values()), tuple(failures)


def _write_lock(path: Path, entries: Sequence[MirrorEntry], done: dict[str, Mirrored]) -> None:
    """Pin what is done, and what is not done yet as it was pinned before."""
    pins = [done[entry.subject].pin if entry.subject in done else entry.pin for entry in entries]
    data = encode_lock([pin for pin in pins if pin is not None])
    if _read(path) != data:
        fsio.write_durably(path, data)


def _pull_entry(
    vault: Vault, entry: MirrorEntry, options: SourceOptions, progress: Progress, locked: bool
) -> Mirrored:
    planned = plan_entry(vault, vault.store.paths, entry, options, locked=locked)
    if isinstance(planned, LockEntry):
        return Mirrored(entry=entry, pin=planned, pulled=None)
    if locked and entry.pin is not None:
        done = pull(vault, planned, progress, expected=entry.pin.manifest)
        return Mirrored(entry=entry, pin=entry.pin, pulled=done)
    done = pull(vault, planned, progress)
    return Mirrored(entry=entry, pin=_pin(entry, done), pulled=done)


def plan_entry(
    vault: Vault | None,
    paths: VaultPaths,
    entry: MirrorEntry,
    options: SourceOptions,
    *,
    locked: bool,
) -> PullPlan | LockEntry:
    """Return what a pull of an entry would do; its pin where everything is here already.

    Args:
        vault: Where it would go; None where there is none yet.
        paths: Of that vault.
        entry: What is to be pulled.
        options: How its servers are spoken to.
        locked: Whether its pin decides.

    Raises:
        UpstreamChanged: The source offers something else than is pinned.
        ModelVaultError: As ``plan_pull``.
    """
    pin = entry.pin
    _log.info(
        "%s %s: %s",
        entry.where,
        entry.subject,
        f"pinned to {pin.commit}" if pin is not None else "not pinned",
    )
    stored = pin is not None and vault is not None and is_stored(vault, pin)
    if pin is not None and stored and (locked or is_commit(entry.requested)):
        return pin
    source = _open(entry, options, locked)
    if pin is not None and locked:
        offer, selection = select_pinned(source.offer(), pin)
        return plan_selection(source, offer, selection, paths, entry.filters)
    if pin is not None and stored and source.find_revision() == pin.commit:
        return pin
    include = () if entry.type else entry.filters.include  # the source knows the type's patterns
    return plan_pull(source, paths, include=include, exclude=entry.filters.exclude)


def _open(entry: MirrorEntry, options: SourceOptions, locked: bool) -> FollowableSource:
    """Return where an entry comes from: as it is now, or as it is pinned."""
    pin = entry.pin if locked else None
    if entry.url is None:
        revision = entry.requested if pin is None else pin.commit
        type_ = entry.type if pin is None else ""
        return hub_source(entry.model, revision, options.endpoint, options, type_=type_)
    digest = entry.sums_digest if pin is None or pin.sums is None else pin.sums.digest
    return sums_source(entry.model, entry.url, digest, options)


def _pin(entry: MirrorEntry, done: Pulled) -> LockEntry:
    """Return what an entry stands for: the files it selects, though the vault hold more."""
    selected = {file.path for file in done.plan.files}
    origin, sums = done.plan.offer.origin, None
    if entry.url is not None and isinstance(origin, SumsOrigin):
        sums = PinnedSums(url=entry.url, digest=origin.sums)
    return LockEntry(
        model=entry.model,
        requested=entry.requested,
        commit=done.artifact.revision,
        include=entry.filters.include,
        exclude=entry.filters.exclude,
        manifest=Manifest.of(file for file in done.manifest.files if file.path in selected),
        sums=sums,
    )
