"""What engines do when things go wrong, and how the Hub's Xet storage is reached."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelvault.app.config import read_config
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.core.names import ModelName
from modelvault.core.progress import Silence
from modelvault.errors import BadOption, FetchError, HubError
from modelvault.sources.engines import choice
from modelvault.sources.engines.child import Child, Silent
from modelvault.sources.engines.port import EngineFailed
from modelvault.sources.engines.transfer import TransferEngine
from modelvault.sources.engines.xet import HubAccess, XetEngine
from modelvault.sources.huggingface import HubSource
from modelvault.sources.policy import Limits
from modelvault.sources.remote import RemoteFile, read_xet_hash
from modelvault.sources.transport import Transport
from modelvault.sources.watch import Watch
from modelvault.store.blobs import Store
from tests.support.downloads import QUICK, content_of, downloader, publish
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub
from tests.support.needs import require
from tests.support.xet import LocalCas, access_to

MIB = 1024 * 1024
PATH = "model.safetensors"
CONTENT = os.urandom(20 * MIB)
PATIENT = Limits(**{**QUICK, "stall_window": 60.0})


@pytest.fixture(autouse=True)
def no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no token come from this machine."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running loopback hub."""
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store.create(tmp_path / "vault")


@pytest.fixture
def cas(tmp_path: Path) -> LocalCas:
    """Return an empty Xet storage."""
    return LocalCas(tmp_path / "cas")


@pytest.fixture
def file(hub: LoopbackHub, cas: LocalCas) -> RemoteFile:
    """Return a file that is on the hub and in the Xet storage."""
    return replace(publish(hub, {PATH: CONTENT})[PATH], xet_hash=cas.upload(CONTENT))


@pytest.fixture
def transport() -> Iterator[Transport]:
    """Return a transport that shows a token."""
    watch = Watch(stall_window=60.0, stall_bytes=1)
    transport = Transport(token="hub-token", connections=1, limits=PATIENT, watch=watch)
    yield transport
    transport.close()


class Notes(Silence):
    """A ``Progress`` that keeps the notes."""

    def __init__(self) -> None:
        """Start with none."""
        self.notes: list[str] = []

    def end(self, task: str, *, note: str = "") -> None:
        """Keep the note."""
        if note:
            self.notes.append(note)


def fetch(store: Store, file: RemoteFile, engine: Any) -> tuple[bytes, list[str]]:
    """Fetch a file; return its bytes and what the progress was told."""
    notes = Notes()
    digest = downloader(store, engine=engine, segment=MIB, progress=notes).fetch(file)
    return content_of(store, digest), notes.notes


# -- Xet


def test_file_in_the_storage_comes_from_there_alone(
    hub: LoopbackHub, store: Store, cas: LocalCas, file: RemoteFile
) -> None:
    """The hub sends no byte of it."""
    assert fetch(store, file, XetEngine(cas.access, limits=PATIENT)) == (CONTENT, [])
    assert hub.journal.sent() == 0


def test_holes_of_a_partial_are_asked_for_and_nothing_else(
    store: Store, cas: LocalCas, file: RemoteFile
) -> None:
    """Each gap is a stream of its own, with its own fresh permission."""
    with store.open_partial(file.key, file.size) as partial:
        for start in (2 * MIB, 5 * MIB):
            partial.write(start, CONTENT[start : start + MIB])
            partial.record(start, start + MIB)
    assert fetch(store, file, XetEngine(cas.access, limits=PATIENT)) == (CONTENT, [])
    assert cas.asked == 3


def test_permission_that_stopped_working_is_asked_for_again(
    hub: LoopbackHub, store: Store, cas: LocalCas, file: RemoteFile, tmp_path: Path
) -> None:
    """A storage that gives nothing costs an attempt; the next one has a new permission."""
    given = iter([access_to(f"local://{tmp_path}/empty"), cas.access()])
    assert fetch(store, file, XetEngine(lambda: next(given), limits=PATIENT)) == (CONTENT, [])
    assert hub.journal.sent() == 0


