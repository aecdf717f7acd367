"""Range sets agree with sets of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.ranges import RangeSet

pairs = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)))


@given(pairs)
def test_range_set_equals_a_set_of_bytes(ranges: list[tuple[int, int]]) -> None:
    """Total, prefix, gaps and coverage are those of the bytes themselves."""
    found, model = RangeSet(), set[int]()
    for start, end in ranges:
        found.add(start, end)
        model |= set(range(start, end))
    assert found.total == len(model)
    missing = {byte for start, end in found.gaps(40) for byte in range(start, end)}
    assert missing == set(range(40)) - model
    prefix = next(byte for byte in range(41) if byte not in model)
    assert found.prefix == prefix
    for start, end in ranges:
        assert found.covers(start, end)
    assert found.covers(0, 40) == (not missing)
