"""A folder as a source: copied, never linked, and nothing outside it is read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from modelvault import fsio
from modelvault.core.artifact import FolderOrigin, License
from modelvault.core.digest import Digest, git_blob_hasher
from modelvault.core.names import ModelName
from modelvault.core.ports import ProgressEvent, Silence
from modelvault.errors import (
    BadInput,
    BadPath,
    DigestMismatch,
    NotFound,
    PermissionRefused,
    SourceError,
    UpstreamChanged,
)
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.folder import copying
from modelvault.sources.folder import source as folder_source
from modelvault.sources.folder.source import FolderSource
from modelvault.sources.selection import select
from modelvault.store.blobs import Store
from tests.support import delivery

TINY = ModelName.parse("acme/tiny")
WEIGHTS = os.urandom(100_000)
README = b"""---
license: other
license_name: acme-1.0
license_link: https://acme.example/license
language: no
tags: [tiny, llama]
---
# Tiny
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a small model."""
    folder = tmp_path / "tiny-llama"
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_bytes(README)
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "sub" / "empty.json").write_bytes(b"")
    return folder


class Reaction(Silence):
    """A ``Progress`` that does something once, when so many bytes have been copied."""

    def __init__(self, after: int, action: Callable[[], object]) -> None:
        """React after ``after`` bytes."""
        self.after = after
        self.action: Callable[[], object] | None = action
        self.resumed = 0
        self.total = 0

    def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
        """Remember what an earlier run had done."""
        self.resumed += done

    def advance(self, task: str, amount: int, *, event: ProgressEvent | None = None) -> None:
        """Count, and react."""
        self.total += amount
        if self.action and self.total >= self.after:
            action, self.action = self.action, None
            action()


def deliver(folder: Path, store: Store, progress: Silence | None = None) -> dict[str, Digest]:
    """Return what a delivery of the whole folder says."""
    return delivery.deliver(FolderSource(folder, TINY), store, progress)


def test_folder_is_offered_with_its_card(folder: Path) -> None:
    """Paths, sizes, licence and card; a language ``no`` is not false; no path in the record."""
    offer = FolderSource(folder, TINY).offer()
    assert [(file.path, file.size) for file in offer.files] == [
        ("README.md", len(README)),
        ("model.safetensors", len(WEIGHTS)),
        ("sub/empty.json", 0),
    ]
    assert offer.license == License(
        id="other", name="acme-1.0", link="https://acme.example/license"
    )
    assert offer.card == {"language": "no", "tags": "tiny, llama"}
    assert offer.origin == FolderOrigin(label="tiny-llama")
    assert offer.revision == ""


def test_files_are_copied_and_never_linked(folder: Path, store: Store) -> None:
    """The store's files are its own: other inodes, and the user's keep mode and content."""
    digests = deliver(folder, store)
    assert digests["model.safetensors"] == Digest.of(WEIGHTS)
    for path, digest in digests.items():
        blob = store.path(digest)
        assert blob.read_bytes() == (folder / path).read_bytes()
        assert not blob.samefile(folder / path)
    assert (folder / "model.safetensors").stat().st_nlink == 1
    assert not list(store.paths.partials.glob("*.journal"))


def test_files_already_stored_are_not_copied_again(folder: Path, store: Store) -> None:
    """The second pull reads, compares and writes nothing."""
    first = deliver(folder, store)
    stamps = {path: store.path(digest).stat() for path, digest in first.items()}
    assert deliver(folder, store) == first
    assert stamps == {path: store.path(digest).stat() for path, digest in first.items()}


def test_another_file_of_a_stored_size_is_copied(folder: Path, store: Store) -> None:
    """Equal sizes are compared by content."""
    deliver(folder, store)
    other = os.urandom(len(WEIGHTS))
    (folder / "other.safetensors").write_bytes(other)
    assert deliver(folder, store)["other.safetensors"] == Digest.of(other)


def test_interrupted_copy_goes_on_where_it_stopped(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded before the interruption is not read again."""
    monkeypatch.setattr(copying, "RECORD_EVERY", 10_000)
    monkeypatch.setattr(folder_source, "SMALL", 10_000)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(folder, store, Reaction(50_000, interrupt))
    after = Reaction(0, lambda: None)
    assert deliver(folder, store, after)["model.safetensors"] == Digest.of(WEIGHTS)
    assert 30_000 <= after.resumed <= 50_000
    assert after.total <= len(WEIGHTS) - after.resumed + 2 * len(README)