def test_unreachable_storage_is_given_up_for_http(
    store: Store, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection ends in the file all the same, and in a warning."""
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    engine = XetEngine(lambda: access_to(closed), limits=PATIENT)
    content, notes = fetch(store, file, engine)
    assert content == CONTENT
    assert len(notes) == 1
    assert notes[0].startswith("xet gives up (")
    assert notes[0].endswith("going on over HTTP")


def test_attack_storage_that_says_nothing_is_cut_by_the_watchdog(
    store: Store, file: RemoteFile
) -> None:
    """A connection that is taken and never answered does not hold the pull."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"http://127.0.0.1:{server.getsockname()[1]}"
        engine = XetEngine(lambda: access_to(silent), limits=replace(PATIENT, stall_window=1.0))
        content, notes = fetch(store, file, engine)
    assert content == CONTENT
    assert notes == ["xet gives up (no progress for 1 seconds); going on over HTTP"]


def test_attack_wrong_content_in_the_storage_is_replaced_over_http(
    store: Store, cas: LocalCas, file: RemoteFile
) -> None:
    """The storage's bytes go to quarantine, the hub's bytes to the store."""
    wrong = replace(file, xet_hash=cas.upload(bytes(len(CONTENT))))
    content, notes = fetch(store, wrong, XetEngine(cas.access, limits=PATIENT))
    assert content == CONTENT
    assert notes[0].startswith("xet brought wrong bytes")
    assert len(list(store.layout.quarantine.glob("*.txt"))) == 1


CHILD = """
import os, signal, sys
from pathlib import Path
from modelvault.app.config import read_config
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.core.digest import Digest
from modelvault.core.progress import Silence
from modelvault.sources.download import Downloader
from modelvault.sources.engines.xet import XetAccess, XetEngine
from modelvault.sources.remote import RemoteFile
from modelvault.store.blobs import Store
root, url, size, sha256, xet_hash, cas = sys.argv[1:]
file = RemoteFile(path="model.safetensors", size=int(size), url=url, sha256=Digest(sha256),
                  git_sha1=None, commit="0" * 40, xet_hash=xet_hash)
store = Store.create(Path(root))
journal = store.layout.partials / (file.key + ".journal")
class Killer(Silence):
    def advance(self, task, amount):
        if b"range" in journal.read_bytes():
            os.kill(os.getpid(), signal.SIGKILL)
access = lambda: XetAccess(cas=cas, token="lent-token", expires=4_000_000_000)
Downloader(store, engine=XetEngine(access), progress=Killer()).fetch(file)
"""


def test_killed_half_way_the_next_run_goes_on(
    hub: LoopbackHub, store: Store, cas: LocalCas, file: RemoteFile
) -> None:
    """What the journal vouches for is kept; the rest comes from the storage."""
    assert file.sha256 is not None
    arguments = [store.layout.root, file.url, file.size, file.sha256.hex, file.xet_hash, cas.url]
    child = subprocess.run([sys.executable, "-c", CHILD, *map(str, arguments)], check=False)
    assert child.returncode == -signal.SIGKILL
    with store.open_partial(file.key, file.size) as partial:
        assert 0 < partial.present.total < len(CONTENT)
    assert fetch(store, file, XetEngine(cas.access, limits=PATIENT)) == (CONTENT, [])
    assert hub.journal.sent() == 0


# -- access to the storage


def test_hub_lends_a_token_for_its_own_and_no_other_origin(
    hub: LoopbackHub, transport: Transport
) -> None:
    """The permission is read from the headers."""
    hub.grant("hub-token", "acme/tiny")
    hub.cas = "https://cas.example"
    file = publish(hub, {PATH: CONTENT})[PATH]
    url = f"{hub.endpoint}/api/models/acme/tiny/xet-read-token/{file.commit}"
    access = HubAccess(url, transport)()
    assert (access.cas, access.token) == ("https://cas.example", "lent-token")
    assert access.expires > time.time()
    assert "lent-token" not in repr(access)


@pytest.mark.parametrize(
    "cas", ["", "local:///etc", "file:///etc", "http://[", "https://a b\n", "x" * 9000]
)
def test_attack_storage_at_a_place_that_is_no_web_address_is_refused(
    hub: LoopbackHub, transport: Transport, cas: str
) -> None:
    """A hub cannot make the library read this machine's files."""
    hub.grant("hub-token", "acme/tiny")
    hub.cas = cas if "\n" not in cas else "https://a\tb"
    file = publish(hub, {PATH: b"x"})[PATH]
    url = f"{hub.endpoint}/api/models/acme/tiny/xet-read-token/{file.commit}"
    with pytest.raises(EngineFailed, match="no Xet token"):
        HubAccess(url, transport)()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a" * 64, "a" * 64), ("A" * 64, None), ("a" * 63, None), (None, None), (7, None)],
)
def test_xet_hash_of_another_shape_is_ignored(value: object, expected: str | None) -> None:
    """The file then comes over HTTP."""
    assert read_xet_hash(value) == expected


