"""The proxy's configuration: a real nginx before servers that remember what they were asked."""

import contextlib
import http.server
import itertools
import json
import queue
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from modelvault.errors import BadOption
from modelvault.serving.choices import Form, Server
from tests.support.nginx import Proxy, judge, lay_out, running
from tests.support.serving import HOSTILE, SERVERS, UNSPEAKABLE, main_file, settled, usual_model

CHAT = "/v1/chat/completions"


class Backend:
    """A server that answers everything, and remembers path and headers of each request."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.may_go_on: queue.Queue[None] = queue.Queue()
        self.gone = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if b'"stream"' in body:
                    self._stream(itertools.count() if b'"endless"' in body else range(4))
                else:
                    self._answer(body)

            def _answer(self, body: bytes) -> None:
                outer.asked.append((self.command, self.path, dict(self.headers)))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _stream(self, numbers: Iterable[int]) -> None:
                outer.asked.append((self.command, self.path, dict(self.headers)))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                try:
                    for number in numbers:
                        event = f"data: {number}\n\n".encode()
                        self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
                        self.wfile.flush()
                        outer.may_go_on.get(timeout=60)  # until the client has it
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:
                    outer.gone.set()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def __enter__(self) -> Self:
        """Serve."""
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A server behind the proxy."""
    with Backend() as backend:
        yield backend


@pytest.fixture
def proxy(backend: Backend, tmp_path: Path) -> Iterator[Proxy]:
    """The proxy of a vLLM, with limits that no test meets by accident."""
    upstream = (f"general=127.0.0.1:{backend.port}",)
    site = lay_out(tmp_path, Server.VLLM, upstream=upstream, rate=1000, burst=1000)
    with running(site) as proxy:
        yield proxy


@pytest.mark.parametrize("server", SERVERS)
def test_site_of_each_server_is_accepted_by_nginx(server: Server, tmp_path: Path) -> None:
    """``nginx -t`` finds neither a fault nor anything to warn of."""
    upstream = ("general=127.0.0.1:8001,127.0.0.1:8002", "korean=[::1]:8003", "fast=127.0.0.1:8004")
    said = judge(lay_out(tmp_path, server, upstream=upstream, clients=("127.0.0.0/8", "fd00::/8")))
    assert "[warn]" not in said
    assert "[emerg]" not in said


def test_two_sites_stand_side_by_side(tmp_path: Path) -> None:
    """No zone, variable or log format of one is the other's."""
    first = lay_out(tmp_path, Server.VLLM)
    other = main_file(Server.OLLAMA, Form.NGINX, usual_model(Server.OLLAMA, name="other:8b"),
                      certificate=str(tmp_path / "tls" / "authority-127.0.0.1.pem"),
                      certificate_key=str(tmp_path / "tls" / "authority-127.0.0.1.pem"),
                      keys=str(tmp_path / "keys"), server_name="other.internal")  # fmt: skip
    other = other.replace("/var/log/nginx/", f"{tmp_path}/log/")
    (tmp_path / "other.conf.site").write_text(other)
    assert "conflicting" not in judge(first)


def test_tokens_arrive_one_by_one(proxy: Proxy, backend: Backend) -> None:
    """The server sends no second event before the client has read the first."""
    with contextlib.closing(proxy.connect()) as connection:
        headers = {"Authorization": f"Bearer {proxy.keys['team-a']}"}
        connection.request("POST", CHAT, b'{"stream":true}', headers)
        answer = connection.getresponse()
        assert answer.status == 200
        for number in range(4):
            assert answer.readline() == f"data: {number}\n".encode()
            assert answer.readline() == b"\n"
            backend.may_go_on.put(None)
        assert answer.read() == b""


def test_client_that_leaves_stops_the_server(proxy: Proxy, backend: Backend) -> None:
    """What nobody reads any more is not generated."""
    with contextlib.closing(proxy.connect()) as connection:
        headers = {"Authorization": f"Bearer {proxy.keys['team-a']}"}
        connection.request("POST", CHAT, b'{"stream":true,"endless":true}', headers)
        assert connection.getresponse().readline() == b"data: 0\n"
    for _ in range(1000):  # what was under way may still be taken
        backend.may_go_on.put(None)
        if backend.gone.wait(timeout=0.05):
            break
    assert backend.gone.is_set()


@pytest.mark.parametrize("key", [None, "", "wrong", "team-a"])
def test_nobody_is_served_without_a_key(key: str | None, proxy: Proxy, backend: Backend) -> None:
    """401, in the form that clients of such servers understand, and nothing gets through."""
    status, body, headers = proxy.ask("POST", CHAT, b"{}", key=key)
    assert status == 401
    assert json.loads(body)["error"]["code"] == 401
    assert headers["WWW-Authenticate"].startswith("Bearer")
    assert backend.asked == []


