"""How much memory a server may take, and what for: from what a user asked, and defaults.

``choose_memory`` is the one place that decides. Its defaults are safe rather than large: a
server that starts with 8,192 tokens can be given more, one that runs out of memory under load
takes everybody's answers along.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.errors import BadOption
from modelvault.serving.choices import Server

CONTEXT = 8192
"""Tokens of one conversation, unless the model is made for fewer."""
CONCURRENCY: Mapping[Server, int] = {
    Server.VLLM: 32,
    Server.SGLANG: 32,
    Server.LLAMACPP: 4,
    Server.OLLAMA: 4,
}
"""Requests at the same time; llama.cpp and Ollama reserve memory for each."""
SHARE: Mapping[Server, float] = {Server.VLLM: 0.90, Server.SGLANG: 0.88}
"""Part of each GPU's memory that a server takes at its start."""
SAFE_SHARE = (0.88, 0.92)
"""What leaves a GPU room for its driver and graphs, where the server has it alone."""
LARGEST_SHARE = 0.97
HEADROOM = 16 * 1024**3
"""Bytes of the host's memory that a server needs beside the weights it reads."""
KV_CACHES: Mapping[Server, tuple[str, ...]] = {
    Server.VLLM: ("f16", "fp8"),
    Server.SGLANG: ("f16", "fp8"),
    Server.LLAMACPP: ("f16", "q8_0"),
    Server.OLLAMA: ("f16", "q8_0"),
}
"""Types of the cache of keys and values that each server has; the first is its default."""
MOST_GPUS = 64
MOST_CONTEXT = 2**24
MOST_CONCURRENCY = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedMemory:
    """What a user asked for; None where nothing was said."""

    gpus: int | None = None
    context: int | None = None
    concurrency: int | None = None
    share: float | None = None
    kv_cache: str | None = None
    host: int | None = None
    """Bytes of the host's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a server is told of memory."""

    gpus: int
    """GPUs that share the model; 0 for none."""
    context: int
    """Longest conversation, in tokens."""
    concurrency: int
    """Most requests at the same time."""
    share: float | None
    """Part of each GPU's memory; None where the server has no such setting, or no GPU."""
    kv_cache: str
    limit: int | None
    """Most bytes of the host's memory, where the user set a limit."""
    needed: int
    """Bytes of the host's memory that it should have at least."""
    notes: tuple[str, ...]
    """What the user should know of these figures."""


def choose_memory(
    server: Server, asked: AskedMemory, *, declared: int | None, weights: int
) -> Memory:
    """Return the figures that a server is started with.

    Args:
        server: The program.
        asked: What the user asked for.
        declared: Longest context that the model declares, in tokens; None where it does not.
        weights: Bytes of the model's files.

    Raises:
        BadOption: A figure is out of bounds, or the server has no such setting.
    """
    gpus = _bounded("--gpus", asked.gpus, 1, 0, MOST_GPUS)
    usual = min(CONTEXT, declared or CONTEXT)
    context = _bounded("--context", asked.context, usual, 1, MOST_CONTEXT)
    most = _bounded("--concurrency", asked.concurrency, CONCURRENCY[server], 1, MOST_CONCURRENCY)
    notes = []
    if declared is not None and context > declared:
        notes.append(
            f"the model declares {declared} tokens and --context asks for {context}: "
            "servers refuse that, or answers get worse"
        )
    share = _choose_share(server, asked.share, gpus, notes)
    needed = weights + HEADROOM
    if asked.host is not None and asked.host < weights:
        notes.append(f"--memory is less than the {weights} bytes of the model's files")
    return Memory(
        gpus=gpus,
        context=context,
        concurrency=most,
        share=share,
        kv_cache=_choose_cache(server, asked.kv_cache),
        limit=asked.host,
        needed=asked.host or needed,
        notes=tuple(notes),
    )


def _bounded(option: str, asked: int | None, usual: int, least: int, most: int) -> int:
    if asked is None:
        return usual
    if not least <= asked <= most:
        raise BadOption(f"{option} {asked} is not between {least} and {most}")
    return asked


def _choose_share(server: Server, asked: float | None, gpus: int, notes: list[str]) -> float | None:
    usual = SHARE.get(server)
    if usual is None or gpus == 0:
        if asked is not None:
            reason = "runs without a GPU" if gpus == 0 else "has no such setting"
            raise BadOption(f"--gpu-memory: {server.full_name} {reason}", hint="leave it out")
        return None
    if asked is None:
        return usual
    if not 0.05 <= asked <= LARGEST_SHARE:
        raise BadOption(
            f"--gpu-memory {asked} is not between 0.05 and {LARGEST_SHARE}",
            hint="0.88 to 0.92 is safe for a server that has the GPU alone",
        )
    if asked > SAFE_SHARE[1]:
        notes.append(
            f"--gpu-memory {asked} is above {SAFE_SHARE[1]}: servers have run out of memory "
            "under load from 0.95 on"
        )
    return asked


def _choose_cache(server: Server, asked: str | None) -> str:
    known = KV_CACHES[server]
    if asked is None:
        return known[0]
    if asked not in known:
        raise BadOption(
            f"--kv-cache {asked}: {server.full_name} has none of this type",
            hint=f"choose one of: {', '.join(known)}",
        )
    return asked
