"""What each server is started with: command line, environment, paths that it answers.

A server is a row of ``PROGRAMS`` and a function that writes its options. Everything here is of
the releases that ``image`` names, and is written so that older ones of the last year take it.

Source: https://docs.vllm.ai/en/v0.32.0/cli/serve, https://docs.sglang.ai/advanced_features/server_arguments.html,
https://github.com/ggml-org/llama.cpp/tree/master/tools/server,
https://github.com/ollama/ollama/blob/main/envconfig/config.go
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelvault.core.offline import OFFLINE
from modelvault.serving.addresses import Address
from modelvault.serving.choices import Server
from modelvault.serving.memory import Memory

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What one server is started for."""

    path: str
    """The model, as the server sees it."""
    projector: str | None
    name: str
    address: Address
    memory: Memory
    threads: int
    home: str
    """A folder that it may write to: compiled kernels, caches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a server is started."""

    options: tuple[Words, ...]
    """Each with its values, in order; what follows the program."""
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A request that clients may make."""

    method: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is known of a server, whatever model it serves."""

    path: str
    """Where it is usually installed; ``--program`` says otherwise."""
    words: Words
    """What comes between the program and its options."""
    port: int
    entrypoint: Words
    """The program and these words, inside of ``image``."""
    image: str
    """Name and tag of its image for NVIDIA GPUs, without a registry."""
    cpu_image: str | None
    """The same without a GPU; None where ``--image`` has to name one."""
    health: str
    """Path that answers 200 when the model can be used."""
    probe: Words
    """Command inside of the image that tells the same by its status."""
    metrics: bool
    """Whether ``/metrics`` has figures for Prometheus."""
    key_variable: str | None
    """Environment variable that sets the key it asks clients for."""
    routes: tuple[Route, ...]
    """What clients need, and nothing that manages the server."""
    options: Callable[[Start], Launch]


def _vllm(start: Start) -> Launch:
    memory = start.memory
    options = [
        ("serve", start.path),
        ("--served-model-name", start.name),
        ("--host", start.address.host),
        ("--port", str(start.address.port)),
        ("--max-model-len", str(memory.context)),
        ("--max-num-seqs", str(memory.concurrency)),
        ("--enable-prefix-caching",),
    ]
    if memory.gpus:
        options.append(("--tensor-parallel-size", str(memory.gpus)))
        options.append(("--gpu-memory-utilization", f"{memory.share:.2f}"))
    if memory.kv_cache == "fp8":
        options.append(("--kv-cache-dtype", "fp8"))
    environment = {
        **OFFLINE,
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_CACHE_ROOT": f"{start.home}/vllm",
        "VLLM_CONFIG_ROOT": f"{start.home}/vllm-config",
        **_common(start),
    }
    return Launch(options=tuple(options), environment=environment)


def _sglang(start: Start) -> Launch:
    memory = start.memory
    options = [
        ("--model-path", start.path),
        ("--served-model-name", start.name),
        ("--host", start.address.host),
        ("--port", str(start.address.port)),
        ("--context-length", str(memory.context)),
        ("--max-running-requests", str(memory.concurrency)),
        ("--enable-metrics",),
    ]
    if memory.gpus:
        options.append(("--tp-size", str(memory.gpus)))
        options.append(("--mem-fraction-static", f"{memory.share:.2f}"))
    else:
        options.append(("--device", "cpu"))
    if memory.kv_cache == "fp8":
        options.append(("--kv-cache-dtype", "fp8_e5m2"))
    return Launch(options=tuple(options), environment={**OFFLINE, **_common(start)})