def test_key_opens_and_stays_with_the_proxy(proxy: Proxy, backend: Backend) -> None:
    """The server sees neither the key nor where a browser came from; the log names the client."""
    status, body, _ = proxy.ask(
        "POST", CHAT, b'{"a":1}', key=proxy.keys["team-b"], headers={"Origin": "https://x.example"}
    )
    assert (status, body) == (200, b'{"a":1}')
    ((_, path, headers),) = backend.asked
    assert path == CHAT
    assert headers["Host"] == "localhost"
    assert "Authorization" not in headers
    assert "Origin" not in headers
    log = proxy.log(" team-b ")
    assert " team-b " in log
    assert proxy.keys["team-b"] not in log


def test_server_that_asks_for_a_key_gets_the_proxys_own(tmp_path: Path, backend: Backend) -> None:
    """A file beside the clients' keys holds it; theirs are never passed on."""
    upstream = (f"general=127.0.0.1:{backend.port}",)
    site = lay_out(tmp_path, Server.VLLM, upstream=upstream)
    (site.folder / "keys" / "upstream.conf").write_text(
        'proxy_set_header Authorization "Bearer of-the-server";\n'
    )
    with running(site) as proxy:
        assert proxy.ask("POST", CHAT, b"{}", key=proxy.keys["team-a"])[0] == 200
    assert backend.asked[0][2]["Authorization"] == "Bearer of-the-server"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/update_weights"),
        ("POST", "/invocations"),
        ("POST", "/tokenize"),
        ("POST", "/pause"),
        ("GET", "/metrics"),
        ("GET", "/docs"),
        ("GET", "/"),
        ("GET", CHAT),
        ("DELETE", "/v1/models"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/chat/completions/../../../pause"),
        ("POST", "//pause"),
        ("POST", "/v1/%2e%2e/pause"),
        ("POST", "/_modelvault/key"),
    ],
)
def test_path_that_is_not_listed_is_refused(
    method: str, path: str, proxy: Proxy, backend: Backend
) -> None:
    """What manages the server, shows prompts or figures, or is spelled to get around the list."""
    status, body, _ = proxy.ask(method, path, b"{}", key=proxy.keys["team-a"])
    assert status == 404
    assert json.loads(body)["error"]["code"] == 404
    assert backend.asked == []


def test_listed_paths_and_health_are_served(proxy: Proxy, backend: Backend) -> None:
    """Models and completions with a key; the health of the server without one."""
    for route in settled(Server.VLLM, Form.NGINX).known.routes:
        assert proxy.ask(route.method, route.path, b"{}", key=proxy.keys["team-a"])[0] == 200
    assert proxy.ask("GET", "/health")[0] == 200
    assert len(backend.asked) == len(settled(Server.VLLM, Form.NGINX).known.routes) + 1


def test_too_many_requests_are_told_so(tmp_path: Path, backend: Backend) -> None:
    """429 and when to come back; another client is served meanwhile, one without a key refused."""
    upstream = (f"general=127.0.0.1:{backend.port}",)
    with running(lay_out(tmp_path, Server.VLLM, upstream=upstream, rate=1, burst=3)) as proxy:
        key = proxy.keys["team-a"]
        answers = [proxy.ask("POST", CHAT, b"{}", key=key) for _ in range(12)]
        statuses = [status for status, _, _ in answers]
        assert statuses[:4] == [200] * 4
        assert 429 in statuses[4:]
        refused = next(answer for answer in answers if answer[0] == 429)
        assert json.loads(refused[1])["error"]["type"] == "rate_limit_error"
        assert refused[2]["Retry-After"] == "1"
        assert proxy.ask("POST", CHAT, b"{}", key=proxy.keys["team-b"])[0] == 200
        guesses = [proxy.ask("POST", CHAT, b"{}", key="guess")[0] for _ in range(12)]
        assert guesses[0] == 401
        assert guesses[-1] == 429, "keys are not guessed at any speed"


def test_each_name_leads_to_its_own_servers(tmp_path: Path) -> None:
    """General, Korean and fast by the first part of the path; without one it is the first."""
    with contextlib.ExitStack() as stack:
        backends = {name: stack.enter_context(Backend()) for name in ("general", "korean", "fast")}
        upstream = tuple(f"{name}=127.0.0.1:{item.port}" for name, item in backends.items())
        site = lay_out(tmp_path, Server.VLLM, upstream=upstream)
        proxy = stack.enter_context(running(site))
        for prefix in ("", "/general", "/korean", "/fast"):
            status, _, _ = proxy.ask("POST", f"{prefix}{CHAT}", b"{}", key=proxy.keys["team-a"])
            assert status == 200
            assert proxy.ask("GET", f"{prefix}/health")[0] == 200
        assert {name: len(item.asked) for name, item in backends.items()} == {
            "general": 4,
            "korean": 2,
            "fast": 2,
        }
        paths = {path for item in backends.values() for _, path, _ in item.asked}
        assert paths == {CHAT, "/health"}


def test_server_that_is_gone_is_left_out(tmp_path: Path, backend: Backend) -> None:
    """Of two servers one does not answer: every request gets to the other."""
    upstream = (f"general=127.0.0.1:9,127.0.0.1:{backend.port}",)
    site = lay_out(tmp_path, Server.VLLM, upstream=upstream, burst=100)
    with running(site) as proxy:
        key = proxy.keys["team-a"]
        assert [proxy.ask("POST", CHAT, b"{}", key=key)[0] for _ in range(8)] == [200] * 8


