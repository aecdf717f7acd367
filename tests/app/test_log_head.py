"""``history --head`` and ``--verify``: a cut end shows against a head that was kept."""

import base64
import datetime as dt
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modelvault.app.keys import own_key, trust_key
from modelvault.app.log_head import SUBJECT, LogHead, log_head, verify_log
from modelvault.app.vault import Vault
from modelvault.catalog.values import ChainHead, Event
from modelvault.core.digest import Digest
from modelvault.errors import (
    BadOption,
    BadSignature,
    CatalogDamaged,
    MalformedRecord,
    UnsupportedVersion,
)
from modelvault.trust.keys import parse_public_key
from modelvault.trust.policy import IntegrityVerifier
from tests.support.command import Site

pytestmark = pytest.mark.memory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a vault with a log of three events, the making of its key the first."""
    with Vault.open(tmp_path / "vault", create=True) as vault:
        own_key(vault, create=True)
        for number in range(2):
            vault.catalog.record(Event(verb="note", subject=str(number), details={}))
    return tmp_path / "vault"


def keep(root: Path, path: Path, **changes: Any) -> Path:
    """Write the head of a vault's log to a file, as ``--json`` prints it."""
    with Vault.open(root) as vault:
        found = log_head(vault)
    value = {
        "payload": found.head.encode().decode(),
        "envelope": found.envelope.decode() if found.envelope else None,
        **changes,
    }
    path.write_text(json.dumps(value, indent=2))
    return path


def cut(root: Path, sequence: int) -> None:
    """Remove the events after one, as the owner of the database can."""
    with closing(sqlite3.connect(root / "catalog.db")) as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("DELETE FROM events WHERE sequence > ?", (sequence,))
        database.commit()


def test_head_is_the_last_event_signed_by_the_vaults_key(root: Path) -> None:
    """Anybody with the public key can check it, years later."""
    with Vault.open(root) as vault:
        found = log_head(vault)
        key = own_key(vault, create=False)
        last = list(vault.catalog.history())[-1]
    assert (found.head.head.sequence, found.head.head.hash) == (3, last.hash)
    assert found.head.time == last.time
    assert found.signer == key.fingerprint
    assert found.envelope is not None
    assert found.signature is not None
    verdict = IntegrityVerifier(key.public_key).verify(SUBJECT, found.head.encode(), found.envelope)
    assert verdict.signers == (key.fingerprint,)
    assert parse_public_key(key.public_key).verifies(found.signature, _signed_bytes(found.envelope))


def _signed_bytes(envelope: bytes) -> bytes:
    value = json.loads(envelope)
    payload = base64.b64decode(value["payload"])
    kind = value["payloadType"].encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def test_documented_head_is_written_as_it_stands() -> None:
    """The example of the format, byte for byte."""
    page = (Path(__file__).parents[2] / "docs/formats/catalog.md").read_text("utf-8")
    (printed,) = (line for line in page.splitlines() if 'modelvault/log-head/v1","' in line)
    head = LogHead(
        vault="d53057065acfb8ed504f6773e12b2c73",
        head=ChainHead(
            sequence=1,
            hash=Digest("158431b936dfc5cf1cd07369c5cbc4087b7b794491f7ae85ebe411afb93fcad3"),
        ),
        time=dt.datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC),
    )
    assert head.encode().decode() == printed


def test_vault_without_a_key_prints_its_head_all_the_same(tmp_path: Path) -> None:
    """Kept on paper it is as good; that it is not signed is said. An empty log has one, too."""
    with Vault.open(tmp_path / "vault", create=True) as vault:
        found = log_head(vault)
        assert (found.head.head.sequence, found.head.time) == (0, None)
        assert (found.signer, found.envelope) == (None, None)
        assert "no key" in found.warnings[0]
    kept = keep(tmp_path / "vault", tmp_path / "head.json")
    with Vault.open(tmp_path / "vault") as vault:
        checked = verify_log(vault, kept)
        assert checked.signer is None
        assert "without a signature" in checked.warnings[0]


def test_log_that_went_on_contains_its_former_head(tmp_path: Path, root: Path) -> None:
    """What came after changes nothing about what was kept."""
    kept = keep(root, tmp_path / "head.json")
    with Vault.open(root) as vault:
        vault.catalog.record(Event(verb="note", subject="later", details={}))
        checked = verify_log(vault, kept)
        assert checked.events == 4
        assert checked.against is not None
        assert checked.against.head.sequence == 3
        assert checked.signer == own_key(vault, create=False).fingerprint
        assert checked.warnings == ()


def test_attack_cut_end_shows_against_a_kept_head_and_not_without(
    tmp_path: Path, root: Path
) -> None:
    """A shorter chain is a sound chain: only what was kept elsewhere tells."""
    kept = keep(root, tmp_path / "head.json")
    cut(root, 2)
    with Vault.open(root) as vault:
        assert verify_log(vault, None).events == 2
        with pytest.raises(CatalogDamaged, match="cut short or rewritten"):
            verify_log(vault, kept)


