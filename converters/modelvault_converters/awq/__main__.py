"""Run as ``python -m modelvault_converters.awq``; serves ``awq``, ``fp8`` and ``int8``."""

import os
import sys
from collections.abc import Generator

from modelvault.core.protocol import Event
from modelvault_converters import process

_SETTINGS = {
    # The same bytes wherever memory lies and however threads come by their turn: without it
    # Intel's library promises that of aligned memory alone.
    "MKL_CBWR": "AUTO,STRICT",
    # Threads that wait give their core away. Those that spin hold up what they wait for, where
    # other programs work on the same cores.
    "OMP_WAIT_POLICY": "passive",
}
"""Read by torch's libraries when they are loaded; what the user has set stays.

Source:
    https://www.intel.com/content/www/us/en/docs/onemkl/developer-guide-linux (reproducibility)
    https://gcc.gnu.org/onlinedocs/libgomp/OMP_005fWAIT_005fPOLICY.html
"""


def main() -> int:
    """Serve the request on standard input; return the exit status."""
    return process.main(_load, _ask)


def serve(data: bytes) -> Generator[Event, None, None]:
    """Carry out the request in ``data``; yield its events, ``Failed`` as the last one."""
    return process.serve(data, _load, _ask)


def _load() -> process.Convert:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    from modelvault_converters.awq.convert import convert

    return convert


def _ask() -> process.Convert:
    from modelvault_converters.awq.assess import assess

    return assess


if __name__ == "__main__":
    sys.exit(main())
