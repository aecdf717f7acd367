"""Serve folders as repositories of a loopback hub, until interrupted.

Example:
    python -m tests.support.hub --folder ./tiny --as acme/tiny --port 8080
    HF_ENDPOINT=http://127.0.0.1:8080 hf download acme/tiny
"""

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.support.hub.faults import Fault, Kind
from tests.support.hub.hub import LoopbackHub
from tests.support.hub.repository import read_folder


def main() -> int:
    """Parse the command line, serve, print the endpoint on the first line."""
    parser = argparse.ArgumentParser(prog="tests.support.hub", description=__doc__)
    parser.add_argument("--folder", type=Path, action="append", required=True)
    parser.add_argument("--as", dest="names", action="append", required=True, metavar="ORG/NAME")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cdn-port", type=int, default=0)
    parser.add_argument("--token", help="a token that may read everything")
    parser.add_argument("--gated", action="store_true", help="ask for the token")
    parser.add_argument("--private", action="store_true", help="hide from all other tokens")
    parser.add_argument("--mirror", action="store_true", help="no redirects, like a cache")
    parser.add_argument("--rate", type=int, default=0, help="bytes a second of each answer")
    options = parser.parse_args()
    if len(options.folder) != len(options.names):
        parser.error("give one --as for each --folder")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with LoopbackHub(port=options.port, cdn_port=options.cdn_port) as hub:
        hub.mirror = options.mirror
        if options.rate:
            hub.faults.add(Fault(kind=Kind.SLOW, rate=options.rate, times=None))
        for folder, name in zip(options.folder, options.names):
            gated = "manual" if options.gated else None
            repository = hub.add(name, read_folder(folder), gated=gated, private=options.private)
            for file in repository.commits[0].files.values():
                file.blob_id, file.sha256  # noqa: B018 - hashed now, not in the first request
            if options.token:
                hub.grant(options.token, name)
        print(hub.endpoint, flush=True)
        ended.wait()
        for request in hub.journal.requests():
            line = f"{request.origin} {request.method} {request.path} {request.range or '-'}"
            print(f"{line} {request.status} {request.sent}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