def test_remote_file_with_a_malformed_xet_hash_is_refused(file: RemoteFile) -> None:
    """Nothing that is not a hash reaches the library."""
    with pytest.raises(HubError):
        replace(file, xet_hash="../etc/passwd")


@pytest.mark.parametrize("engine", ["xet", "hf-transfer"])
def test_pull_from_the_hub_through_an_engine_delivers_everything(
    hub: LoopbackHub,
    store: Store,
    cas: LocalCas,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large files come through the engine, the small ones over HTTP."""
    if engine == "hf-transfer":
        need_hf_transfer()
    monkeypatch.setattr("modelvault.sources.engines.xet._SCHEMES", frozenset({"local"}))
    hub.cas = cas.url
    files = {PATH: CONTENT, "config.json": b"{}"}
    hub.add("acme/tiny", files, xet_hashes={PATH: cas.upload(CONTENT)})
    source = HubSource(ModelName.parse("acme/tiny"), None, endpoint=hub.endpoint, engine=engine)
    notes = Notes()
    digests = source.deliver(source.offer().files, store, notes)
    assert {path: content_of(store, digests[path]) for path in files} == files
    assert notes.notes == []
    asked = {request.path for request in hub.journal.requests() if request.stage is Stage.API}
    assert ("xet-read-token" in asked) == (engine == "xet")
    agents = {
        request.headers["user-agent"]
        for request in hub.journal.requests()
        if request.stage is Stage.CDN
    }
    assert bool(agents) == (engine == "hf-transfer")


# -- hf-transfer


def need_hf_transfer() -> None:
    """Skip where the package is missing."""
    try:
        choice.check_engine("hf-transfer")
    except BadOption:
        require("hf_transfer")


def transfer(transport: Transport, **options: Any) -> TransferEngine:
    """Return the engine, for files of any size."""
    need_hf_transfer()
    options = {"anonymous": True, "connections": 2, "limits": PATIENT, "smallest": 1, **options}
    return TransferEngine(transport, **options)


@pytest.fixture
def anonymous() -> Iterator[Transport]:
    """Return a transport without a token."""
    watch = Watch(stall_window=60.0, stall_bytes=1)
    transport = Transport(token=None, connections=1, limits=PATIENT, watch=watch)
    yield transport
    transport.close()


def test_failing_library_deletes_its_own_name_of_the_file_alone(
    hub: LoopbackHub, store: Store, anonymous: Transport
) -> None:
    """The partial survives the library's clean-up, and HTTP fills it."""
    file = publish(hub, {PATH: CONTENT})[PATH]
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.CDN, status=403, times=1))
    content, notes = fetch(store, file, transfer(anonymous))
    assert content == CONTENT
    assert notes[0].startswith("hf-transfer gives up (")
    assert "Signature" not in notes[0]
    assert list(store.layout.partials.iterdir()) == []


def test_file_that_has_begun_is_left_to_http(
    hub: LoopbackHub, store: Store, anonymous: Transport
) -> None:
    """The library would fetch everything again."""
    file = publish(hub, {PATH: CONTENT})[PATH]
    with store.open_partial(file.key, file.size) as partial:
        partial.write(0, CONTENT[:MIB])
        partial.record(0, MIB)
    content, notes = fetch(store, file, transfer(anonymous))
    assert content == CONTENT
    assert "cannot resume" in notes[0]
    assert hub.journal.sent() == len(CONTENT) - MIB


def test_attack_server_with_a_longer_file_cannot_fill_the_disk(
    hub: LoopbackHub, store: Store, anonymous: Transport
) -> None:
    """The kernel stops the library at the declared size."""
    declared = publish(hub, {PATH: CONTENT})[PATH]
    longer = publish(hub, {PATH: bytes(3 * len(CONTENT))}, "acme/longer")[PATH]
    lying = replace(declared, url=longer.url, commit=longer.commit)
    with pytest.raises(FetchError):
        fetch(store, lying, transfer(anonymous))
    assert list(store.blobs()) == []
    sizes = [path.stat().st_size for path in store.layout.partials.iterdir()]
    assert max(sizes) <= len(CONTENT)


