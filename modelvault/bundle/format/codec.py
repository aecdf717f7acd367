"""Lossless codecs of pieces: ``none``, and ``planes`` (byte shuffle, then zstd, by Blosc2).

Sixteen-bit floats shrink to about two thirds once their bytes are split into planes,
because the exponents are alike and the mantissas are noise. Quantised weights do not
shrink at all, so a codec is chosen per blob, from samples of its bytes.

A chunk's header is checked field by field before the library sees it: the library takes
the output's length from the header and not from the buffer it is given. It also returns
wrong bytes, silently, for blocks that are no multiple of the element size; such chunks
are refused, and every chunk is decoded and compared before it is used.

Source: https://github.com/Blosc/c-blosc2/blob/main/README_CHUNK_FORMAT.rst
"""

import os
import struct
from typing import Any

from modelvault.bundle.format.index import NONE, PLANES
from modelvault.errors import BundleDamaged

Buffer = bytes | bytearray | memoryview

SAMPLE = 1024 * 1024
"""Bytes of a blob that are compressed on trial."""
LEAST_SAVING = 0.10
"""A codec pays when it saves this share of the bytes."""
TYPE_SIZES = (1, 2, 4)
"""Bytes per element that are tried: text and 8-bit types, 16-bit and 32-bit floats."""

_ACCEPTED_TYPE_SIZES = (1, 2, 4, 8)
_LEVEL = 1  # higher levels gain one per cent and cost two thirds of the speed
_BLOCK = 1024 * 1024
_SMALLEST = 32 * 1024
_MOST_THREADS = 8

# Chunk format, codec format, flags, type size, raw size, block size, stored size, filters,
# codec id, codec meta, filter meta, two bytes of flags.
_HEADER = struct.Struct("<BBBBiii6sBB6sBB")
_FLAGS = (0x85, 0x95)
_FILTERS = bytes([0, 0, 0, 0, 0, 1])


def choose_type_size(samples: Buffer) -> tuple[int, float]:
    """Return the element size under which a blob compresses best, and what remains.

    Args:
        samples: Some bytes out of the blob, a multiple of the largest element apart.

    Returns:
        Bytes per element, or 0 when no codec pays; and the stored share, 1.0 for none.
    """
    if len(samples) < _SMALLEST:
        return 0, 1.0
    shares = {size: len(_compress(samples, size)) / len(samples) for size in TYPE_SIZES}
    best = min(shares, key=lambda size: (shares[size], size))
    return (best, shares[best]) if shares[best] <= 1 - LEAST_SAVING else (0, 1.0)


def encode(raw: Buffer, type_size: int) -> tuple[str, Buffer]:
    """Return the codec used and the stored bytes of a piece.

    Args:
        raw: The piece.
        type_size: Bytes per element; 0 to store the bytes as they are.
    """
    if type_size and len(raw) >= _SMALLEST:
        stored = _compress(raw, type_size)
        if len(stored) < len(raw) and _survives(raw, stored):
            return PLANES, stored
    return NONE, raw


def _survives(raw: Buffer, stored: bytes) -> bool:
    """Return whether a chunk gives back exactly the bytes it was made from.

    A codec's bug found here costs nothing but space; found on the other side of the air
    gap it costs a journey.
    """
    try:
        return memoryview(decode(PLANES, stored, len(raw))) == memoryview(raw)
    except BundleDamaged:
        return False


def decode(codec: str, stored: Buffer, size: int) -> Buffer:
    """Return the raw bytes of a piece.

    Args:
        codec: ``none`` or ``planes``.
        stored: Bytes whose digest has been checked.
        size: Raw length the index declares, in bytes; nothing larger is ever allocated.

    Raises:
        BundleDamaged: The stored bytes do not decode to exactly ``size`` bytes.
    """
    if codec == NONE:
        return stored
    fault = _faults(stored, size)
    if fault:
        raise BundleDamaged(f"a compressed piece is not as the format asks: {fault}")
    raw = bytearray(size)
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


def _compress(raw: Buffer, type_size: int) -> bytes:
    blosc2 = _blosc2()
    chunk: bytes = blosc2.compress2(
        raw,
        codec=blosc2.Codec.ZSTD,
        clevel=_LEVEL,
        typesize=type_size,
        filters=[blosc2.Filter.NOFILTER] * 5 + [blosc2.Filter.SHUFFLE],
        filters_meta=[0] * 6,
        blocksize=min(_BLOCK, len(raw) // type_size * type_size),
        nthreads=min(os.cpu_count() or 1, _MOST_THREADS),
    )
    return chunk


def _blosc2() -> Any:
    """Return the library; it takes a third of a second to import, so only when needed."""
    import blosc2

    blosc2.set_releasegil(True)
    return blosc2
