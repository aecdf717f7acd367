"""References and paths: what is accepted is safe everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.names import ModelName, Reference, check_path
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
