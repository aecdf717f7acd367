"""The codec: lossless, bounded, and used only where it pays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelvault.bundle.format import codec
from modelvault.errors import BundleDamaged
from tests.support.bundles import noise

FLOATS = (np.random.default_rng(7).standard_normal(300_000) * 0.02).astype(np.float32)
BF16 = (FLOATS.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def test_element_size_is_found_from_bytes() -> None:
    """Sixteen and 32-bit floats and text are told apart; noise is left alone."""
    assert codec.choose_type_size(BF16)[0] == 2
    assert codec.choose_type_size(FLOATS.tobytes())[0] == 4
    assert codec.choose_type_size(b"one word " * 20_000)[0] == 1
    assert codec.choose_type_size(noise(300_000)) == (0, 1.0)
    assert codec.choose_type_size(b"tiny") == (0, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 200_000),
    type_size=st.sampled_from([0, 1, 2, 4]),
    start=st.integers(0, 8),
)
def test_any_length_comes_back_the_same(size: int, type_size: int, start: int) -> None:
    """Lengths that are no multiple of the element are where the library has been wrong."""
    raw = BF16[start : start + size]
    kind, stored = codec.encode(raw, type_size)
    assert bytes(codec.decode(kind, stored, len(raw))) == raw
    assert len(stored) <= len(raw)


def test_codec_that_loses_bytes_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that does not decode to what went in is never stored."""
    wrong = codec._compress(BF16[2:] + b"xx", 2)
    monkeypatch.setattr(codec, "_compress", lambda raw, type_size: wrong)
    assert codec.encode(BF16, 2) == ("none", BF16)


@pytest.mark.parametrize(
    ("offset", "value", "name"),
    [
        (0, 6, "format"),
        (1, 2, "format"),
        (2, 0x80, "flags"),
        (2, 0x87, "flags"),
        (3, 0, "type size"),
        (3, 3, "type size"),
        (4, 1, "raw size"),
        (7, 0x7F, "raw size"),
        (7, 0xFF, "raw size"),
        (8, 1, "block size"),
        (11, 0x7F, "block size"),
        (11, 0xFF, "block size"),
        (12, 1, "stored size"),
        (16, 1, "filters"),
        (21, 2, "filters"),
        (22, 1, "codec"),
        (23, 1, "codec"),
        (24, 1, "filters"),
        (30, 1, "flags"),
        (31, 0x40, "flags"),
        (31, 0x01, "flags"),
    ],
)
def test_header_that_asks_for_anything_else_is_refused(offset: int, value: int, name: str) -> None:
    """Dictionaries, lazy chunks, special values, plug-ins and lies stay out of the decoder."""
    kind, stored = codec.encode(BF16, 2)
    assert kind == "planes"
    chunk = bytearray(stored)
    chunk[offset] = value if chunk[offset] != value else value + 1
    with pytest.raises(BundleDamaged, match=name):
        codec.decode(kind, bytes(chunk), len(BF16))


def test_garbage_behind_a_good_header_is_refused() -> None:
    """The decoder's own errors become ours."""
    _, stored = codec.encode(BF16, 2)
    with pytest.raises(BundleDamaged, match="does not decode"):
        codec.decode("planes", bytes(stored[:32]) + b"\xff" * (len(stored) - 32), len(BF16))
    with pytest.raises(BundleDamaged, match="shorter than a header"):
        codec.decode("planes", stored[:31], len(BF16))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(32, 100_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_altered_chunks_never_give_more_than_was_declared(
    changes: list[tuple[int, int]],
) -> None:
    """Whatever happens to the body, the result has the declared size or is an error."""
    raw = BF16[:150_000]
    _, stored = codec.encode(raw, 2)
    chunk = bytearray(stored)
    for offset, value in changes:
        chunk[offset % (len(chunk) - 32) + 32] = value
    try:
        length = len(codec.decode("planes", bytes(chunk), len(raw)))
    except BundleDamaged:
        length = len(raw)
    assert length == len(raw)
