"""The codec ``planes``: byte shuffle, then zstd, in a chunk of Blosc2.

Sixteen-bit floats shrink to about two thirds once their bytes are split into planes,
because the exponents are alike and the mantissas are noise.

Chunks are put together here, of frames by the zstd library, because Blosc2 knows levels only: at
the lowest zstd looks for repetitions, which weights do not have, and takes three times as long
for a larger result. Blosc2 reads them: it decodes each before it is stored (``codecs.encode``),
as it will on the other side.

A chunk's header is checked field by field before the library sees it: the library takes
the output's length from the header and not from the buffer it is given. It also returns
wrong bytes, silently, for blocks that are no multiple of the element size; such chunks
are refused.

Source:
    https://github.com/Blosc/c-blosc2/blob/main/README_CHUNK_FORMAT.rst
    https://github.com/facebook/zstd/blob/dev/lib/zstd.h (compression parameters)
"""

import struct
from collections.abc import Iterator
from typing import Any

from modelvault.errors import BundleDamaged

Buffer = bytes | bytearray | memoryview

TYPE_SIZES = (1, 2, 4)
"""Bytes per element that are tried: 8-bit types, 16-bit and 32-bit floats."""
SMALLEST = 32 * 1024
"""Raw bytes below which the codec is not tried."""

_ACCEPTED_TYPE_SIZES = (1, 2, 4, 8)
_LEVEL = 1  # higher levels gain one per cent and cost two thirds of the speed
_BLOCK = 1024 * 1024
_NOISE = 0.98
"""Share of a plane above which it is stored as it is, and read back as fast."""

# Chunk format, codec format, flags, type size, raw size, block size, stored size, filters,
# codec id, codec meta, filter meta, two bytes of flags.
_HEADER = struct.Struct("<BBBBiii6sBB6sBB")
_FLAGS = (0x85, 0x95)
_SPLIT = 0x85
_FILTERS = bytes([0, 0, 0, 0, 0, 1])


def compress(raw: Buffer, type_size: int, *, repetitions: bool = False) -> bytearray:
    """Return one chunk, perhaps longer than what it is made of.

    Args:
        raw: At least as long as an element.
        type_size: Bytes per element.
        repetitions: Whether to look for repetitions, which takes three times as long.
    """
    view = memoryview(raw).cast("B")
    # Of equal length, so that what is left behind them, which is not split, is a few bytes.
    block = len(view) // -(-len(view) // _BLOCK) // type_size * type_size
    starts = range(0, len(view), block)
    chunk = bytearray(_HEADER.size + 4 * len(starts))
    for number, streams in enumerate(_streams(view, starts, type_size, repetitions)):
        struct.pack_into("<i", chunk, _HEADER.size + 4 * number, len(chunk))
        for stream in streams:
            chunk += len(stream).to_bytes(4, "little")
            chunk += stream
    sizes = (len(view), block, len(chunk))
    _HEADER.pack_into(chunk, 0, 5, 1, _SPLIT, type_size, *sizes, _FILTERS, 5, 0, bytes(6), 0, 0)
    return chunk


def _streams(
    view: memoryview, starts: range, type_size: int, repetitions: bool
) -> Iterator[list[Buffer]]:
    """Yield the streams of one block after the other: a frame of each plane, or the plane.

    What is yielded is valid until the next.
    """
    squeeze = _compressor(repetitions).compress
    shuffle = _Shuffle(type_size, starts.step)
    noise: set[int] = set()
    for start in starts:
        streams: list[Buffer] = []
        for number, plane in enumerate(shuffle(view[start : start + starts.step])):
            frame: Buffer = plane if number in noise else squeeze(plane)
            if len(frame) > len(plane) * _NOISE:
                noise.add(number)  # in the blocks that follow, too
                frame = plane
            streams.append(frame)
        yield streams


class _Shuffle:
    """Splits blocks into planes: the first bytes of all elements, then the second."""

    def __init__(self, type_size: int, block: int) -> None:
        import numpy as np  # comes with Blosc2, and takes as long to import

        self._np = np
        self._size = type_size
        self._block = block
        self._planes = np.empty((type_size, block // type_size), dtype=np.uint8)
        self._shifted = np.empty(block // type_size, dtype=f"<u{type_size}")

    def __call__(self, block: memoryview) -> list[memoryview]:
        """Return the planes of a block, valid until the next.

        A last block that is shorter than the others is not split: its planes are one.
        """
        if len(block) < self._block:
            whole = len(block) // self._size * self._size
            planes = [bytes(block[number : whole : self._size]) for number in range(self._size)]
            return [memoryview(b"".join([*planes, block[whole:]]))]
        if self._size == 1:
            return [block]
        elements = self._np.frombuffer(block, dtype=self._shifted.dtype)
        for number, plane in enumerate(self._planes):
            # Shifted, then cut to a byte: twice as fast as taking every second byte of memory.
            self._np.right_shift(elements, 8 * number, out=self._shifted)
            plane[:] = self._shifted
        return [plane.data for plane in self._planes]


def _compressor(repetitions: bool) -> Any:
    import zstandard

    if repetitions:
        return zstandard.ZstdCompressor(level=_LEVEL)
    # A table of 64 places finds next to nothing, and each miss makes the next step longer: what
    # is left of zstd is its entropy coding, which is what makes exponents small.
    entropy = zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST,
        window_log=20,
        hash_log=6,
        chain_log=6,
        search_log=1,
        min_match=7,
        target_length=0,
    )
    return zstandard.ZstdCompressor(compression_params=entropy)


def decompress(stored: Buffer, size: int, *, into: bytearray | None = None) -> bytearray:
    """Return the raw bytes of a chunk.

    Args:
        stored: Bytes whose digest has been checked.
        size: Raw length that the index declares, in bytes; nothing larger is ever allocated.
        into: ``size`` bytes that become the result; None for new ones.

    Raises:
        BundleDamaged: Not a chunk that decodes to exactly ``size`` bytes.
    """
    fault = _faults(stored, size)
    if fault:
        raise BundleDamaged(f"a compressed piece is not as the format asks: {fault}")
    raw = bytearray(size) if into is None else into
    try:
        _blosc2().decompress2(stored, dst=raw, nthreads=1)
    except (RuntimeError, ValueError) as error:
        raise BundleDamaged(f"a compressed piece does not decode: {error}") from error
    return raw


def _faults(stored: Buffer, size: int) -> str:
    """Return what is wrong with a chunk's header, or nothing."""
    if len(stored) < _HEADER.size:
        return "shorter than a header"
    (
        chunk_format,
        codec_format,
        flags,
        type_size,
        raw_size,
        block_size,
        stored_size,
        filters,
        codec_id,
        codec_meta,
        filter_meta,
        flags_2,
        flags_1,
    ) = _HEADER.unpack_from(stored)
    checks = {
        "format": (chunk_format, codec_format) == (5, 1),
        "flags": flags in _FLAGS and (flags_1, flags_2) == (0, 0),
        "type size": type_size in _ACCEPTED_TYPE_SIZES,
        "raw size": raw_size == size,
        "block size": 0 < block_size <= size and block_size % max(type_size, 1) == 0,
        "stored size": stored_size == len(stored),
        "filters": filters == _FILTERS and filter_meta == bytes(6),
        "codec": (codec_id, codec_meta) == (5, 0),
    }
    return ", ".join(name for name, right in checks.items() if not right)


def _blosc2() -> Any:
    """Return the library; it takes a third of a second to import, so only when needed."""
    import blosc2

    blosc2.set_releasegil(True)
    return blosc2
