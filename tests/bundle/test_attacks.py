"""What an attacker can do to a medium, and what a mistaken publisher can sign.

After each refusal the store beyond the gap is as it was.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelvault.bundle.format import names, planes
from modelvault.bundle.format.codecs import decode
from modelvault.bundle.format.index import INDEX_LIMIT, LARGEST_COMPRESSED, LARGEST_PIECE, Piece
from modelvault.bundle.read import bundle as reading
from modelvault.bundle.read.bundle import UnverifiedBundle, VerifiedBundle, open_bundle
from modelvault.bundle.read.check import check_bundle
from modelvault.bundle.read.receive import import_blobs
from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.ports import Verdict
from modelvault.errors import (
    BadSignature,
    BundleDamaged,
    BundleNotFound,
    Corruption,
    MalformedRecord,
    ModelVaultError,
    UnknownSigner,
    UnsupportedVersion,
)
from tests.support.bundles import (
    MODEL,
    PUBLISHER,
    STRANGER,
    VERIFIER,
    Site,
    add_model,
    blob_digests,
    flip,
    make_site,
    noise,
    snapshot,
)
from tests.support.fakes_signing import FakeVerifier

pytestmark = pytest.mark.memory

WEIGHTS = Digest.of(MODEL["model-00001-of-00002.safetensors"])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a site whose bundle stands on the medium, in four volumes."""
    site = make_site(tmp_path)
    site.export()
    return site


def refused(site: Site, error: type[ModelVaultError], match: str | None = None) -> ModelVaultError:
    """Check that an import is refused with this error and leaves the store as it was."""
    before = snapshot(site.beyond)
    with pytest.raises(error, match=match) as caught:
        import_blobs(site.verified(), site.beyond)
    assert snapshot(site.beyond) == before
    return caught.value


def blob_of(index: dict[str, Any], digest: Digest) -> dict[str, Any]:
    """Return a blob of a plain index."""
    found: dict[str, Any] = next(b for b in index["blobs"] if b["digest"] == str(digest))
    return found


# The signature


@pytest.mark.parametrize("place", [0, 100, -1])
def test_flipped_byte_of_index_is_refused(site: Site, place: int) -> None:
    """Any change of the signed bytes shows before they are parsed."""
    path = site.bundle / names.INDEX
    flip(path, place % path.stat().st_size)
    refused(site, BadSignature)


def test_stripped_signature_is_refused(site: Site) -> None:
    """No signature, and an empty one, are no signature."""
    (site.bundle / names.SIGNATURE).write_bytes(b"")
    refused(site, BadSignature)
    (site.bundle / names.SIGNATURE).unlink()
    refused(site, BadSignature)


def test_signature_of_another_bundle_is_refused(site: Site, tmp_path: Path) -> None:
    """An honest envelope vouches for its own index alone."""
    (tmp_path / "other").mkdir()
    other = make_site(tmp_path / "other", {"config.json": b"{}"})
    other.export()
    envelope = (other.bundle / names.SIGNATURE).read_bytes()
    (site.bundle / names.SIGNATURE).write_bytes(envelope)
    refused(site, BadSignature)


def test_signature_under_another_name_is_refused(site: Site) -> None:
    """An envelope about the same bytes in another role is not one about the index."""
    data = (site.bundle / names.INDEX).read_bytes()
    (site.bundle / names.SIGNATURE).write_bytes(PUBLISHER.sign("inventory.json", data))
    refused(site, BadSignature)


def test_key_swapped_with_signature_is_not_trusted(site: Site) -> None:
    """An attacker who signs anew and brings the key along is a stranger."""
    site.sign((site.bundle / names.INDEX).read_bytes(), signer=STRANGER)
    (site.bundle / names.PUBLISHER).write_bytes(STRANGER.public_key)
    refused(site, UnknownSigner)


def test_bare_integrity_check_does_not_open_import(site: Site) -> None:
    """A verdict that trusts nobody is good for looking, not for importing."""

    class Indifferent(FakeVerifier):
        def verify(self, name: str, payload: bytes, envelope: bytes) -> Verdict:
            return Verdict(signers=("SHA256:x",), trusted=())

    bundle = open_bundle(site.medium).verify(Indifferent([], []))
    check_bundle(bundle)
    before = snapshot(site.beyond)
    with pytest.raises(UnknownSigner):
        import_blobs(bundle, site.beyond)
    assert snapshot(site.beyond) == before