def test_file_changed_between_two_runs_starts_anew(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the old file and half of the new one never meet, even at the same size."""
    monkeypatch.setattr(copying, "RECORD_EVERY", 10_000)
    monkeypatch.setattr(folder_source, "SMALL", 10_000)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver(folder, store, Reaction(50_000, interrupt))
    other = os.urandom(len(WEIGHTS))
    (folder / "model.safetensors").write_bytes(other)
    assert deliver(folder, store)["model.safetensors"] == Digest.of(other)


@pytest.mark.parametrize("change", ["rewrite", "shorten", "grow"])
def test_file_that_changes_during_the_copy_is_noticed(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """No mixture of two states gets a name, and its partial is gone."""
    monkeypatch.setattr(copying, "RECORD_EVERY", 10_000)
    monkeypatch.setattr(folder_source, "SMALL", 10_000)
    monkeypatch.setattr(fsio, "CHUNK", 10_000)
    path = folder / "model.safetensors"
    contents = {"rewrite": os.urandom(len(WEIGHTS)), "shorten": b"short", "grow": WEIGHTS * 2}
    with pytest.raises(UpstreamChanged, match=r"model\.safetensors"):
        deliver(folder, store, Reaction(50_000, lambda: path.write_bytes(contents[change])))
    assert {blob.size for blob in store.blobs()} == {len(README)}
    assert not list(store.paths.partials.glob("*.journal"))


@pytest.mark.parametrize("change", ["rewrite", "shorten", "grow"])
def test_small_file_that_changes_while_it_is_read_is_noticed(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What is read at once is compared, too, and what came before it is kept."""
    path = folder / "model.safetensors"
    contents = {"rewrite": os.urandom(len(WEIGHTS)), "shorten": b"short", "grow": WEIGHTS * 2}
    real = copying._read

    def read(file: copying.FolderFile, reader: BinaryIO) -> bytes:
        if file.path != path.name:
            return real(file, reader)
        data = real(file, reader) if change == "grow" else b""
        path.write_bytes(contents[change])
        return data or real(file, reader)

    monkeypatch.setattr(copying, "_read", read)
    with pytest.raises(UpstreamChanged, match=r"model\.safetensors"):
        deliver(folder, store)
    assert {blob.size for blob in store.blobs()} == {len(README)}


def test_equal_small_files_are_kept_once(folder: Path, store: Store) -> None:
    """Within one delivery, too, where the first is not published yet when the second comes."""
    for number in range(3):
        (folder / f"copy-{number}.json").write_bytes(b"the same")
    digests = deliver(folder, store)
    assert len({digests[f"copy-{number}.json"] for number in range(3)}) == 1
    assert sorted(blob.size for blob in store.blobs()) == [0, 8, len(README), len(WEIGHTS)]


def test_file_swapped_after_the_offer_is_noticed(folder: Path, store: Store) -> None:
    """Attack: between offer and delivery a file becomes a link to a secret, a pipe, or nothing."""
    secret = folder.parent / "secret"
    secret.write_bytes(b"x" * len(WEIGHTS))
    path = folder / "model.safetensors"
    swaps: list[Callable[[], None]] = [
        lambda: path.symlink_to(secret),
        lambda: os.mkfifo(path),
        lambda: None,
    ]
    for swap in swaps:
        path.unlink(missing_ok=True)
        path.write_bytes(WEIGHTS)
        source = FolderSource(folder, TINY)
        offer = source.offer()
        path.unlink()
        swap()
        with pytest.raises(UpstreamChanged):
            delivery.deliver(source, store, offer=offer)
    assert not store.has(Digest.of(secret.read_bytes()))


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "loop", "absent"])
def test_link_out_of_the_folder_is_refused(folder: Path, target: str) -> None:
    """Attack: a model folder whose files are links to what the user may read."""
    (folder.parent / "secret").write_text("secret")
    (folder / "loop").symlink_to(target)
    with pytest.raises(BadPath, match="loop"):
        choose(folder)
    assert "loop" not in choose(folder, "loop")


