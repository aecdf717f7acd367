"""Kills, pulled media and full disks: what is left can be finished, and is never believed."""

import dataclasses
import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from modelvault import fsio
from modelvault.bundle.format import names
from modelvault.bundle.format.index import Piece
from modelvault.bundle.read.bundle import VerifiedBundle, open_bundle
from modelvault.bundle.read.check import check_bundle
from modelvault.bundle.read.receive import import_blobs
from modelvault.bundle.write.bundle import write_bundle
from modelvault.bundle.write.publication import Publication
from modelvault.core.digest import Digest
from modelvault.core.ports import Silence
from modelvault.errors import (
    BundleDamaged,
    BundleNotFound,
    MediumVanished,
    NoSpace,
    VaultBusy,
)
from modelvault.store.blobs import Store
from tests.support.bundles import (
    MODEL,
    OPTIONS,
    PUBLISHER,
    VERIFIER,
    Site,
    add_model,
    blob_digests,
    flip,
    holds,
    make_site,
    noise,
)
from tests.support.killpoints import kill_points

pytestmark = pytest.mark.memory

WEIGHTS = "model-00001-of-00002.safetensors"
SMALL = {"config.json": b"{}", "weights.bin": noise(20_000)}
SMALL_VOLUME = 9_000


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with one model and an empty medium."""
    return make_site(tmp_path)


@pytest.fixture
def small_site(tmp_path: Path) -> Site:
    """Return a site with few durable steps: one small file, and one over three volumes."""
    return make_site(tmp_path / "small", SMALL)


def test_export_killed_anywhere_leaves_no_bundle_or_a_whole_one(small_site: Site) -> None:
    """At each durable step: nothing reads as a bundle until all of it is there."""
    kills = 0
    for _ in kill_points(lambda: small_site.export(volume_size=SMALL_VOLUME)):
        kills += 1
        try:
            bundle = open_bundle(small_site.medium)
        except BundleNotFound:
            assert not small_site.bundle.exists()
        else:
            check_bundle(bundle.verify(VERIFIER))
            shutil.rmtree(small_site.bundle)
    assert kills > 8
    small_site.export(volume_size=SMALL_VOLUME)
    assert [path.name for path in small_site.medium.iterdir()] == [names.FOLDER]
    check_bundle(small_site.verified())


def test_replacement_killed_anywhere_keeps_one_bundle(tmp_path: Path) -> None:
    """The former bundle or the new one, whole, after the next run at the latest."""
    old = make_site(tmp_path / "old", SMALL)
    other = add_model(old.store, "org/other", {"config.json": b"{}"})
    new = dataclasses.replace(old, artifacts=(other,))
    old.export()
    for _ in kill_points(lambda: new.export(replace=True)):
        Publication(old.medium).recover()
        assert [path.name for path in old.medium.iterdir()] == [names.FOLDER]
        cargo = check_bundle(new.verified()).cargo
        if cargo.artifacts[0][0] == other:
            old.export(replace=True)
    assert check_bundle(new.verified()).cargo.artifacts[0][0] == other


def test_import_killed_anywhere_can_be_finished(small_site: Site) -> None:
    """After each kill nothing wrong has a name, no record precedes its files, a re-run ends it."""
    small_site.export(volume_size=SMALL_VOLUME)
    artifact = small_site.artifacts[0]
    kills = 0
    for _ in kill_points(lambda: import_blobs(small_site.verified(), small_site.beyond)):
        kills += 1
        present = blob_digests(small_site.beyond)
        for blob in small_site.beyond.blobs():
            small_site.beyond.check(blob.digest, blob.size)
        if artifact.digest in present:
            assert holds(small_site.beyond, artifact)
        if artifact.manifest in present:
            assert {Digest.of(data) for data in SMALL.values()} <= present
        if kills % 3:  # now and then from what the kill left, else from the beginning
            shutil.rmtree(small_site.beyond.paths.root)
            Store.create(small_site.beyond.paths.root)
        else:
            import_blobs(small_site.verified(), small_site.beyond)
            assert holds(small_site.beyond, artifact)
            shutil.rmtree(small_site.beyond.paths.root)
            Store.create(small_site.beyond.paths.root)
    assert kills > 15
    assert holds(small_site.beyond, artifact)


def test_import_killed_again_and_again_gets_through(small_site: Site) -> None:
    """Each run goes on where the last was killed; what is left behind does not pile up."""
    small_site.export(volume_size=SMALL_VOLUME)
    for _ in kill_points(lambda: import_blobs(small_site.verified(), small_site.beyond)):
        pass
    assert holds(small_site.beyond, small_site.artifacts[0])
    left = sum(path.stat().st_size for path in small_site.beyond.paths.partials.iterdir())
    assert left < 1000  # journals and temporary files of a few bytes may stay, data may not


class _Unplugged(BaseException):
    """The process is told to stop."""


def interrupt_after(count: int, monkeypatch: pytest.MonkeyPatch) -> list[Piece]:
    """Make the ``count``-th opened piece of weights fail; return the list of opened ones."""
    opened: list[Piece] = []
    real = VerifiedBundle.open_piece

    def open_piece(self: VerifiedBundle, piece: Piece, stored: memoryview) -> Any:
        if len(opened) == count:
            raise _Unplugged
        opened.append(piece)
        return real(self, piece, stored)

    monkeypatch.setattr(VerifiedBundle, "open_piece", open_piece)
    return opened


def test_resumed_import_reads_no_piece_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the journal vouches for is skipped, and counted as skipped."""
    site.export(volume_size=9_000)
    with monkeypatch.context() as patch:
        opened = interrupt_after(10, patch)
        with pytest.raises(_Unplugged):
            import_blobs(site.verified(), site.beyond)
    first = {piece.digest for piece in opened if piece.size > 5000}
    assert first
    partial = site.beyond.paths.partials / f"sha256-{Digest.of(MODEL[WEIGHTS]).hex}"
    assert partial.stat().st_size == len(MODEL[WEIGHTS])
    with monkeypatch.context() as patch:
        again = interrupt_after(1000, patch)
        received = import_blobs(site.verified(), site.beyond)
    # Of what the first run opened, only what it had not written when it stopped is repeated.
    repeated = first & {piece.digest for piece in again}
    assert len(repeated) <= 3 < len(first)
    assert received.skipped_bytes > 0
    assert received.new_bytes + received.skipped_bytes == sum(map(len, MODEL.values()))
    assert holds(site.beyond, site.artifacts[0])