def test_verified_bundle_cannot_be_made_up(site: Site) -> None:
    """The type that import takes comes from verification alone."""
    honest = site.verified()
    with pytest.raises(TypeError):
        VerifiedBundle(
            object(),
            folder=site.bundle,
            index=honest.index,
            index_digest=honest.index_digest,
            verdict=honest.verdict,
        )


def test_nothing_is_parsed_before_the_signature_holds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser never sees bytes that nobody trusted signed."""

    def parse(data: bytes) -> None:
        raise AssertionError("parsed before verified")

    monkeypatch.setattr(reading, "parse_index", parse)
    flip(site.bundle / names.INDEX, 5)
    with pytest.raises(BadSignature):
        site.verified()


# The carriers


def test_flipped_byte_is_named_with_volume_and_file(site: Site) -> None:
    """The damage is found before it is written, and said so that one volume can be redone."""
    index = site.index()
    piece = blob_of(index, WEIGHTS)["pieces"][1]
    name = index["carriers"][piece["carrier"]]["name"]
    flip(site.bundle / name, piece["offset"] + 5000)
    with pytest.raises(BundleDamaged, match=name) as caught:
        import_blobs(site.verified(), site.beyond)
    assert "org/model model-00001-of-00002.safetensors" in str(caught.value)
    published = blob_digests(site.beyond)
    assert published <= {Digest.of(data) for data in MODEL.values()} - {WEIGHTS}
    with pytest.raises(BundleDamaged) as verified:
        check_bundle(site.verified())
    (issue,) = verified.value.issues
    assert name in issue
    assert "model-00001-of-00002.safetensors" in issue
    assert WEIGHTS.hex in issue


def test_all_damage_is_named_in_one_run(site: Site) -> None:
    """Two flipped volumes, one truncated and one missing give four findings or more."""
    flip(site.bundle / "volume-0001.mvb", 30_000)
    flip(site.bundle / "volume-0002.mvb", 10_000)
    with open(site.bundle / "volume-0003.mvb", "r+b") as file:
        file.truncate(20_000)
    (site.bundle / "volume-0004.mvb").unlink()
    with pytest.raises(BundleDamaged) as caught:
        check_bundle(site.verified())
    text = "\n".join(caught.value.issues)
    for number, what in enumerate(["altered", "altered", "truncated", "missing"], start=1):
        assert any(
            f"volume-000{number}.mvb" in issue and what in issue for issue in caught.value.issues
        ), text
    refused(site, BundleDamaged)


def test_damaged_record_is_named(site: Site) -> None:
    """A damaged record is damage, not a malformed record."""
    flip(site.bundle / "volume-0001.mvb", 3)
    refused(site, BundleDamaged)
    with pytest.raises(BundleDamaged) as caught:
        check_bundle(site.verified())
    assert all("volume-0001.mvb" in issue for issue in caught.value.issues)


def make_pipe(path: Path) -> None:
    """Put a pipe that nobody writes to in the place of a file."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda path: os.truncate(path, path.stat().st_size - 1), "truncated"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "oversized"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: flip(path, 0), "altered"),
        (lambda path: path.rename(path.with_name("volume-0009.mvb")), "not part of this bundle"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
        (make_pipe, "not a regular file"),
        (
            lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")),
            "symbolic link",
        ),
    ],
)
def test_wrong_carrier_is_refused_before_reading(
    site: Site, change: Callable[[Path], object], word: str
) -> None:
    """A look at sizes and beginnings is enough, and nothing hangs on a pipe."""
    change(site.bundle / "volume-0002.mvb")
    error = refused(site, BundleDamaged)
    assert any(word in issue and "volume-000" in issue for issue in error.issues)


