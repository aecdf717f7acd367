"""``bundle sign``: a second person vouches for what they have looked into."""

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modelvault.app import bundles
from modelvault.app.export import ExportOptions, choose_artifacts, export
from modelvault.app.housekeeping import rebuild
from modelvault.app.keys import own_key, trust_key
from modelvault.app.pull import plan_pull, pull
from modelvault.app.sign import Signed, sign_bundle
from modelvault.app.vault import Vault
from modelvault.core.names import ModelName
from modelvault.core.ports import Silence
from modelvault.errors import (
    BadOption,
    BadSignature,
    BundleDamaged,
    BundleExpired,
    BundleNotFound,
    FingerprintMismatch,
    KeyNotFound,
    KeyUnusable,
    ModelVaultError,
    OlderBundle,
    ReadOnly,
    UnknownSigner,
    UnsupportedVersion,
)
from modelvault.sources.folder.source import FolderSource
from modelvault.store.paths import VaultPaths
from tests.support.bundles import noise
from tests.support.command import Site, closed_site
from tests.support.killpoints import kill_points
from tests.support.publishers import FILES, Publisher, recently, take, trusting

pytestmark = pytest.mark.memory


@pytest.fixture
def a(tmp_path: Path) -> Publisher:
    """Who has written the bundle."""
    return Publisher(root=tmp_path / "a")


@pytest.fixture
def second(tmp_path: Path, a: Publisher) -> Path:
    """The vault of a second person, which trusts the first and has a key of its own."""
    root = trusting(tmp_path / "second", a)
    with Vault.open(root) as vault:
        own_key(vault, create=True)
    return root


def sign(root: Path, *media: Path, **options: object) -> Signed:
    """Sign a bundle with a vault's key."""
    with Vault.open(root) as vault:
        return sign_bundle(vault, media, Silence(), **options)  # type: ignore[arg-type]


def fingerprint(root: Path) -> str:
    """Return that of a vault's own key."""
    with Vault.open(root) as vault:
        return own_key(vault, create=False).fingerprint


def demanding_two(tmp_path: Path, a: Publisher, second: Path) -> Path:
    """Return a closed vault that trusts both, and wants both."""
    root = trusting(tmp_path / "closed", a)
    (root / "config.toml").write_text("[trust]\nthreshold = 2\n")
    with Vault.open(root) as vault, Vault.open(second) as other:
        key = own_key(other, create=False)
        vault.keystore.trust(key.public_key, "second", None, when=dt.datetime.now(dt.UTC))
    return root


def written(medium: Path) -> dict[str, bytes]:
    """Return the files of the bundle on a medium."""
    folder = medium / "modelvault-bundle"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_second_signature_meets_a_threshold_of_two(
    tmp_path: Path, a: Publisher, second: Path
) -> None:
    """Refused with the command that helps, then signed, then taken."""
    medium = a.send(tmp_path / "medium", serial=1)
    closed = demanding_two(tmp_path, a, second)
    with pytest.raises(UnknownSigner) as caught:
        take(closed, medium)
    assert caught.value.hint.endswith(f"modelvault bundle sign {medium}")
    before = written(medium)
    done = sign(second, medium)
    assert done.new
    assert done.signers == tuple(sorted((a.fingerprint, fingerprint(second))))
    assert [str(item.model) for item in done.artifacts] == ["acme/tiny"]
    assert done.warnings == ()
    assert take(closed, medium).new
    changed = {name for name, data in written(medium).items() if before[name] != data}
    assert changed == {"index.sig", "publisher.pem"}


def test_hint_of_a_threshold_names_strangers_too(tmp_path: Path, a: Publisher) -> None:
    """Where one more trusted key would do, both ways out are told."""
    stranger = Publisher(root=tmp_path / "stranger")
    medium = a.send(tmp_path / "medium", serial=1, beside=stranger)
    closed = trusting(tmp_path / "closed", a)
    (closed / "config.toml").write_text("[trust]\nthreshold = 2\n")
    with pytest.raises(UnknownSigner) as caught:
        take(closed, medium)
    assert "modelvault bundle sign" in caught.value.hint
    assert f"--fingerprint {stranger.fingerprint}" in caught.value.hint


def test_signing_twice_changes_nothing(tmp_path: Path, a: Publisher, second: Path) -> None:
    """The key has signed already: said, and not a byte is written, on a read-only medium too."""
    medium = a.send(tmp_path / "medium", serial=1)
    sign(second, medium)
    before = written(medium)
    again = sign(second, medium)
    assert not again.new
    assert written(medium) == before
    with Vault.open(second) as vault:
        assert len(list(vault.catalog.history(verb="bundle sign"))) == 1


