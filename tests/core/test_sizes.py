"""Numbers of bytes as people write them: one reader for every option."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.sizes import parse_size
from modelvault.errors import BadOption


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("25GB", 25 * 10**9),
        ("25 gb", 25 * 10**9),
        (" 4.7GB ", 4_700_000_000),
        ("16GiB", 16 * 2**30),
        ("1.5TiB", 3 * 2**39),
        ("500k", 500_000),
        ("2ki", 2048),
        ("1.001k", 1001),
        ("0", 0),
        ("7b", 7),
    ],
)
def test_size_is_read(text: str, size: int) -> None:
    """Decimal and binary units in any case, and plain bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "big", "-1GB", "1e9", "1.5", "1.5B", "9" * 16, "9" * 15 + "T", "25XB", "1 MB 2"]
)
def test_other_texts_are_no_sizes(text: str) -> None:
    """A typing error is never a size; the message says what was expected."""
    with pytest.raises(BadOption):
        parse_size(text, what="a volume size")


@given(st.integers(0, 10**15 - 1), st.sampled_from(["k", "M", "g"]), st.booleans())
def test_unit_multiplies(number: int, letter: str, binary: bool) -> None:
    """By a power of 1000 or of 1024, exactly; what no file can be is refused."""
    size = number * (1024 if binary else 1000) ** (" kmg".index(letter.lower()))
    text = f"{number}{letter}{'iB' if binary else 'B'}"
    if size < 2**63:
        assert parse_size(text) == size
    else:
        with pytest.raises(BadOption):
            parse_size(text)