def test_swapped_volumes_are_both_named(site: Site) -> None:
    """Equal sizes do not hide an exchange."""
    first, second = site.bundle / "volume-0001.mvb", site.bundle / "volume-0002.mvb"
    first.rename(site.bundle / "x")
    second.rename(first)
    (site.bundle / "x").rename(second)
    error = refused(site, BundleDamaged)
    assert list(error.issues) == [
        "volume-0001.mvb: holds what volume-0002.mvb should hold: swapped",
        "volume-0002.mvb: holds what volume-0001.mvb should hold: swapped",
    ]


def test_volume_of_another_honest_bundle_is_refused(site: Site, tmp_path: Path) -> None:
    """Mix and match: the parts are honest, the whole is not."""
    (tmp_path / "other").mkdir()
    other = make_site(
        tmp_path / "other", {**MODEL, "model-00001-of-00002.safetensors": noise(90_000, 9)}
    )
    other.export()
    (other.bundle / "volume-0002.mvb").replace(site.bundle / "volume-0002.mvb")
    error = refused(site, BundleDamaged)
    assert list(error.issues) == [
        "volume-0002.mvb: its beginning has been altered, or it is of another bundle"
    ]


def test_index_of_another_honest_bundle_is_refused(site: Site, tmp_path: Path) -> None:
    """Index and signature of one bundle over the volumes of another."""
    (tmp_path / "other").mkdir()
    other = make_site(tmp_path / "other", {"config.json": b"{}", "w.bin": noise(100_000, 7)})
    other.export()
    for name in (names.INDEX, names.SIGNATURE):
        (other.bundle / name).replace(site.bundle / name)
    refused(site, BundleDamaged)


@pytest.mark.parametrize("name", [names.INDEX, names.SIGNATURE, names.PUBLISHER])
def test_symbolic_links_are_not_followed(site: Site, name: str) -> None:
    """A link on the medium must not read files of the host."""
    path = site.bundle / name
    path.rename(site.medium / "away")
    path.symlink_to(site.medium / "away")
    refused(site, BundleDamaged, "symbolic link")


def test_linked_bundle_folder_is_not_followed(site: Site) -> None:
    """The folder itself may not be a link either."""
    site.bundle.rename(site.medium / "away")
    site.bundle.symlink_to("away")
    refused(site, BundleDamaged, "symbolic link")


def test_unfinished_bundle_is_not_a_bundle(site: Site) -> None:
    """What an interrupted export leaves has another name."""
    site.bundle.rename(site.medium / names.STAGING_FOLDER)
    refused(site, BundleNotFound)


# Endless data


def test_huge_index_is_not_read(site: Site) -> None:
    """More bytes than any index has are refused without being read."""
    with open(site.bundle / names.INDEX, "r+b") as file:
        file.truncate(2**40)
    refused(site, MalformedRecord, str(INDEX_LIMIT))


def test_huge_signature_and_key_are_not_read(site: Site) -> None:
    """The small files have small limits."""
    with open(site.bundle / names.PUBLISHER, "r+b") as file:
        file.truncate(2**40)
    refused(site, BundleDamaged, "too large")
    with open(site.bundle / names.SIGNATURE, "r+b") as file:
        file.truncate(2**40)
    refused(site, BadSignature)


def test_compression_bomb_is_refused_before_allocation() -> None:
    """The output's size is the index's, and the chunk's header must agree with it."""
    chunk = bytearray(planes.compress(b"word " * 100_000, 1))
    assert len(chunk) < 10_000
    with pytest.raises(BundleDamaged, match="raw size"):
        decode("planes", bytes(chunk), 499_999)
    chunk[4:8] = (2**31 - 1).to_bytes(4, "little")
    with pytest.raises(BundleDamaged, match="raw size"):
        decode("planes", bytes(chunk), 500_000)


# A publisher gone bad: everything below is correctly signed


@pytest.mark.parametrize(
    ("data", "codec"), [(b"word " * 20_000, "zstd"), (b"\xffbyte" * 20_000, "planes")]
)
def test_signed_compression_bomb_is_refused(tmp_path: Path, data: bytes, codec: str) -> None:
    """Even a signed piece is not decoded when its header and the index disagree."""
    site = make_site(tmp_path, {"a": data})
    site.export(compression="auto", volume_size=2_000_000)
    index = site.index()
    blob = blob_of(index, Digest.of(data))
    (piece,) = blob["pieces"]
    assert piece["codec"] == codec
    piece["size"] = blob["size"] = LARGEST_COMPRESSED
    site.sign(canonical.encode(index))
    with pytest.raises(Corruption):
        import_blobs(site.verified(), site.beyond)
    assert blob_digests(site.beyond) == set()