def test_both_keys_travel_and_are_told_apart(tmp_path: Path, a: Publisher, second: Path) -> None:
    """The medium carries both public keys; whoever wants one names it."""
    medium = a.send(tmp_path / "medium", serial=1)
    sign(second, medium)
    shown = bundles.show_bundle(medium)
    assert shown.signers == tuple(sorted((a.fingerprint, fingerprint(second))))
    with Vault.open(tmp_path / "closed", create=True) as vault:
        with pytest.raises(KeyUnusable):
            trust_key(vault, medium, label=None, fingerprint=None, confirm=lambda _: True)
        with pytest.raises(FingerprintMismatch):
            trust_key(vault, medium, label=None, fingerprint="0" * 64, confirm=None)
        for wanted in shown.signers:
            trusted = trust_key(vault, medium, label=None, fingerprint=wanted, confirm=None)
            assert trusted.fingerprint == wanted


@pytest.mark.parametrize("harm", ["flip", "shorten", "remove"])
def test_damaged_bundle_is_not_signed(
    tmp_path: Path, a: Publisher, second: Path, harm: str
) -> None:
    """Every byte is checked first; the damage is named, and the medium is as before."""
    medium = a.send(tmp_path / "medium", serial=1)
    volume = medium / "modelvault-bundle" / "volume-0001.mvb"
    data = bytearray(volume.read_bytes())
    if harm == "flip":
        data[-1] ^= 1
        volume.write_bytes(data)
    elif harm == "shorten":
        volume.write_bytes(data[:-1])
    else:
        volume.unlink()
    before = written(medium)
    with pytest.raises(BundleDamaged) as caught:
        sign(second, medium)
    assert "volume-0001.mvb" in caught.value.issues[0]
    assert written(medium) == before


def test_attack_altered_index_or_stripped_signature_is_not_signed(
    tmp_path: Path, a: Publisher, second: Path
) -> None:
    """What nobody has signed is not made signed."""
    medium = a.send(tmp_path / "medium", serial=1)
    index = medium / "modelvault-bundle" / "index.json"
    index.write_bytes(index.read_bytes().replace(b'"serial":1', b'"serial":2'))
    with pytest.raises(BadSignature):
        sign(second, medium)
    other = a.send(tmp_path / "other", serial=1)
    (other / "modelvault-bundle" / "index.sig").unlink()
    with pytest.raises(BadSignature):
        sign(second, other)


def test_what_is_no_bundle_or_a_newer_one_is_refused(
    tmp_path: Path, a: Publisher, second: Path
) -> None:
    """An empty folder has none; a layout of a later release asks for an update."""
    with pytest.raises(BundleNotFound):
        sign(second, tmp_path)
    medium = a.send(tmp_path / "medium", serial=1)
    bundle = medium / "modelvault-bundle"
    index = (bundle / "index.json").read_bytes().replace(b"bundle/v1", b"bundle/v9")
    (bundle / "index.json").write_bytes(index)
    (bundle / "index.sig").write_bytes(a.key.sign("index.json", index))
    with pytest.raises(UnsupportedVersion):
        sign(second, medium)


def test_expired_bundle_is_not_signed(tmp_path: Path, a: Publisher, second: Path) -> None:
    """Nobody could import it, whoever signs it."""
    medium = a.send(
        tmp_path / "medium", serial=1, created=recently(days=2), expires=recently(days=1)
    )
    with pytest.raises(BundleExpired):
        sign(second, medium)


def test_attack_strangers_bundle_is_not_signed(tmp_path: Path, second: Path) -> None:
    """A vault that trusts somebody does not vouch for whom it does not trust."""
    stranger = Publisher(root=tmp_path / "stranger")
    medium = stranger.send(tmp_path / "medium", serial=1)
    with pytest.raises(UnknownSigner) as caught:
        sign(second, medium)
    assert f"--fingerprint {stranger.fingerprint}" in caught.value.hint
    (tmp_path / "stranger.pem").write_bytes(stranger.key.public_key)
    assert sign(second, medium, publisher=tmp_path / "stranger.pem").new


def test_vault_that_trusts_nobody_is_told_what_was_not_checked(
    tmp_path: Path, a: Publisher
) -> None:
    """It goes by the medium's own key, makes its own at first use, and says both."""
    medium = a.send(tmp_path / "medium", serial=1)
    with Vault.open(tmp_path / "second", create=True):
        pass
    done = sign(tmp_path / "second", medium)
    assert done.key.created
    assert any("not who signed" in warning for warning in done.warnings)
    bare = a.send(tmp_path / "bare", serial=2)
    (bare / "modelvault-bundle" / "publisher.pem").unlink()
    with Vault.open(tmp_path / "third", create=True):
        pass
    with pytest.raises(KeyNotFound, match="no usable public key"):
        sign(tmp_path / "third", bare)


