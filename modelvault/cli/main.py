"""The entry point: what stands here runs before anything else is imported.

Ctrl-C may come while Python still reads modules; the first thing is to see to that. The command
line itself is in ``program``.
"""

import gc
import io
import sys

from modelvault.cli import signals


def main() -> None:
    """Run the command line and exit with its status."""
    signals.leave_on_interrupt()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # each character is written, as an escape if need be
            stream.reconfigure(errors="backslashreplace")
    # A command makes many values, keeps them, and ends: looking through them all for cycles again
    # and again takes a tenth of its time, and finds none.
    gc.set_threshold(100_000, 50, 100)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit status."""
    from modelvault.cli.program import run_program

    return run_program(arguments)


if __name__ == "__main__":
    main()