Change = Callable[[dict[str, Any]], object]


def change_piece(number: int, **changes: Any) -> Change:
    """Return a change of a piece of the large file."""
    return lambda index: blob_of(index, WEIGHTS)["pieces"][number].update(changes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda index: index["carriers"][0].update(name="../../etc/cron.d/x"), "called"),
        (lambda index: index["carriers"][0].update(name="/etc/passwd"), "called"),
        (lambda index: index["carriers"][0].update(name="volume-0002.mvb"), "called"),
        (lambda index: index["carriers"].append(dict(index["carriers"][0])), "called"),
        (
            lambda index: index["carriers"].append(
                {**index["carriers"][0], "name": "volume-0005.mvb"}
            ),
            "no piece covers",
        ),
        (lambda index: index["carriers"][3].update(size=2**62), "no piece covers"),
        (lambda index: index["carriers"].pop(), "beyond"),
        (lambda index: index["carriers"].clear(), "beyond"),
        (change_piece(1, offset=1), "instead of"),
        (change_piece(0, offset=0), "instead of"),
        (change_piece(1, carrier=0), "instead of"),
        (change_piece(2, carrier=9998), "instead of"),
        (change_piece(1, start=0), "has a piece at 0"),
        (change_piece(1, start=2**60), "has a piece at"),
        (change_piece(0, size=LARGEST_PIECE + 1), "'size' must be"),
        (change_piece(0, stored=0), "'stored' must be"),
        (change_piece(0, size=7), "two sizes"),
        (change_piece(0, codec="planes"), "not smaller"),
        (change_piece(0, codec="planes", size=LARGEST_COMPRESSED + 1), "exceeds"),
        (change_piece(0, codec=None), "'codec' must be"),
        (change_piece(0, digest="md5:00"), "not a sha256"),
        (lambda index: blob_of(index, WEIGHTS).update(size=1), "make 90000 bytes"),
        (lambda index: blob_of(index, WEIGHTS)["pieces"].pop(), "make "),
        (lambda index: blob_of(index, Digest.of(b"")).update(digest=str(Digest.of(b"x"))), "empty"),
        (lambda index: index["blobs"].append(dict(index["blobs"][-1])), "listed twice"),
        (lambda index: index["blobs"].reverse(), "instead of"),
        (lambda index: index["artifacts"].append(index["artifacts"][0]), "listed twice"),
        (lambda index: index["artifacts"].clear(), "no artefact"),
        (lambda index: index["artifacts"][0].update(manifest=str(Digest.of(b"x"))), "not among"),
        (lambda index: index["assumed"].append({"digest": str(WEIGHTS), "size": 9}), "both"),
        (
            lambda index: index["assumed"].extend(
                [{"digest": "sha256:" + "0" * 64, "size": 1}] * 2
            ),
            "not sorted",
        ),
        (lambda index: index.update(serial=0), "'serial' must be"),
        (lambda index: index.update(created="yesterday"), "'created'"),
        (lambda index: index.update(created="2026-13-01T00:00:00Z"), "'created'"),
        (lambda index: index.update(expires="2026-05-01T12:00:00Z"), "later"),
        (lambda index: index.update(more=1), "unknown field"),
        (lambda index: index.pop("generator"), "missing"),
        (lambda index: index.update(_type="modelvault/manifest/v1"), "not of type"),
        (lambda index: index.update(_type=["modelvault/bundle/v1"]), "_type"),
    ],
)
def test_signed_nonsense_is_refused(site: Site, change: Change, match: str) -> None:
    """Every structural rule holds against the publisher too, before a carrier is opened."""
    index = site.index()
    change(index)
    site.sign(canonical.encode(index))
    refused(site, MalformedRecord, match)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.update(_type="modelvault/bundle/v3"),
        lambda index: index.update(_type="modelvault/bundle/v3", new_field=[]),
        lambda index: index.update(layout="oci"),
        change_piece(0, codec="lzma"),
    ],
)
def test_newer_version_says_so(site: Site, change: Change) -> None:
    """A bundle from the future asks for an update, and is not called damaged."""
    index = site.index()
    change(index)
    site.sign(canonical.encode(index))
    error = refused(site, UnsupportedVersion)
    assert "update ModelVault" in error.hint


