"""Which codec each blob of a bundle gets, decided from samples of its bytes.

No file format is parsed and no name believed: a dtype in a header is a claim, samples are
facts. Text becomes plain zstd frames, which people open without us; anything else is tried as
planes; and what saves too little stays as it is.
"""

import codecs as characters
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from modelvault import fsio
from modelvault.bundle.format import frames, planes
from modelvault.bundle.format.codecs import PLAIN, Encoding
from modelvault.bundle.format.index import PLANES, ZSTD
from modelvault.bundle.write.selection import Content, Selection
from modelvault.core.digest import Digest
from modelvault.store.blobs import Store

SAMPLE = 1024 * 1024
"""Bytes of a blob that are compressed on trial."""
LEAST_SAVING = 0.10
"""A codec pays when it saves this share of the bytes."""

_AS_GOOD = 1.01
"""Times the least size that is taken where it costs less time."""
_SAMPLES = 4
_UTF8 = characters.getincrementaldecoder("utf-8")


class Compression(StrEnum):
    """Whether pieces are compressed."""

    AUTO = "auto"
    """Where samples of a file show that it pays."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How a blob is stored, and what that saves."""

    encoding: Encoding
    share: float
    """Stored bytes of a raw byte, as the samples show it; 1.0 for no codec."""


def choose_codecs(
    selection: Selection, store: Store, compression: Compression
) -> dict[Digest, Choice]:
    """Return how to store those blobs that a codec makes smaller."""
    if compression is Compression.NONE:
        return {}
    choices = {content.digest: choose(_sample(content, store)) for content in selection.contents}
    return {digest: choice for digest, choice in choices.items() if choice.share < 1}


def choose(samples: Sequence[bytes]) -> Choice:
    """Return the best way to store a blob.

    Args:
        samples: Ranges out of it, in order, a multiple of the largest element apart; at most
            ``SAMPLE`` bytes together.
    """
    joined = b"".join(samples)
    tried: list[tuple[int, Encoding]] = []
    if _is_text(samples):
        if len(joined) >= frames.SMALLEST:
            tried = [(len(frames.compress(joined)), Encoding(codec=ZSTD))]
    elif len(joined) >= planes.SMALLEST:
        tried = [
            (
                len(planes.compress(joined, size, repetitions=repetitions)),
                Encoding(codec=PLANES, type_size=size, repetitions=repetitions),
            )
            for size in planes.TYPE_SIZES
            for repetitions in (False, True)
        ]
    least = min((size for size, _ in tried), default=0)
    as_good = [item for item in tried if item[0] <= least * _AS_GOOD]
    best = min(as_good, key=lambda item: _effort(item[1]), default=None)
    if best is None or best[0] > len(joined) * (1 - LEAST_SAVING):
        return Choice(encoding=PLAIN, share=1.0)
    return Choice(encoding=best[1], share=best[0] / len(joined))


def _effort(encoding: Encoding) -> tuple[bool, int]:
    """Return what orders encodings by the time they take."""
    return encoding.repetitions, encoding.type_size


def estimate(selection: Selection, choices: Mapping[Digest, Choice]) -> int:
    """Return the bytes that the blobs will about take on the medium."""
    return sum(
        int(content.size * choices[content.digest].share)
        if content.digest in choices
        else content.size
        for content in selection.contents
    )


def _is_text(samples: Sequence[bytes]) -> bool:
    """Return whether ranges are UTF-8; a range may begin and end within a character."""
    try:
        for sample in samples:
            start = next((i for i, byte in enumerate(sample[:4]) if byte & 0xC0 != 0x80), 4)
            if "\0" in _UTF8().decode(sample[start:]):
                return False
    except UnicodeDecodeError:
        return False
    return True


def _sample(content: Content, store: Store) -> list[bytes]:
    """Return ranges from several places of a blob: beginnings are rarely typical."""
    if content.data is not None:
        return [content.data[:SAMPLE]]
    part = SAMPLE // _SAMPLES
    with store.open_blob(content.digest) as file, fsio.storage_errors(file.name):
        if content.size <= SAMPLE:
            return [file.read(content.size)]
        step = (content.size - part) // (_SAMPLES - 1) // 8 * 8
        samples = []
        for number in range(_SAMPLES):
            file.seek(number * step)
            samples.append(file.read(part))
        return samples