def test_spoiled_partial_is_read_anew(site: Site) -> None:
    """Bytes of an earlier run that turn out wrong do not condemn a good bundle."""
    site.export(volume_size=9_000)
    data = MODEL[WEIGHTS]
    key = f"sha256-{Digest.of(data).hex}"
    with site.beyond.open_partial(key, len(data)) as partial:
        partial.write(0, bytes(40_000))
        partial.record(0, 40_000)
    received = import_blobs(site.verified(), site.beyond)
    assert holds(site.beyond, site.artifacts[0])
    assert received.new_bytes > len(data)
    assert list(site.beyond.paths.quarantine.iterdir()) == []


def test_complete_partial_needs_no_medium(site: Site) -> None:
    """A blob whose last piece was recorded before the kill is only hashed and named."""
    site.export(volume_size=9_000)
    data = MODEL[WEIGHTS]
    with site.beyond.open_partial(f"sha256-{Digest.of(data).hex}", len(data)) as partial:
        partial.write(0, data)
        partial.record(0, len(data))
    received = import_blobs(site.verified(), site.beyond)
    assert received.new_bytes == sum(map(len, MODEL.values())) - len(data)
    assert holds(site.beyond, site.artifacts[0])


def test_mended_volume_completes_the_import(site: Site, tmp_path: Path) -> None:
    """After a damaged volume is copied again, the same command goes on and succeeds."""
    site.export()
    shutil.copytree(site.bundle, tmp_path / "good")
    flip(site.bundle / "volume-0003.mvb", 20_000)
    with pytest.raises(BundleDamaged, match=r"volume-0003\.mvb"):
        import_blobs(site.verified(), site.beyond)
    shutil.copy(tmp_path / "good" / "volume-0003.mvb", site.bundle / "volume-0003.mvb")
    import_blobs(site.verified(), site.beyond)
    assert holds(site.beyond, site.artifacts[0])


