"""Which engine a name stands for, and whether what it needs is installed.

Example:
    >>> check_engine("http")
    >>> check_engine("carrier-pigeon")
    Traceback (most recent call last):
    modelvault.errors.BadOption: there is no engine 'carrier-pigeon'
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from modelvault.distribution import install_command
from modelvault.errors import BadOption
from modelvault.sources.fetch.engine import Engine
from modelvault.sources.fetch.libraries import hf_transfer, xet
from modelvault.sources.net.cancel import Watchdog
from modelvault.sources.net.client import HttpClient
from modelvault.sources.net.retry import Limits

HTTP: Final = "http"
"""Our own ranged HTTP: no engine, but what every engine falls back to."""

_MODULES: Final = {xet.NAME: "hf_xet", hf_transfer.NAME: "hf_transfer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What an engine has to know about a pull."""

    token: str | None
    """Of the Hub; None for anonymous. No library is given it."""
    connections: int
    ca_bundle: Path | None
    xet_url: str
    """Where the Hub gives access to its Xet storage: ``…/xet-read-token/{commit}``."""
    limits: Limits = field(default_factory=Limits)


def check_engine(name: str, *, limited: bool = False) -> None:
    """Check that a name stands for an engine that can be used here.

    Args:
        name: ``http``, ``xet`` or ``hf-transfer``.
        limited: Whether a rate must be kept.

    Raises:
        BadOption: It does not, or its package is not installed, or it cannot keep a rate.
    """
    if name == HTTP:
        return
    if name not in _MODULES:
        known = ", ".join([HTTP, *_MODULES])
        raise BadOption(f"there is no engine '{name}'", hint=f"choose one of: {known}")
    if find_spec(_MODULES[name]) is None:
        raise BadOption(
            f"the engine '{name}' needs a package that is not installed",
            hint=f"leave out --engine, or install it: {install_command(name)}",
        )
    if limited:
        raise BadOption(
            f"the engine '{name}' cannot keep to --limit-rate",
            hint="leave out one of the two",
        )


@contextlib.contextmanager
def open_engine(name: str, options: EngineOptions) -> Iterator[Engine | None]:
    """Yield the engine for the block; None for HTTP.

    Args:
        name: A name that ``check_engine`` accepts.
        options: What it has to know.

    Raises:
        BadConfiguration: A proxy or certificate setting cannot be used.
    """
    if name == HTTP:
        yield None
        return
    limits = options.limits
    client = HttpClient(
        token=options.token,
        connections=1,
        limits=limits,
        watchdog=Watchdog(stall_window=limits.stall_window, stall_bytes=limits.stall_bytes),
        ca_bundle=options.ca_bundle,
    )
    with contextlib.closing(client):
        if name == xet.NAME:
            access = xet.HubAccess(options.xet_url, client)
            yield xet.XetEngine(access, ca_bundle=options.ca_bundle, limits=limits)
        else:
            yield hf_transfer.HfTransferEngine(
                client,
                anonymous=options.token is None,
                connections=options.connections,
                limits=limits,
            )
