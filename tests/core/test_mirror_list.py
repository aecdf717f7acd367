"""Mirror lists and their lock files: what is read, what is refused, and frozen vectors."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.lockfile import LockEntry, PinnedSums, encode_lock, parse_lock
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.mirror_list import parse_list
from modelvault.core.names import ModelName
from modelvault.core.sums import SumsUrl
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


ENTRY_OF_SUMS = LockEntry(
    model=ModelName.parse("acme/web"),
    requested="SHA256SUMS",
    commit="b" * 40,
    include=(),
    exclude=(),
    manifest=ENTRY.manifest,
    sums=PinnedSums(
        url=SumsUrl.parse("https://files.example/web/SHA256SUMS"), digest=Digest.of(b"list")
    ),
)
VECTOR_OF_SUMS = (
    b'{"_type":"modelvault/lockfile/v2","entries":[{"commit":"' + b"a" * 40 + b'","exclude":[],'
    b'"files":[{"digest":"sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"'
    b',"path":"weights.bin","size":7}],"include":["*.bin"],"model":"acme/tiny",'
    b'"requested":"main","sums":null},{"commit":"' + b"b" * 40 + b'","exclude":[],'
    b'"files":[{"digest":"sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"'
    b',"path":"weights.bin","size":7}],"include":[],"model":"acme/web","requested":"SHA256SUMS",'
    b'"sums":{"digest":'
    b'"sha256:a330395cc0a53ad1207736546afff4735940937564bbf75ce1edad40780d9139"'
    b',"url":"https://files.example/web/SHA256SUMS"}}]}'
)
VECTOR_IN_LINES = (
    b'{"_type":"modelvault/lockfile/v3","entries":[\n'
    b'{"commit":"' + b"a" * 40 + b'","exclude":[],"files":[\n'
    b'{"digest":"sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"'
    b',"path":"weights.bin","size":7}\n'
    b'],"include":["*.bin"],"model":"acme/tiny","requested":"main","sums":null},\n'
    b'{"commit":"' + b"b" * 40 + b'","exclude":[],"files":[\n'
    b'{"digest":"sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"'
    b',"path":"weights.bin","size":7}\n'
    b'],"include":[],"model":"acme/web","requested":"SHA256SUMS",'
    b'"sums":{"digest":'
    b'"sha256:a330395cc0a53ad1207736546afff4735940937564bbf75ce1edad40780d9139"'
    b',"url":"https://files.example/web/SHA256SUMS"}}\n'
    b"]}\n"
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
        "acme/tiny:Q4_K_M --include x",
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


def test_lock_file_vectors_stay_readable() -> None:
    """Frozen: these bytes mean these entries, for ever; the newest form is what is written."""
    assert parse_lock(VECTOR) == (ENTRY,)
    assert parse_lock(VECTOR_OF_SUMS) == (ENTRY, ENTRY_OF_SUMS)
    assert encode_lock([ENTRY_OF_SUMS, ENTRY]) == VECTOR_IN_LINES
    assert parse_lock(VECTOR_IN_LINES) == (ENTRY, ENTRY_OF_SUMS)


def test_lock_file_has_a_line_for_each_file() -> None:
    """So that a change of one file is a change of one line, whatever reads it as JSON."""
    lines = VECTOR_IN_LINES.splitlines()
    assert sum(b'"path":"weights.bin"' in line for line in lines) == 2
    assert max(map(len, lines)) < 200
    assert VECTOR_IN_LINES.endswith(b"}\n")
    assert canonical.encode(json.loads(VECTOR_IN_LINES)) == VECTOR_IN_LINES.replace(b"\n", b"")
    assert json.loads(encode_lock([])) == {"_type": "modelvault/lockfile/v3", "entries": []}
    assert parse_lock(encode_lock([])) == ()


def test_lock_file_that_version_control_gave_other_line_ends_is_read() -> None:
    """As a checkout on Windows has it."""
    assert parse_lock(VECTOR_IN_LINES.replace(b"\n", b"\r\n")) == (ENTRY, ENTRY_OF_SUMS)


def test_lines_of_lists_of_checksums_are_read() -> None:
    """A name is given, a digest may be, and over plain http has to be."""
    hexadecimal = Digest.of(b"list").hex
    entries = parse_list(
        b"https://files.example/a/SHA256SUMS --as acme/a --include '*.gguf'\n"
        b"http://files.example/b/sums.txt --as=acme/b --sums-digest sha256:%b\n"
        b"https://files.example/c/SHA256SUMS --as acme/a --sums-digest %b\n"
        % (hexadecimal.encode(), hexadecimal.encode()),
        where="models.txt",
    )
    assert [(str(entry.reference), entry.requested) for entry in entries] == [
        ("acme/a", "SHA256SUMS"),
        ("acme/b", hexadecimal[:40]),
        ("acme/a", hexadecimal[:40]),
    ]
    assert str(entries[1].url) == "http://files.example/b/sums.txt"
    assert entries[0].include == ("*.gguf",)
    bad = [
        "https://files.example/SHA256SUMS",
        "http://files.example/SHA256SUMS --as acme/a",
        "https://files.example/ --as acme/a",
        "https://u:hush@files.example/SHA256SUMS --as acme/a",
        "https://files.example/SHA256SUMS --as a",
        "https://files.example/SHA256SUMS --as acme/a --as acme/b",
        "https://files.example/SHA256SUMS --as acme/a --sums-digest 12",
        "acme/tiny --as acme/a",
        "acme/good",
    ]
    with pytest.raises(BadInput) as caught:
        parse_list("\n".join(bad).encode(), where="models.txt")
    assert len(caught.value.issues) == len(bad) - 1
    assert "hush" not in str(caught.value.issues)


def broken(**fields: object) -> bytes:
    """Return the vector with some fields of its entry changed."""
    record = json.loads(VECTOR)
    record["entries"][0].update(fields)
    return canonical.encode(record)


LINES = VECTOR_IN_LINES.splitlines(keepends=True)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        VECTOR + b"\n",
        VECTOR_IN_LINES.rstrip(b"\n"),
        VECTOR_IN_LINES.replace(b"\n", b""),
        VECTOR_IN_LINES.replace(b"\n", b" \n"),
        VECTOR_IN_LINES.replace(b"\n", b"\n\n", 1),
        b"".join([LINES[0], *LINES[4:7], *LINES[1:4], *LINES[7:]]),
        VECTOR_OF_SUMS.replace(b"/v2", b"/v1"),
        VECTOR_OF_SUMS.replace(b"https://", b"https://u:p@"),
        VECTOR_OF_SUMS.replace(b'"requested":"SHA256SUMS"', b'"requested":"main"'),
        VECTOR_OF_SUMS.replace(b'"sums":{"digest"', b'"sums":{"also":1,"digest"'),
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


@pytest.mark.parametrize(
    "vector", [VECTOR, VECTOR_OF_SUMS, VECTOR_IN_LINES], ids=["v1", "v2", "v3"]
)
def test_document_shows_the_frozen_vectors(vector: bytes) -> None:
    """The example in the format's page is these bytes, and its digest and length are theirs."""
    page = (Path(__file__).parents[2] / "docs" / "formats" / "lockfile.md").read_text("utf-8")
    assert f"```json\n{vector.decode().rstrip()}\n```" in page
    assert f"<!-- vector: {Digest.of(vector)} -->" in page
    assert f"{len(vector)} bytes" in page
