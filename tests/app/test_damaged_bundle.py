"""A bundle that is damaged in one place: the rest is taken, and what is left is said."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelvault.app.housekeeping import collect_garbage
from modelvault.app.import_ import Imported
from modelvault.app.vault import Vault
from modelvault.bundle.format import names
from modelvault.bundle.format.index import BlobPieces, Index
from modelvault.bundle.format.parsing import parse_index
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.errors import (
    BundleDamaged,
    MediumVanished,
    NoSpace,
    OlderBundle,
    RevisionConflict,
    UnknownSigner,
)
from tests.app.conftest import assert_sound
from tests.support.bundles import flip, noise
from tests.support.publishers import Publisher, take, trusting

pytestmark = pytest.mark.memory

NAMES = ("acme/one", "acme/two", "acme/three")
SIZE = 150_000
VOLUME = 40_000


def weights(number: int) -> bytes:
    """Return the weights of one of the models."""
    return noise(SIZE, number)


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """Return a publisher with a key."""
    return Publisher(root=tmp_path / "publisher")


@pytest.fixture
def models(publisher: Publisher) -> tuple[Artifact, ...]:
    """Return three models, each over several volumes."""
    return tuple(
        publisher.make({"config.json": b"{}", "model.safetensors": weights(number)}, name=name)
        for number, name in enumerate(NAMES)
    )


@pytest.fixture
def medium(tmp_path: Path, publisher: Publisher, models: tuple[Artifact, ...]) -> Path:
    """Return a medium with a bundle of the three, in a dozen volumes."""
    return publisher.send(tmp_path / "medium", *models, serial=7, volume_size=VOLUME)


@pytest.fixture
def vault(tmp_path: Path, publisher: Publisher) -> Path:
    """Return a vault that trusts the publisher."""
    return trusting(tmp_path / "vault", publisher)


def index_of(medium: Path) -> Index:
    """Return the index of the bundle on a medium."""
    return parse_index((medium / names.FOLDER / names.INDEX).read_bytes())


def pieces_of(medium: Path, number: int) -> BlobPieces:
    """Return where the weights of a model are."""
    digest = Digest.of(weights(number))
    return next(blob for blob in index_of(medium).blobs if blob.digest == digest)


def volume_of(medium: Path, number: int, piece: int) -> Path:
    """Return the volume that holds a piece of a model's weights."""
    index = index_of(medium)
    carrier = pieces_of(medium, number).pieces[piece].carrier
    return medium / names.FOLDER / index.carriers[carrier].name


def damage_of(done: Imported) -> BundleDamaged:
    """Return the error that an import of a damaged bundle ends with."""
    with pytest.raises(BundleDamaged) as caught:
        done.raise_damage()
    return caught.value


def swap(first: Path, second: Path) -> None:
    """Exchange two files."""
    first.rename(first.with_name("x"))
    second.rename(first)
    first.with_name("x").rename(second)


