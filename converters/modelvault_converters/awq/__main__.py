"""Run as ``python -m modelvault_converters.awq``; serves ``awq``, ``fp8`` and ``int8``."""

import sys
from collections.abc import Generator

from modelvault.core.protocol import Event
from modelvault_converters import process


def main() -> int:
    """Serve the request on standard input; return the exit status."""
    return process.main(_load)


def serve(data: bytes) -> Generator[Event, None, None]:
    """Carry out the request in ``data``; yield its events, ``Failed`` as the last one."""
    return process.serve(data, _load)


def _load() -> process.Convert:
    from modelvault_converters.awq.convert import convert

    return convert


if __name__ == "__main__":
    sys.exit(main())
