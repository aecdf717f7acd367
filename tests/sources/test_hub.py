"""The Hub as a source: pinned offers, translated errors, bounded patience."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from modelvault.core.artifact import HubOrigin, License
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.errors import (
    AccessDenied,
    BadConfiguration,
    BadOption,
    BadPath,
    BadReference,
    FetchError,
    GatedRepository,
    HubError,
    HubUnreachable,
    RepositoryNotFound,
    RevisionNotFound,
)
from modelvault.sources.fetch.file import GitBlob
from modelvault.sources.hub import session
from modelvault.sources.hub.source import HubSource
from modelvault.sources.net.connection import Connection
from modelvault.sources.selection import select
from modelvault.store.blobs import Store
from tests.support.delivery import deliver
from tests.support.hub import answers
from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

TINY = ModelName.parse("acme/tiny")
WEIGHTS = os.urandom(5000)
CONFIG = b'{"model_type": "llama"}'
CARD = {
    "license": "other",
    "license_name": "acme-1.0",
    "license_link": "https://acme.example/license",
    "language": ["en", "de"],
    "base_model": "acme/base",
    "pipeline_tag": "text-generation",
    "widget": [{"text": "not kept"}],
}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with one open repository."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", {"model.safetensors": WEIGHTS, "config.json": CONFIG}, card=CARD)
        yield hub


@pytest.fixture(autouse=True)
def waits(no_token: None, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that would have been slept; no token comes from this machine."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def source(hub: LoopbackHub, revision: str | None = None, *, token: str | None = None) -> HubSource:
    """Return the source under test."""
    return HubSource(TINY, revision, Connection(endpoint=hub.endpoint, token=token))


def test_offer_pins_the_commit_and_declares_every_file(hub: LoopbackHub) -> None:
    """Sizes and checksums: sha256 for LFS, git's id for the rest; licence and card kept."""
    repository = hub.repositories["acme/tiny"]
    offer = source(hub).offer()
    assert offer.revision == repository.branches["main"]
    assert offer.origin == HubOrigin(
        endpoint=hub.endpoint,
        commit=offer.revision,
        requested="main",
        gated=False,
        private=False,
    )
    files = {file.path: file for file in offer.files}
    assert list(files) == ["README.md", "config.json", "model.safetensors"]
    weights, config = files["model.safetensors"], files["config.json"]
    assert (weights.size, weights.checksum) == (5000, Digest.of(WEIGHTS))
    assert config.sha256 is None
    assert config.checksum == GitBlob(repository.find("main").files["config.json"].blob_id)  # type: ignore[union-attr]
    assert weights.scan == "safe"
    assert offer.license == License(
        id="other", name="acme-1.0", link="https://acme.example/license"
    )
    assert offer.card == {
        "base_model": "acme/base",
        "language": "en, de",
        "pipeline_tag": "text-generation",
    }