def replace_by_folder(path: Path) -> None:
    """Put a folder in the place of a file."""
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped byte": lambda path: flip(path, 20_000),
    "a flipped first byte": lambda path: flip(path, 0),
    "a volume cut short": lambda path: os.truncate(path, 10_000),
    "a missing volume": lambda path: path.unlink(),
    "a volume that grew": lambda path: os.truncate(path, 60_000),
    "a folder in its place": replace_by_folder,
    "another's volume": lambda path: path.write_bytes(noise(path.stat().st_size, 99)),
    "swapped volumes": lambda path: swap(
        path, path.with_name(f"volume-{int(path.stem[-4:]) + 1:04}.mvb")
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_damaged_volume_holds_up_its_own_model_alone(
    tmp_path: Path, medium: Path, vault: Path, models: tuple[Artifact, ...], damage: str
) -> None:
    """The others are in the vault, the damaged one is named with its volume; mended, it comes."""
    shutil.copytree(medium, tmp_path / "good")
    volume = volume_of(medium, 1, 2)
    DAMAGE[damage](volume)
    done = take(vault, medium)
    assert set(done.new) == {models[0], models[2]}
    assert [item.label for item in done.damaged] == ["acme/two"]
    assert assert_sound(vault) == ["acme/one", "acme/three"]
    error = damage_of(done)
    assert error.exit_code == 4
    assert any("acme/two" in issue and volume.name in issue for issue in error.issues)
    assert "1 of 3 artefacts" in error.message
    again = take(vault, tmp_path / "good")
    again.raise_damage()
    assert again.new == (models[1],)
    assert again.new_bytes <= SIZE
    assert assert_sound(vault) == sorted(NAMES)


def test_damage_costs_no_model_that_shares_the_volume(
    medium: Path, vault: Path, models: tuple[Artifact, ...]
) -> None:
    """The first bytes of a volume belong to one model, the rest to another, which is taken."""
    index = index_of(medium)
    last, first = pieces_of(medium, 0).pieces[-1], pieces_of(medium, 1).pieces[0]
    assert last.carrier == first.carrier
    assert first.offset > 4096
    flip(medium / names.FOLDER / index.carriers[last.carrier].name, 10)
    done = take(vault, medium)
    assert [item.label for item in done.damaged] == ["acme/one"]
    assert set(done.new) == set(models[1:])


def test_damaged_record_costs_its_own_model_alone(
    medium: Path, vault: Path, models: tuple[Artifact, ...]
) -> None:
    """Records stand side by side in the first volume; each is believed or not by itself."""
    record = next(blob for blob in index_of(medium).blobs if blob.digest == models[1].digest)
    flip(medium / names.FOLDER / "volume-0001.mvb", record.pieces[0].offset + 5)
    done = take(vault, medium)
    assert set(done.new) == {models[0], models[2]}
    assert str(models[1].digest) in done.damaged[0].label
    assert "volume-0001.mvb" in damage_of(done).issues[0]


def test_all_damage_of_the_volumes_is_named_in_one_import(medium: Path, vault: Path) -> None:
    """Whoever copies again wants to know every volume at once."""
    volumes = [volume_of(medium, 0, 1), volume_of(medium, 0, 3), volume_of(medium, 2, 1)]
    assert len(set(volumes)) == 3
    for volume in volumes:
        flip(volume, 20_000)
    done = take(vault, medium)
    text = "\n".join(damage_of(done).issues)
    assert all(volume.name in text for volume in volumes)
    assert assert_sound(vault) == ["acme/two"]


def test_bundle_without_a_whole_model_is_refused(medium: Path, vault: Path) -> None:
    """Nothing is catalogued, nothing is logged, and serials stand as they did."""
    for number in range(3):
        flip(volume_of(medium, number, 1), 20_000)
    with pytest.raises(BundleDamaged, match="and 2 more"):
        take(vault, medium)
    with Vault.open(vault) as opened:
        assert not list(opened.catalog.history(verb="import"))
    assert not (vault / "keys" / "serials.json").exists()


def test_file_that_is_no_part_of_the_bundle_is_named_after_all_is_taken(
    medium: Path, vault: Path
) -> None:
    """A stray volume costs no model, but it is a finding."""
    shutil.copy(volume_of(medium, 1, 1), medium / names.FOLDER / "volume-0099.mvb")
    done = take(vault, medium)
    assert assert_sound(vault) == sorted(NAMES)
    assert damage_of(done).issues == (
        "volume-0099.mvb: not part of this bundle (does it belong to another?)",
    )


def test_spot_that_cannot_be_read_is_damage_and_not_a_lost_medium(
    medium: Path, vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scratch on a disc costs the model under it; the disc is still there."""
    piece = pieces_of(medium, 1).pieces[2]
    real = os.preadv

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith(volume_of(medium, 1, 2).name) and offset == piece.offset:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    done = take(vault, medium)
    assert [item.label for item in done.damaged] == ["acme/two"]
    assert "cannot be read" in damage_of(done).issues[0]


def test_medium_that_goes_away_is_no_damage(
    medium: Path, vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be read any more: the import stops, and says what it keeps."""
    real = os.preadv
    calls = 0

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        nonlocal calls
        if "volume" in os.readlink(f"/proc/self/fd/{descriptor}"):
            calls += 1
            if calls > 12:
                raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, buffers, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", preadv)
        with pytest.raises(MediumVanished) as caught:
            take(vault, medium)
    assert "bytes of it are kept" in caught.value.hint
    take(vault, medium)
    assert assert_sound(vault) == sorted(NAMES)


def test_refused_import_says_how_much_it_leaves_and_gc_frees_it(medium: Path, vault: Path) -> None:
    """What the message says is what stands on the disk, and what the command in it removes."""
    flip(volume_of(medium, 1, 2), 20_000)
    done = take(vault, medium)
    assert done.unused >= SIZE
    assert f"{done.unused} bytes of it are kept" in damage_of(done).hint
    left = sum(path.stat().st_size for path in (vault / "partial").iterdir())
    assert left >= SIZE
    with Vault.open(vault) as opened:
        collect_garbage(opened, dry_run=False, partials=True)
    assert list((vault / "partial").iterdir()) == []
    assert assert_sound(vault) == ["acme/one", "acme/three"]


def test_full_disk_in_the_middle_says_what_is_kept(
    medium: Path, vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else fills the disk during the import."""
    real = os.pwrite
    written = 0

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        nonlocal written
        written += len(data)
        if written > 2 * SIZE:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(NoSpace) as caught:
            take(vault, medium)
    assert "bytes of it are kept" in caught.value.hint
    take(vault, medium)
    assert assert_sound(vault) == sorted(NAMES)


def test_import_refused_before_reading_leaves_and_says_nothing(
    tmp_path: Path, publisher: Publisher, medium: Path, vault: Path
) -> None:
    """An older bundle is refused by its serial: no byte of it is on the disk."""
    take(vault, publisher.send(tmp_path / "newer", serial=9))
    with pytest.raises(OlderBundle) as caught:
        take(vault, medium)
    assert "kept" not in caught.value.hint
    assert list((vault / "partial").iterdir()) == []


def test_conflict_is_refused_before_anything_is_read(
    tmp_path: Path, publisher: Publisher, medium: Path, vault: Path
) -> None:
    """A bundle with another content of a known revision leaves nothing either."""
    other = publisher.make({"model.safetensors": b"other bytes"}, name="acme/one")
    take(vault, publisher.send(tmp_path / "other", other, serial=3))
    with pytest.raises(RevisionConflict) as caught:
        take(vault, medium)
    assert "kept" not in caught.value.hint
    assert list((vault / "partial").iterdir()) == []


SPOILED_KEYS = {
    "nothing": b"",
    "zeros": bytes(500),
    "half a key": b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZI",
    "another format": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
}


@pytest.mark.parametrize("spoiled", SPOILED_KEYS)
def test_damaged_publisher_key_stops_no_bundle_of_a_trusted_signer(
    medium: Path, vault: Path, spoiled: str
) -> None:
    """The key on the medium proves nothing: the vault has its own."""
    (medium / names.FOLDER / names.PUBLISHER).write_bytes(SPOILED_KEYS[spoiled])
    done = take(vault, medium)
    assert len(done.new) == 3
    assert (names.PUBLISHER in " ".join(done.warnings)) == bool(SPOILED_KEYS[spoiled])


def test_publisher_key_that_cannot_be_read_stops_no_bundle_of_a_trusted_signer(
    medium: Path, vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sector under it is gone."""
    real = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(names.PUBLISHER):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert len(take(vault, medium).new) == 3


def test_damaged_publisher_key_of_a_stranger_is_still_a_stranger(
    tmp_path: Path, medium: Path
) -> None:
    """Whom nobody trusts is refused for that, not for the key."""
    (medium / names.FOLDER / names.PUBLISHER).write_bytes(b"spoiled")
    with pytest.raises(UnknownSigner):
        take(trusting(tmp_path / "trusts nobody"), medium)
