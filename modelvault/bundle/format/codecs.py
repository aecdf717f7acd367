"""Lossless codecs of pieces: ``none``, ``planes`` for weights, ``zstd`` for text.

Quantised weights do not shrink at all, so the writer chooses a codec per blob, from samples
of its bytes (``write/compression.py``); the index names the codec of each piece.
"""

from dataclasses import dataclass

from modelvault.bundle.format import frames, planes
from modelvault.bundle.format.index import NONE, PLANES, ZSTD
from modelvault.errors import BundleDamaged

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How the pieces of a blob are to be stored."""

    codec: str
    """``none``, ``planes`` or ``zstd``."""
    type_size: int = 1
    """Bytes per element, for ``planes``."""


PLAIN = Encoding(codec=NONE)
"""Bytes as they are."""


def encode(raw: Buffer, encoding: Encoding) -> tuple[str, Buffer]:
    """Return the codec used and the stored bytes of a piece.

    A piece that the codec does not shrink, or does not give back exactly, is stored as it is:
    a codec's bug found here costs nothing but space; found on the other side of the air gap
    it costs a journey.

    Args:
        raw: The piece.
        encoding: What to try.
    """
    stored = _try(raw, encoding)
    if stored is not None and len(stored) < len(raw) and _survives(raw, encoding.codec, stored):
        return encoding.codec, stored
    return NONE, raw


def _try(raw: Buffer, encoding: Encoding) -> bytes | None:
    if encoding.codec == PLANES and len(raw) >= planes.SMALLEST:
        return planes.compress(raw, encoding.type_size)
    if encoding.codec == ZSTD and raw:
        return frames.compress(raw)
    return None


def _survives(raw: Buffer, codec: str, stored: bytes) -> bool:
    """Return whether stored bytes give back exactly what they were made from."""
    try:
        return memoryview(decode(codec, stored, len(raw))) == memoryview(raw)
    except BundleDamaged:
        return False


def decode(codec: str, stored: Buffer, size: int) -> Buffer:
    """Return the raw bytes of a piece.

    Args:
        codec: ``none``, ``planes`` or ``zstd``.
        stored: Bytes whose digest has been checked.
        size: Raw length the index declares, in bytes; nothing larger is ever allocated.

    Raises:
        BundleDamaged: The stored bytes do not decode to exactly ``size`` bytes.
    """
    if codec == NONE:
        return stored
    return frames.decompress(stored, size) if codec == ZSTD else planes.decompress(stored, size)
