"""The codec ``planes``: byte shuffle, then zstd, by Blosc2.

Sixteen-bit floats shrink to about two thirds once their bytes are split into planes,
because the exponents are alike and the mantissas are noise.

A chunk's header is checked field by field before the library sees it: the library takes
the output's length from the header and not from the buffer it is given. It also returns
wrong bytes, silently, for blocks that are no multiple of the element size; such chunks
are refused, and every chunk is decoded and compared before it is used (``codecs.encode``).

Source: https://github.com/Blosc/c-blosc2/blob/main/README_CHUNK_FORMAT.rst
"""

import os
import struct
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
_MOST_THREADS = 8

# Chunk format, codec format, flags, type size, raw size, block size, stored size, filters,
# codec id, codec meta, filter meta, two bytes of flags.
_HEADER = struct.Struct("<BBBBiii6sBB6sBB")
_FLAGS = (0x85, 0x95)
_FILTERS = bytes([0, 0, 0, 0, 0, 1])


def compress(raw: Buffer, type_size: int) -> bytes:
    """Return one chunk.

    Args:
        raw: At least as long as an element.
        type_size: Bytes per element.
    """
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


def decompress(stored: Buffer, size: int) -> bytearray:
    """Return the raw bytes of a chunk.

    Args:
        stored: Bytes whose digest has been checked.
        size: Raw length that the index declares, in bytes; nothing larger is ever allocated.

    Raises:
        BundleDamaged: Not a chunk that decodes to exactly ``size`` bytes.
    """
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


def _blosc2() -> Any:
    """Return the library; it takes a third of a second to import, so only when needed."""
    import blosc2

    blosc2.set_releasegil(True)
    return blosc2
