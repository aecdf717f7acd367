"""The loopback hub itself: the real client accepts it, and its faults do what they say."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import _http

from tests.support.hub.faults import Fault, Kind, Stage
from tests.support.hub.hub import LoopbackHub

WEIGHTS = os.urandom(300_000)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": WEIGHTS,
    "sub folder/ünï.txt": b"text",
}
CARD = {"license": "apache-2.0", "language": ["en", "de"], "tags": ["tiny"]}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running hub with one open repository."""
    with LoopbackHub() as hub:
        hub.add("acme/tiny", FILES, card=CARD)
        yield hub


@pytest.fixture(autouse=True)
def _as_installed(no_token: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the library use its own client, whatever another test of this process made of it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    before = _http._GLOBAL_CLIENT_FACTORY
    huggingface_hub.set_client_factory(_http.default_client_factory)
    yield
    huggingface_hub.set_client_factory(before)


def snapshot(hub: LoopbackHub, folder: Path, name: str = "acme/tiny", **options: Any) -> Path:
    """Return the folder into which the real client fetched a repository."""
    return Path(
        huggingface_hub.snapshot_download(
            name,
            endpoint=hub.endpoint,
            local_dir=folder,
            **options,
        )
    )


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of one plain GET."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request("GET", url.partition(parts.netloc)[2], headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def signed_url(hub: LoopbackHub, path: str = "model.safetensors") -> str:
    """Return where ``resolve`` sends a client for a file."""
    return get(f"{hub.endpoint}/acme/tiny/resolve/main/{path}")[1]["Location"]


@pytest.mark.parametrize("page_size", [1000, 2])
@pytest.mark.parametrize("mode", ["hub", "mirror", "resolve_cache"])
def test_real_client_downloads_a_snapshot(
    hub: LoopbackHub, tmp_path: Path, mode: str, page_size: int
) -> None:
    """Small files and LFS files arrive byte for byte, in each way a hub may answer."""
    hub.page_size = page_size
    if mode != "hub":
        setattr(hub, mode, True)
    folder = snapshot(hub, tmp_path / "out", token=hub.grant("hf_known"))
    for path, content in FILES.items():
        assert (folder / path).read_bytes() == content
    assert (folder / "README.md").read_text().startswith("---\nlanguage:")
    cdn = hub.journal.requests(origin="cdn")
    assert bool(cdn) is (mode != "mirror")
    assert not any(request.authorized for request in cdn)
    assert all(request.authorized for request in hub.journal.requests(origin="hub"))


def test_real_client_reads_metadata(hub: LoopbackHub) -> None:
    """Sizes, digests, scans, card, refs and commits come through the client's own parsers."""
    repository = hub.repositories["acme/tiny"]
    repository.scans["model.bin"] = "unsafe"
    commit = repository.commit({"model.bin": b"x" * 10, "a/b/c.txt": b"c"}, branch="next")
    repository.tag("v1", commit)
    api = huggingface_hub.HfApi(endpoint=hub.endpoint, token=False)
    info = api.model_info("acme/tiny", files_metadata=True, securityStatus=True)
    assert info.card_data is not None
    assert info.card_data.license == "apache-2.0"
    assert {sibling.rfilename for sibling in info.siblings or ()} == {*FILES, "README.md"}
    tree = list(api.list_repo_tree("acme/tiny", recursive=True, expand=True, revision="v1"))
    assert [entry.path for entry in tree] == ["a", "a/b", "a/b/c.txt", "model.bin"]
    weights = tree[-1]
    assert isinstance(weights, RepoFile)
    assert weights.lfs is not None
    assert weights.lfs.size == 10
    assert weights.security is not None
    assert weights.security.status == "unsafe"
    (again,) = api.get_paths_info("acme/tiny", ["model.bin"], expand=True, revision=commit)
    assert isinstance(again, RepoFile)
    assert again.lfs == weights.lfs
    refs = api.list_repo_refs("acme/tiny")
    assert {ref.name: ref.target_commit for ref in refs.branches}["next"] == commit
    assert [ref.name for ref in refs.tags] == ["v1"]
    assert api.list_repo_commits("acme/tiny")[0].commit_id == commit


def test_real_client_names_what_is_missing(hub: LoopbackHub) -> None:
    """Each absence has the error class that the real Hub's answer leads to."""
    api = huggingface_hub.HfApi(endpoint=hub.endpoint, token=hub.grant("hf_known"))
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/absent")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/tiny", revision="absent")
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("acme/tiny", "absent.txt")


