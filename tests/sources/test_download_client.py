"""How requests travel: who sees the token, which way they go, whom they believe."""

import base64
import datetime as dt
import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from modelvault.core.digest import Digest
from modelvault.errors import BadConfiguration, DownloadFailed, SourceError, SourceUnreachable
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.hub.home import HubHome
from modelvault.store.blobs import Store
from tests.support.downloads import content_of, downloader, publish
from tests.support.hub.hub import LoopbackHub
from tests.support.webserver import Server, reply, send_range

MODEL = bytes(range(256)) * 2000
TOKEN = "hf_very_secret"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def described(url: str, data: bytes = MODEL) -> RemoteFile:
    """Return a file of these bytes at a URL."""
    return RemoteFile(
        path="m",
        size=len(data),
        url=url,
        checksum=Digest.of(data),
        home=HubHome(commit="c" * 40),
    )


def send_model(exchange: Any) -> None:
    """Answer with the range of the model that was asked for, or with all of it."""
    send_range(exchange, MODEL)


@pytest.mark.parametrize("segment", [64 * 1024, 1024 * 1024], ids=["segments", "one request"])
def test_attack_redirect_to_another_origin_never_sees_the_token(store: Store, segment: int) -> None:
    """Neither on the way out nor on the way back through another origin."""
    with (
        Server(send_model) as cdn,
        Server(lambda exchange: reply(exchange, 302, Location=f"{cdn.url}/blob?sig=1")) as hub,
    ):
        digest = downloader(store, token=TOKEN, segment=segment).fetch(described(f"{hub.url}/m"))
    assert content_of(store, digest) == MODEL
    assert all(headers.get("authorization") == f"Bearer {TOKEN}" for _, _, headers in hub.seen)
    assert cdn.seen
    assert all("authorization" not in headers for _, _, headers in cdn.seen)
    assert all(TOKEN not in str(request) for request in cdn.seen)


def test_attack_same_host_on_another_port_never_sees_the_token(store: Store) -> None:
    """An origin is scheme, host and port; all of them."""
    with LoopbackHub() as hub:
        token = hub.grant(TOKEN, "acme/tiny")
        file = publish(hub, {"model.safetensors": MODEL}, private=True)["model.safetensors"]
        downloader(store, token=token).fetch(file)
        assert not any(request.authorized for request in hub.journal.requests(origin="cdn"))
        assert all(request.authorized for request in hub.journal.requests(origin="hub"))


def test_attack_endless_redirect_ends(store: Store) -> None:
    """A hub that sends us round in circles is an error, and soon."""
    with (
        Server(lambda exchange: reply(exchange, 302, Location="/again")) as hub,
        pytest.raises(SourceError, match="redirects"),
    ):
        downloader(store).fetch(described(f"{hub.url}/m"))
    assert len(hub.seen) < 12


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://h/", "http://", "http://[/"])
def test_attack_redirect_to_another_scheme_is_refused(store: Store, target: str) -> None:
    """Only HTTP is spoken."""
    with (
        Server(lambda exchange: reply(exchange, 302, Location=target)) as hub,
        pytest.raises(SourceError),
    ):
        downloader(store, limits={"attempts": 1}).fetch(described(f"{hub.url}/m"))


def test_attack_error_message_does_not_repeat_the_signature(store: Store) -> None:
    """Who reads a log must not be able to fetch the file."""
    with (
        Server(lambda exchange: reply(exchange, 500)) as cdn,
        Server(lambda exchange: reply(exchange, 302, Location=f"{cdn.url}/b?sig=secret")) as hub,
        pytest.raises(DownloadFailed) as caught,
    ):
        downloader(store, token=TOKEN, limits={"attempts": 1}).fetch(described(f"{hub.url}/m"))
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__


def test_encoded_answer_is_decoded_or_fetched_whole(store: Store) -> None:
    """A server that compresses although nobody asked for it still gives the right bytes."""
    packed = gzip.compress(MODEL)

    def answer(exchange: Any) -> None:
        reply(exchange, 200, packed, Content_Encoding="gzip")

    with Server(answer) as hub:
        digest = downloader(store).fetch(described(f"{hub.url}/m"))
    assert content_of(store, digest) == MODEL


def test_attack_compressed_bomb_is_cut_off(store: Store) -> None:
    """What unfolds beyond the declared size is neither kept nor waited for."""
    bomb = gzip.compress(bytes(50_000_000))

    def answer(exchange: Any) -> None:
        reply(exchange, 200, bomb, Content_Encoding="gzip")

    data = bytes(100_000)
    with Server(answer) as hub:
        digest = downloader(store).fetch(described(f"{hub.url}/m", data))
    assert content_of(store, digest) == data


