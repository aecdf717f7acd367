"""What of a selection is here already: planned once, looked up again, never taken on trust."""

import dataclasses

from modelvault.core.digest import Digest, git_blob_hasher
from modelvault.sources.fetch.file import GitBlob, OfferedFile
from modelvault.sources.fetch.stored import check_again, plan_delivery, same_content
from modelvault.store.blobs import Store


def git(data: bytes) -> GitBlob:
    """Return git's id of some bytes."""
    hasher = git_blob_hasher(len(data))
    hasher.update(data)
    return GitBlob(hasher.hexdigest())


def offered(path: str, data: bytes, *, as_git: bool = False) -> OfferedFile:
    """Return a file of these bytes as a source offers it."""
    checksum = git(data) if as_git else Digest.of(data)
    return OfferedFile(path=path, size=len(data), checksum=checksum)


def test_plan_finds_files_by_either_checksum(store: Store) -> None:
    """What the store has is known by SHA-256 and by git's id; the rest has to come."""
    store.put(b"weights")
    store.put(b"{}")
    files = [
        offered("a", b"weights"),
        offered("b", b"{}", as_git=True),
        offered("c", b"absent"),
        offered("d", b"[]", as_git=True),
    ]
    plan = plan_delivery(files, store)
    assert plan.stored == {"a": Digest.of(b"weights"), "b": Digest.of(b"{}")}
    assert [file.path for file in plan.missing] == ["c", "d"]
    assert (plan.size, plan.stored_size) == (17, 9)


def test_blob_collected_after_the_plan_is_fetched(store: Store) -> None:
    """``gc`` may run between plan and delivery: what is gone is missing again."""
    digest = store.put(b"weights")
    plan = plan_delivery([offered("a", b"weights")], store)
    assert plan.missing == ()
    assert check_again(plan, store) == plan
    store.path(digest).unlink()
    again = check_again(plan, store)
    assert again == dataclasses.replace(plan, stored={})
    assert [file.path for file in again.missing] == ["a"]


def test_same_content_is_told_by_whatever_is_declared(store: Store) -> None:
    """By SHA-256 alone, by git's id of stored bytes, and never by a size alone."""
    digest = store.put(b"{}")
    assert same_content(offered("a", b"{}"), digest, 2, store)
    assert same_content(offered("a", b"{}", as_git=True), digest, 2, store)
    assert not same_content(offered("a", b"[]"), digest, 2, store)
    assert not same_content(offered("a", b"[]", as_git=True), digest, 2, store)
    assert not same_content(OfferedFile(path="a", size=2), digest, 2, store)
    unsized = OfferedFile(path="a", size=None, checksum=digest)
    assert same_content(unsized, digest, 2, store)
    store.path(digest).unlink()
    assert not same_content(offered("a", b"{}", as_git=True), digest, 2, store)
