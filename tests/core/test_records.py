"""Manifests and artefact records: one value, one byte string."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core import canonical
from modelvault.core.artifact import (
    Artifact,
    ConversionOrigin,
    FolderOrigin,
    HubOrigin,
    License,
    Origin,
    SumsOrigin,
)
from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import ModelName
from modelvault.errors import BadPath, MalformedRecord

DIGEST = Digest.of(b"content")


def entry(path: str, size: int = 7) -> FileEntry:
    """Return a file of a manifest."""
    return FileEntry(path=path, digest=DIGEST, size=size)


def test_manifest_is_sorted_and_survives_a_round_trip() -> None:
    """The order in which files are given does not matter."""
    manifest = Manifest.of([entry("b"), entry("a/c")])
    assert [file.path for file in manifest.files] == ["a/c", "b"]
    assert Manifest.parse(manifest.encode()) == manifest
    assert manifest.digest == Manifest.of([entry("a/c"), entry("b")]).digest


@pytest.mark.parametrize("paths", [("a", "a"), ("A", "a"), ("a", "a/b"), ("x/a", "X/A/b")])
def test_paths_that_collide_are_refused(paths: tuple[str, str]) -> None:
    """Two files never claim one name on a file system that ignores case."""
    with pytest.raises(BadPath):
        Manifest.of([entry(path) for path in paths])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"_type":"modelvault/manifest/v1"}',
        b'{"_type":"modelvault/manifest/v0","files":[]}',
        b'{"_type":"modelvault/manifest/v1","files":[],"more":1}',
        b'{"_type":"modelvault/manifest/v1", "files":[]}',
        b'{"_type":"modelvault/manifest/v1","files":[{"digest":"sha256:00","path":"a","size":1}]}',
        b'{"_type":"modelvault/manifest/v1","files":[1]}',
        b'{"a":1,"a":1}',
        b'{"_type":1e9}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_malformed_manifest_is_refused(data: bytes) -> None:
    """Nothing but a canonical manifest parses."""
    with pytest.raises(MalformedRecord):
        Manifest.parse(data)


ORIGINS = [
    HubOrigin(
        endpoint="https://hub.example",
        commit="0" * 40,
        requested="main",
        gated=True,
        private=False,
    ),
    FolderOrigin(label="my-model"),
    SumsOrigin(url="https://files.example/tiny/SHA256SUMS", sums=DIGEST, requested="SHA256SUMS"),
    ConversionOrigin(
        parent=DIGEST,
        parent_manifest=DIGEST,
        converter="gguf",
        tools={"gguf": "0.19.0"},
        parameters={"type": "Q4_K_M"},
    ),
]


@pytest.mark.parametrize("origin", ORIGINS, ids=lambda origin: type(origin).__name__)
def test_artifact_record_survives_a_round_trip(origin: Origin) -> None:
    """Every origin can be written and read back, and names itself."""
    artifact = Artifact(
        model=ModelName.parse("org/name"),
        revision="0" * 40,
        variant="Q4_K_M",
        format="gguf",
        quantization="Q4_K_M",
        manifest=DIGEST,
        license=License(id="apache-2.0"),
        card={"pipeline_tag": "text-generation"},
        origin=origin,
    )
    assert Artifact.parse(artifact.encode()) == artifact
    changed = dataclasses.replace(artifact, license=None)
    assert changed.digest != artifact.digest
    assert Artifact.parse(changed.encode()) == changed


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_canonical_json_survives_a_round_trip(value: canonical.Json) -> None:
    """``parse`` reads exactly what ``encode`` writes."""
    try:
        data = canonical.encode(value)
    except UnicodeEncodeError:
        return
    assert canonical.parse(data, limit=1_000_000) == value