def test_moving_branch_cannot_mix_two_commits(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack or accident: a push right after the commit was read; the tree is the old one's."""
    hub.page_size = 40  # two entries a page when expanded
    repository = hub.repositories["acme/tiny"]
    first = repository.branches["main"]
    answer = answers.model_info

    def answer_then_push(*arguments: Any, **options: Any) -> dict[str, Any]:
        result = answer(*arguments, **options)
        repository.commit({"config.json": b"other"})
        return result

    monkeypatch.setattr(answers, "model_info", answer_then_push)
    offer = source(hub).offer()
    assert repository.branches["main"] != first
    assert offer.revision == first
    assert len(offer.files) == 3
    calls = hub.journal.requests(stage=Stage.API, path="tree")
    assert len(calls) == 2
    assert all(f"/tree/{first}" in call.target for call in calls)


@pytest.mark.parametrize("kind", ["branch", "tag", "commit"])
def test_revision_of_each_kind_is_pinned(hub: LoopbackHub, kind: str) -> None:
    """A branch, a tag and a commit lead to the same commit id."""
    repository = hub.repositories["acme/tiny"]
    commit = repository.commit({"config.json": b"{}"}, branch="refs/pr/1")
    repository.tag("v1.0", commit)
    wanted = {"branch": "refs/pr/1", "tag": "v1.0", "commit": commit}[kind]
    offer = source(hub, wanted).offer()
    assert offer.revision == commit
    assert isinstance(offer.origin, HubOrigin)
    assert offer.origin.requested == wanted


def test_scanner_findings_reach_the_offer(hub: LoopbackHub) -> None:
    """A file that the Hub's scanner calls unsafe is marked."""
    repository = hub.repositories["acme/tiny"]
    repository.scans["model.bin"] = "unsafe"
    repository.commit({"model.bin": b"pickle"})
    (file,) = source(hub).offer().files
    assert file.scan == "unsafe"


def test_missing_repository_and_revision_are_told_apart(hub: LoopbackHub) -> None:
    """Each has its own class, and names what was asked for."""
    with pytest.raises(RepositoryNotFound, match="acme/absent"):
        HubSource(ModelName.parse("acme/absent"), None, Connection(endpoint=hub.endpoint)).offer()
    with pytest.raises(RevisionNotFound, match="'v9'"):
        source(hub, "v9").offer()


def test_gated_repository_says_where_to_ask(hub: LoopbackHub) -> None:
    """Before any download: anonymous and unaccepted tokens are stopped, an accepted one not."""
    hub.add("acme/tiny", {"model.safetensors": WEIGHTS}, gated="manual")
    with pytest.raises(GatedRepository) as anonymous:
        source(hub).offer()
    assert f"{hub.endpoint}/acme/tiny" in anonymous.value.hint
    assert "HF_TOKEN" in anonymous.value.hint
    with pytest.raises(GatedRepository) as waiting:
        source(hub, token=hub.grant("hf_waiting")).offer()
    assert "granted" in waiting.value.hint
    offer = source(hub, token=hub.grant("hf_accepted", "acme/tiny")).offer()
    assert isinstance(offer.origin, HubOrigin)
    assert offer.origin.gated


def test_private_repository_needs_its_token(hub: LoopbackHub) -> None:
    """Hidden without the token, offered and recorded as private with it."""
    hub.add("acme/tiny", {"model.safetensors": WEIGHTS}, private=True)
    for token in (None, hub.grant("hf_other")):
        with pytest.raises(RepositoryNotFound):
            source(hub, token=token).offer()
    offer = source(hub, token=hub.grant("hf_good", "acme/tiny")).offer()
    assert isinstance(offer.origin, HubOrigin)
    assert offer.origin.private


def test_refused_token_is_access_denied_and_never_quoted(hub: LoopbackHub) -> None:
    """Attack: a server that echoes the token does not get it into messages."""
    secret = "hf_" + "S3cret" * 5
    with pytest.raises(AccessDenied) as refused:
        source(hub, token=secret).offer()
    echo = {"X-Error-Message": f"token {secret} is bad"}
    hub.grant(secret)
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, status=418, headers=echo))
    with pytest.raises(HubError) as echoed:
        source(hub, token=secret).offer()
    for error in (refused.value, echoed.value):
        assert "S3cret" not in error.message + error.hint
    assert "***" in echoed.value.message


