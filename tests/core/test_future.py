"""Records from the future: told apart from damage, and carried where that is possible."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core import canonical
from modelvault.core.artifact import Artifact, FolderOrigin, HubOrigin, UnknownOrigin
from modelvault.core.canonical import Json
from modelvault.core.digest import Digest
from modelvault.core.fields import UPDATE, Fields
from modelvault.core.lockfile import LockEntry, PinnedSums, encode_lock, parse_lock
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.mirror_list import parse_list
from modelvault.core.names import ModelName
from modelvault.core.sums import SumsUrl
from modelvault.errors import BadInput, MalformedRecord, UnsupportedVersion
from tests.support.future import next_version

MANIFEST = Manifest.of([FileEntry(path="weights.bin", digest=Digest.of(b"w"), size=1)])
ARTIFACT = Artifact(
    model=ModelName.parse("org/name"),
    revision="a" * 40,
    variant=None,
    format="safetensors",
    quantization=None,
    manifest=MANIFEST.digest,
    license=None,
    card={},
    origin=FolderOrigin(label="folder"),
)
LOCK = encode_lock(
    [
        LockEntry(
            model=ARTIFACT.model,
            requested="main",
            commit="a" * 40,
            include=(),
            exclude=(),
            manifest=MANIFEST,
            sums=PinnedSums(
                url=SumsUrl.parse("https://files.example/main"), digest=Digest.of(b"list")
            ),
        )
    ]
)


@pytest.mark.parametrize(
    ("parse", "data", "newest"),
    [
        (Artifact.parse, ARTIFACT.encode(), 1),
        (Manifest.parse, MANIFEST.encode(), 1),
        (parse_lock, LOCK, 3),
    ],
)
def test_record_of_a_newer_version_says_so(
    parse: Callable[[bytes], object], data: bytes, newest: int
) -> None:
    """It asks for an update and is not called damaged; anything else in its place is."""
    parse(data)
    newer = f"of version {newest + 1}; this release reads {newest}"
    with pytest.raises(UnsupportedVersion, match=newer) as caught:
        parse(next_version(data, newest))
    assert caught.value.hint == UPDATE
    for wrong in (b"/v0", b"/v01", b"/v", b"/v1.5", b"/w2", b"x/v2", b"/v9999999999"):
        with pytest.raises(MalformedRecord):
            parse(data.replace(b"/v%d" % newest, wrong, 1))


@pytest.mark.parametrize("kind", ["modelvault/x", "modelvault/x/y", "x"])
def test_version_is_read_for_one_kind_only(kind: str) -> None:
    """A newer record of another kind is no newer record of this one."""
    assert Fields({"_type": "modelvault/x/v3"}, where="x").version("modelvault/x", newest=3) == 3
    with pytest.raises(MalformedRecord, match="not of type"):
        Fields({"_type": f"{kind}z/v9"}, where="x").version("modelvault/x")


def with_origin(origin: Json) -> bytes:
    """Return the record of an artefact with another origin."""
    value = canonical.parse(ARTIFACT.encode(), limit=2**20)
    assert isinstance(value, dict)
    return canonical.encode({**value, "origin": origin})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=20,
)
KINDS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,30}", fullmatch=True).filter(
    lambda kind: kind not in ("hub", "folder", "sums", "conversion")
)


@given(kind=KINDS, fields=st.dictionaries(st.text(max_size=9), JSON, max_size=5))
def test_unknown_origin_is_carried_verbatim(kind: str, fields: dict[str, Json]) -> None:
    """Decoded and encoded again it has the same bytes, and so the same identity."""
    try:
        data = with_origin({**fields, "kind": kind})
    except UnicodeEncodeError:  # a lone surrogate: not canonical JSON at all
        return
    artifact = Artifact.parse(data)
    assert isinstance(artifact.origin, UnknownOrigin)
    assert artifact.origin.kind == kind
    assert artifact.encode() == data
    assert artifact.digest == Digest.of(data)
    assert dataclasses.replace(artifact, origin=ARTIFACT.origin) == ARTIFACT


@pytest.mark.parametrize("kind", ["", "a b", "x" * 65, "\x1b[31m", 7, None, ["oci"]])
def test_unknown_origin_without_a_usable_kind_is_refused(kind: Json) -> None:
    """A kind is shown to people: it is a short word."""
    with pytest.raises(MalformedRecord):
        Artifact.parse(with_origin({"kind": kind}))


def test_known_origin_with_an_unknown_field_is_damage() -> None:
    """Version 1 is frozen: what it knows, it knows whole."""
    with pytest.raises(MalformedRecord, match="unknown field 'added'"):
        Artifact.parse(with_origin({"kind": "folder", "label": "x", "added": 1}))
    hub: dict[str, Json] = {
        "commit": "a",
        "endpoint": "e",
        "gated": False,
        "private": False,
        "requested": "main",
    }
    parsed = Artifact.parse(with_origin({**hub, "kind": "hub"}))
    assert isinstance(parsed.origin, HubOrigin)


def test_list_with_options_of_a_newer_release_says_so() -> None:
    """Every such line is named; a list with other mistakes is a bad list as ever."""
    with pytest.raises(UnsupportedVersion) as caught:
        parse_list(b"org/a --licence mit\norg/b\norg/c --until=2030\n", where="list")
    assert [issue.partition(":")[0] for issue in caught.value.issues] == ["line 1", "line 3"]
    assert "update ModelVault" in caught.value.hint
    with pytest.raises(BadInput) as mixed:
        parse_list(b"org/a --licence mit\nnot a reference\n", where="list")
    assert not isinstance(mixed.value, UnsupportedVersion)
    assert len(mixed.value.issues) == 2