def test_linked_folder_out_of_the_folder_is_refused(folder: Path) -> None:
    """Attack: a link to a whole folder is neither entered nor followed."""
    (folder / "linked").symlink_to("/etc")
    with pytest.raises(BadPath, match="linked"):
        choose(folder)
    assert "linked" not in choose(folder, "linked")


def test_link_inside_the_folder_is_copied(folder: Path, store: Store) -> None:
    """A link to a file of the model is that file."""
    (folder / "same.safetensors").symlink_to("model.safetensors")
    digests = deliver(folder, store)
    assert digests["same.safetensors"] == digests["model.safetensors"]


def test_pipe_is_refused_without_waiting(folder: Path) -> None:
    """Attack: opening a pipe would hang."""
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadPath, match="pipe"):
        choose(folder)
    assert "pipe" not in choose(folder, "pipe")


@pytest.mark.parametrize("name", ["a:b", "nul.txt", "tab\t", "dot.", os.fsdecode(b"\xff\xfe")])
def test_name_that_cannot_travel_is_refused(folder: Path, name: str) -> None:
    """Names that other systems refuse or cannot spell are named before anything is copied."""
    (folder / name).write_bytes(b"x")
    with pytest.raises(BadPath) as error:
        choose(folder)
    assert len(error.value.issues) == 1
    f"{error.value.message}{error.value.hint}".encode()
    assert "README.md" in choose(folder, name.replace("\t", "?"))


def test_bookkeeping_of_other_tools_is_skipped(folder: Path) -> None:
    """Git's and the Hub client's own folders are not part of the model."""
    for name in (".git", ".cache", "sub/__pycache__"):
        (folder / name).mkdir()
        (folder / name / "x").write_bytes(b"x")
    (folder / ".gitattributes").write_bytes(b"")
    listed = [file.path for file in FolderSource(folder, TINY).offer().files]
    assert listed == [".gitattributes", "README.md", "model.safetensors", "sub/empty.json"]


def test_endless_folder_is_cut_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack or accident: more files than any manifest may hold."""
    monkeypatch.setattr("modelvault.sources.folder.source.MOST_FILES", 2)
    with pytest.raises(BadPath, match="more than 2 files"):
        FolderSource(folder, TINY).offer()


def test_file_that_was_never_offered_is_not_delivered(folder: Path, store: Store) -> None:
    """Attack: a path made up by the caller does not lead out of the folder."""
    source = FolderSource(folder, TINY)
    made_up = OfferedFile(path="../secret", size=1)
    with pytest.raises(SourceError, match="no file of"):
        delivery.deliver(source, store, files=[made_up])


def choose(folder: Path, *exclude: str) -> list[str]:
    """Return the paths that a pull of the folder would choose."""
    offer = FolderSource(folder, TINY).offer()
    return [file.path for file in select(offer.files, include=[], exclude=exclude).chosen]


def test_missing_folder_is_not_found(tmp_path: Path) -> None:
    """Neither a missing path nor a file is a folder."""
    (tmp_path / "file").write_bytes(b"")
    for name in ("absent", "file"):
        with pytest.raises(NotFound):
            FolderSource(tmp_path / name, TINY).offer()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_named(folder: Path, store: Store) -> None:
    """The operating system's refusal names the file."""
    (folder / "model.safetensors").chmod(0)
    with pytest.raises(PermissionRefused, match=r"model\.safetensors"):
        deliver(folder, store)


