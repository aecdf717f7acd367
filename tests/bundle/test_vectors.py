"""Bundles written by earlier releases, with real keys, stay readable for ever.

A vector is never changed. A new version of the format gets a folder of its own.
"""

from pathlib import Path

import pytest

from modelvault.bundle.format.index import NONE, PLANES, ZSTD
from modelvault.bundle.format.parsing import parse_index
from modelvault.bundle.read.bundle import open_bundle
from modelvault.bundle.read.check import check_bundle
from modelvault.bundle.read.receive import import_blobs
from modelvault.bundle.write.bundle import write_bundle
from modelvault.core.digest import Digest
from modelvault.errors import BadSignature, UnknownSigner
from modelvault.store.blobs import Store
from modelvault.trust.keys import generate_key, parse_public_key
from modelvault.trust.policy import IntegrityVerifier, TrustPolicy
from tests.support.bundles import OPTIONS, flip, holds, make_site

VECTORS = Path(__file__).parent.parent / "vectors" / "bundle"
VECTOR = VECTORS / "v1"
INDEX_DIGEST = "4c6e5a6c6767c5961ff427770e1f3880ad2e0c48195e29afdffa9cdb3ab4a037"
RECORD_DIGEST = "faebc3df3d1b46480623651f76b5e01f53020e48cd40aa0d8b92b7d634ba2a32"


def test_bundle_of_version_1_stays_readable(tmp_path: Path) -> None:
    """Two volumes, both codecs, an empty file and an assumed one, with a real signature."""
    unverified = open_bundle(VECTOR)
    bundle = unverified.verify(TrustPolicy([parse_public_key(unverified.publisher)]))
    assert bundle.index_digest.hex == INDEX_DIGEST
    assert (bundle.index.serial, bundle.index.expires) == (7, "2036-05-01T12:00:00Z")
    assert len(bundle.index.carriers) == 2
    assert {piece.codec for _, piece in bundle.index.pieces()} == {"none", PLANES}
    check_bundle(bundle)
    store = Store.create(tmp_path / "vault")
    store.put(b"the destination holds this")
    received = import_blobs(bundle, store)
    ((artifact, _),) = received.artifacts
    assert artifact.digest.hex == RECORD_DIGEST
    assert str(artifact.label) == "vault/vector"
    assert holds(store, artifact)


def test_bundle_of_version_2_stays_readable(tmp_path: Path) -> None:
    """Every codec, with a real signature."""
    unverified = open_bundle(VECTORS / "v2")
    bundle = unverified.verify(TrustPolicy([parse_public_key(unverified.publisher)]))
    assert bundle.index_digest == Digest(
        "2eb9d689b336b722a7c48eabb70c06156fa7f48fa9762bf388d797338fd2599a"
    )
    assert bundle.index.version == 2
    assert {piece.codec for _, piece in bundle.index.pieces()} == {NONE, PLANES, ZSTD}
    check_bundle(bundle)
    store = Store.create(tmp_path / "vault")
    ((artifact, manifest),) = import_blobs(bundle, store).artifacts
    assert artifact.digest == Digest(
        "87c2684cd9c32fb1fe9dce1f93bbcac02a7b226da032a835afd17d28c8fc0d68"
    )
    licence = manifest.find("LICENSE")
    assert licence is not None
    assert store.read(licence.digest, limit=2**20) == "© 글자\n".encode() * 700
    assert holds(store, artifact)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_index_of_any_version_is_written_the_same_way(version: str) -> None:
    """What parses from the vectors encodes to the very same bytes."""
    data = open_bundle(VECTORS / version).index_bytes
    assert parse_index(data).encode() == data


def test_real_keys_sign_and_verify_bundles(tmp_path: Path) -> None:
    """The trust layer's own signer and verifiers, from export to refusal."""
    site = make_site(tmp_path)
    key = generate_key(tmp_path / "keys")
    write_bundle(site.artifacts, site.store, site.medium, signer=key, options=OPTIONS)
    unverified = open_bundle(site.medium)
    public = parse_public_key(unverified.publisher)
    assert public.fingerprint == key.fingerprint
    checked = unverified.verify(IntegrityVerifier(unverified.publisher))
    with pytest.raises(UnknownSigner):
        import_blobs(checked, site.beyond)
    other = parse_public_key(generate_key(tmp_path / "other").public_key)
    with pytest.raises(UnknownSigner):
        unverified.verify(TrustPolicy([other]))
    import_blobs(unverified.verify(TrustPolicy([public, other])), site.beyond)
    assert holds(site.beyond, site.artifacts[0])
    flip(site.bundle / "index.json", 50)
    with pytest.raises(BadSignature):
        open_bundle(site.medium).verify(TrustPolicy([public]))
