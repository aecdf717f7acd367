"""``modelvault pull`` where operators are: behind proxies and private certificates."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Outcome, Site
from tests.support.hub.faults import Fault, Kind
from tests.support.hub.hub import LoopbackHub
from tests.support.needs import require
from tests.support.proxy import Proxy
from tests.support.tls import Authority

TOKEN = "hf_kJ4sQpLmX2vN8wRt"
LOGIN = "clerk:p@ss word"
ENCODED = "clerk:p%40ss%20word"
WEIGHTS = bytes(range(256)) * 1200


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority that signed the hub's certificate."""
    return Authority(tmp_path_factory.mktemp("authority"), "private-ca")


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority of a proxy that reads along."""
    return Authority(tmp_path_factory.mktemp("inspector"), "inspector-ca")


@pytest.fixture
def hub(authority: Authority) -> Iterator[LoopbackHub]:
    """Return a hub that speaks https, with a model that only ``TOKEN`` may read."""
    with LoopbackHub(tls=authority.server_context()) as hub:
        hub.add(
            "acme/tiny",
            {"config.json": b'{"model_type":"llama"}', "model.safetensors": WEIGHTS},
            private=True,
        )
        hub.grant(TOKEN, "acme/tiny")
        yield hub


def pull(hub: LoopbackHub, home: Path, *options: str | Path, **environment: str) -> Outcome:
    """Run the command in a fresh site, with the token."""
    site = Site(home, HF_TOKEN=TOKEN, **{"NO_PROXY": "", **environment})
    return site.run("pull", "acme/tiny", "--endpoint", hub.endpoint, *options)


def rehashed(authority: Authority, folder: Path) -> Path:
    """Return a folder of certificates as OpenSSL wants it."""
    try:
        found = subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", authority.file],
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        require("the openssl command")
    folder.mkdir()
    (folder / f"{found.stdout.strip()}.0").write_bytes(authority.file.read_bytes())
    return folder


@pytest.mark.parametrize("way", ["option", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_private_authority_is_believed_for_metadata_and_bytes(
    hub: LoopbackHub, authority: Authority, tmp_path: Path, way: str
) -> None:
    """The hub and the host of the bytes have certificates of the site's own authority."""
    file: str | Path = authority.file
    if way == "SSL_CERT_DIR":
        file = rehashed(authority, tmp_path / "certificates")
    if way == "option":
        pull(hub, tmp_path / "home", "--ca-bundle", file).ok()
    else:
        pull(hub, tmp_path / "home", **{way: str(file)}).ok()
    assert hub.journal.requests(origin="cdn")


def test_private_authority_may_stand_in_the_configuration(
    hub: LoopbackHub, authority: Authority, tmp_path: Path
) -> None:
    """So that nobody has to type it."""
    vault = tmp_path / "home" / ".modelvault"
    vault.mkdir(parents=True)
    (vault / "config.toml").write_text(f'[hub]\nca_bundle = "{authority.file}"\n')
    pull(hub, tmp_path / "home").ok()


def test_attack_hub_with_an_unknown_certificate_gets_no_request(
    hub: LoopbackHub, inspector: Authority, tmp_path: Path
) -> None:
    """Neither with the system's certificates nor with another authority's; told what to do."""
    cases: list[list[str | Path]] = [[], ["--ca-bundle", inspector.file]]
    for options in cases:
        outcome = pull(hub, tmp_path / "home", *options)
        assert outcome.status == 6
        assert "certificate" in outcome.stderr.lower()
        assert "hint: " in outcome.stderr
        assert "--ca-bundle" in outcome.stderr
    assert hub.journal.requests() == []


def test_attack_certificate_of_another_host_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    """Signed by the right authority, but for somebody else."""
    with LoopbackHub(tls=authority.server_context("other.example")) as hub:
        outcome = pull(hub, tmp_path / "home", "--ca-bundle", authority.file)
        assert hub.journal.requests() == []
    assert outcome.status == 6
    assert "certificate" in outcome.stderr.lower()


def test_certificate_file_that_is_missing_is_named(hub: LoopbackHub, tmp_path: Path) -> None:
    """Before anything is sent."""
    outcome = pull(hub, tmp_path / "home", "--ca-bundle", tmp_path / "missing.pem")
    assert outcome.status == 2
    assert "missing.pem" in outcome.stderr
    assert hub.journal.requests() == []


