"""Export and import: what goes in comes out, whatever its size and the volumes'."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelvault.bundle.format import names
from modelvault.bundle.format.index import PLANES
from modelvault.bundle.format.parsing import parse_index
from modelvault.bundle.read.bundle import open_bundle
from modelvault.bundle.read.check import check_bundle
from modelvault.bundle.read.receive import import_blobs
from modelvault.bundle.write.bundle import write_bundle
from modelvault.bundle.write.compression import Compression
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.errors import (
    BadOption,
    BlobMissing,
    BundleNotFound,
    DigestMismatch,
    NoSpace,
    NothingSelected,
    PermissionRefused,
    SizeMismatch,
)
from tests.support.bundles import (
    MODEL,
    OPTIONS,
    PUBLISHER,
    STRANGER,
    Site,
    add_model,
    blob_digests,
    flip,
    holds,
    make_site,
    noise,
    snapshot,
)

pytestmark = pytest.mark.memory


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site with one model and an empty medium."""
    return make_site(tmp_path)


def test_bundle_arrives_whole(site: Site) -> None:
    """Every byte, record and manifest is on the other side; the report says what was done."""
    written = site.export()
    assert [carrier.name for carrier in written.carriers] == [
        "volume-0001.mvb",
        "volume-0002.mvb",
        "volume-0003.mvb",
        "volume-0004.mvb",
    ]
    assert written.size == written.stored_size
    assert sorted(path.name for path in site.bundle.iterdir()) == [
        "index.json",
        "index.sig",
        "publisher.pem",
        *(carrier.name for carrier in written.carriers),
    ]
    received = import_blobs(site.verified(), site.beyond)
    files = sum(len(data) for data in MODEL.values())
    assert (received.new_bytes, received.skipped_bytes) == (files, 0)
    assert [artifact for artifact, _ in received.artifacts] == list(site.artifacts)
    assert holds(site.beyond, site.artifacts[0])
    assert blob_digests(site.beyond) == blob_digests(site.store)


def test_volumes_are_filled_to_the_last_byte(site: Site) -> None:
    """Volumes split inside files: all but the last have the size that was asked for."""
    sizes = [carrier.size for carrier in site.export(volume_size=1000).carriers]
    assert set(sizes[:-1]) == {1000}
    assert 0 < sizes[-1] <= 1000
    assert check_bundle(site.verified()).pieces >= len(sizes)


def test_second_import_reads_no_file_again(site: Site) -> None:
    """What the vault holds is skipped."""
    site.export()
    import_blobs(site.verified(), site.beyond)
    before = snapshot(site.beyond)
    received = import_blobs(site.verified(), site.beyond)
    assert received.new_bytes == 0
    assert received.skipped_bytes == sum(len(data) for data in MODEL.values())
    assert snapshot(site.beyond) == before


