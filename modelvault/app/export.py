"""``export``: write a signed bundle for the other side of the air gap."""

import contextlib
import datetime as dt
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.keys import OwnKey, own_key
from modelvault.app.model_signatures import sign_for_export
from modelvault.app.refusals import logs_refusals
from modelvault.app.serials import clock_warnings, next_serial, note_exported, rfc3339
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.bundle.format.index import LATEST_YEAR, Index
from modelvault.bundle.format.layouts.volumes import parse_volume_size
from modelvault.bundle.medium.files import medium_errors
from modelvault.bundle.medium.mounts import is_unmounted, read_mounts
from modelvault.bundle.read.bundle import open_bundle
from modelvault.bundle.write.bundle import WriteOptions, WrittenBundle, write_bundle
from modelvault.bundle.write.compression import Compression
from modelvault.catalog.values import Bundle, Direction, Event
from modelvault.core.artifact import Artifact
from modelvault.core.names import AnyReference
from modelvault.core.ports import Progress
from modelvault.errors import (
    BadOption,
    Corruption,
    MediumVanished,
    NoMedium,
    NotFound,
    NothingSelected,
    TrustError,
)
from modelvault.trust.policy import IntegrityVerifier

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export wrote."""

    artifacts: tuple[Artifact, ...]
    bundle: WrittenBundle
    key: OwnKey
    left_out: tuple[str, ...]
    """What a newer release wrote and this one cannot export, one sentence each."""
    warnings: tuple[str, ...]
    """What the user should know, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How to write the bundle."""

    volume_size: int | None = None
    """Most bytes in a volume; None for what the medium's file system asks for."""
    compression: Compression = Compression.AUTO
    expires: dt.datetime | None = None
    """Time after which importers refuse the bundle."""
    replace: bool = False
    """Write over a bundle that stands in the folder."""
    create: bool = False
    """Write even where no medium is mounted, and make every folder on the way."""

    @classmethod
    def parse(
        cls,
        *,
        volume_size: str | None,
        compress: str,
        expires: dt.datetime | None,
        replace: bool,
        create: bool = False,
    ) -> "ExportOptions":
        """Return the options as users write them.

        Args:
            volume_size: ``fat32``, ``dvd``, ``25GB`` or bytes; None for what the medium asks for.
            compress: ``auto`` or ``none``.
            expires: In UTC, where it names no time zone.
            replace: Write over a bundle that stands in the folder.
            create: Write even where no medium is mounted.

        Raises:
            BadOption: No such size or compression.
        """
        if compress not in set(Compression):
            raise BadOption(f"--compress {compress}: choose {' or '.join(Compression)}")
        if expires is not None and expires.tzinfo is None:
            expires = expires.replace(tzinfo=dt.UTC)
        return cls(
            volume_size=None if volume_size is None else parse_volume_size(volume_size),
            compression=Compression(compress),
            expires=expires,
            replace=replace,
            create=create,
        )