def test_no_server_at_all_is_an_answer(tmp_path: Path) -> None:
    """503 in the usual form, not nginx's page."""
    with running(lay_out(tmp_path, Server.VLLM, upstream=("general=127.0.0.1:9",))) as proxy:
        status, body, _ = proxy.ask("POST", CHAT, b"{}", key=proxy.keys["team-a"])
        assert status == 503
        assert json.loads(body)["error"]["type"] == "server_error"


def test_network_that_is_not_listed_is_refused(tmp_path: Path, backend: Backend) -> None:
    """``--clients`` closes the door to everybody else, key or not."""
    upstream = (f"general=127.0.0.1:{backend.port}",)
    site = lay_out(tmp_path, Server.VLLM, upstream=upstream, clients=("10.0.0.0/8",))
    with running(site) as proxy:
        assert proxy.ask("POST", CHAT, b"{}", key=proxy.keys["team-a"])[0] == 404
        assert backend.asked == []


def test_further_path_can_be_allowed(tmp_path: Path, backend: Backend) -> None:
    """``--allow`` adds a request to the list, with its method."""
    upstream = (f"general=127.0.0.1:{backend.port}",)
    allow = ("/v1/rerank", "GET /version", "POST /version")
    with running(lay_out(tmp_path, Server.VLLM, upstream=upstream, allow=allow)) as proxy:
        for method, path in (("POST", "/v1/rerank"), ("GET", "/version"), ("POST", "/version")):
            assert proxy.ask(method, path, b"{}", key=proxy.keys["team-a"])[0] == 200


@pytest.mark.parametrize("value", [value for value in HOSTILE if "$" not in value])
def test_hostile_folder_of_a_certificate_is_found(value: str, tmp_path: Path) -> None:
    """An attack: nginx itself opens exactly the file that was named, whatever its name says."""
    site = lay_out(tmp_path, Server.VLLM)
    pair = tmp_path / value / "pair.pem"
    pair.parent.mkdir()
    pair.write_bytes((tmp_path / "tls" / "authority-127.0.0.1.pem").read_bytes())
    text = main_file(
        Server.VLLM,
        Form.NGINX,
        usual_model(Server.VLLM, name="acme/Tiny-1B", reference=value),
        certificate=str(pair),
        certificate_key=str(pair),
        keys=str(tmp_path / "keys"),
    )
    conf = tmp_path / "models-acme-tiny-1b.conf"
    conf.write_text(text.replace("/var/log/nginx/", f"{tmp_path}/log/"))
    judge(site)
    pair.unlink()
    with pytest.raises(AssertionError, match="cannot load certificate"):
        judge(site)


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_name_adds_no_directive(value: str) -> None:
    """An attack: of a model's name only what is plain gets into names, the rest into comments."""
    usual = main_file(Server.VLLM, Form.NGINX)
    text = main_file(Server.VLLM, Form.NGINX, usual_model(Server.VLLM, name=value))
    assert len(text.splitlines()) == len(usual.splitlines())
    directives = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert directives == [line.split()[0] for line in usual.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "wishes",
    [
        {"upstream": ("korean",)},
        {"upstream": ("Korean=10.0.0.1:1",)},
        {"upstream": ("v1=10.0.0.1:1",)},
        {"upstream": ("a=10.0.0.1",)},
        {"upstream": ("a=10.0.0.1:0",)},
        {"upstream": ("a=10.0.0.1:1,10.0.0.1:1",)},
        {"upstream": ("a=10.0.0.1:1", "a=10.0.0.2:1")},
        {"upstream": ("a=10.0.0.1:1;evil",)},
        {"allow": ("PUT /v1/x",)},
        {"allow": ("/v1/../x",)},
        {"allow": ("/health",)},
        {"allow": ("/general/v1/x",)},
        {"allow": ("/v1/x { return 200; }",)},
        {"listen": "443"},
        {"listen": "0.0.0.0:70000"},
        {"listen": "999.0.0.1:443"},
        {"listen": "[::g]:443"},
        {"clients": ("10.0.0.1/8",)},
        {"clients": ("everybody",)},
        {"server_name": "a;b"},
        {"certificate": "tls.crt"},
        {"certificate": "/etc/$ssl_name/x.pem"},
        {"keys": "/etc/keys/*"},
        {"rate": 0},
        {"burst": -1},
    ],
)
def test_value_that_nginx_would_misread_is_refused(wishes: dict[str, Any]) -> None:
    """With a message, before anything is written."""
    with pytest.raises(BadOption) as caught:
        main_file(Server.VLLM, Form.NGINX, **wishes)
    assert caught.value.message


@pytest.mark.parametrize("value", UNSPEAKABLE)
def test_name_with_a_line_end_is_refused(value: str) -> None:
    """An attack: a comment would end where the name says."""
    with pytest.raises(BadOption):
        main_file(Server.VLLM, Form.NGINX, usual_model(Server.VLLM, name=value))
