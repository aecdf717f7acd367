"""Serials of bundles: which one comes next, and whether one that arrives is an older one.

What a key has signed before is known from two places, the log of the catalogue and
``keys/serials.json``. The higher of both counts, for each trusted signer of a bundle. See
``docs/adr/0021-serials-of-keys.md``.
"""

import datetime as dt
import logging
from pathlib import Path

from modelvault.app.keys import OwnKey
from modelvault.app.vault import Vault
from modelvault.bundle.format.parsing import latest_serial
from modelvault.bundle.read.bundle import VerifiedBundle, open_bundle
from modelvault.core.digest import Digest
from modelvault.errors import (
    BadDigest,
    BadOption,
    BundleExpired,
    Corruption,
    NotFound,
    OlderBundle,
    TrustError,
    UnsupportedVersion,
    WrongClock,
)
from modelvault.trust.policy import IntegrityVerifier
from modelvault.trust.serials import Received, SerialFile

_log = logging.getLogger(__name__)

SIGNED = "bundle sign"
"""Verb under which the log has bundles of others that this vault's key has signed."""

_LONGEST_REASON = 500
_SLACK = dt.timedelta(days=1)
"""How far clocks of two honest hosts may differ before it is said."""
_FUTURE = dt.timedelta(days=366)
"""How far ahead of this host's clock a bundle may be made before it is refused."""


def rfc3339(time: dt.datetime) -> str:
    """Return a time as bundles spell it: in UTC, with whole seconds."""
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_reason(reason: str | None) -> str | None:
    """Return why an older bundle is taken, as the log will have it; None where none is.

    Raises:
        BadOption: Nothing, too much, or nothing that can be printed.
    """
    if reason is None:
        return None
    stripped = reason.strip()
    if not stripped or len(stripped) > _LONGEST_REASON or not stripped.isprintable():
        raise BadOption(
            f"--allow-older takes a reason of 1 to {_LONGEST_REASON} printable characters",
            hint='such as --allow-older "the newer release is broken, ticket 1234"',
        )
    return stripped


def serial_file(vault: Vault) -> SerialFile:
    """Return where the vault notes serials beside its catalogue."""
    return SerialFile(vault.store.paths.keys)


def clock_warnings(vault: Vault, now: dt.datetime) -> tuple[str, ...]:
    """Return what is to be said of this host's clock, one sentence each."""
    last = vault.catalog.last_time()
    if last is None or now >= last:
        return ()
    behind = f"this host's clock says {rfc3339(now)}, and the vault's log ends at {rfc3339(last)}"
    return (f"{behind}: the clock runs behind, or ran ahead before",)


def next_serial(vault: Vault, key: OwnKey, folder: Path, now: dt.datetime) -> int:
    """Return the serial of the next bundle: higher than any that is known of this key.

    Where none is known, and the key was not made in this vault, it may have signed bundles
    elsewhere. Its serials then go on from the time in seconds: former ones are below it,
    unless a bundle was made each second.

    Args:
        vault: The exporting vault.
        key: Its signing key.
        folder: Of the medium, where a bundle may stand.
        now: The time of the export.

    Raises:
        WrongClock: A serial that high cannot be of this time: the clock is behind.
        MalformedRecord: ``keys/serials.json`` is damaged.
    """
    known = max(highest_serial(vault, key.fingerprint), _standing_serial(folder, key))
    serial = known + 1 if known or _made_here(vault, key) else int(now.timestamp())
    if serial > latest_serial(rfc3339(now)):
        raise WrongClock(
            f"this host's clock says {rfc3339(now)}, and a bundle before this one was later",
            hint="set the clock, then export again",
        )
    return serial


def highest_serial(vault: Vault, fingerprint: str) -> int:
    """Return the highest serial of the bundles that bear a key's signature, as known here.

    Args:
        vault: Whose file and log are asked.
        fingerprint: Of the key.

    Returns:
        0 where there is none.

    Raises:
        MalformedRecord: ``keys/serials.json`` is damaged.
    """
    serials = serial_file(vault).read()
    received = serials.imported.get(fingerprint)
    return max(
        serials.exported.get(fingerprint, 0),
        received.serial if received else 0,
        vault.catalog.last_serial(fingerprint),
        *(
            int(event.details["serial"])
            for event in vault.catalog.history(verb=SIGNED)
            if event.details.get("signer") == fingerprint
            and event.details.get("serial", "").isdecimal()
        ),
    )


