"""Mirror lists and their lock files: what is read, what is refused, and frozen vectors."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.lockfile import LockEntry, encode_lock, parse_lock
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.mirror_list import parse_list
from modelvault.core.names import ModelName
from modelvault.errors import BadInput, MalformedRecord

LIST = b"""\xef\xbb\xbf# what the lab runs
acme/tiny

acme/tiny@v1   # an older one, too
acme/quants --include '*Q4_K_M*' --include=*.json --exclude "old files/*"
datasets/acme/quiz
"""
ENTRY = LockEntry(
    model=ModelName.parse("acme/tiny"),
    requested="main",
    commit="a" * 40,
    include=("*.bin",),
    exclude=(),
    manifest=Manifest.of([FileEntry(path="weights.bin", digest=Digest.of(b"weights"), size=7)]),
)
VECTOR = (
    b'{"_type":"modelvault/lockfile/v1","entries":[{"commit":"' + b"a" * 40 + b'","exclude":[],'
    b'"files":[{"digest":"sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"'
    b',"path":"weights.bin","size":7}],"include":["*.bin"],"model":"acme/tiny",'
    b'"requested":"main"}]}'
)


def test_list_is_read_as_a_person_writes_it() -> None:
    """Comments, blank lines, quotes, both spellings of options, datasets."""
    entries = parse_list(LIST, where="models.txt")
    assert [(entry.line, str(entry.reference.model), entry.requested) for entry in entries] == [
        (2, "acme/tiny", "main"),
        (4, "acme/tiny", "v1"),
        (5, "acme/quants", "main"),
        (6, "datasets.acme/quiz", "main"),
    ]
    assert entries[2].include == ("*Q4_K_M*", "*.json")
    assert entries[2].exclude == ("old files/*",)


def test_all_bad_lines_are_reported_with_their_numbers() -> None:
    """One run tells everything that has to be mended."""
    bad = [
        "tiny",
        "acme/tiny@",
        "acme/tiny:Q4_K_M",
        "acme/a --only x",
        "acme/b --include",
        "acme/c 'open",
        "acme/good",
        "acme/good@main --include x",
    ]
    with pytest.raises(BadInput) as caught:
        parse_list("\n".join(bad).encode(), where="models.txt")
    numbers = [issue.partition(":")[0] for issue in caught.value.issues]
    assert numbers == [f"line {number}" for number in (1, 2, 3, 4, 5, 6, 8)]
    assert "stands on line 7 already" in caught.value.issues[-1]


@pytest.mark.parametrize(
    "data", [b"", b"# nothing\n", b"\xff\xfe", b"#" * 2_000_000, b"\n" * 10_001]
)
def test_attack_with_a_list_that_is_none_is_refused(data: bytes) -> None:
    """Empty, binary and endless files are told as such."""
    with pytest.raises(BadInput):
        parse_list(data, where="models.txt")


@given(st.text(max_size=200))
def test_any_text_is_a_list_or_bad_input(text: str) -> None:
    """Nothing else escapes the parser."""
    try:
        assert parse_list(text.encode("utf-8", "replace"), where="x")
    except BadInput as error:
        assert error.message  # noqa: PT017 - either outcome will do


def test_lock_file_vector_stays_readable() -> None:
    """Frozen: these bytes mean this entry, for ever."""
    assert encode_lock([ENTRY]) == VECTOR
    assert parse_lock(VECTOR) == (ENTRY,)


def broken(**fields: object) -> bytes:
    """Return the vector with some fields of its entry changed."""
    record = json.loads(VECTOR)
    record["entries"][0].update(fields)
    return canonical.encode(record)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        VECTOR + b"\n",
        VECTOR.replace(b"/v1", b"/v0"),
        broken(model="tiny"),
        broken(commit="main"),
        broken(requested="../x"),
        broken(include=[""]),
        broken(include=[1]),
        broken(files=[]),
        broken(files=[{"path": "../x", "digest": "sha256:" + "0" * 64, "size": 1}]),
        broken(files=[{"path": "x", "digest": "sha256:0", "size": 1}]),
        broken(files=[{"path": "x", "digest": "sha256:" + "0" * 64, "size": -1}]),
        broken(extra=1),
        canonical.encode({"_type": "modelvault/lockfile/v1", "entries": [1]}),
        canonical.encode(
            {
                "_type": "modelvault/lockfile/v1",
                "entries": json.loads(VECTOR)["entries"] * 2,
            }
        ),
    ],
)
def test_attack_with_a_lock_file_is_refused(data: bytes) -> None:
    """Other versions, unsafe paths, duplicates, wrong types, unknown fields."""
    with pytest.raises(MalformedRecord):
        parse_lock(data)


@given(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6))
def test_lock_file_round_trip_is_exact(names: list[str]) -> None:
    """What is written is read again, whatever the order was."""
    entries = [
        LockEntry(
            model=ModelName(org="acme", name=name),
            requested="main",
            commit="b" * 40,
            include=(),
            exclude=(name,),
            manifest=ENTRY.manifest,
        )
        for name in names
    ]
    assert parse_lock(encode_lock(entries)) == tuple(sorted(entries, key=lambda item: item.key))


def test_document_shows_the_frozen_vector() -> None:
    """The example in the format's page is these bytes, and its digest and length are theirs."""
    page = (Path(__file__).parents[2] / "docs" / "formats" / "lockfile.md").read_text("utf-8")
    assert VECTOR.decode() in page
    assert f"<!-- vector: {Digest.of(VECTOR)} -->" in page
    assert f"{len(VECTOR)} bytes" in page