def test_version_is_the_lowest_that_says_it_all(site: Site) -> None:
    """One index has one spelling: a version that its codecs do not ask for is refused."""
    index = site.index()
    index["_type"] = "modelvault/bundle/v2"
    site.sign(canonical.encode(index))
    refused(site, MalformedRecord, "says version 2, and is of version 1")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b" " + data,
        lambda data: data + b"\n",
        lambda data: data.replace(b'"serial":1', b'"serial":1.0'),
        lambda data: data.replace(b'"serial":1', b'"serial":1,"serial":1'),
        lambda data: data.replace(b'"serial"', b'"\\u0073erial"'),
        lambda data: data[:-1],
        lambda data: b"[" * 200_000,
        lambda data: b"\xff" + data,
        lambda data: b'{"a":' + b"9" * 10_000 + b"}",
    ],
)
def test_signed_text_that_is_not_canonical_is_refused(
    site: Site, spoil: Callable[[bytes], bytes]
) -> None:
    """One bundle, one byte string."""
    site.sign(spoil((site.bundle / names.INDEX).read_bytes()))
    refused(site, MalformedRecord)


def test_lie_about_a_whole_digest_is_found(site: Site) -> None:
    """Pieces that verify do not make a blob: the whole is hashed too."""
    index = site.index()
    small = Digest.of(MODEL["model-00002-of-00002.safetensors"])
    first, second = blob_of(index, WEIGHTS), blob_of(index, small)
    if len(second["pieces"]) == 1:
        pytest.fail("the test needs two blobs of several pieces")
    first["digest"], second["digest"] = second["digest"], first["digest"]
    site.sign(canonical.encode(index))
    # The sizes contradict the manifest before a byte of weights is read.
    error = refused(site, MalformedRecord)
    assert any("model-00001" in issue for issue in error.issues)


def test_lie_about_bytes_of_the_same_size_is_found(tmp_path: Path) -> None:
    """Two files of one size under each other's names: found after reading, never published."""
    one, two = noise(50_000, 1), noise(50_000, 2)
    site = make_site(tmp_path, {"one.bin": one, "two.bin": two})
    site.export(volume_size=30_000)
    index = site.index()
    first, second = blob_of(index, Digest.of(one)), blob_of(index, Digest.of(two))
    first["digest"], second["digest"] = second["digest"], first["digest"]
    site.sign(canonical.encode(index))
    with pytest.raises(BundleDamaged, match="the whole does not"):
        import_blobs(site.verified(), site.beyond)
    assert blob_digests(site.beyond) == set()
    with pytest.raises(BundleDamaged) as caught:
        check_bundle(site.verified())
    assert len(caught.value.issues) == 2
    assert all("the whole does not" in issue for issue in caught.value.issues)


def test_lie_about_a_compressed_piece_is_found(tmp_path: Path) -> None:
    """A blob of one compressed piece is hashed as a whole as well."""
    one, two = b"abcd" * 10_000, b"efgh" * 10_000
    site = make_site(tmp_path, {"one.bin": one, "two.bin": two})
    site.export(compression="auto", volume_size=2_000_000)
    index = site.index()
    first, second = blob_of(index, Digest.of(one)), blob_of(index, Digest.of(two))
    first["digest"], second["digest"] = second["digest"], first["digest"]
    site.sign(canonical.encode(index))
    with pytest.raises(BundleDamaged, match="the whole does not"):
        import_blobs(site.verified(), site.beyond)
    assert blob_digests(site.beyond) == set()


