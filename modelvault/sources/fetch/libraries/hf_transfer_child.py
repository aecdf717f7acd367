"""The process in which hf_transfer fetches one whole file; see ``frames``.

Source: hf_transfer 0.1.9, ``download``.
"""

import resource
import sys
from typing import Any

from modelvault.sources.fetch.libraries.frames import Reporter, begin_child

_BASE_MEMORY = 1024 * 1024 * 1024
"""Bytes of private memory for the interpreter and the library's threads."""


def main() -> int:
    """Answer the request on standard input."""
    request, reporter = begin_child()
    try:
        _fetch(request, reporter)
    except Exception as error:  # the library raises a bare Exception; the parent decides
        reporter.error(f"{type(error).__name__}: {error}")
        return 1
    reporter.done()
    return 0


def _fetch(request: dict[str, Any], reporter: Reporter) -> None:
    import hf_transfer

    connections, chunk, size = request["connections"], request["chunk"], request["size"]
    # The library believes the server's word for the file's length, and takes whatever
    # body comes into memory: the kernel draws both lines.
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    memory = _BASE_MEMORY + 4 * connections * chunk
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    done = 0

    def note(amount: int) -> None:
        nonlocal done
        done += amount
        reporter.pulse(done)

    hf_transfer.download(
        url=request["url"],
        filename=request["path"],
        max_files=connections,
        chunk_size=chunk,
        parallel_failures=connections,
        max_retries=request["retries"],
        headers={"User-Agent": request["agent"]},
        callback=note,
    )


if __name__ == "__main__":
    sys.exit(main())
