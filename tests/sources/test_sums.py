"""A list of checksums on a web server: every habit of servers, and every way to cheat."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelvault.core.artifact import License, SumsOrigin
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.core.ports import Silence
from modelvault.core.sums import SumsUrl
from modelvault.errors import (
    AccessDenied,
    BadOption,
    BadPath,
    DigestMismatch,
    FetchError,
    NotFound,
    SourceError,
    SourceUnreachable,
    UpstreamChanged,
)
from modelvault.sources.fetch.stored import plan_delivery
from modelvault.sources.hub.source import HubSource
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.retry import Limits
from modelvault.sources.selection import select
from modelvault.sources.sums import source as module
from modelvault.sources.sums.source import SumsSource
from modelvault.store.blobs import Store
from tests.support.delivery import deliver
from tests.support.fileserver import FileServer, Style
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub
from tests.support.webserver import Server, reply

TINY = ModelName.parse("acme/tiny")
CARD = b"---\nlicense: apache-2.0\npipeline_tag: text-generation\n---\n# Tiny\n"
WEIGHTS = os.urandom(700_000)
LONG = 33 * 1024 * 1024
"""Bytes: more than one request asks for, so that the place of a file is looked up ahead."""
FILES = {
    "README.md": CARD,
    "config.json": b"{}",
    "empty.txt": b"",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle",
    "sub folder/\u00fcn\u00ef #1.json": b"[1]",
}

Start = Callable[..., FileServer]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """Return what starts servers; patience is short, and no login comes from this machine."""
    limits = Limits(attempts=3, first_wait=0.01, longest_wait=0.02)
    monkeypatch.setattr("modelvault.sources.net.questions.QUESTION_LIMITS", limits)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)
    running: list[FileServer] = []

    def begin(files: Any = FILES, **options: Any) -> FileServer:
        running.append(FileServer(files, **options).__enter__())
        return running[-1]

    yield begin
    for server in running:
        server.__exit__(None, None, None)


def source_of(server: FileServer, *, pin: bool = True, **options: Any) -> SumsSource:
    """Return the source of a server's list, pinned: loopback speaks plain http."""
    pinned = Digest.parse(server.digest) if pin else None
    return SumsSource(SumsUrl.parse(server.url), TINY, Connection(**options), pinned=pinned)


def test_offer_is_the_list_with_licence_and_card(start: Start) -> None:
    """Nothing but the list and the README is asked for; sizes are not known yet."""
    server = start()
    offer = source_of(server).offer()
    sums = Digest.parse(server.digest)
    assert [file.path for file in offer.files] == sorted(FILES)
    assert {file.path: file.sha256 for file in offer.files} == {
        path: Digest.of(data) for path, data in FILES.items()
    }
    assert {file.path for file in offer.files if file.size is not None} == {"empty.txt"}
    assert offer.license == License(id="apache-2.0")
    assert offer.card == {"pipeline_tag": "text-generation"}
    assert offer.origin == SumsOrigin(url=server.url, sums=sums, requested=sums.hex[:40])
    assert [request.path for request in server.journal.requests()] == ["SHA256SUMS", "README.md"]


def test_revision_is_the_content_s_however_it_is_listed(start: Start) -> None:
    """Another order is another list and the same revision; another file another revision."""
    server = start()
    first = source_of(server).offer()
    server.sums = b"".join(reversed(server.list().splitlines(keepends=True)))
    second = source_of(server).offer()
    assert first.revision == second.revision == source_of(server).find_revision()
    assert first.origin != second.origin
    server.sums = None
    server.publish({**FILES, "config.json": b"[]"})
    assert source_of(server).find_revision() != first.revision


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("redirects", [False, True], ids=["itself", "storage"])
def test_every_server_s_habits_bring_every_byte(
    start: Start, store: Store, style: Style, redirects: bool
) -> None:
    """Headers of nginx, Apache, Artifactory and Nexus; files of their own or on a storage."""
    server = start(style=style, redirects=redirects)
    digests = deliver(source_of(server), store)
    assert digests == {path: Digest.of(data) for path, data in FILES.items()}
    for path, digest in digests.items():
        assert store.path(digest).read_bytes() == FILES[path]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