def test_no_key_is_made_for_a_bundle_that_is_refused(tmp_path: Path, a: Publisher) -> None:
    """A key that nobody needs would be one to keep safe."""
    medium = a.send(tmp_path / "medium", serial=1)
    (medium / "modelvault-bundle" / "volume-0001.mvb").unlink()
    with Vault.open(tmp_path / "second", create=True):
        pass
    with pytest.raises(BundleDamaged):
        sign(tmp_path / "second", medium)
    assert not (tmp_path / "second" / "keys" / "signing.pem").exists()


def test_damaged_public_keys_beside_a_bundle_are_written_anew(
    tmp_path: Path, a: Publisher, second: Path
) -> None:
    """They prove nothing, so they hinder nothing where the signer is trusted."""
    medium = a.send(tmp_path / "medium", serial=1)
    (medium / "modelvault-bundle" / "publisher.pem").write_bytes(b"not a key")
    assert sign(second, medium).new
    assert len(bundles.show_bundle(medium).signers) == 2


def test_older_bundle_of_a_signer_is_signed_for_a_reason_only(
    tmp_path: Path, a: Publisher, second: Path
) -> None:
    """Who knows a newer one does not vouch for the old one unawares; the log has the reason."""
    old = a.send(tmp_path / "old", serial=1)
    take(second, a.send(tmp_path / "new", serial=2))
    with pytest.raises(OlderBundle) as caught:
        sign(second, old)
    assert "--allow-older" in caught.value.hint
    assert sign(second, old, allow_older="ticket 12").new
    with Vault.open(second) as vault:
        (event,) = vault.catalog.history(verb="bundle sign")
    assert event.details["allow_older"] == "ticket 12"
    assert event.details["beside"] == a.fingerprint


