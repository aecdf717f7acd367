"""llama.cpp's real server with our options, behind a real nginx with our configuration."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from modelvault.serving.addresses import Address
from modelvault.serving.alerts import list_alerts
from modelvault.serving.choices import Form, Server
from modelvault.serving.programs import PROGRAMS, Start
from tests.gguf.running import make_request, run
from tests.support.llamaserver import fetch, known_options, llama_server
from tests.support.nginx import Proxy, free_port, lay_out, running
from tests.support.serving import settled, usual_model
from tests.support.tinymodel import make_tiny_llama

CONTEXT = 512
SLOTS = 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny model with a chat template, converted to GGUF."""
    folder = tmp_path_factory.mktemp("chat")
    make_tiny_llama(folder / "model", kind="spm")
    run(make_request(folder / "model", ["F16"], folder / "out"))
    (path,) = (folder / "out").glob("*.gguf")
    return path


@pytest.fixture(scope="module")
def server(weights: Path) -> Iterator[str]:
    """Return the address of a server that was started as a unit of ours would."""
    setup = settled(
        Server.LLAMACPP,
        Form.SYSTEMD,
        usual_model(Server.LLAMACPP, path=str(weights), inside=PurePosixPath(weights.name)),
        listen=f"127.0.0.1:{free_port()}",
        context=CONTEXT,
        concurrency=SLOTS,
        threads=1,
        gpus=0,
    )
    start = Start(
        path=str(weights),
        projector=None,
        name=setup.model.name,
        address=setup.address,
        memory=setup.memory,
        threads=setup.threads,
        home="/nowhere",
    )
    with llama_server(setup.known.options(start).options) as address:
        yield address


@pytest.fixture(scope="module")
def proxy(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Return a proxy before it."""
    folder = tmp_path_factory.mktemp("proxy")
    upstream = (f"general={server.removeprefix('http://')}",)
    with running(lay_out(folder, Server.LLAMACPP, upstream=upstream, rate=1000)) as proxy:
        yield proxy


def test_real_answer_streams_through_the_proxy(server: str, proxy: Proxy) -> None:
    """Tokens arrive while the server still generates; a client that leaves ends the generation."""
    question = {
        "model": "acme/Tiny-1B",
        "stream": True,
        "max_tokens": CONTEXT,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": "안녕하세요"}],
    }
    with contextlib.closing(proxy.connect()) as connection:
        headers = {
            "Authorization": f"Bearer {proxy.keys['team-a']}",
            "Content-Type": "application/json",
        }
        connection.request("POST", "/v1/chat/completions", json.dumps(question), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        first = answer.readline()
        assert json.loads(first.removeprefix(b"data: "))["model"] == "acme/Tiny-1B"
        events = [line for line in answer if line.startswith(b"data: ")]
    assert events[-1] == b"data: [DONE]\n"
    assert len(events) > 100, "one event a token"


def test_real_server_refuses_and_lists_through_the_proxy(proxy: Proxy) -> None:
    """Its models with a key; its figures and settings to nobody."""
    key = proxy.keys["team-a"]
    status, body, _ = proxy.ask("GET", "/v1/models", key=key)
    assert status == 200
    assert json.loads(body)["data"][0]["id"] == "acme/Tiny-1B"
    assert proxy.ask("GET", "/v1/models")[0] == 401
    assert proxy.ask("GET", "/health")[1] == b'{"status":"ok"}'
    for path in ("/props", "/metrics", "/slots", "/"):
        assert proxy.ask("GET", path, key=key)[0] == 404


def test_each_request_has_the_context_that_was_asked_for(server: str) -> None:
    """The server shares its context out: we ask it for as much as all requests need."""
    props = json.loads(fetch(f"{server}/props"))
    assert props["default_generation_settings"]["n_ctx"] == CONTEXT
    assert props["total_slots"] == SLOTS


def test_figures_of_alerts_are_those_of_the_server(server: str) -> None:
    """Every metric that a rule asks for is there."""
    said = fetch(f"{server}/metrics").decode()
    for alert in list_alerts(settled(Server.LLAMACPP, Form.SYSTEMD)):
        for metric in re.findall(r"llamacpp:\w+", alert.expression):
            assert f"\n{metric} " in said


@pytest.mark.parametrize("kv_cache", ["f16", "q8_0"])
@pytest.mark.parametrize("gpus", [0, 2])
def test_program_knows_every_option(kv_cache: str, gpus: int) -> None:
    """By the names that the pinned release has them under."""
    setup = settled(Server.LLAMACPP, Form.SYSTEMD, kv_cache=kv_cache, gpus=gpus)
    launch = PROGRAMS[Server.LLAMACPP].options(
        Start(
            path="/m.gguf",
            projector="/p.gguf",
            name="m",
            address=Address(host="127.0.0.1", port=8080),
            memory=setup.memory,
            threads=8,
            home="/",
        )
    )
    assert {words[0] for words in launch.options} - known_options() == set()