def test_server_that_refuses_to_be_asked_ahead_is_asked_for_bytes(
    start: Start, store: Store, status: int
) -> None:
    """Gateways and storages let ``GET`` through alone: sizes and places come without ``HEAD``."""
    files = {"config.json": b"{}", "empty.txt": b"", "model.gguf": bytes(LONG)}
    server = start(files)
    server.faults.add(
        Fault(kind=Kind.STATUS, stage=Stage.RESOLVE, method="HEAD", status=status, times=None)
    )
    source = source_of(server)
    sizes = {file.path: file.size for file in source.settle_sizes(source.offer().files)}
    assert sizes == {path: len(data) for path, data in files.items()}
    digests = deliver(source, store)
    assert store.path(digests["model.gguf"]).read_bytes() == files["model.gguf"]


def test_server_without_ranges_brings_every_byte(start: Start, store: Store) -> None:
    """Sizes come from what it says of the whole file; the file comes as one stream."""
    server = start()
    server.faults.add(
        Fault(kind=Kind.STATUS, stage=Stage.RESOLVE, method="HEAD", status=405, times=None),
        Fault(kind=Kind.IGNORE_RANGE, stage=Stage.RESOLVE, times=None),
    )
    digests = deliver(source_of(server), store)
    assert store.path(digests["model.safetensors"]).read_bytes() == WEIGHTS


def test_sizes_are_asked_of_the_selected_files_alone_and_a_few_at_once(start: Start) -> None:
    """A list of thousands costs a question for each file that is wanted, and no more."""
    files = {f"part-{number}.gguf": os.urandom(9) for number in range(24)}
    server = start({**files, "model.bin": b"x"})
    server.faults.add(
        Fault(kind=Kind.DELAY, stage=Stage.RESOLVE, method="HEAD", seconds=0.1, times=None)
    )
    source = source_of(server, connections=4)
    chosen = select(source.offer().files, include=["*.gguf"], exclude=[]).chosen
    began = time.monotonic()
    settled = source.settle_sizes(chosen)
    spent = time.monotonic() - began
    assert {file.path: file.size for file in settled} == dict.fromkeys(files, 9)
    asked = server.journal.requests(method="HEAD")
    assert sorted(request.path for request in asked) == sorted(files)
    assert spent >= 24 / 4 * 0.1  # never more than four at once


def test_other_server_than_declared_is_never_believed(start: Start, store: Store) -> None:
    """Attack: the bytes change after the list was made; what comes is in quarantine."""
    server = start()
    sums = server.list()
    server.publish({**FILES, "model.safetensors": os.urandom(len(WEIGHTS))})
    server.sums = sums
    with pytest.raises(DigestMismatch):
        deliver(source_of(server), store)
    assert not store.has(Digest.of(WEIGHTS))
    assert list(store.paths.quarantine.iterdir())


def test_file_that_changes_its_length_meanwhile_stops_the_pull(start: Start, store: Store) -> None:
    """Attack: another file than was described; its first answer gives it away."""
    server = start()
    source = source_of(server)
    offer = source.offer()
    plan = plan_delivery(source.settle_sizes(offer.files), store)
    server.publish({**FILES, "model.safetensors": b"more" + WEIGHTS})
    with pytest.raises((UpstreamChanged, DigestMismatch)):
        source.deliver(offer, plan, store, Silence())
    assert not store.has(Digest.of(WEIGHTS))


def test_checksum_that_the_server_itself_contradicts_costs_no_bytes(start: Start) -> None:
    """Artifactory and Nexus know what they serve: the list is of something else."""
    server = start(style=Style.ARTIFACTORY)
    sums = server.list()
    server.publish({**FILES, "model.safetensors": b"other"})
    server.sums = sums
    source = source_of(server)
    with pytest.raises(UpstreamChanged, match="declares sha256"):
        source.settle_sizes(source.offer().files)


