"""How long each engine takes for one large file, against the loopback hub of the tests.

``http`` and ``hf-transfer`` fetch from the hub, at full speed and with 60 MB a second on
each connection. ``xet`` fetches from hf_xet's own storage in a folder: no network, hence
the price of putting a file together, hashing and storing it, not the rate of a download.
Every run is a process of its own, ends with the bytes hashed and on disk, and is given 8
connections.

Example:
    $ python -m benchmarks.engines --size 1GiB --runs 3 --folder /dev/shm
"""

import argparse
import contextlib
import hashlib
import json
import sys
import tempfile
import urllib.request
from pathlib import Path

from benchmarks.pull import FILE, MODEL, SLOW, compare, serving, write_model
from modelvault.bundle.format.layouts.volumes import parse_volume_size
from modelvault.core.digest import Digest
from modelvault.sources.fetch.choice import open_engine
from modelvault.sources.fetch.download import Downloader
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.libraries.xet import XetEngine
from modelvault.sources.hub.home import HubHome
from modelvault.sources.net.connection import Connection
from modelvault.store.blobs import Store
from tests.support.xet import LocalCas, access_to

CONNECTIONS = 8


def describe(endpoint: str, path: Path, xet_hash: str) -> str:
    """Return the fields of the file on the hub, as JSON."""
    with urllib.request.urlopen(f"{endpoint}/api/models/{MODEL}") as answer:
        commit = json.load(answer)["sha"]
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    url = f"{endpoint}/{MODEL}/resolve/{commit}/{FILE}"
    size = path.stat().st_size
    return json.dumps(
        {"url": url, "commit": commit, "size": size, "sha256": sha256, "xet_hash": xet_hash}
    )


def fetch(engine_name: str, described: str, cas: str, vault: Path) -> None:
    """Fetch the file through one engine, and through it alone."""
    fields = json.loads(described)
    file = RemoteFile(
        path=FILE,
        size=fields["size"],
        checksum=Digest(fields["sha256"]),
        xet_hash=fields["xet_hash"],
        url=fields["url"],
        home=HubHome(commit=fields["commit"]),
    )
    store = Store.create(vault)
    connection = Connection(connections=CONNECTIONS)
    with contextlib.ExitStack() as stack:
        if engine_name == "xet":
            engine = XetEngine(lambda: access_to(cas), connection)
        else:
            engine = stack.enter_context(open_engine(engine_name, connection, xet_url=""))
        Downloader(store, connection, engine=engine).fetch(file)


def race(folder: Path, size: int, runs: int) -> None:
    """Time every engine."""
    write_model(folder / "model", size)
    path = folder / "model" / FILE
    cas = LocalCas(folder / "cas")
    xet_hash = cas.upload(path)
    scratch = folder / "scratch"
    for rate, engines in ((0, ("http", "hf-transfer", "xet")), (SLOW, ("http", "hf-transfer"))):
        with serving(folder / "model", rate=rate) as hub:
            described = describe(hub.endpoint, path, xet_hash)
            commands = {
                name: [
                    *(sys.executable, "-m", "benchmarks.engines", "--fetch", name),
                    *("--described", described, "--cas", cas.url),
                    *("--folder", str(scratch / "vault")),
                ]
                for name in engines
            }
            print(f"{rate // 1_000_000} MB/s on each connection" if rate else "as fast as it goes")
            compare(commands, hub.endpoint, scratch, runs=runs, size=size)


def main() -> None:
    """Run the race, or one fetch of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="1GiB", help="bytes, or with a unit such as 2GiB")
    parser.add_argument("--runs", type=int, default=3, help="rounds, after one that is not counted")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--fetch", help=argparse.SUPPRESS)
    parser.add_argument("--described", help=argparse.SUPPRESS)
    parser.add_argument("--cas", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fetch:
        fetch(options.fetch, options.described, options.cas, options.folder)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        race(Path(temporary), parse_volume_size(options.size), options.runs)


if __name__ == "__main__":
    main()
