"""The process in which hf_xet fetches one range of one file; see ``frames``.

Source: the docstrings of hf_xet 1.8 (``XetSession``, ``XetDownloadStreamGroup``).
"""

import sys
import threading
from typing import Any

from modelvault.sources.fetch.libraries.frames import Reporter, begin_child

_PULSE_EVERY = 1.0


def main() -> int:
    """Answer the request on standard input."""
    request, reporter = begin_child()
    try:
        _fetch(request, reporter)
    except Exception as error:  # the library raises what it likes; the parent decides
        reporter.error(f"{type(error).__name__}: {error}")
        return 1
    reporter.done()
    return 0


def _fetch(request: dict[str, Any], reporter: Reporter) -> None:
    import hf_xet

    group = hf_xet.XetSession().new_download_stream_group(
        endpoint=request["cas"],
        token=request["token"],
        token_expiry_unix_secs=request["expires"],
    )
    stream = group.download_stream(
        hf_xet.XetFileInfo(request["hash"], request["size"]),
        start=request["start"],
        end=request["end"],
    )
    ended = threading.Event()
    pulse = threading.Thread(target=_report, args=(stream, ended, reporter), daemon=True)
    pulse.start()
    try:
        for data in stream:
            reporter.data(data)
    finally:
        ended.set()
        pulse.join()


def _report(stream: Any, ended: threading.Event, reporter: Reporter) -> None:
    """Report what has come over the line: long before the first bytes are in order."""
    while not ended.wait(_PULSE_EVERY):
        progress = stream.progress()
        if progress is not None:
            reporter.pulse(progress.bytes_completed)


if __name__ == "__main__":
    sys.exit(main())