def test_weights_are_compressed_where_it_pays(tmp_path: Path) -> None:
    """Floats shrink, noise and small files stay as they are, and all come back the same."""
    floats = (np.random.default_rng(0).standard_normal(500_000) * 0.02).astype(np.float32)
    bf16 = (floats.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    files = {
        "bf16.safetensors": bf16,
        "f32.safetensors": floats.tobytes() + b"odd",
        "q4.gguf": noise(300_000),
        "zeros.bin": bytes(200_001),
        "config.json": b"{}",
    }
    site = make_site(tmp_path, files)
    written = site.export(compression=Compression.AUTO, volume_size=1_000_000)
    index = parse_index((site.bundle / names.INDEX).read_bytes())
    packed = {blob.digest for blob in index.blobs for piece in blob.pieces if piece.codec == PLANES}
    assert Digest.of(bf16) in packed
    assert Digest.of(files["f32.safetensors"]) in packed
    assert Digest.of(files["q4.gguf"]) not in packed
    stored = sum(
        piece.stored
        for blob in index.blobs
        for piece in blob.pieces
        if blob.digest == Digest.of(bf16)
    )
    assert stored < 0.72 * len(bf16)
    assert written.stored_size < written.size
    check_bundle(site.verified())
    import_blobs(site.verified(), site.beyond)
    assert holds(site.beyond, site.artifacts[0])


def test_shared_files_travel_once(tmp_path: Path) -> None:
    """Two models with the same tokenizer carry it once, and one given twice counts once."""
    site = make_site(tmp_path)
    other = add_model(site.store, "org/other", {**MODEL, "config.json": b"{}"})
    site = dataclasses.replace(site, artifacts=(*site.artifacts, other, other))
    written = site.export()
    assert written.artifacts == 2
    received = import_blobs(site.verified(), site.beyond)
    assert len(received.artifacts) == 2
    assert all(holds(site.beyond, artifact) for artifact in site.artifacts)
    assert written.size < 1.1 * sum(len(data) for data in MODEL.values())


def test_assumed_files_stay_out_and_are_required(tmp_path: Path) -> None:
    """What the destination holds is left out; a destination without it refuses at once."""
    site = make_site(tmp_path)
    weights = Digest.of(MODEL["model-00001-of-00002.safetensors"])
    written = site.export(assumed=frozenset({weights, Digest.of(b"unrelated")}))
    assert written.assumed_size == 90_000
    check_bundle(site.verified())
    before = snapshot(site.beyond)
    with pytest.raises(BlobMissing) as caught:
        import_blobs(site.verified(), site.beyond)
    assert weights.hex in caught.value.issues[0]
    assert snapshot(site.beyond) == before
    site.beyond.put(MODEL["model-00001-of-00002.safetensors"])
    import_blobs(site.verified(), site.beyond)
    assert holds(site.beyond, site.artifacts[0])


def test_same_content_is_not_written_twice(site: Site) -> None:
    """A second export says that the bundle stands there already, and touches nothing."""
    first = site.export()
    stamps = {path: path.stat().st_mtime_ns for path in site.bundle.iterdir()}
    second = site.export(serial=2)
    assert second.unchanged
    assert not first.unchanged
    assert (second.serial, second.index_digest) == (1, first.index_digest)
    assert {path: path.stat().st_mtime_ns for path in site.bundle.iterdir()} == stamps


def test_other_content_is_refused_or_replaced(tmp_path: Path) -> None:
    """A bundle is never overwritten by accident, and replaced when that is asked for."""
    site = make_site(tmp_path)
    site.export()
    other = add_model(site.store, "org/other", {"config.json": b"{}"})
    changed = dataclasses.replace(site, artifacts=(other,))
    before = (site.bundle / names.INDEX).read_bytes()
    with pytest.raises(BadOption):
        changed.export()
    assert (site.bundle / names.INDEX).read_bytes() == before
    changed.export(replace=True)
    assert [path.name for path in site.medium.iterdir()] == [names.FOLDER]
    assert check_bundle(changed.verified()).cargo.artifacts[0][0] == other


def test_bundle_of_another_key_or_damaged_is_not_the_same(site: Site) -> None:
    """The same content under another key, or with a volume lost, is another bundle."""
    site.export()
    with pytest.raises(BadOption):
        write_bundle(site.artifacts, site.store, site.medium, signer=STRANGER, options=OPTIONS)
    (site.bundle / "volume-0002.mvb").unlink()
    with pytest.raises(BadOption):
        site.export()


def test_foreign_things_in_the_way_are_left_alone(site: Site) -> None:
    """What ModelVault did not write is never cleared away."""
    partial = site.medium / names.STAGING_FOLDER
    partial.mkdir()
    (partial / "thesis.odt").write_bytes(b"mine")
    with pytest.raises(BadOption, match=r"thesis\.odt"):
        site.export()
    assert (partial / "thesis.odt").read_bytes() == b"mine"


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_changed_blob_is_never_signed(site: Site, damage: str) -> None:
    """A bad disk stops the export before the signature, and nothing stays on the medium."""
    path = site.store.path(Digest.of(MODEL["model-00001-of-00002.safetensors"]))
    if damage == "flip":
        flip(path, 77_777)
    else:
        path.chmod(0o644)
        with open(path, "r+b") as file:
            file.truncate(89_999)
    errors = (DigestMismatch, SizeMismatch, BlobMissing)
    with pytest.raises(errors, match=r"model-00001|lacks") as caught:
        site.export()
    assert "model-00001" in str(caught.value) + " ".join(caught.value.issues)
    assert list(site.medium.iterdir()) == []


def test_missing_blobs_are_all_named(site: Site) -> None:
    """One run lists everything the store lacks."""
    for name in ("config.json", "model-00002-of-00002.safetensors"):
        site.store.path(Digest.of(MODEL[name])).unlink()
    with pytest.raises(BlobMissing) as caught:
        site.export()
    assert [issue.split()[1] for issue in caught.value.issues] == [
        "config.json:",
        "model-00002-of-00002.safetensors:",
    ]
    with pytest.raises(NothingSelected):
        write_bundle((), site.store, site.medium, signer=PUBLISHER, options=OPTIONS)


def test_full_medium_is_refused_before_the_first_byte(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space is counted first, on the way out and on the way in."""
    with monkeypatch.context() as patch:
        patch.setattr("modelvault.fsio.space.free_bytes", lambda folder: 1000)
        with pytest.raises(NoSpace):
            site.export()
    assert list(site.medium.iterdir()) == []
    site.export()
    before = snapshot(site.beyond)
    monkeypatch.setattr("modelvault.fsio.space.free_bytes", lambda folder: 1000)
    with pytest.raises(NoSpace):
        import_blobs(site.verified(), site.beyond)
    assert snapshot(site.beyond) == before


def test_unwritable_medium_is_reported(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system's refusal becomes a storage error that names the place."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "refused")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionRefused, match="medium"):
        site.export()


def test_folder_without_bundle_is_not_found(site: Site) -> None:
    """An empty folder, and one with an unfinished bundle, say what they are."""
    with pytest.raises(BundleNotFound, match="no bundle"):
        open_bundle(site.medium)
    (site.medium / names.STAGING_FOLDER).mkdir()
    with pytest.raises(BundleNotFound, match="unfinished"):
        open_bundle(site.medium)


def test_bundle_folder_itself_can_be_named(site: Site) -> None:
    """The medium and the folder on it are the same bundle to the reader."""
    site.export()
    assert open_bundle(site.bundle).index_bytes == open_bundle(site.medium).index_bytes


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 50_000), min_size=1, max_size=4),
    volume_size=st.integers(300, 60_000),
    compression=st.sampled_from(Compression),
)
def test_any_sizes_survive_split_and_join(
    sizes: list[int], volume_size: int, compression: Compression
) -> None:
    """Random files through random volumes come out the same."""
    with tempfile.TemporaryDirectory() as root:
        files = {
            f"file-{number}": (noise(size, number) if number % 2 else b"abcd" * (size // 4))
            for number, size in enumerate(sizes)
        }
        site = make_site(Path(root), files)
        site.export(volume_size=volume_size, compression=compression)
        bundle = site.verified()
        assert parse_index(bundle.index.encode()) == bundle.index
        assert all(carrier.size <= volume_size for carrier in bundle.index.carriers)
        checked = check_bundle(bundle)
        assert checked.size == bundle.index.stored_size
        received = import_blobs(bundle, site.beyond)
        assert holds(site.beyond, site.artifacts[0])
        assert received.artifacts[0][1] == Manifest.parse(
            site.beyond.read(site.artifacts[0].manifest, limit=2**20)
        )