def test_attack_dripping_headers_are_cut(store: Store) -> None:
    """Headers that never end hold a connection no longer than a stalled body does."""
    calls = []

    def answer(exchange: Any) -> None:
        calls.append(exchange.path)
        if len(calls) > 1:
            send_range(exchange, MODEL)
            return
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100):
            exchange.wfile.write(b"X-%d: y\r\n" % number)
            time.sleep(0.1)

    limits = {"stall_window": 0.5, "stall_bytes": 1000}
    with Server(answer) as hub:
        digest = downloader(store, segment=1 << 20, connections=1, limits=limits).fetch(
            described(f"{hub.url}/m")
        )
    assert content_of(store, digest) == MODEL
    assert len(calls) > 1


# -- proxies


def relay(exchange: Any) -> None:
    """Be a proxy: forward an absolute URL, or join two sockets after CONNECT."""
    if exchange.command == "CONNECT":
        host, _, port = exchange.path.rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            exchange.send_response(200)
            exchange.end_headers()
            threading.Thread(target=_copy, args=(exchange.connection, far), daemon=True).start()
            _copy(far, exchange.connection)
        exchange.close_connection = True
        return
    send_range(exchange, MODEL)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass


def test_proxy_of_the_environment_is_used_with_its_password(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything goes through it, and it alone sees its credentials."""
    with Server(relay) as proxy:
        address = proxy.url.replace("http://", "http://user:p%40ss@")
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("http_proxy", address)
        file = described("http://hub.invalid/acme/m")
        assert content_of(store, downloader(store, token=TOKEN).fetch(file)) == MODEL
    expected = "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert all(path == file.url for _, path, _ in proxy.seen)
    assert all(headers["proxy-authorization"] == expected for _, _, headers in proxy.seen)


def test_no_proxy_goes_directly(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """``NO_PROXY`` is heeded."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(send_model) as hub:
        digest = downloader(store).fetch(described(f"{hub.url}/m"))
    assert content_of(store, digest) == MODEL


def test_dead_proxy_is_named_as_the_culprit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the Hub is to blame."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(SourceUnreachable, match="proxy") as caught:
        downloader(store, limits={"attempts": 1}).fetch(described("http://hub.invalid/m"))
    assert "proxy" in caught.value.hint


def test_proxy_of_an_unknown_kind_is_bad_configuration(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SOCKS is not spoken; the message hides the password."""
    monkeypatch.setenv("http_proxy", "socks5://user:secret@127.0.0.1:9")
    with pytest.raises(BadConfiguration, match=r"socks5://127\.0\.0\.1:9") as caught:
        downloader(store).fetch(described("http://hub.invalid/m"))
    assert "secret" not in str(caught.value)


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls_hub(certificate: Path) -> Iterator[Server]:
    """Return a server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Server(send_model, context) as server:
        yield server


def test_certificate_file_of_the_environment_is_trusted(
    store: Store, tls_hub: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SSL_CERT_FILE`` is heeded, and records of TLS are put together again."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    digest = downloader(store).fetch(described(f"{tls_hub.url}/m"))
    assert content_of(store, digest) == MODEL


def test_attack_unknown_certificate_is_refused_at_once(store: Store, tls_hub: Server) -> None:
    """No second attempt, no way around."""
    with pytest.raises(SourceUnreachable, match="certificate") as caught:
        downloader(store, token=TOKEN).fetch(described(f"{tls_hub.url}/m"))
    assert "SSL_CERT_FILE" in caught.value.hint
    assert tls_hub.seen == []


def test_tunnel_through_a_proxy_carries_tls(
    store: Store, tls_hub: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONNECT, with the proxy's password; the proxy never sees the token."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Server(relay) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("http://", "http://user:pass@"))
        digest = downloader(store, token=TOKEN).fetch(described(f"{tls_hub.url}/m"))
    assert content_of(store, digest) == MODEL
    assert {command for command, _, _ in proxy.seen} == {"CONNECT"}
    assert all("proxy-authorization" in headers for _, _, headers in proxy.seen)
    assert all("authorization" not in headers for _, _, headers in proxy.seen)


def test_attack_downgrade_from_tls_is_refused(
    store: Store, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect from https to http would show the bytes, and the request, to anybody."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with (
        Server(send_model) as plain,
        Server(lambda exchange: reply(exchange, 302, Location=plain.url), context) as hub,
        pytest.raises(SourceError, match="https to"),
    ):
        downloader(store).fetch(described(f"{hub.url}/m"))
    assert plain.seen == []


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_certificates_that_cannot_be_read_are_bad_configuration(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Said at once, with the variable's name, not at the first connection."""
    monkeypatch.setenv(name, str(tmp_path / "missing.pem"))
    with pytest.raises(BadConfiguration, match=f"{name}.*missing.pem"):
        downloader(store).fetch(described("https://hub.invalid/m"))


def test_system_without_certificates_is_bad_configuration(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint says how to name some."""
    monkeypatch.setattr(ssl, "create_default_context", _fail)
    with pytest.raises(BadConfiguration, match="certificates") as caught:
        downloader(store).fetch(described("https://hub.invalid/m"))
    assert "--ca-bundle" in caught.value.hint


def _fail(*_: object) -> ssl.SSLContext:
    raise FileNotFoundError("no such file")