def make_cache(root: Path, *, shared: bool = False) -> Path:
    """Return a snapshot of the Hub client's cache: links into ``blobs``."""
    repository = root / "models--acme--tiny"
    snapshot = repository / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    config = b"{}"
    git = git_blob_hasher(len(config))
    git.update(config)
    for name, content, blob in (
        ("model.safetensors", WEIGHTS, Digest.of(WEIGHTS).hex),
        ("config.json", config, git.hexdigest()),
    ):
        target = repository / "blobs" / blob
        if shared:
            stored = root / "blobs" / "ab" / ("ab" + blob[2:])
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_bytes(content)
            target.symlink_to(stored)
        else:
            target.write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    return snapshot


@pytest.mark.parametrize("shared", [False, True])
def test_snapshot_of_the_hub_cache_is_read_through_its_links(
    tmp_path: Path, store: Store, shared: bool
) -> None:
    """Contents are copied, and the blobs' names count as declared checksums."""
    snapshot = make_cache(tmp_path / "hub", shared=shared)
    offer = FolderSource(snapshot, TINY).offer()
    declared = {file.path: file.sha256 for file in offer.files}
    assert declared == {"config.json": None, "model.safetensors": Digest.of(WEIGHTS)}
    digests = deliver(snapshot, store)
    assert store.path(digests["model.safetensors"]).read_bytes() == WEIGHTS
    assert not store.path(digests["model.safetensors"]).is_symlink()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_damaged_hub_cache_is_noticed(tmp_path: Path, store: Store, name: str) -> None:
    """The client checks sizes alone; a flipped byte in its cache is found here."""
    snapshot = make_cache(tmp_path / "hub")
    blob = (snapshot / name).resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(DigestMismatch, match=blob.name):
        deliver(snapshot, store)
    assert not store.has(Digest.of(bytes(data)))
    assert not list(store.paths.partials.glob("*.journal"))


def test_whole_hub_cache_is_refused_with_a_hint(tmp_path: Path) -> None:
    """It may hold several revisions: the user is told how to name one."""
    snapshot = make_cache(tmp_path / "hub")
    with pytest.raises(BadInput) as error:
        FolderSource(snapshot.parents[1], TINY).offer()
    assert "snapshots/" in error.value.hint


@pytest.mark.parametrize(
    "readme",
    [b"---\nlicense: [\n---\n", b"---\nlicense: mit\n", b"---\nlicense: *b\n---\n",
     b"---\nlicense: " + b"[" * 50_000 + b"\n---\n",
     b"---\ntags:\n" + b"- x\n" * 30_000 + b"---\n"],
)  # fmt: skip
def test_unreadable_front_matter_is_remarked_on(folder: Path, readme: bytes) -> None:
    """Attack or accident: the pull goes on, and says that no licence is recorded."""
    (folder / "README.md").write_bytes(readme)
    offer = FolderSource(folder, TINY).offer()
    assert offer.license is None
    (note,) = offer.notes
    assert "no licence is recorded" in note


@pytest.mark.parametrize(
    ("readme", "license_"),
    [
        (b"# no front matter", None),
        (b"", None),
        (b"---\n- a\n---\n", None),
        (b"---\nmodel-index:\n" + b"- [x\n" * 90_000 + b"license: mit\n---\n", "mit"),
        (b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n", "mit"),
        (b"---\nlicense: !!python/object/apply:os.system [true]\n---\n", "true"),
        (b'---\nlicense: "a\\e[31m\\ud800b"\n---\n', "a [31m?b"),
        (b"---\nlicense: {a: b}\n---\n", None),
        (b"---\nlicense: 1.0\n---\n", "1.0"),
        (b"---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
    ],
)
def test_front_matter_is_read_as_text_and_cleaned(
    folder: Path, readme: bytes, license_: str | None
) -> None:
    """Attack: tags construct nothing, and escapes do not reach the terminal."""
    (folder / "README.md").write_bytes(readme)
    offer = FolderSource(folder, TINY).offer()
    assert (offer.license.id if offer.license else None) == license_
    assert offer.notes == ()
