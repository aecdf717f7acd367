"""Whom a site believes, how that came about, and what it refused: shown and logged."""

import os
from pathlib import Path
from typing import Any

import pytest

from modelvault.app.bundles import site_trust, verify_bundle
from modelvault.app.export import parse_expiry
from modelvault.catalog import values
from modelvault.catalog.values import Actor
from modelvault.core.ports import Silence
from modelvault.errors import BadOption, KeyNotFound, VaultNotFound
from tests.support.command import Site


class Sites:
    """A publisher with a bundle, and a closed site that has met nobody yet."""

    def __init__(self, folder: Path) -> None:
        """Pull and export.

        Args:
            folder: Where everything goes.
        """
        self.publisher = Site(folder / "publisher")
        self.medium = folder / "medium"
        model = folder / "model"
        model.mkdir()
        (model / "config.json").write_bytes(b"{}")
        self.publisher.run("pull", model, "--as", "acme/tiny").ok()
        self.publisher.run("export", "--bundle", self.medium, "--expires", "2099-12-31").ok()
        key = self.publisher.run("key", "list", "--json").ok().document
        self.fingerprint: str = key["fingerprint"]
        self.folder = folder

    def closed(self, name: str, **environment: str) -> Site:
        """Return a closed site of its own."""
        return Site(self.folder / name, **environment)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Sites:
    """Return the publisher, its medium, and closed sites."""
    return Sites(tmp_path_factory.mktemp("trust"))


def told(site: Site) -> list[dict[str, Any]]:
    """Return the events of a site."""
    document: list[dict[str, Any]] = site.run("history", "--json").ok().document
    return document


def test_history_says_how_a_fingerprint_was_compared(sites: Sites) -> None:
    """Given with the command, confirmed at a question, or not at all."""
    site = sites.closed("compared")
    medium = sites.medium
    site.run("trust", "add", medium, "--fingerprint", sites.fingerprint).ok()
    site.run("trust", "add", medium, "--yes").ok()
    with site.on_terminal("trust", "add", medium) as terminal:
        terminal.wait_until(lambda: "[y/N]" in terminal.written)
        terminal.type("y\n")
        assert terminal.finish() == 0
    events = told(site)
    assert [event["details"]["compared"] for event in events] == ["by --fingerprint", "no", "asked"]
    assert {event["details"]["from"] for event in events} == {str(medium)}


def test_refusals_stand_in_the_history(sites: Sites) -> None:
    """Another fingerprint, no confirmation, an unknown signer, altered bytes: who, what and why."""
    site, medium = sites.closed("refusals"), sites.medium
    other = "SHA256:" + "A" * 43
    assert site.run("trust", "add", medium, "--fingerprint", other).status == 5
    assert site.run("trust", "add", medium).status == 5
    assert site.run("import", medium).status == 5
    site.run("trust", "add", medium, "--fingerprint", sites.fingerprint).ok()
    altered = sites.folder / "altered"
    bundle = medium / "modelvault-bundle"
    for path in bundle.iterdir():
        target = altered / "modelvault-bundle" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes()
        target.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if path.name == "index.json" else data)
    assert site.run("import", altered).status == 5
    events = told(site)
    assert [(event["verb"], event["details"].get("error")) for event in events] == [
        ("trust add refused", "FingerprintMismatch"),
        ("trust add refused", "ConfirmationRequired"),
        ("import refused", "UnknownSigner"),
        ("trust add", None),
        ("import refused", "BadSignature"),
    ]
    assert events[0]["subject"] == str(medium)
    assert sites.fingerprint in events[0]["details"]["message"]
    assert len({event["actor"] for event in events}) == 1


def test_interrupt_at_the_question_trusts_nobody(sites: Sites) -> None:
    """Ctrl-C is no answer: status 130."""
    site = sites.closed("asked")
    with site.on_terminal("trust", "add", sites.medium) as terminal:
        terminal.wait_until(lambda: "[y/N]" in terminal.written)
        terminal.type("\x03")
        assert terminal.finish() == 130
    assert site.run("trust", "list", "--json").ok().document == []


def test_bundle_is_checked_by_whom_the_vault_trusts(sites: Sites) -> None:
    """The signer's name is shown, nothing is doubted, and the medium needs no key of its own."""
    site, medium = sites.closed("trusting"), sites.medium
    plain = site.run("bundle", "verify", medium, "--json").ok()
    assert plain.document["trusted"] is False
    assert "key on the medium itself" in plain.stderr
    site.run(
        "trust", "add", medium, "--fingerprint", sites.fingerprint, "--label", "Acme's release key"
    ).ok()
    for command in ("verify", "show"):
        done = site.run("bundle", command, medium).ok()
        assert f"{sites.fingerprint} (Acme's release key)" in done.stdout
        assert "warning" not in done.stderr
        assert site.run("bundle", command, medium, "--json").ok().document["trusted"] is True
    elsewhere = sites.closed("elsewhere")
    vault = ("--vault", site.vault)
    shown = elsewhere.run("bundle", "show", medium, *vault, "--json").ok().document
    assert shown["trusted"] is True