@pytest.mark.parametrize("restriction", [{"gated": "manual"}, {"private": True}])
def test_real_client_needs_the_right_token(
    hub: LoopbackHub, tmp_path: Path, restriction: dict[str, Any]
) -> None:
    """A closed repository opens for its own token only, and a bad token is refused."""
    hub.add("acme/closed", FILES, **restriction)
    hub.grant("hf_other")
    expected = GatedRepoError if "gated" in restriction else RepositoryNotFoundError
    for token in (False, "hf_other"):
        with pytest.raises(expected):
            huggingface_hub.HfApi(endpoint=hub.endpoint, token=token).auth_check("acme/closed")
    with pytest.raises(HfHubHTTPError):
        huggingface_hub.HfApi(endpoint=hub.endpoint, token="hf_bad").auth_check("acme/closed")
    token = hub.grant("hf_good", "acme/closed")
    folder = snapshot(hub, tmp_path / "out", "acme/closed", token=token)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_ranges_and_expiry_at_the_cdn(hub: LoopbackHub) -> None:
    """A signed URL serves ranges until it expires or its signature is touched."""
    url = signed_url(hub)
    status, headers, body = get(url, {"Range": "bytes=100-199"})
    assert (status, body) == (206, WEIGHTS[100:200])
    assert headers["Content-Range"] == f"bytes 100-199/{len(WEIGHTS)}"
    assert get(url, {"Range": f"bytes={len(WEIGHTS)}-"})[0] == 416
    assert get(url.replace("Signature=", "Signature=0"))[0] == 403
    hub.expire_urls()
    assert get(url)[0] == 403
    hub.url_lifetime = -1
    assert get(signed_url(hub))[0] == 403
    assert hub.journal.sent(origin="cdn", path="model.safetensors") >= 100


@pytest.mark.parametrize("on_disk", [False, True])
def test_faulty_bodies_are_as_faulty_as_armed(
    hub: LoopbackHub, tmp_path: Path, on_disk: bool
) -> None:
    """Cut, short, corrupt, overlong, shifted and whole answers, from memory and from disk."""
    if on_disk:
        stored = tmp_path / "weights"
        stored.write_bytes(WEIGHTS)
        hub.repositories["acme/tiny"].commit({"model.safetensors": stored})
    url, ask = signed_url(hub), {"Range": "bytes=1000-1999"}

    def faulty(kind: Kind, **fields: object) -> tuple[int, dict[str, str], bytes]:
        hub.faults.add(Fault(kind=kind, **fields))  # type: ignore[arg-type]
        return get(url, ask)

    with pytest.raises(http.client.IncompleteRead) as cut:
        faulty(Kind.CUT, after=10)
    assert cut.value.partial == WEIGHTS[1000:1010]
    assert faulty(Kind.SHORT, after=10)[2] == WEIGHTS[1000:1990]
    corrupt = faulty(Kind.CORRUPT, after=5)[2]
    assert [i for i in range(1000) if corrupt[i] != WEIGHTS[1000 + i]] == [5]
    assert faulty(Kind.OVERLONG, after=5)[2] == WEIGHTS[1000:2000] + bytes(5)
    assert faulty(Kind.SHIFT_RANGE, after=7)[2] == WEIGHTS[1007:2007]
    assert faulty(Kind.IGNORE_RANGE)[::2] == (200, WEIGHTS)
    assert faulty(Kind.ETAG, value="other")[1]["ETag"] == '"other"'
    assert get(url, ask)[::2] == (206, WEIGHTS[1000:2000])
    assert hub.faults.pending == 0


def test_faults_in_time_and_status(hub: LoopbackHub) -> None:
    """Slow, stalled, dropped and refused answers; ``skip`` and ``times`` are counted."""
    url = signed_url(hub)
    hub.faults.add(Fault(kind=Kind.SLOW, rate=1_000_000))
    began = time.monotonic()
    assert get(url)[2] == WEIGHTS
    assert time.monotonic() - began > 0.2
    hub.faults.add(Fault(kind=Kind.STALL, after=10, seconds=0.2))
    with pytest.raises(http.client.IncompleteRead):
        get(url)
    hub.faults.add(Fault(kind=Kind.DROP))
    with pytest.raises(http.client.RemoteDisconnected):
        get(url)
    wait = {"Retry-After": "7"}
    hub.faults.add(Fault(kind=Kind.STATUS, status=429, headers=wait, skip=1, times=2))
    answers = [get(url) for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 429, 429, 200]
    assert answers[1][1]["Retry-After"] == "7"


def test_resolve_can_lie_about_commit_and_digest(hub: LoopbackHub) -> None:
    """A moved revision and a replaced file show in the headers of ``resolve``."""
    hub.faults.add(
        Fault(kind=Kind.COMMIT, stage=Stage.RESOLVE, value="f" * 40),
        Fault(kind=Kind.LINKED_ETAG, stage=Stage.RESOLVE, value="0" * 64),
    )
    _, headers, _ = get(f"{hub.endpoint}/acme/tiny/resolve/main/model.safetensors")
    assert headers["X-Repo-Commit"] == "f" * 40
    assert headers["X-Linked-Etag"] == f'"{"0" * 64}"'


def test_hub_closes_with_clients_still_waiting(hub: LoopbackHub) -> None:
    """Leaving the block ends stalled answers instead of waiting for them."""
    hub.faults.add(Fault(kind=Kind.STALL, after=10))
    parts = urlsplit(signed_url(hub))
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request("GET", f"{parts.path}?{parts.query}")
    response = connection.getresponse()
    assert response.read(10) == WEIGHTS[:10]
    hub.__exit__(None, None, None)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    connection.close()


def test_module_serves_a_folder(tmp_path: Path) -> None:
    """``python -m tests.support.hub`` is the same hub in a process of its own."""
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    command = [sys.executable, "-m", "tests.support.hub"]
    command += ["--folder", str(tmp_path), "--as", "acme/tiny"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        location = get(f"{endpoint}/acme/tiny/resolve/main/model.safetensors")[1]["Location"]
        assert get(location)[2] == WEIGHTS
        process.terminate()
        assert process.wait(60) == 0