def test_listed_file_that_is_not_there_is_named(start: Start) -> None:
    """Before anything is fetched; where there are several, all of them are."""
    server = start()
    server.sums = server.list() + f"{Digest.of(b'x').hex}  absent.gguf\n".encode()
    source = source_of(server)
    with pytest.raises(UpstreamChanged, match=r"absent\.gguf: the server has no such file"):
        source.settle_sizes(source.offer().files)
    server.sums += f"{Digest.of(b'y').hex}  gone.json\n".encode()
    source = source_of(server)
    with pytest.raises(UpstreamChanged, match="2 files are not there") as caught:
        source.settle_sizes(source.offer().files)
    assert [issue.partition(": ")[0].rpartition("/")[2] for issue in caught.value.issues] == [
        "absent.gguf",
        "gone.json",
    ]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\b", "con", "http://x/y"])
def test_attack_of_names_that_lead_elsewhere(start: Start, name: str) -> None:
    """Nothing is asked for under such a name, on this server or another."""
    server = start()
    server.sums = f"{Digest.of(b'x').hex}  {name}\n".encode()
    files = source_of(server).offer().files
    with pytest.raises(BadPath):
        select(files, include=[], exclude=[])
    assert [request.path for request in server.journal.requests()] == ["SHA256SUMS"]


# -- the list itself


def test_list_over_plain_http_needs_its_digest(start: Start) -> None:
    """Whoever alters the list alters the model; the hint says how to pin it."""
    server = start()
    with pytest.raises(BadOption, match="could alter this list") as caught:
        source_of(server, pin=False)
    assert "--sums-digest sha256:" in caught.value.hint


def test_list_that_is_not_the_pinned_one_is_refused(start: Start) -> None:
    """Attack: another list, with checksums of another model."""
    server = start()
    source = source_of(server)
    server.publish({**FILES, "config.json": b"evil"})
    with pytest.raises(UpstreamChanged, match="instead of sha256:"):
        source.offer()


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (404, NotFound, "no such file"),
        (410, NotFound, "no such file"),
        (401, AccessDenied, "--token-file"),
        (403, AccessDenied, "netrc"),
        (400, SourceError, "answers 400"),
        (503, SourceUnreachable, "answers 503"),
    ],
)
def test_refusal_says_what_to_do(
    start: Start, status: int, error: type[FetchError], words: str
) -> None:
    """In words of a web server; 503 is asked a few times."""
    server = start()
    server.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, status=status, times=None))
    with pytest.raises(error) as caught:
        source_of(server).offer()
    assert words in f"{caught.value} {caught.value.hint}"
    assert "Hub" not in f"{caught.value} {caught.value.hint}"
    assert len(server.journal.requests()) == (4 if status == 503 else 1)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=Kind.CUT, stage=Stage.API, after=10),
        Fault(kind=Kind.DROP, stage=Stage.API),
        Fault(kind=Kind.STATUS, stage=Stage.API, status=429, headers={"Retry-After": "0"}),
    ],
    ids=lambda fault: str(fault.kind),
)
def test_list_that_comes_by_halves_is_asked_for_again(start: Start, fault: Fault) -> None:
    """A truncated list is not a shorter model."""
    server = start()
    server.faults.add(fault)
    assert len(source_of(server).offer().files) == len(FILES)


