"""Run as ``python -m modelvault_converters.gguf``; serves the entry point ``gguf``."""

import sys
from collections.abc import Generator

from modelvault.core.protocol import Event
from modelvault_converters import process


def main() -> int:
    """Serve the request on standard input; return the exit status."""
    return process.main(_load, _ask)


def serve(data: bytes) -> Generator[Event, None, None]:
    """Carry out the request in ``data``; yield its events, ``Failed`` as the last one."""
    return process.serve(data, _load, _ask)


def _load() -> process.Convert:
    from modelvault_converters.gguf.convert import convert

    return convert


def _ask() -> process.Convert:
    from modelvault_converters.gguf.assess import assess

    return assess


if __name__ == "__main__":
    sys.exit(main())
