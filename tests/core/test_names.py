"""References and paths: what is accepted is safe everywhere."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelvault.core import names
from modelvault.core.names import DigestStart, ModelName, Reference, check_path, parse_reference
from modelvault.errors import BadPath, BadReference


def test_full_reference_survives_a_round_trip() -> None:
    """What ``str`` writes, ``parse`` reads."""
    text = "meta-llama/Llama-3.1-8B@main:Q4_K_M"
    reference = Reference.parse(text)
    assert reference.model == ModelName(org="meta-llama", name="Llama-3.1-8B")
    assert (reference.revision, reference.variant) == ("main", "Q4_K_M")
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        "llama",
        "a/b/c",
        "a/",
        "/b",
        "a/b@",
        "a/b:",
        "a/..",
        "a/b:x:y",
        "a b/c",
        "a/b@x y",
        "a/--b",
        "",
    ],
)
def test_malformed_reference_is_refused(text: str) -> None:
    """Anything but ORG/NAME[@REVISION][:VARIANT] is bad input."""
    with pytest.raises(BadReference):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["0123", "sha256:0123", "SHA256:ABCD", "ab" * 32])
def test_start_of_a_digest_is_a_reference(text: str) -> None:
    """With or without the algorithm, in either case, from four digits on."""
    start = parse_reference(text)
    assert start == DigestStart(text.lower().removeprefix("sha256:"))
    assert parse_reference(str(start)) == start


@pytest.mark.parametrize("text", ["012", "sha256:", "sha256:xyz1", "sha256:" + "a" * 65, "a" * 65])
def test_what_is_no_start_of_a_digest_is_refused(text: str) -> None:
    """Too few digits, too many, or none."""
    with pytest.raises(BadReference):
        parse_reference(text)


def test_name_stays_a_name() -> None:
    """An organisation may be called like a digest begins."""
    assert parse_reference("beef/face:F16") == Reference.parse("beef/face:F16")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "C:/x",
        "a\0b",
        "con",
        "lib/NUL.txt",
        "dot.",
        "space ",
        "x" * 256,
        "a/" * 600 + "b",
        "e\u0301",
        "",
        "new\nline",
    ],
)
def test_unsafe_path_is_refused(path: str) -> None:
    """No path leaves its folder or means two things on two systems."""
    with pytest.raises(BadPath):
        check_path(path)


@given(st.text(max_size=40))
def test_any_accepted_path_stays_below_its_root(path: str) -> None:
    """Whatever ``check_path`` lets through resolves below the root."""
    try:
        check_path(path)
    except BadPath:
        return
    assert not path.startswith("/")
    assert ".." not in path.split("/")


_PARTS = st.one_of(
    st.from_regex(r"(?i:(con|nul|com1|lpt9|aux|conx|com|x)(\.[a-z.]{0,3})?)", fullmatch=True),
    st.text(alphabet="aZ0_.-+=@, :\u017f\u212a\n", max_size=6),
    st.sampled_from(["x" * length for length in (127, 128, 129, 255, 256)]),
)


@given(st.lists(_PARTS, min_size=1, max_size=5))
@example(["a"] * 513)
@example(["a/"])
@example(["\u212aon"])
def test_plain_path_is_accepted_by_the_closer_look_too(parts: list[str]) -> None:
    """The quick way through says the same of every path as the rules one by one."""
    path = "/".join(parts)
    answers = []
    for pattern in (names._PLAIN_PATH, re.compile(r"(?!)")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(names, "_PLAIN_PATH", pattern)
            try:
                answers.append(check_path(path))
            except BadPath:
                answers.append("refused")
    assert answers[0] == answers[1]