def test_pulled_medium_is_reported_and_resumable(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input error of the device is not damage of the bundle."""
    site.export()
    bundle = site.verified()
    real = os.preadv
    calls = 0

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise OSError(errno.EIO, "gone")
        return real(descriptor, buffers, offset)

    with monkeypatch.context() as patch:
        patch.setattr("os.preadv", preadv)
        with pytest.raises(MediumVanished):
            import_blobs(bundle, site.beyond)
    import_blobs(bundle, site.beyond)
    assert holds(site.beyond, site.artifacts[0])


def test_medium_removed_while_writing_is_reported(site: Site) -> None:
    """The folder goes away under the export: a storage error, not a traceback."""

    class Remove(Silence):
        def advance(self, task: str, amount: int, **news: object) -> None:
            shutil.rmtree(site.medium, ignore_errors=True)

    options = dataclasses.replace(OPTIONS, volume_size=9_000)
    with pytest.raises(MediumVanished):
        write_bundle(
            site.artifacts,
            site.store,
            site.medium,
            signer=PUBLISHER,
            options=options,
            progress=Remove(),
        )


def test_medium_removed_before_reading_is_reported(site: Site) -> None:
    """A verified bundle whose folder is gone names what is gone."""
    site.export()
    bundle = site.verified()
    shutil.rmtree(site.medium)
    with pytest.raises(MediumVanished, match="gone"):
        import_blobs(bundle, site.beyond)
    assert blob_digests(site.beyond) == set()


def test_medium_full_while_writing_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A medium that fills up against the forecast is cleared again."""
    real = os.pwrite

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        if offset > 30_000:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data[:1000], offset)  # short writes are gone on with

    monkeypatch.setattr("os.pwrite", pwrite)
    with pytest.raises(NoSpace, match="volume-0001"):
        site.export()
    assert list(site.medium.iterdir()) == []


def test_flush_that_fails_stops_the_import(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses to flush is noticed, although flushing runs behind."""
    site.export()
    bundle = site.verified()

    def fdatasync(descriptor: int) -> None:
        raise OSError(errno.EIO, "gone")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", fdatasync)
        with pytest.raises(MediumVanished):
            import_blobs(bundle, site.beyond)
    assert Digest.of(MODEL[WEIGHTS]) not in blob_digests(site.beyond)
    import_blobs(bundle, site.beyond)
    assert holds(site.beyond, site.artifacts[0])


def test_two_exports_to_one_medium_exclude_each_other(site: Site) -> None:
    """The second finds the first at work, and leaves no lock file behind."""
    with Publication(site.medium).lock(), pytest.raises(VaultBusy):
        site.export()
    site.export()


def test_interrupted_export_clears_up_after_itself(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C is not a kill: the half of a bundle is removed."""

    class Stop(Silence):
        def advance(self, task: str, amount: int, **news: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("modelvault.bundle.write.bundle.Silence", Stop)
    with pytest.raises(KeyboardInterrupt):
        site.export()
    assert list(site.medium.iterdir()) == []


def test_progress_adds_up_to_the_total(tmp_path: Path) -> None:
    """Export, import and verification report exactly the bytes they announce."""

    class Count(Silence):
        def __init__(self) -> None:
            self.total, self.done = 0, 0

        def begin(self, task: str, *, total: int | None, done: int = 0) -> None:
            self.total, self.done = total or 0, done

        def advance(self, task: str, amount: int, **news: object) -> None:
            self.done += amount

    site = make_site(tmp_path, {"a.bin": noise(50_000), "b.txt": b"", "c.json": b"{}"})
    site.export()
    held = site.beyond.put(b"{}")
    assert site.beyond.has(held)
    for action in (
        lambda progress: check_bundle(site.verified(), progress),
        lambda progress: import_blobs(site.verified(), site.beyond, progress),
    ):
        count = Count()
        action(count)
        assert count.done == count.total > 50_000 - 1


def test_leftovers_of_another_kind_stop_no_import(site: Site) -> None:
    """Temporary files of a killed export inside the bundle's folder are ignored."""
    site.export()
    (site.bundle / f"{fsio.TEMPORARY_PREFIX}1-abc").write_bytes(b"left")
    (site.bundle / "._volume-0001.mvb").write_bytes(b"file manager")
    import_blobs(site.verified(), site.beyond)
    assert holds(site.beyond, site.artifacts[0])
