"""The codecs: lossless, bounded, and used only where they pay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelvault.bundle.format import codecs, planes
from modelvault.bundle.format.codecs import PLAIN, Encoding, decode, encode
from modelvault.bundle.format.index import NONE, PLANES, ZSTD
from modelvault.bundle.write.compression import choose
from modelvault.errors import BundleDamaged
from tests.support.bundles import noise

FLOATS = (np.random.default_rng(7).standard_normal(300_000) * 0.02).astype(np.float32)
FLOAT16 = Encoding(codec=PLANES, type_size=2)
BF16 = (FLOATS.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def test_codec_and_element_size_are_found_from_bytes() -> None:
    """Sixteen and 32-bit floats and text are told apart; noise is left alone."""
    assert choose([BF16]).encoding == Encoding(codec=PLANES, type_size=2)
    assert choose([FLOATS.tobytes()]).encoding == Encoding(codec=PLANES, type_size=4)
    skewed = bytes(np.random.default_rng(1).binomial(255, 0.5, 300_000).astype(np.uint8))
    assert choose([skewed]).encoding == Encoding(codec=PLANES, type_size=1)
    assert choose([b"one word " * 20_000]).encoding == Encoding(codec=ZSTD)
    for left_alone in (noise(300_000), b"tiny", b"text below a block " * 200, b""):
        choice = choose([left_alone])
        assert (choice.encoding, choice.share) == (PLAIN, 1.0)


def test_text_is_known_by_any_ranges_of_it() -> None:
    """A range may begin and end within a character; one byte that is no text decides."""
    text = "가나다라마바사 word ".encode() * 2_000
    for start in range(4):
        assert choose([text[:9_001], text[20_000 + start :]]).encoding.codec == ZSTD
    assert choose([text, b"\xff" + text]).encoding.codec != ZSTD
    assert choose([text, b"\x80" * 5 + text]).encoding.codec != ZSTD
    assert choose([text, b"\0" + text]).encoding.codec != ZSTD


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 200_000),
    type_size=st.sampled_from([0, 1, 2, 4]),
    start=st.integers(0, 8),
)
def test_any_length_comes_back_the_same(size: int, type_size: int, start: int) -> None:
    """Lengths that are no multiple of the element are where the library has been wrong."""
    raw = BF16[start : start + size]
    encoding = Encoding(codec=PLANES, type_size=type_size) if type_size else PLAIN
    kind, stored = encode(raw, encoding)
    assert bytes(decode(kind, stored, len(raw))) == raw
    assert len(stored) <= len(raw)


def test_codec_that_loses_bytes_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that does not decode to what went in is never stored."""
    wrong = planes.compress(BF16[2:] + b"xx", 2)
    monkeypatch.setattr(planes, "compress", lambda *_, **__: wrong)
    assert encode(BF16, FLOAT16) == (NONE, BF16)


def test_repetitions_are_looked_for_where_they_pay() -> None:
    """Rows that come again shrink by that; weights are smaller without the search."""
    rows = np.frombuffer(BF16, dtype=np.uint8)[:64_000].reshape(16, -1)
    again = rows[np.random.default_rng(3).integers(0, 16, 256)].tobytes()
    chosen = choose([again]).encoding
    assert chosen.repetitions
    assert len(encode(again, chosen)[1]) < len(again) / 10
    sizes = {
        searched: len(planes.compress(BF16, 2, repetitions=searched)) for searched in (False, True)
    }
    assert sizes[False] < sizes[True] < 0.7 * len(BF16)


def test_plane_of_noise_is_stored_as_it_is() -> None:
    """Mantissas cost neither a frame nor its decoding; exponents have one each block."""
    chunk = planes.compress(BF16, 2)
    frames = bytes(chunk).count(b"\x28\xb5\x2f\xfd")
    assert frames == -(-len(BF16) // 2**20)


@given(st.binary(max_size=40), st.integers(0, 40))
def test_any_differing_byte_is_found(data: bytes, position: int) -> None:
    """Whole words are compared, and what is left behind the last."""
    assert codecs._are_equal(data, memoryview(bytearray(data)))
    if position < len(data):
        changed = bytearray(data)
        changed[position] ^= 1
        assert not codecs._are_equal(changed, data)


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
    kind, stored = encode(BF16, FLOAT16)
    assert kind == "planes"
    chunk = bytearray(stored)
    chunk[offset] = value if chunk[offset] != value else value + 1
    with pytest.raises(BundleDamaged, match=name):
        decode(kind, bytes(chunk), len(BF16))


def test_garbage_behind_a_good_header_is_refused() -> None:
    """The decoder's own errors become ours."""
    _, stored = encode(BF16, FLOAT16)
    with pytest.raises(BundleDamaged, match="does not decode"):
        decode("planes", bytes(stored[:32]) + b"\xff" * (len(stored) - 32), len(BF16))
    with pytest.raises(BundleDamaged, match="shorter than a header"):
        decode("planes", stored[:31], len(BF16))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(32, 100_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_altered_chunks_never_give_more_than_was_declared(
    changes: list[tuple[int, int]],
) -> None:
    """Whatever happens to the body, the result has the declared size or is an error."""
    raw = BF16[:150_000]
    _, stored = encode(raw, FLOAT16)
    chunk = bytearray(stored)
    for offset, value in changes:
        chunk[offset % (len(chunk) - 32) + 32] = value
    try:
        length = len(decode("planes", bytes(chunk), len(raw)))
    except BundleDamaged:
        length = len(raw)
    assert length == len(raw)