def test_medium_that_cannot_be_written_is_told_before_it_is_read(
    tmp_path: Path, a: Publisher, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a whole disk to be read in vain."""
    medium = a.send(tmp_path / "medium", serial=1)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ReadOnly):
        sign(second, medium)


# -- the second signer's serials


def export_serial(root: Path, medium: Path) -> int:
    """Export everything; return the serial that stands on the medium."""
    with Vault.open(root) as vault:
        export(vault, choose_artifacts(vault, ()), medium, ExportOptions(), Silence())
    index = json.loads((medium / "modelvault-bundle" / "index.json").read_bytes())
    assert isinstance(index["serial"], int)
    return index["serial"]


def lose_catalog(root: Path) -> None:
    """Lose the database, and make it anew from the store."""
    for path in root.glob("catalog.db*"):
        path.unlink()
    with Vault.open(root) as vault:
        rebuild(vault)


def lose_file(root: Path) -> None:
    """Lose the file of serials."""
    (root / "keys" / "serials.json").unlink()


@pytest.mark.parametrize("lose", [lambda _: None, lose_catalog, lose_file])
def test_next_bundle_of_the_second_signer_is_newer(
    tmp_path: Path, a: Publisher, second: Path, model: Path, lose: Callable[[Path], None]
) -> None:
    """Its serial is above the one it has signed, by file and log together and by either alone."""
    medium = a.send(tmp_path / "medium", serial=50)
    sign(second, medium)
    source = FolderSource(model, ModelName.parse("acme/own"))
    plan = plan_pull(source, VaultPaths(second), include=(), exclude=())
    with Vault.open(second) as vault:
        pull(vault, plan, Silence())
    lose(second)
    assert export_serial(second, tmp_path / "own") == 51
    closed = demanding_two(tmp_path, a, second)
    take(closed, medium)
    (closed / "config.toml").write_text("[trust]\nthreshold = 1\n")
    assert take(closed, tmp_path / "own").new


def test_signer_who_is_ahead_is_told_who_will_refuse_the_bundle(
    tmp_path: Path, a: Publisher, second: Path
) -> None:
    """Sites that took a newer bundle of this key refuse one of a lower serial."""
    sign(second, a.send(tmp_path / "new", serial=9))
    with Vault.open(second) as vault:
        assert sign_bundle(vault, [tmp_path / "new"], Silence()).warnings == ()
    other = a.send(tmp_path / "old", a.make(FILES, name="acme/other"), serial=9)
    done = sign(second, other)
    assert any("serial 9" in warning for warning in done.warnings)


# -- sets of media


@pytest.fixture
def parted(tmp_path: Path, a: Publisher) -> tuple[Path, Path]:
    """Two media of one set: each has the index, and one of them the last volume."""
    files = {**FILES, "model.safetensors": noise(90_000)}
    whole = a.send(tmp_path / "whole", a.make(files), serial=1, volume_size=40_000)
    shutil.copytree(whole, tmp_path / "rest")
    last = max((whole / "modelvault-bundle").glob("*.mvb"))
    last.unlink()
    for volume in (tmp_path / "rest" / "modelvault-bundle").glob("*.mvb"):
        if volume.name != last.name:
            volume.unlink()
    return whole, tmp_path / "rest"


def test_every_medium_of_a_set_gets_the_signature(
    tmp_path: Path, a: Publisher, second: Path, parted: tuple[Path, Path]
) -> None:
    """The volumes are found where they are; brought together the bundle meets the threshold."""
    assert sign(second, *parted).new
    assert not sign(second, *parted).new
    assert written(parted[0])["index.sig"] == written(parted[1])["index.sig"]
    assert written(parted[0])["publisher.pem"] == written(parted[1])["publisher.pem"]
    for volume in (parted[1] / "modelvault-bundle").glob("*.mvb"):
        shutil.copy(volume, parted[0] / "modelvault-bundle")
    assert take(demanding_two(tmp_path, a, second), parted[0]).new


def test_medium_that_was_left_out_gets_the_signature_later(
    second: Path, parted: tuple[Path, Path]
) -> None:
    """A set that was interrupted between two media is completed by running it again."""
    sign(second, *parted)
    bundle = parted[1] / "modelvault-bundle"
    envelope = json.loads((bundle / "index.sig").read_bytes())
    envelope["signatures"] = envelope["signatures"][:1]
    (bundle / "index.sig").write_bytes(json.dumps(envelope).encode())
    assert sign(second, *parted).new
    assert not sign(second, *parted).new


def test_set_that_is_not_whole_or_not_one_is_refused(
    tmp_path: Path, a: Publisher, second: Path, parted: tuple[Path, Path]
) -> None:
    """A missing volume, a medium named twice, a volume in two places, another bundle."""
    one, two = parted
    other = a.send(tmp_path / "other", serial=2)
    refused: list[tuple[type[ModelVaultError], tuple[Path, ...]]] = [
        (BundleDamaged, (one,)),
        (BundleDamaged, (two,)),
        (BadOption, (one, one)),
        (BadOption, (one, one / "modelvault-bundle")),
        (BadOption, (one, other)),
    ]
    for error, media in refused:
        with pytest.raises(error):
            sign(second, *media)
    first = min((one / "modelvault-bundle").glob("*.mvb"))
    shutil.copy(first, two / "modelvault-bundle")
    with pytest.raises(BundleDamaged) as caught:
        sign(second, one, two)
    assert "stands in" in caught.value.issues[0]


# -- crashes, and the command line


def test_killed_signing_leaves_the_bundle_as_good_as_before(
    tmp_path: Path, a: Publisher, second: Path
) -> None:
    """Wherever it dies, the first signature holds, and the second run adds the other."""
    medium, base = tmp_path / "medium", a.send(tmp_path / "base", serial=1)
    shutil.copytree(base, medium)
    for _ in kill_points(lambda: sign(second, medium)):
        bundles.verify_bundle(medium, None, Silence())
        sign(second, medium)
        assert len(bundles.verify_bundle(medium, None, Silence()).signers) == 2
        shutil.rmtree(medium)
        shutil.copytree(base, medium)


def test_command_signs_and_says_what(tmp_path: Path, model: Path) -> None:
    """Two people, two vaults, and a closed side that wants both; the publisher goes on."""
    site, second = Site(tmp_path / "site"), Site(tmp_path / "second")
    closed, medium = closed_site(tmp_path / "closed"), tmp_path / "medium"
    site.run("pull", model, "--as", "acme/tiny").ok()
    site.run("export", "--bundle", medium).ok()
    assert second.run("bundle", "sign", medium).status == 3  # no vault, and none is made
    assert not second.vault.exists()
    key = second.run("key", "generate", "--json").ok().document["fingerprint"]
    said = second.run("bundle", "sign", medium).ok()
    assert "warning: this vault trusts no key" in said.stderr
    assert f"signed   {key} (this vault)" in said.stdout
    again = second.run("bundle", "sign", medium, "--json").ok().document
    assert again["new"] is False
    assert again["fingerprint"] == key
    assert "already" in second.run("bundle", "sign", medium).ok().stdout
    closed.run("key", "generate").ok()
    (closed.vault / "config.toml").write_text("[trust]\nthreshold = 2\n")
    for signer in again["signers"]:
        assert closed.run("import", medium).status == 5
        closed.run("trust", "add", medium, "--fingerprint", signer).ok()
    closed.run("import", medium).ok()
    assert site.run("export", "--bundle", medium, "--json").ok().document["unchanged"] is True
    assert "bundle sign" in second.run("history").ok().stdout