def test_token_is_not_given_to_the_library(hub: LoopbackHub, store: Store) -> None:
    """A mirror that sends the bytes itself and asks for the token is left to HTTP."""
    hub.mirror = True
    hub.grant("hub-token", "acme/tiny")
    file = publish(hub, {PATH: CONTENT}, gated="manual")[PATH]
    watch = Watch(stall_window=60.0, stall_bytes=1)
    transport = Transport(token="hub-token", connections=1, limits=PATIENT, watch=watch)
    notes = Notes()
    engine = transfer(transport, anonymous=False)
    fetcher = downloader(store, engine=engine, token="hub-token", segment=MIB, progress=notes)
    assert content_of(store, fetcher.fetch(file)) == CONTENT
    assert "names no other place" in notes.notes[0]
    transport.close()


# -- the process around a library

HANGING = """
import sys, time
from modelvault.sources.engines.frames import begin_child
request, reporter = begin_child()
reporter.pulse(1)
time.sleep(600)
"""

PARENT = """
import os, sys
from pathlib import Path
from modelvault.sources.engines.child import Child
with Child("hanging", {}, settings={"PYTHONPATH": sys.argv[1]}, window=60.0) as child:
    next(child.frames())
    print(child._process.pid, flush=True)
    os.read(0, 1)
"""


@pytest.fixture
def hanging(tmp_path: Path) -> dict[str, str]:
    """Return settings under which ``python -m hanging`` never ends."""
    (tmp_path / "hanging.py").write_text(HANGING)
    return {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}


def is_running(pid: int) -> bool:
    """Return whether a process lives."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_silent_process_is_killed(hanging: dict[str, str]) -> None:
    """After the window the process is gone."""
    with Child("hanging", {}, settings=hanging, window=1.0) as child:
        pid = child._process.pid
        with pytest.raises(Silent):
            list(child.frames())
        assert is_running(pid)
    assert not is_running(pid)


def test_process_dies_with_its_killed_parent(hanging: dict[str, str]) -> None:
    """Nobody goes on writing into a partial whose lock is free again."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, hanging["PYTHONPATH"]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    while is_running(pid):
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11"),
        ("import os, time; os.close(1); time.sleep(600)", "closed its output"),
        ("import os; os.write(1, b'nonsense')", "ended with status 0"),
        ("import os; os.write(1, b'Q' * 9)", "does not keep to the protocol"),
        ("import os; os.write(1, b'E' + b'\\xff' * 8)", "does not keep to the protocol"),
        ("import os; os.write(1, b'E' + bytes(7) + b'\\x08http://a?b')", "http://"),
    ],
)
def test_attack_process_that_misbehaves_is_a_failed_engine(
    tmp_path: Path, program: str, reason: str
) -> None:
    """Whatever it writes or dies of, HTTP takes over."""
    (tmp_path / "misbehaving.py").write_text(program)
    with (
        pytest.raises(EngineFailed, match=reason),
        Child("misbehaving", {}, settings={"PYTHONPATH": str(tmp_path)}, window=60.0) as child,
    ):
        list(child.frames())


# -- choosing


def test_unknown_engine_is_refused() -> None:
    """The hint lists the names."""
    with pytest.raises(BadOption) as caught:
        choice.check_engine("ftp")
    assert caught.value.hint == "choose one of: http, xet, hf-transfer"


@pytest.mark.parametrize("name", ["xet", "hf-transfer"])
def test_engine_without_its_package_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the command."""
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    with pytest.raises(BadOption) as caught:
        choice.check_engine(name)
    assert f"pip install 'modelvault[{name}]'" in (caught.value.hint or "")


def test_engine_that_cannot_keep_a_rate_is_refused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that would not be kept is not accepted."""
    monkeypatch.setattr(choice, "find_spec", lambda _: object())
    choice.check_engine("http", limited=True)
    with pytest.raises(BadOption, match="--limit-rate"):
        choice.check_engine("xet", limited=True)


def test_engine_named_in_the_settings_reaches_the_source(tmp_path: Path) -> None:
    """``[hub] engine`` is the default of ``--engine``, and as strictly looked at."""
    (tmp_path / "config.toml").write_text('[hub]\nengine = "ftp"\n')
    config = read_config(tmp_path / "config.toml", {})
    assert config.engine == "ftp"
    with pytest.raises(BadOption, match="there is no engine 'ftp'"):
        choose_source("acme/tiny", SourceOptions(engine=config.engine))