def test_token_comes_from_the_usual_places(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """HF_TOKEN first, the older variable next, then the file of ``hf auth login``."""
    hub.add("acme/tiny", {"config.json": CONFIG}, private=True)
    for token in ("hf_new", "hf_old", "hf_file"):
        hub.grant(token, "acme/tiny")
    (tmp_path / "token").write_text("hf_file\n")
    assert source(hub).offer().files
    (tmp_path / "token").write_text("hf_wrong\n")
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_old")
    assert source(hub).offer().files
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_wrong")
    monkeypatch.setenv("HF_TOKEN", "hf_new")
    assert source(hub).offer().files


def test_token_that_cannot_be_sent_is_refused_unquoted(hub: LoopbackHub) -> None:
    """Attack: a line break in the token would add a header."""
    with pytest.raises(BadConfiguration) as error:
        source(hub, token="hf_x\r\nX-Evil: 1")
    assert "hf_x" not in error.value.message + error.value.hint


@pytest.mark.parametrize(
    "endpoint",
    ["ftp://hub.example", "hub.example", "https://", "https://u:pw@hub.example", "http://h/?q=1",
     "http://h:99999", "http://a b"],
)  # fmt: skip
def test_endpoint_that_is_not_plain_is_refused_unquoted(endpoint: str) -> None:
    """Credentials in a URL would end up in records; they are refused and not repeated."""
    with pytest.raises(BadOption) as error:
        HubSource(TINY, None, Connection(endpoint=endpoint))
    assert "pw" not in error.value.message + error.value.hint


def test_endpoint_variable_is_read_at_call_time(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_ENDPOINT counts even after the library has been imported."""
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.endpoint}/")
    offer = HubSource(TINY, None, Connection()).offer()
    assert isinstance(offer.origin, HubOrigin)
    assert offer.origin.endpoint == hub.endpoint


@pytest.mark.parametrize("call", ["info", "tree"])
def test_busy_hub_is_asked_again_when_it_says(
    hub: LoopbackHub, waits: list[float], call: str
) -> None:
    """Retry-After and RateLimit are honoured, and 5xx waits a little."""
    hub.faults.add(
        Fault(kind=Kind.STATUS, stage=Stage.API, path=call, status=429,
              headers={"Retry-After": "7"}),
        Fault(kind=Kind.STATUS, stage=Stage.API, path=call, status=429, skip=1,
              headers={"RateLimit": '"api";r=0;t=9', "Retry-After": "1"}),
        Fault(kind=Kind.STATUS, stage=Stage.API, path=call, status=503, skip=2),
    )  # fmt: skip
    assert source(hub).offer().files
    assert [int(wait) for wait in waits[:2]] == [7, 9]  # and a little jitter on top
    assert len(waits) == 3
    assert 0 < waits[2] < 10


def test_hub_that_is_always_busy_is_given_up(hub: LoopbackHub, waits: list[float]) -> None:
    """The number of attempts is bounded."""
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, path="tree", times=None))
    with pytest.raises(HubUnreachable, match="503"):
        source(hub).offer()
    assert len(waits) == session.ATTEMPTS - 1


def test_absurd_waiting_time_is_told_instead_of_obeyed(
    hub: LoopbackHub, waits: list[float]
) -> None:
    """Attack: ``Retry-After`` of eleven days does not make the program sleep."""
    headers = {"Retry-After": "999999"}
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, status=429, headers=headers))
    with pytest.raises(HubUnreachable, match="999999"):
        source(hub).offer()
    assert waits == []


def test_dropped_connection_is_retried_then_reported(hub: LoopbackHub, waits: list[float]) -> None:
    """One drop is survived; an endpoint that is gone is unreachable."""
    hub.faults.add(Fault(kind=Kind.DROP, stage=Stage.API, path="info"))
    assert source(hub).offer().files
    hub.__exit__(None, None, None)
    with pytest.raises(HubUnreachable, match="does not answer"):
        source(hub).offer()


def test_offline_mode_is_respected(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE stops a pull before a single request."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="offline"):
        source(hub).offer()
    assert hub.journal.requests() == []


@pytest.mark.parametrize("path", ["../../etc/passwd", "a//b", "/etc/passwd", "a\\b", "con.txt"])
def test_unsafe_path_in_a_repository_is_refused_by_name(hub: LoopbackHub, path: str) -> None:
    """Attack: a repository whose file names lead out of the folder."""
    hub.repositories["acme/tiny"].commit({"config.json": CONFIG, path: b"x", "b\x00": b"y"})
    files = source(hub).offer().files
    with pytest.raises(BadPath) as error:
        select(files, include=[], exclude=[])
    assert len(error.value.issues) == 2
    assert not any("resolve" in request.target for request in hub.journal.requests())
    chosen = select(files, include=["config.json"], exclude=[]).chosen
    assert [file.path for file in chosen] == ["config.json"]


GOOD_SHA1 = "0" * 40
LFS = {"oid": "0" * 64, "size": 1, "pointerSize": 1}


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "a", "size": -1, "oid": GOOD_SHA1},
        {"path": "a", "size": 2**60, "oid": GOOD_SHA1},
        {"path": "a", "size": True, "oid": GOOD_SHA1},
        {"path": "a", "size": "1", "oid": GOOD_SHA1},
        {"path": 5, "size": 1, "oid": GOOD_SHA1},
        {"path": "a", "size": 1, "oid": "zz"},
        {"path": "a", "size": 1, "oid": None},
        {"path": "a", "size": 1},
        {"path": "a", "size": 1, "oid": GOOD_SHA1, "lfs": {**LFS, "oid": "zz"}},
        {"path": "a", "size": 1, "oid": GOOD_SHA1, "lfs": {**LFS, "oid": None}},
        {"path": "a", "size": 1, "oid": GOOD_SHA1, "lfs": {**LFS, "size": 2}},
        {"path": "a", "size": 1, "oid": GOOD_SHA1, "lfs": "x"},
    ],
)  # fmt: skip
def test_hostile_tree_entry_is_an_unusable_answer(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, entry: dict[str, object]
) -> None:
    """Attack: sizes, digests and types that no honest Hub sends."""
    monkeypatch.setattr(answers, "tree", lambda *_, **__: [{"type": "file", **entry}])
    with pytest.raises(HubError):
        source(hub).offer()


@pytest.mark.parametrize("answer", [[], "text", None, {"id": 5, "sha": "zz"}, {"sha": "0" * 40}])
def test_hostile_model_info_is_an_unusable_answer(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    """Attack: JSON of the wrong shape where the model's description should be."""
    monkeypatch.setattr(answers, "model_info", lambda *_, **__: answer)
    with pytest.raises(FetchError):
        source(hub).offer()


def test_other_commit_than_asked_for_is_refused(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: the endpoint answers for another commit than the one that was named."""
    repository = hub.repositories["acme/tiny"]
    first = repository.branches["main"]
    second = repository.commit({"config.json": b"other"})
    monkeypatch.setattr(type(repository), "find", lambda *_: repository.commits[-1])
    with pytest.raises(HubError, match=second):
        source(hub, first).offer()


def test_endless_answer_is_cut_off(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: an answer larger than the limit is refused before it fills the memory."""
    monkeypatch.setattr(session, "ANSWER_LIMIT", 100)
    with pytest.raises(HubError, match="exceeds 100 bytes"):
        source(hub).offer()


def test_endless_listing_is_cut_off(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: a tree of more files than any manifest may hold."""
    monkeypatch.setattr("modelvault.sources.hub.client.MOST_FILES", 2)
    with pytest.raises(HubError, match="more than 2 files"):
        source(hub).offer()


def test_renamed_repository_is_followed_and_told(hub: LoopbackHub) -> None:
    """The artefact keeps the name that was asked for; the user learns the new one."""
    hub.add("acme/new", {"config.json": CONFIG})
    hub.renamed["acme/tiny"] = "acme/new"
    offer = source(hub).offer()
    assert offer.model == TINY
    assert offer.notes == ("acme/tiny is now called acme/new on the Hub",)


def test_large_repository_is_listed_without_scans(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scan results come 50 a page; beyond a number of files they are done without."""
    monkeypatch.setattr("modelvault.sources.hub.client._MOST_SCANNED", 2)
    assert {file.scan for file in source(hub).offer().files} == {""}
    (call,) = hub.journal.requests(path="tree")
    assert "expand=false" in call.target


def test_requests_name_the_program(hub: LoopbackHub) -> None:
    """The user agent is ours, and anonymous means no authorization header."""
    source(hub).offer()
    for request in hub.journal.requests():
        assert request.headers["user-agent"].startswith("modelvault/")
        assert not request.authorized


def test_library_stays_silent(hub: LoopbackHub, caplog: pytest.LogCaptureFixture) -> None:
    """What the library would log as a warning does not reach the user's terminal."""
    hub.faults.add(
        Fault(kind=Kind.STATUS, stage=Stage.API, path="tree", status=503),
    )
    source(hub).offer()
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert huggingface_hub.get_session().follow_redirects


def test_pull_again_fetches_no_byte(hub: LoopbackHub, tmp_path: Path) -> None:
    """Held files are recognised, those without a declared sha256 too; a changed one is fetched."""
    store = Store.create(tmp_path / "vault")
    first = source(hub, token=hub.grant("hf_secret"))
    digests = deliver(first, store)
    assert not any(request.authorized for request in hub.journal.requests(origin="cdn"))
    hub.journal.clear()
    again = source(hub)
    assert deliver(again, store) == digests
    assert hub.journal.sent() == 0
    changed = CONFIG.replace(b"llama", b"other")
    hub.repositories["acme/tiny"].commit({"model.safetensors": WEIGHTS, "config.json": changed})
    newer = source(hub)
    assert deliver(newer, store)["config.json"] == Digest.of(changed)
    assert hub.journal.sent() == len(changed)


def test_damaged_blob_is_not_taken_for_a_held_file(hub: LoopbackHub, tmp_path: Path) -> None:
    """A blob that the disk has changed does not match, and is fetched again."""
    store = Store.create(tmp_path / "vault")
    first = source(hub)
    digest = deliver(first, store)["config.json"]
    blob = store.path(digest)
    blob.chmod(0o644)
    blob.write_bytes(CONFIG.replace(b"llama", b"evil!"))
    again = source(hub)
    deliver(again, store)
    assert store.read(digest, limit=len(CONFIG)) == CONFIG


@pytest.mark.parametrize("mode", ["mirror", "resolve_cache"])
def test_delivery_works_through_mirrors_and_redirects(
    hub: LoopbackHub, tmp_path: Path, mode: str
) -> None:
    """A caching mirror's plain answers and the Hub's own redirects bring the same bytes."""
    setattr(hub, mode, True)
    store = Store.create(tmp_path / "vault")
    puller = source(hub)
    digests = deliver(puller, store)
    assert digests["model.safetensors"] == Digest.of(WEIGHTS)
    assert digests["config.json"] == Digest.of(CONFIG)


def test_delivery_from_a_private_gated_repository(hub: LoopbackHub, tmp_path: Path) -> None:
    """The token opens the files at the hub and is not shown to the CDN."""
    hub.add("acme/tiny", {"model.safetensors": WEIGHTS}, private=True, gated="auto")
    store = Store.create(tmp_path / "vault")
    puller = source(hub, token=hub.grant("hf_good", "acme/tiny"))
    digests = deliver(puller, store)
    assert digests == {"model.safetensors": Digest.of(WEIGHTS)}
    cdn = hub.journal.requests(origin="cdn")
    assert cdn
    assert not any(request.authorized for request in cdn)


def test_nobody_but_the_endpoint_is_asked(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With an endpoint of its own, a site sees no request to the real Hub, not even one."""
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", None)
    monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", str(tmp_path / "list"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", False)
    with LoopbackHub() as real:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", real.endpoint)
        assert source(hub).offer().files
        assert real.journal.requests() == []


def test_gated_model_on_a_mirror_without_access_check_is_offered(hub: LoopbackHub) -> None:
    """A mirror that lacks the call cannot say no; the download will, if it has to."""
    hub.add("acme/tiny", {"config.json": CONFIG}, gated="auto")
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, path="auth-check", status=404))
    assert source(hub).offer().files


def test_redirects_in_a_circle_are_an_unusable_answer(hub: LoopbackHub) -> None:
    """Attack: two names that redirect to each other."""
    hub.renamed |= {"acme/tiny": "acme/tony", "acme/tony": "acme/tiny"}
    with pytest.raises(HubError, match="TooManyRedirects"):
        source(hub).offer()


def test_name_the_library_refuses_is_a_bad_reference(hub: LoopbackHub) -> None:
    """Before any request."""
    with pytest.raises(BadReference, match=r"tiny\.git"):
        HubSource(ModelName.parse("acme/tiny.git"), None, Connection(endpoint=hub.endpoint)).offer()
    assert hub.journal.requests() == []


def test_disabled_and_forbidden_are_access_denied(hub: LoopbackHub) -> None:
    """What the Hub has taken down, and what it forbids, are told as such."""
    taken_down = {"X-Error-Message": "Access to this resource is disabled."}
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, status=403, headers=taken_down))
    with pytest.raises(AccessDenied, match="has disabled"):
        source(hub).offer()
    hub.faults.add(Fault(kind=Kind.STATUS, stage=Stage.API, status=403))
    with pytest.raises(AccessDenied, match="without token"):
        source(hub).offer()


def test_stored_token_that_cannot_be_read_is_reported(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder where the token file should be; and no token at all when they are switched off."""
    (tmp_path / "token").mkdir()
    with pytest.raises(BadConfiguration, match="IsADirectoryError"):
        source(hub).offer()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    assert source(hub).offer().files
