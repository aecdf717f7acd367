"""Which engine a name stands for, and whether what it needs is installed.

Example:
    >>> check_engine("http")
    >>> check_engine("carrier-pigeon")
    Traceback (most recent call last):
    modelvault.errors.BadOption: there is no engine 'carrier-pigeon'
"""

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from modelvault.distribution import install_command
from modelvault.errors import BadOption
from modelvault.sources.fetch.engine import Engine
from modelvault.sources.fetch.libraries import hf_transfer, xet
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions

HTTP: Final = "http"
"""Our own ranged HTTP: no engine, but what every engine falls back to."""

_MODULES: Final = {xet.NAME: "hf_xet", hf_transfer.NAME: "hf_transfer"}


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
def open_engine(name: str, connection: Connection, *, xet_url: str) -> Iterator[Engine | None]:
    """Yield the engine for the block; None for HTTP.

    Args:
        name: A name that ``check_engine`` accepts.
        connection: How the Hub is spoken to; no library is given its token.
        xet_url: Where the Hub lends access to its Xet storage: ``…/xet-read-token/{commit}``.

    Raises:
        BadConfiguration: A proxy or certificate setting cannot be used.
    """
    if name == HTTP:
        yield None
        return
    with Questions(connection) as questions:
        if name == xet.NAME:
            yield xet.XetEngine(xet.HubAccess(xet_url, questions), connection)
        else:
            yield hf_transfer.HfTransferEngine(questions, connection)
