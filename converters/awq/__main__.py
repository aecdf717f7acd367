"""Run as ``python -m converters.awq``; serves ``awq``, ``fp8`` and ``int8``."""

import sys
from collections.abc import Generator

from converters import process
from modelvault.core.protocol import Event


def main() -> int:
    """Serve the request on standard input; return the exit status."""
    return process.main(_load, extra="awq")


def serve(data: bytes) -> Generator[Event, None, None]:
    """Carry out the request in ``data``; yield its events, ``Failed`` as the last one."""
    return process.serve(data, _load, extra="awq")


def _load() -> process.Convert:
    from converters.awq.convert import convert

    return convert


if __name__ == "__main__":
    sys.exit(main())
