"""The server that people start, and a conversation with it over HTTP."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served.bench import Bench
from tests.served.engine import make_environment, read_traffic
from tests.served.reference import Reference

FAMILY = "llama"


@pytest.fixture(scope="module")
def server(bench: Bench, python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of vLLM's server on the AWQ folder."""
    folder = bench.journey.install(FAMILY, "AWQ")
    home = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", "vault", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-len", "256", "--enforce-eager"]
    environment = make_environment(home)
    del environment["VLLM_ENABLE_V1_MULTIPROCESSING"]
    with open(home / "server.log", "wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
        try:
            _await(f"http://127.0.0.1:{port}/health", process, home / "server.log")
            yield f"http://127.0.0.1:{port}"
            assert read_traffic(home) == ""
        finally:
            process.terminate()
            process.wait()


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once the server is ready."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=30).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text(errors="replace")[-6000:])


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def test_conversation_is_answered_as_the_weights_say(server: str, bench: Bench) -> None:
    """Tokens and log-probabilities of a chat are those of the dequantised weights."""
    folder = bench.journey.install(FAMILY, "AWQ")
    messages = [{"role": "user", "content": "Water boils sooner on the mountain"}]
    body = {"model": "vault", "messages": messages, "temperature": 0, "max_tokens": 16}
    answer = _post(
        f"{server}/v1/chat/completions",
        {**body, "logprobs": True, "top_logprobs": 2, "return_token_ids": True},
    )
    (choice,) = answer["choices"]
    prompt, text = answer["prompt_token_ids"], choice["token_ids"]
    assert len(text) == answer["usage"]["completion_tokens"] > 0
    rows = Reference(folder).logprobs([*prompt, *text])[len(prompt) - 1 : -1]
    best = rows.topk(2).values
    for position, (token, said) in enumerate(zip(text, choice["logprobs"]["content"])):
        assert best[position, 0] - rows[position, token] < 0.02
        assert abs(said["logprob"] - float(rows[position, token])) < 0.05


def test_model_list_names_what_was_asked_for(server: str) -> None:
    """The server knows the model by the name it was given."""
    with urllib.request.urlopen(f"{server}/v1/models", timeout=60) as answer:
        (model,) = json.load(answer)["data"]
    assert model["id"] == "vault"
    assert model["max_model_len"] == 256
