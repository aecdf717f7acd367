"""The codec ``zstd``: one plain Zstandard frame, which any ``zstd -d`` opens.

For text, whose bytes gain nothing from being split into planes: what an outsider wants to
read of a bundle (cards, licences, configurations, tokenizers) needs no program of ours.

A frame's header is checked before the decoder sees it: the library allocates the size that
the header declares, whatever limit it is given, and skips frames that hold anything. The
window is bounded by what every decoder must support, so that no option is needed to open one.

Source: RFC 8878, https://www.rfc-editor.org/rfc/rfc8878
"""

from typing import Any

from modelvault.errors import BundleDamaged

Buffer = bytes | bytearray | memoryview

SMALLEST = 4096
"""Raw bytes below which the codec is not tried: a file system's block."""
LARGEST_WINDOW = 8 * 1024 * 1024
"""Bytes of history that a frame may refer to (RFC 8878, section 3.1.1.1.2)."""

_MAGIC = bytes.fromhex("28b52ffd")
_LEVEL = 3


def compress(raw: Buffer) -> bytes:
    """Return one frame that declares its raw length and ends with a checksum."""
    stored: bytes = _zstandard().ZstdCompressor(level=_LEVEL, write_checksum=True).compress(raw)
    return stored


def decompress(stored: Buffer, size: int) -> bytes:
    """Return the raw bytes of a frame.

    Args:
        stored: Bytes whose digest has been checked.
        size: Raw length that the index declares, in bytes; nothing larger is ever allocated.

    Raises:
        BundleDamaged: Not one frame of exactly ``size`` bytes.
    """
    zstandard = _zstandard()
    try:
        fault = _faults(zstandard, stored, size)
        if fault:
            raise BundleDamaged(f"a compressed piece is not as the format asks: {fault}")
        raw: bytes = zstandard.ZstdDecompressor().decompress(
            stored, max_output_size=size, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise BundleDamaged(f"a compressed piece does not decode: {error}") from error
    return raw


def _faults(zstandard: Any, stored: Buffer, size: int) -> str:
    """Return what is wrong with a frame's header, or nothing."""
    if bytes(stored[: len(_MAGIC)]) != _MAGIC:
        return "magic number"
    header = zstandard.get_frame_parameters(stored)
    checks = {
        "raw size": header.content_size == size,
        "window": header.window_size <= LARGEST_WINDOW,
        "dictionary": header.dict_id == 0,
    }
    return ", ".join(name for name, right in checks.items() if not right)


def _zstandard() -> Any:
    """Return the library, only when a frame is met: start-up does not pay for it."""
    import zstandard

    return zstandard