def test_list_without_end_is_refused_before_it_is_in_memory(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: an answer of any length."""
    monkeypatch.setattr(module, "SUMS_LIMIT", 100)
    with pytest.raises(SourceError, match="more than 100 bytes"):
        source_of(start()).offer()


def test_one_byte_at_a_time_does_not_hold_a_pull_up(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a list that drips in for ever is cut, asked for again, and given up."""
    monkeypatch.setattr("modelvault.sources.sums.server.READ_SECONDS", 1.0)
    server = start()
    server.faults.add(Fault(kind=Kind.SLOW, stage=Stage.API, rate=20, times=None))
    began = time.monotonic()
    with pytest.raises(SourceUnreachable, match="no answer that can be used"):
        source_of(server).offer()
    assert time.monotonic() - began < 5


def test_web_page_instead_of_a_list_is_told_from_a_list() -> None:
    """A login form comes with 200."""
    page = b"<html><form>Log in</form></html>"
    with Server(lambda exchange: reply(exchange, 200, page)) as server:
        url = SumsUrl.parse(f"{server.url}/SHA256SUMS")
        with pytest.raises(SourceError, match="a web page"):
            SumsSource(url, TINY, Connection(), pinned=Digest.of(page)).offer()


@pytest.mark.parametrize(
    "answer",
    [
        {"Content_Encoding": "gzip"},
        {"Transfer_Encoding": "chunked"},
    ],
    ids=["compressed", "of no length"],
)
def test_size_that_is_not_the_file_s_own_is_not_believed(answer: dict[str, str]) -> None:
    """A server that compresses on the way declares another length; it is told to stop that."""

    def serve(exchange: Any) -> None:
        if exchange.path.endswith("SUMS"):
            reply(exchange, 200, sums)
            return
        exchange.send_response(200)
        for name, value in answer.items():
            exchange.send_header(name.replace("_", "-"), value)
        if "Transfer_Encoding" not in answer:
            exchange.send_header("Content-Length", "5")
        exchange.end_headers()
        exchange.close_connection = True

    sums = f"{Digest.of(b'{}').hex}  config.json\n".encode()
    with Server(serve) as server:
        url = SumsUrl.parse(f"{server.url}/SHA256SUMS")
        source = SumsSource(url, TINY, Connection(), pinned=Digest.of(sums))
        with pytest.raises(SourceError, match="does not say how long"):
            source.settle_sizes(source.offer().files)


def test_damaged_card_is_a_note_and_not_the_end(start: Start) -> None:
    """Without its README a model can be pulled; its licence is not known then."""
    server = start()
    sums = server.list()
    server.publish({**FILES, "README.md": b"---\nlicense: mit\n---\n"})
    server.sums = sums
    offer = source_of(server).offer()
    assert offer.license is None
    assert "README.md: not the one that is listed" in offer.notes[0]
    server.faults.add(Fault(kind=Kind.STATUS, stage=Stage.RESOLVE, status=403))
    assert "refuses access" in source_of(server).offer().notes[0]


def test_interrupt_while_sizes_are_asked_is_noticed(start: Start) -> None:
    """Ctrl-C takes less than a second, whatever the server does."""
    server = start()
    source = source_of(server)
    offer = source.offer()
    server.faults.add(Fault(kind=Kind.DELAY, stage=Stage.RESOLVE, seconds=30.0, times=None))
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.4, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        source.settle_sizes(offer.files)
    assert time.monotonic() - began < 5
    timer.join()


def test_offer_of_another_source_is_refused(start: Start, store: Store) -> None:
    """What was pinned elsewhere is not looked for here."""
    server, other = start(), start()
    source = source_of(server)
    offer = source.offer()
    plan = plan_delivery(source.settle_sizes(offer.files), store)
    with pytest.raises(SourceError, match="another source"):
        source_of(other).deliver(offer, plan, store, Silence())


def test_speed_is_that_of_the_largest_file(start: Start) -> None:
    """Its beginning is fetched, from the storage if it is there, and nothing is kept."""
    server = start(redirects=True)
    source = source_of(server)
    speed = source.measure(source.settle_sizes(source.offer().files))
    assert speed is not None
    assert speed.size == len(WEIGHTS)
    assert source.measure(()) is None


def test_hub_s_offer_is_no_list_s(start: Start, store: Store) -> None:
    """The kinds of sources do not mix."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", {"config.json": b"{}"})
        offer = HubSource(TINY, None, Connection(endpoint=hub.endpoint)).offer()
        with pytest.raises(SourceError, match="another source"):
            source_of(start()).deliver(offer, plan_delivery(offer.files, store), store, Silence())


def test_questions_stop_at_the_first_refusal(start: Start) -> None:
    """A server that has lost everything is not asked thousands of times."""
    files = {f"{number}.json": b"x%d" % number for number in range(400)}
    server = start(files)
    sums = server.list()
    server.publish({})
    server.sums = sums
    source = source_of(server, connections=2)
    with pytest.raises(UpstreamChanged, match="at least 10"):
        source.settle_sizes(source.offer().files)
    assert len(server.journal.requests(method="HEAD")) < 110
    server.journal.clear()
    server.faults.add(Fault(kind=Kind.STATUS, stage=Stage.RESOLVE, status=403, times=None))
    with pytest.raises(AccessDenied):
        source.settle_sizes(source.offer().files)
    assert len(server.journal.requests(method="HEAD")) < 10