def test_proxy_with_a_password_is_gone_through_and_sees_no_token(
    hub: LoopbackHub, authority: Authority, tmp_path: Path
) -> None:
    """Metadata and bytes, each through its own tunnel."""
    with Proxy(login=LOGIN) as proxy:
        address = proxy.url(ENCODED)
        pull(hub, tmp_path / "home", "--ca-bundle", authority.file, HTTPS_PROXY=address).ok()
    reached = {target.rpartition(":")[2] for target in proxy.targets}
    assert reached == {url.rpartition(":")[2] for url in (hub.endpoint, hub.cdn)}
    assert not [line for line in proxy.headers if TOKEN in line]


@pytest.mark.parametrize("login", ["", "clerk:wrong"], ids=["no password", "wrong password"])
def test_proxy_that_refuses_the_password_is_named(
    hub: LoopbackHub, authority: Authority, tmp_path: Path, login: str
) -> None:
    """407 is told at once, with the way to write a password, and without repeating it."""
    with Proxy(login=LOGIN) as proxy:
        outcome = pull(
            hub,
            tmp_path / "home",
            "--ca-bundle",
            authority.file,
            HTTPS_PROXY=proxy.url(login),
        )
    assert outcome.status == 6
    assert "407" in outcome.stderr
    assert "USER:PASSWORD" in outcome.stderr
    assert "wrong" not in outcome.stderr
    assert len(proxy.targets) == 1
    assert hub.journal.requests() == []


def test_proxy_that_inspects_needs_its_own_authority(
    hub: LoopbackHub, authority: Authority, inspector: Authority, tmp_path: Path
) -> None:
    """Nothing is sent through it before its certificate is named."""
    with Proxy(inspector=inspector, upstream=authority.file) as proxy:
        environment = {"HTTPS_PROXY": proxy.url()}
        refused = pull(hub, tmp_path / "home", **environment)
        assert refused.status == 6
        assert "--ca-bundle" in refused.stderr
        assert not proxy.read
        pull(hub, tmp_path / "home", "--ca-bundle", inspector.file, **environment).ok()
    assert b"GET /acme/tiny/resolve/" in proxy.read


def _saying(outcome: Outcome) -> str:
    return outcome.stdout + outcome.stderr


def test_attack_search_of_everything_a_pull_leaves_finds_no_token(
    hub: LoopbackHub, authority: Authority, tmp_path: Path
) -> None:
    """Not in output, events, partials, journals, catalogue or any other file; not at the CDN."""
    home = tmp_path / "home"
    hub.faults.add(Fault(kind=Kind.STATUS, status=403, path="*.safetensors", times=None))
    with Proxy(login=LOGIN) as proxy:
        options: list[str | Path] = ["--ca-bundle", authority.file, "--verbose", "--json"]
        environment = {"HTTPS_PROXY": proxy.url(ENCODED), "HF_HUB_VERBOSITY": "debug"}
        failed = pull(hub, home, *options, **environment)
        assert failed.status == 6
        hub.faults.clear()
        hub.faults.add(Fault(kind=Kind.CUT, after=100_000, times=1))
        done = pull(hub, home, *options, **environment).ok()
        shown = Site(home, NO_PROXY="").run("show", "acme/tiny", "--json").ok()
    secrets = [TOKEN, "p@ss", "p%40ss"]
    for text in map(_saying, (failed, done, shown)):
        assert not [secret for secret in secrets if secret in text]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.name == "catalog.db" for path in files)
    for path in files:
        data = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in data], path
    assert not [request for request in hub.journal.requests(origin="cdn") if request.authorized]


def test_limited_pull_arrives(hub: LoopbackHub, authority: Authority, tmp_path: Path) -> None:
    """The option reaches the engine: what it cannot read is refused, what it can is obeyed."""
    options: list[str | Path] = ["--ca-bundle", authority.file, "--limit-rate"]
    refused = pull(hub, tmp_path / "home", *options, "fast")
    assert refused.status == 2
    assert "'fast' is not a rate" in refused.stderr
    began = time.monotonic()
    pull(hub, tmp_path / "home", *options, "200kB").ok()
    assert time.monotonic() - began > len(WEIGHTS) / 200_000 - 0.3  # slower never hurts