def test_record_that_names_another_manifest_is_refused(site: Site, tmp_path: Path) -> None:
    """The wrong model under the right name."""
    (tmp_path / "two").mkdir()
    two = make_site(tmp_path / "two")
    other = add_model(two.store, "org/other", {"config.json": b"{}"})
    both = Site(
        store=two.store,
        medium=two.medium,
        beyond=two.beyond,
        artifacts=(*two.artifacts, other),
    )
    both.export()
    index = both.index()
    first, second = index["artifacts"]
    first["manifest"], second["manifest"] = second["manifest"], first["manifest"]
    both.sign(canonical.encode(index))
    error = refused(both, MalformedRecord)
    assert any("another manifest" in issue for issue in error.issues)


def test_manifest_offered_as_record_is_refused(site: Site) -> None:
    """What is signed as a record has to parse as one."""
    index = site.index()
    (entry,) = index["artifacts"]
    entry["record"], entry["manifest"] = entry["manifest"], entry["record"]
    site.sign(canonical.encode(index))
    error = refused(site, MalformedRecord)
    assert "not of type modelvault/artifact/v1" in error.issues[0]


def test_file_of_the_manifest_left_out_is_refused(tmp_path: Path) -> None:
    """An artefact that is not all there is never imported."""
    site = make_site(tmp_path, {"a.txt": b"first", "b.txt": b"last one"})
    site.export()
    index = site.index()
    gone = blob_of(index, Digest.of(b"last one"))
    index["blobs"].remove(gone)
    index["carriers"][-1]["size"] -= gone["size"]
    site.sign(canonical.encode(index))
    volume = site.bundle / index["carriers"][-1]["name"]
    assert gone["pieces"][0]["offset"] == index["carriers"][-1]["size"]
    os.truncate(volume, index["carriers"][-1]["size"])
    index["carriers"][-1]["head"] = str(Digest.of(volume.read_bytes()[:4096]))
    site.sign(canonical.encode(index))
    error = refused(site, MalformedRecord)
    assert list(error.issues) == ["org/model b.txt: not in the bundle with this size"]


def test_stowaway_blob_is_refused(tmp_path: Path) -> None:
    """Bytes that belong to no artefact do not cross."""
    site = make_site(tmp_path, {"a.txt": b"first"})
    site.export()
    index = site.index()
    last = index["blobs"][-1]["pieces"][-1]
    data = b"stowaway"
    with open(site.bundle / "volume-0001.mvb", "ab") as file:
        file.write(data)
    index["carriers"][0]["size"] += len(data)
    piece = Piece(
        start=0,
        size=len(data),
        codec="none",
        carrier=0,
        offset=last["offset"] + last["stored"],
        stored=len(data),
        digest=Digest.of(data),
    )
    fields = {name: getattr(piece, name) for name in Piece.__slots__ if name != "digest"}
    index["blobs"].append(
        {
            "digest": str(Digest.of(data)),
            "size": len(data),
            "pieces": [{**fields, "digest": str(piece.digest)}],
        }
    )
    head = (site.bundle / "volume-0001.mvb").read_bytes()[:4096]
    index["carriers"][0]["head"] = str(Digest.of(head))
    site.sign(canonical.encode(index))
    error = refused(site, MalformedRecord)
    assert list(error.issues) == [f"blob {Digest.of(data)}: belongs to no artefact"]


def test_volume_that_shrinks_while_it_is_read_is_refused(site: Site) -> None:
    """Sizes are looked at once and enforced at every read."""
    bundle = site.verified()
    bundle.check_carriers()
    with open(site.bundle / "volume-0004.mvb", "r+b") as file:
        file.truncate(10)
    piece = next(piece for _, piece in bundle.index.pieces() if piece.carrier == 3)
    with pytest.raises(BundleDamaged, match=r"volume-0004\.mvb: ends at byte 10"):
        bundle.read_piece(piece)


def test_unverified_bundle_offers_nothing_but_verify(site: Site) -> None:
    """The type of unverified bytes has no way into the vault."""
    unverified = open_bundle(site.medium)
    offered = {name for name in dir(UnverifiedBundle) if not name.startswith("_")}
    assert offered == {"folder", "index_bytes", "signature", "publisher", "verify"}
    assert unverified.verify(VERIFIER).index.serial == 1