def _llamacpp(start: Start) -> Launch:
    memory = start.memory
    options = [
        ("--model", start.path),
        ("--alias", start.name),
        ("--host", start.address.host),
        ("--port", str(start.address.port)),
        ("--offline",),
        ("--jinja",),
        # Its context is shared out among the requests; ours is that of each.
        ("--ctx-size", str(memory.context * memory.concurrency)),
        ("--parallel", str(memory.concurrency)),
        ("--threads", str(start.threads)),
        ("--n-gpu-layers", "999" if memory.gpus else "0"),
        ("--metrics",),
        ("--no-slots",),
        ("--no-webui",),
    ]
    if start.projector is not None:
        options.insert(1, ("--mmproj", start.projector))
    if memory.kv_cache != "f16":
        options.append(("--flash-attn", "on"))  # a quantised cache of values needs it
        options.append(("--cache-type-k", memory.kv_cache))
        options.append(("--cache-type-v", memory.kv_cache))
    return Launch(options=tuple(options), environment=_common(start))


def _ollama(start: Start) -> Launch:
    memory = start.memory
    environment = {
        "OLLAMA_HOST": str(start.address),
        "OLLAMA_MODELS": start.path,
        # The store is mounted read-only: what ModelVault put there stays as its receipt says.
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_CONTEXT_LENGTH": str(memory.context),
        "OLLAMA_NUM_PARALLEL": str(memory.concurrency),
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_KEEP_ALIVE": "24h",
        "OLLAMA_LOAD_TIMEOUT": "15m",
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_KV_CACHE_TYPE": memory.kv_cache,
    }
    return Launch(options=(("serve",),), environment=environment | _common(start))


def _common(start: Start) -> dict[str, str]:
    return {"HOME": start.home, "OMP_NUM_THREADS": str(start.threads)}


def _python_probe(port: int) -> Words:
    # Their images have Python for certain, and curl in some releases.
    code = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/health', timeout=5)"
    return ("python3", "-c", code)


_OPENAI = (
    Route(method="GET", path="/v1/models"),
    Route(method="POST", path="/v1/chat/completions"),
    Route(method="POST", path="/v1/completions"),
    Route(method="POST", path="/v1/embeddings"),
)
_OLLAMA = (
    Route(method="GET", path="/api/tags"),
    Route(method="GET", path="/api/version"),
    Route(method="POST", path="/api/chat"),
    Route(method="POST", path="/api/embed"),
    Route(method="POST", path="/api/generate"),
    Route(method="POST", path="/api/show"),
)

PROGRAMS: Mapping[Server, Program] = {
    Server.VLLM: Program(
        path="/opt/vllm/bin/vllm",
        words=(),
        port=8000,
        entrypoint=("vllm",),
        image="vllm/vllm-openai:v0.32.0",
        cpu_image=None,
        health="/health",
        probe=_python_probe(8000),
        metrics=True,
        key_variable="VLLM_API_KEY",
        routes=(*_OPENAI, Route(method="POST", path="/v1/responses")),
        options=_vllm,
    ),
    Server.OLLAMA: Program(
        path="/usr/local/bin/ollama",
        words=(),
        port=11434,
        entrypoint=("ollama",),
        image="ollama/ollama:0.32.15",
        cpu_image="ollama/ollama:0.32.15",
        health="/api/version",
        probe=("ollama", "list"),
        metrics=False,
        key_variable=None,
        routes=(*_OPENAI, *_OLLAMA),
        options=_ollama,
    ),
    Server.LLAMACPP: Program(
        path="/usr/local/bin/llama-server",
        words=(),
        port=8080,
        entrypoint=("/app/llama-server",),
        image="ggml-org/llama.cpp:server-cuda-b11549",
        cpu_image="ggml-org/llama.cpp:server-b11549",
        health="/health",
        probe=("curl", "--fail", "--silent", "http://127.0.0.1:8080/health"),
        metrics=True,
        key_variable="LLAMA_API_KEY",
        routes=(*_OPENAI, Route(method="POST", path="/v1/rerank")),
        options=_llamacpp,
    ),
    Server.SGLANG: Program(
        path="/opt/sglang/bin/python",
        words=("-m", "sglang.launch_server"),
        port=30000,
        entrypoint=("python3", "-m", "sglang.launch_server"),
        image="lmsysorg/sglang:v0.5.23",
        cpu_image=None,
        health="/health",
        probe=_python_probe(30000),
        metrics=True,
        key_variable=None,
        routes=_OPENAI,
        options=_sglang,
    ),
}