def test_bundle_by_a_stranger_is_refused_by_verify_and_shown_with_doubt(sites: Sites) -> None:
    """A vault that trusts somebody expects them; looking is free."""
    site, medium = sites.closed("strict"), sites.medium
    stranger = sites.closed("stranger")
    stranger.run("key", "generate").ok()
    stranger.run("key", "export", "--out", stranger.home / "key.pem").ok()
    site.run("trust", "add", stranger.home / "key.pem", "--yes").ok()
    refused = site.run("bundle", "verify", medium)
    assert refused.status == 5
    assert "[UnknownSigner]" in refused.stderr
    assert f"--fingerprint {sites.fingerprint}" in refused.stderr
    shown = site.run("bundle", "show", medium, "--json").ok()
    assert shown.document["trusted"] is False
    assert "not signed by a key that this vault trusts" in shown.stderr
    key = medium / "modelvault-bundle" / "publisher.pem"
    site.run("bundle", "verify", medium, "--key", key).ok()


def test_publisher_knows_its_own_bundle(sites: Sites) -> None:
    """On the connected side the vault's own key says who signed."""
    done = sites.publisher.run("bundle", "verify", sites.medium).ok()
    assert f"{sites.fingerprint} (this vault's own key)" in done.stdout
    assert done.stderr.count("warning") == 0


def test_vault_that_is_named_and_not_there_is_an_error(sites: Sites, tmp_path: Path) -> None:
    """The usual one need not be there."""
    with pytest.raises(VaultNotFound):
        site_trust(tmp_path / "nowhere")
    refused = sites.closed("nobody").run("bundle", "show", sites.medium, "--vault", "/nowhere")
    assert refused.status == 3


def test_damaged_keys_of_the_usual_vault_are_told_and_not_used(sites: Sites) -> None:
    """A stick can be checked all the same; a vault that is named has to be sound."""
    site = sites.closed("damaged")
    site.run("trust", "add", sites.medium, "--yes").ok()
    (path,) = (site.vault / "keys" / "trusted").iterdir()
    path.write_bytes(b"{}")
    done = site.run("bundle", "verify", sites.medium).ok()
    assert "the vault's keys are not used" in done.stderr
    assert site.run("bundle", "verify", sites.medium, "--vault", site.vault).status == 5


def test_medium_without_a_key_is_checked_by_the_vaults(sites: Sites, tmp_path: Path) -> None:
    """Whoever lost or left out the public key has lost nothing where it is trusted."""
    site = sites.closed("without-key")
    site.run("trust", "add", sites.medium, "--yes").ok()
    bundle = tmp_path / "modelvault-bundle"
    bundle.mkdir()
    for path in (sites.medium / "modelvault-bundle").iterdir():
        if path.name != "publisher.pem":
            (bundle / path.name).write_bytes(path.read_bytes())
    with pytest.raises(KeyNotFound):
        verify_bundle(tmp_path, None, Silence())
    trust = site_trust(site.vault)
    assert verify_bundle(tmp_path, None, Silence(), trust=trust).signers == (sites.fingerprint,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-31", "2027-01-31T23:59:59+00:00"),
        ("20270131", "2027-01-31T23:59:59+00:00"),
        ("2027-01-31T18:00:00", "2027-01-31T18:00:00+00:00"),
        ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00+00:00"),
        ("2027-01-31T18:00:00+09:00", "2027-01-31T18:00:00+09:00"),
    ],
)
def test_expiry_of_a_day_includes_the_day(text: str, expected: str) -> None:
    """A day is good to its end, a time to the second."""
    assert parse_expiry(text).isoformat() == expected


@pytest.mark.parametrize("text", ["", "tomorrow", "2027-02-30", "31.1.2027"])
def test_expiry_that_is_no_day_is_refused(text: str) -> None:
    """With how one is written."""
    with pytest.raises(BadOption, match="not a day or time") as caught:
        parse_expiry(text)
    assert "2027-01-31" in caught.value.hint


def test_bundle_shows_its_last_day(sites: Sites) -> None:
    """What was asked for is what importers go by."""
    shown = sites.publisher.run("bundle", "show", sites.medium, "--json").ok().document
    assert shown["expires_at"] == "2099-12-31T23:59:59Z"


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file in place of the kernel's record of who logged in; nobody did."""
    path = tmp_path / "loginuid"
    path.write_text("4294967295")
    monkeypatch.setattr(values, "_LOGIN_UID", path)
    for name in ("SUDO_USER", "DOAS_USER", "PKEXEC_UID"):
        monkeypatch.delenv(name, raising=False)
    return path


def test_actor_is_who_logged_in(login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not root, whom sudo has made of them; and the kernel is believed before any variable."""
    login.write_text("65534")
    monkeypatch.setenv("SUDO_USER", "eve")
    assert Actor.current().name == "nobody"
    login.write_text("4000000000")
    assert Actor.current().name == "uid 4000000000"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SUDO_USER", "alice", "alice"),
        ("DOAS_USER", "bob", "bob"),
        ("PKEXEC_UID", "65534", "nobody"),
    ],
)
def test_root_says_for_whom_it_acts(
    login: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    """Where the kernel keeps no login, as in a container; anybody else's variables say nothing."""
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Actor.current().name == expected
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Actor.current().name != expected


def test_actor_without_a_record_of_logins_is_the_account(login: Path) -> None:
    """A kernel without audit has no such file."""
    login.unlink()
    assert Actor.current().name
    login.write_text("nonsense")
    assert Actor.current().name