def parse_expiry(text: str) -> dt.datetime:
    """Return the time at which a bundle expires.

    A day means its end, so that the bundle is good all day. A time may name its zone.

    Args:
        text: ``2027-01-31``, or ISO 8601 with a time; UTC where it names no zone.

    Raises:
        BadOption: It is neither.
    """
    with contextlib.suppress(ValueError):  # a time, or neither
        day = dt.date.fromisoformat(text)
        return dt.datetime.combine(day, dt.time(23, 59, 59), tzinfo=dt.UTC)
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise BadOption(
            f"--expires {text}: not a day or time", hint="write 2027-01-31 or 2027-01-31T18:00:00"
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What is to be exported."""

    artifacts: tuple[Artifact, ...]
    left_out: tuple[str, ...]
    """What a newer release wrote and this one cannot export, one sentence each."""


def choose_artifacts(vault: Vault, references: Sequence[AnyReference]) -> Chosen:
    """Return what to export: the artefacts named, or everything the vault holds.

    Raises:
        ArtifactNotFound: A reference names nothing.
        UnsupportedVersion: A reference names an artefact of a newer release.
        NothingSelected: The vault is empty.
    """
    left_out: list[str] = []
    if references:
        found = [vault.catalog.find(reference).artifact for reference in references]
    else:
        found = [item.artifact for item in vault.catalog.artifacts()]
        left_out = [f"{item.label}: {item.reason}" for item in vault.catalog.unsupported()]
    if not found and not left_out:
        raise NothingSelected(
            "the vault holds nothing to export", hint="modelvault pull ORG/NAME first"
        )
    unique = {artifact.digest: artifact for artifact in found}
    return Chosen(
        artifacts=tuple(sorted(unique.values(), key=lambda item: str(item.reference))),
        left_out=tuple(left_out),
    )


def check_destination(folder: Path) -> None:
    """Refuse a folder that would be filled in place of a medium.

    Where media are mounted, below ``/media``, ``/run/media`` and ``/mnt``, a folder that is
    absent or empty counts only on a medium. Elsewhere an absent folder is made, as ``mkdir``
    would: in a folder that is there.

    Raises:
        NoMedium: There is none.
        StorageError: The folder cannot be read.
    """
    hint = "mount the medium, or insist with --create"
    with medium_errors(folder):
        stands = folder.is_dir()
        holds_something = stands and any(folder.iterdir())
        parent = folder.absolute().parent
        beside = stands or os.path.lexists(folder) or parent.is_dir()
    if not holds_something and is_unmounted(folder, read_mounts()):
        what = "an empty folder, with" if stands else "not there, and"
        raise NoMedium(f"{folder}: {what} no medium mounted", hint=hint)
    if not beside:
        raise NoMedium(f"{folder}: neither it nor the folder above it is there", hint=hint)


def _about(_: Chosen, folder: Path, *__: object, **___: object) -> str:
    return str(folder)


@timed(_log, "export")
@logs_refusals("export", about=_about)
def export(
    vault: Vault,
    chosen: Chosen,
    folder: Path,
    options: ExportOptions,
    progress: Progress,
) -> Exported:
    """Write and sign a bundle; a signing key is made at first use.

    Raises:
        Corruption: A blob has changed on disk: nothing is signed.
        BadOption: Another bundle already stands in the folder, or ``expires`` has passed or is
            too far away.
        WrongClock: The clock is behind what this key signed before.
        NoMedium: No medium is mounted there.
        StorageError: The medium is full, read-only or gone.
    """
    if not options.create:
        check_destination(folder)
    now = dt.datetime.now(dt.UTC)
    if options.expires is not None and options.expires <= now:
        raise BadOption("--expires: that time has passed", hint="name a later day")
    if options.expires is not None and options.expires.year > LATEST_YEAR:
        raise BadOption(f"--expires: after the year {LATEST_YEAR}", hint="name an earlier day")
    warnings = clock_warnings(vault, now)  # before the log tells of a key that is made now
    key = own_key(vault, create=True)
    signer, _ = vault.keystore.signing_key(passphrase=vault.config.key_passphrase)
    serial = next_serial(vault, key, folder, now)

    def publishing(index: Index) -> None:
        note_exported(vault, key.fingerprint, index.serial)

    with vault.store.writing():
        items = ((item, vault.manifest(item)) for item in chosen.artifacts)
        model_signatures = sign_for_export(vault, items)
        written = write_bundle(
            chosen.artifacts,
            vault.store,
            folder,
            signer=signer,
            options=WriteOptions(
                volume_size=options.volume_size,
                compression=options.compression,
                serial=serial,
                created=rfc3339(now),
                expires=rfc3339(options.expires) if options.expires else None,
                replace=options.replace,
                model_signatures=model_signatures,
            ),
            progress=progress,
            publishing=publishing,
        )
    _log.info(
        "%s: %s, serial %d, %d of %d bytes stored in %d volumes",
        folder,
        "unchanged" if written.unchanged else "written",
        serial,
        written.stored_size,
        written.size,
        len(written.carriers),
    )
    _read_back(folder)
    done = Exported(
        artifacts=chosen.artifacts,
        bundle=written,
        key=key,
        left_out=chosen.left_out,
        warnings=warnings,
    )
    if written.unchanged:
        return done
    bundle = Bundle(
        index=written.index_digest,
        direction=Direction.EXPORTED,
        serial=serial,
        publisher=key.fingerprint,
        layout=written.layout,
        location=str(folder),
        artifacts=tuple(artifact.digest for artifact in chosen.artifacts),
    )
    event = Event(
        verb="export",
        subject=str(written.index_digest),
        details={
            "artifacts": " ".join(artifact.label for artifact in chosen.artifacts),
            "serial": str(serial),
            "signer": key.fingerprint,
            "folder": str(folder),
        },
    )
    vault.catalog.record_bundle(bundle, event=event)
    return done


def _read_back(folder: Path) -> None:
    """Open what was written as an importer would: some media lose what they confirmed."""
    try:
        unverified = open_bundle(folder)
        unverified.verify(IntegrityVerifier(unverified.publisher)).check_carriers()
    except (NotFound, Corruption, TrustError) as error:
        raise MediumVanished(
            f"{folder}: the medium did not keep what was written: {error}",
            hint="use another medium or file system, and export again",
        ) from error
