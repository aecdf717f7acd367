"""What Prometheus should wake somebody for, by the figures that each server has.

Every expression names the job alone, so that no name of a model gets into PromQL.

Source: https://docs.vllm.ai/en/v0.32.0/usage/metrics, SGLang's
``docs/references/production_metrics.md``, llama.cpp's ``tools/server/README.md`` (``GET /metrics``)
"""

from collections.abc import Iterator
from dataclasses import dataclass

from modelvault.serving.choices import Server
from modelvault.serving.setup import Setup

SLOW_FIRST_TOKEN = 10
"""Seconds to the first token that one request in twenty may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One rule."""

    name: str
    expression: str
    duration: str
    """How long it has to hold, as Prometheus writes it."""
    severity: str
    summary: str
    remedy: str


def list_alerts(setup: Setup) -> tuple[Alert, ...]:
    """Return the rules for a server; none where it has no figures."""
    if not setup.known.metrics:
        return ()
    return (_down(setup), *_OF_SERVER[setup.server](setup))


def _down(setup: Setup) -> Alert:
    return Alert(
        name="ModelServerDown",
        expression=f'up{{job="{setup.slug}"}} == 0',
        duration="2m",
        severity="critical",
        summary=f"{setup.model.name} does not answer",
        remedy="Look at the server's log. Large models take minutes to load after a restart.",
    )


def _queue(setup: Setup, metric: str) -> Alert:
    return Alert(
        name="ModelServerQueueGrows",
        expression=f'{metric}{{job="{setup.slug}"}} > {setup.memory.concurrency}',
        duration="10m",
        severity="warning",
        summary=f"{setup.model.name}: as many requests wait as run",
        remedy="More users than one server takes: add a server, or allow each key fewer requests.",
    )


def _cache(setup: Setup, metric: str) -> Alert:
    return Alert(
        name="ModelServerCacheFull",
        expression=f'{metric}{{job="{setup.slug}"}} > 0.95',
        duration="10m",
        severity="warning",
        summary=f"{setup.model.name}: the cache of keys and values is full",
        remedy="Shorten --context, lower --concurrency, or give the server more GPU memory.",
    )


def _first_token(setup: Setup, metric: str) -> Alert:
    rate = f'sum by (le) (rate({metric}_bucket{{job="{setup.slug}"}}[5m]))'
    return Alert(
        name="ModelServerSlow",
        expression=f"histogram_quantile(0.95, {rate}) > {SLOW_FIRST_TOKEN}",
        duration="10m",
        severity="warning",
        summary=f"{setup.model.name}: the first token takes more than {SLOW_FIRST_TOKEN} seconds",
        remedy="Look at the queue and at the length of prompts.",
    )


def _vllm(setup: Setup) -> Iterator[Alert]:
    yield _queue(setup, "vllm:num_requests_waiting")
    yield _cache(setup, "vllm:kv_cache_usage_perc")
    yield _first_token(setup, "vllm:time_to_first_token_seconds")
    yield Alert(
        name="ModelServerPreempts",
        expression=f'rate(vllm:num_preemptions_total{{job="{setup.slug}"}}[10m]) > 0.1',
        duration="10m",
        severity="warning",
        summary=f"{setup.model.name}: requests are thrown out of memory and begun again",
        remedy="Lower --concurrency or --context: the cache does not hold what runs at once.",
    )


def _sglang(setup: Setup) -> Iterator[Alert]:
    yield _queue(setup, "sglang:num_queue_reqs")
    yield _cache(setup, "sglang:token_usage")
    yield _first_token(setup, "sglang:time_to_first_token_seconds")


def _llamacpp(setup: Setup) -> Iterator[Alert]:
    yield _queue(setup, "llamacpp:requests_deferred")


_OF_SERVER = {Server.VLLM: _vllm, Server.SGLANG: _sglang, Server.LLAMACPP: _llamacpp}