def test_attack_log_that_was_written_anew_shows(tmp_path: Path, root: Path) -> None:
    """As long as before and sound in itself, it is another one."""
    kept = keep(root, tmp_path / "head.json")
    cut(root, 1)
    with Vault.open(root) as vault:
        for number in range(2):
            vault.catalog.record(Event(verb="note", subject=f"other {number}", details={}))
        assert verify_log(vault, None).events == 3
        with pytest.raises(CatalogDamaged, match="does not contain event 3"):
            verify_log(vault, kept)


def test_attack_altered_middle_shows_without_a_head(root: Path) -> None:
    """The chain alone tells that."""
    with closing(sqlite3.connect(root / "catalog.db")) as database:
        for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE events SET subject = 'other' WHERE sequence = 2")
        database.commit()
    with Vault.open(root) as vault:
        with pytest.raises(CatalogDamaged, match="event 2"):
            verify_log(vault, None)
        with pytest.raises(CatalogDamaged, match="event 2"):
            log_head(vault)


def test_attack_altered_head_is_told_from_one_of_a_stranger(tmp_path: Path, root: Path) -> None:
    """By a known key it is refused; by an unknown one it is worth what the paper is worth."""
    with Vault.open(root) as vault:
        head = log_head(vault).head
    earlier = LogHead(vault=head.vault, head=head.head, time=None)
    altered = keep(root, tmp_path / "altered.json", payload=earlier.encode().decode())
    with Vault.open(tmp_path / "other", create=True) as vault:
        stranger = own_key(vault, create=True)
        key, _ = vault.keystore.signing_key()
        envelope = key.sign(SUBJECT, head.encode()).decode()
    strange = keep(root, tmp_path / "strange.json", envelope=envelope)
    (tmp_path / "stranger.pem").write_bytes(stranger.public_key)
    with Vault.open(root) as vault:
        with pytest.raises(BadSignature):
            verify_log(vault, altered)
        checked = verify_log(vault, strange)
        assert checked.signer is None
        assert "no key that this vault knows" in checked.warnings[0]
        trust_key(
            vault,
            tmp_path / "stranger.pem",
            label="auditor",
            fingerprint=None,
            confirm=lambda _: True,
        )
        assert verify_log(vault, strange).signer == stranger.fingerprint


def test_head_of_another_vault_is_refused(tmp_path: Path, root: Path) -> None:
    """It says nothing about this one."""
    with Vault.open(tmp_path / "other", create=True) as vault:
        own_key(vault, create=True)
    kept = keep(tmp_path / "other", tmp_path / "head.json")
    with Vault.open(root) as vault, pytest.raises(BadOption, match="another vault's log"):
        verify_log(vault, kept)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedRecord),
        (b"{", MalformedRecord),
        (b"[]", MalformedRecord),
        (b'{"payload":7}', MalformedRecord),
        (b'{"payload":"{}"}', MalformedRecord),
        (b'{"payload":"{\\"_type\\":\\"modelvault/log-head/v9\\"}"}', UnsupportedVersion),
        (b"[" * 100_000, MalformedRecord),
        (b" " * (1024 * 1024 + 1), MalformedRecord),
    ],
)
def test_file_that_holds_no_head_is_refused(
    tmp_path: Path, root: Path, data: bytes, error: type[Exception]
) -> None:
    """Named, with a status, and no traceback."""
    (tmp_path / "head.json").write_bytes(data)
    with Vault.open(root) as vault, pytest.raises(error):
        verify_log(vault, tmp_path / "head.json")
    with Vault.open(root) as vault, pytest.raises(BadOption, match="no such file"):
        verify_log(vault, tmp_path / "absent.json")


def test_commands_print_and_verify(tmp_path: Path) -> None:
    """Signed for programs and people, redirected to a file, and held against the log."""
    site = Site(tmp_path / "site")
    key = site.run("key", "generate", "--json").ok().document["fingerprint"]
    printed = site.run("history", "--head", "--json").ok()
    assert printed.document["sequence"] == 1
    assert printed.document["fingerprint"] == key
    (tmp_path / "head.json").write_text(printed.stdout)
    lines = site.run("history", "--head").ok().stdout
    assert f"hash       {printed.document['hash']}" in lines
    assert f"signed     {key}" in lines
    assert "signature  M" in lines
    checked = site.run("history", "--verify", "--against", tmp_path / "head.json").ok().stdout
    assert "1 event: the chain holds" in checked
    assert f"event 1 is as it was kept, signed by {key}" in checked
    assert site.run("history", "--verify", "--json").ok().document["event_count"] == 1
    for wrong in (["--head", "--verify"], ["--head", "acme/tiny"], ["--verify", "acme/tiny"]):
        assert site.run("history", *wrong).status == 2
    cut(site.vault, 0)
    assert site.run("history", "--verify", "--against", tmp_path / "head.json").status == 4
