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
    repetitions: bool = False
    """Whether repetitions are looked for, for ``planes``; ``zstd`` always does."""


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
    return Prover().prove(raw, encoding, squeeze(raw, encoding))


def squeeze(raw: Buffer, encoding: Encoding) -> Buffer | None:
    """Return what a codec makes of a piece, not proven yet; None where it does not shrink it.

    Args:
        raw: The piece.
        encoding: What to try.
    """
    stored: Buffer | None = None
    if encoding.codec == PLANES and len(raw) >= planes.SMALLEST:
        stored = planes.compress(raw, encoding.type_size, repetitions=encoding.repetitions)
    elif encoding.codec == ZSTD and raw:
        stored = frames.compress(raw)
    return stored if stored is not None and len(stored) < len(raw) else None


class Prover:
    """Proves pieces one after another, in memory that it keeps."""

    def __init__(self) -> None:
        """Begin without memory."""
        self._memory = bytearray()

    def prove(self, raw: Buffer, encoding: Encoding, stored: Buffer | None) -> tuple[str, Buffer]:
        """Return codec and stored bytes of a piece: those of no codec unless they give it back.

        Args:
            raw: The piece.
            encoding: What was tried.
            stored: What ``squeeze`` made of it.
        """
        if stored is None or not self._survives(raw, encoding.codec, stored):
            return NONE, raw
        return encoding.codec, stored

    def _survives(self, raw: Buffer, codec: str, stored: Buffer) -> bool:
        """Return whether stored bytes give back exactly what they were made from."""
        if len(self._memory) != len(raw):
            self._memory = bytearray(len(raw))
        try:
            decoded = decode(codec, stored, len(raw), into=self._memory)
        except BundleDamaged:
            return False
        return _are_equal(decoded, raw)


def _are_equal(first: Buffer, second: Buffer) -> bool:
    """Return whether two buffers of one length hold the same bytes.

    Not by ``==``: that compares memoryviews value by value, at a thirteenth of the speed, and keeps
    all other threads waiting meanwhile.
    """
    import numpy as np

    whole = len(first) // 8 * 8
    words = [np.frombuffer(buffer, dtype="<u8", count=whole // 8) for buffer in (first, second)]
    return bool((words[0] == words[1]).all()) and bytes(first[whole:]) == bytes(second[whole:])


def decode(codec: str, stored: Buffer, size: int, *, into: bytearray | None = None) -> Buffer:
    """Return the raw bytes of a piece.

    Args:
        codec: ``none``, ``planes`` or ``zstd``.
        stored: Bytes whose digest has been checked.
        size: Raw length the index declares, in bytes; nothing larger is ever allocated.
        into: ``size`` bytes that may be used for the result.

    Raises:
        BundleDamaged: The stored bytes do not decode to exactly ``size`` bytes.
    """
    if codec == NONE:
        return stored
    if codec == ZSTD:
        return frames.decompress(stored, size)
    return planes.decompress(stored, size, into=into)
