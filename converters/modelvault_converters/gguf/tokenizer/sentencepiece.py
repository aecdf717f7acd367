"""A SentencePiece model file, read without protobuf or sentencepiece.

The file is a protocol buffer of a few known fields. It comes from outside, so the reader is small
and bounded.

Source:
    https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
    https://protobuf.dev/programming-guides/encoding/
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gguf import TokenType

from modelvault.errors import MalformedRecord
from modelvault_converters.gguf.tokenizer.vocabulary import LARGEST

UNIGRAM, BPE = 1, 2
KINDS = {UNIGRAM: "unigram", BPE: "bpe", 3: "word", 4: "char"}
"""Number of an algorithm in the file → its name."""

# Piece types of SentencePiece that GGUF numbers the same way; user-defined pieces are normal
# ones for llama.cpp, which looks for them by score.
_PIECE_TYPES = {2: TokenType.UNKNOWN, 3: TokenType.CONTROL, 5: TokenType.UNUSED, 6: TokenType.BYTE}

Piece = tuple[str, float, TokenType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What the file says."""

    kind: int
    """Number of its algorithm."""
    pieces: tuple[Piece, ...]
    """Text, score and type of each token, by id."""
    prefix: bool
    """Whether a space goes before the text."""
    collapses: bool
    """Whether spaces that repeat become one."""
    characters: bytes
    """Table of what characters become; empty for none."""


def parse_model(data: bytes, name: str) -> Model:
    """Return the model in ``data``.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Raises:
        MalformedRecord: Not a SentencePiece model.
    """
    try:
        model = _parse(data)
    except _Broken as error:
        raise MalformedRecord(f"{name} {error}") from error
    if not 0 < len(model.pieces) <= LARGEST:
        raise MalformedRecord(f"{name} holds {len(model.pieces)} tokens")
    return model


class _Broken(Exception):
    """The bytes are not what they should be; the text goes on after the file's name."""


def _parse(data: bytes) -> Model:
    pieces: list[Piece] = []
    kind, prefix, collapses, characters = UNIGRAM, True, True, b""
    for field, value in _fields(data):
        if field == 1:
            pieces.append(_read_piece(_message(value)))
        elif field == 2:
            kind = _number(dict(_fields(_message(value))).get(3, UNIGRAM))
        elif field == 3:
            rules = dict(_fields(_message(value)))
            prefix = bool(_number(rules.get(3, 1)))
            collapses = bool(_number(rules.get(4, 1)))
            characters = bytes(_message(rules.get(2, b"")))
    return Model(
        kind=kind,
        pieces=tuple(pieces),
        prefix=prefix,
        collapses=collapses,
        characters=characters,
    )


def _read_piece(data: memoryview) -> Piece:
    fields = dict(_fields(data))
    score = fields.get(2, b"\0\0\0\0")
    if isinstance(score, int) or len(score) != 4:
        raise _Broken("holds a token whose score is not one")
    try:
        text = bytes(_message(fields.get(1, b""))).decode()
    except UnicodeDecodeError as error:
        raise _Broken("holds a token that is not UTF-8") from error
    kind = _PIECE_TYPES.get(_number(fields.get(3, 1)), TokenType.NORMAL)
    return text, struct.unpack("<f", score)[0], kind


Wire = int | memoryview | bytes


def _fields(data: memoryview | bytes) -> Iterator[tuple[int, Wire]]:
    """Yield field number and value of a message; nested messages stay bytes.

    Raises:
        _Broken: The bytes are no message.
    """
    view = memoryview(data)
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(view, at)
            yield field, value
            continue
        if wire == 2:
            size, at = _varint(view, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _Broken("is not a SentencePiece model")
        if size > len(view) - at:
            raise _Broken("is truncated, or not a SentencePiece model")
        yield field, view[at : at + size]
        at += size


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Broken("is truncated, or not a SentencePiece model")


def _message(value: Wire) -> memoryview:
    if isinstance(value, int):
        raise _Broken("is not a SentencePiece model")
    return memoryview(value)


def _number(value: Wire) -> int:
    if not isinstance(value, int):
        raise _Broken("is not a SentencePiece model")
    return value