def _standing_serial(folder: Path, key: OwnKey) -> int:
    """Return the serial of the bundle on the medium, if this key signed it; else 0."""
    try:
        bundle = open_bundle(folder).verify(IntegrityVerifier(key.public_key))
    except (NotFound, Corruption, TrustError, UnsupportedVersion):
        return 0
    return bundle.index.serial


def _made_here(vault: Vault, key: OwnKey) -> bool:
    return key.created or any(
        event.subject == key.fingerprint for event in vault.catalog.history(verb="key generate")
    )


def note_exported(vault: Vault, fingerprint: str, serial: int) -> None:
    """Note a serial as used, before the bundle that bears it can be read by anyone."""
    file = serial_file(vault)
    with file.lock():
        file.write(file.read().with_exported(fingerprint, serial))


def note_imported(vault: Vault, bundle: VerifiedBundle) -> None:
    """Note a bundle for each of its trusted signers; the caller holds the file's lock."""
    file = serial_file(vault)
    received = Received(serial=bundle.index.serial, index=bundle.index_digest)
    file.write(file.read().with_imported(bundle.verdict.trusted, received))


def refuse_expired(bundle: VerifiedBundle) -> None:
    """Refuse a bundle whose publisher has set it an end that has passed.

    Raises:
        BundleExpired: As said.
    """
    expires = bundle.index.expires
    if expires is None:
        return
    if dt.datetime.fromisoformat(expires) <= dt.datetime.now(dt.UTC):
        raise BundleExpired(
            f"the bundle expired on {expires}",
            hint="ask the publisher for a fresh export, and check this host's clock",
        )


def judge_age(
    vault: Vault, bundle: VerifiedBundle, now: dt.datetime, *, allow_older: str | None
) -> tuple[str, ...]:
    """Refuse a bundle that is older than another of one of its signers, or of no real time.

    Args:
        vault: Where it is to go.
        bundle: Signed by trusted keys.
        now: This host's time.
        allow_older: Why an older one is taken all the same; None to refuse it.

    Returns:
        What the user should know, one sentence each.

    Raises:
        OlderBundle: It is, and no reason was given.
        WrongClock: It was made far in the future.
        MalformedRecord: ``keys/serials.json`` is damaged.
    """
    warnings = [*clock_warnings(vault, now), *_ahead(bundle, now)]
    older = _older_than(vault, bundle)
    if older and allow_older is None:
        raise OlderBundle(
            f"{bundle.folder}: not newer than what its signer sent before:"
            f" serial {bundle.index.serial}, of {bundle.index.created}",
            hint='ask for a fresh export; or, to go back on purpose: --allow-older "REASON"',
            issues=older,
        )
    warnings += [f"this bundle is older: {item}" for item in older]
    return tuple(warnings)


def _ahead(bundle: VerifiedBundle, now: dt.datetime) -> list[str]:
    created = dt.datetime.fromisoformat(bundle.index.created)
    if created <= now + _SLACK:
        return []
    sentence = f"the bundle was made on {bundle.index.created}, this host's clock says " + rfc3339(
        now
    )
    if created > now + _FUTURE:
        raise WrongClock(
            f"{bundle.folder}: {sentence}",
            hint="set this host's clock; if it is right, ask for a fresh export",
        )
    return [f"{sentence}: one of the two clocks is wrong"]


def _older_than(vault: Vault, bundle: VerifiedBundle) -> list[str]:
    """Return for which signers a bundle is an older one, one sentence each.

    Another bundle with the serial of the last one is an older one, too: which of both came
    first nobody can tell.
    """
    known = _received(vault)
    older: list[str] = []
    for signer in bundle.verdict.trusted:
        last = known.get(signer)
        if last is None or bundle.index.serial > last.serial or bundle.index_digest == last.index:
            continue
        older.append(
            f"{signer}: serial {bundle.index.serial}, after serial {last.serial}"
            f" (index {last.index.short})"
        )
    return older


def _received(vault: Vault) -> dict[str, Received]:
    """Return the newest bundle of each signer, by file and log."""
    known = serial_file(vault).read()
    for event in vault.catalog.history(verb="import"):
        serial = event.details.get("serial", "")
        if "artifact" in event.details or not serial.isdecimal():
            continue
        try:
            index = Digest.parse(event.subject)
        except BadDigest:
            continue
        signers = event.details.get("signers", "").split()
        known = known.with_imported(signers, Received(serial=int(serial), index=index))
    return dict(known.imported)
