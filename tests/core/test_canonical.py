"""Canonical JSON is RFC 8785, so that an outsider's tool verifies a record."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core import canonical
from modelvault.core.canonical import EXACT_INTEGER, Json
from modelvault.errors import MalformedRecord

INTEGERS = st.integers(-EXACT_INTEGER, EXACT_INTEGER)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = TEXTS | st.text(
    st.sampled_from('a\x00\x1f"\\\x7f\x80\ud7ff\ue000\uffff\U00010000\U0010ffff')
)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)


@given(VALUES)
def test_every_value_is_written_as_rfc_8785_has_it(value: Json) -> None:
    """Byte for byte: order of keys, escapes, numbers; and it is read back equal."""
    data = canonical.encode(value)
    assert data == rfc8785.dumps(value)
    assert canonical.parse(data, limit=len(data)) == value


def test_keys_stand_by_their_utf_16_code_units() -> None:
    """A character beyond the first plane comes before U+E000, as in JavaScript."""
    assert (
        canonical.encode({"\ue000": 1, "\U00010000": 2}) == '{"\U00010000":2,"\ue000":1}'.encode()
    )
    inner: Json = [{"x": ({"\uffff": 1, "\U0010ffff": 2},)}]
    assert canonical.encode(inner) == '[{"x":[{"\U0010ffff":2,"\uffff":1}]}]'.encode()
    with pytest.raises(MalformedRecord, match="canonical form"):
        canonical.parse('{"\ue000":1,"\U00010000":2}'.encode(), limit=100)


@given(st.integers().filter(lambda number: abs(number) > EXACT_INTEGER))
def test_larger_integers_are_ours_alone(number: int) -> None:
    """The standard leaves them out; here they keep every digit."""
    assert canonical.encode(number) == str(number).encode()
    assert canonical.parse(canonical.encode(number), limit=10_000) == number
    with pytest.raises(rfc8785.IntegerDomainError):
        rfc8785.dumps(number)


@pytest.mark.parametrize("value", [1.0, float("nan"), [0.5], {"a": {"b": -0.0}}, {1: "a"}, {"a"}])
def test_values_without_one_spelling_are_refused(value: Json) -> None:
    """Floats, keys that are no strings, and what is no JSON."""
    with pytest.raises(TypeError):
        canonical.encode(value)


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, ["a\udc00b"]])
def test_half_a_character_is_refused(value: Json) -> None:
    """A lone surrogate has no UTF-8, wherever it stands and however it is spelled."""
    with pytest.raises(ValueError, match="surrogates"):
        canonical.encode(value)
    with pytest.raises(MalformedRecord):
        canonical.parse(json.dumps(value).encode(), limit=100)
