"""Unigram: the tokenizer of XLM-RoBERTa and of the embedders made of it.

It comes from ``tokenizer.json``, or from ``sentencepiece.bpe.model``, whose ids transformers
shifts: four special tokens stand at the start, and a mask at the end.

Every piece has the logarithm of its probability, and the runtime finds the likeliest way to cut a
text. What it does to the text first is SentencePiece's own table of characters, carried along as
it is.

Source:
    https://github.com/huggingface/tokenizers (``models/unigram``, ``normalizers/precompiled.rs``);
    llama.cpp ``src/llama-vocab.cpp`` (``LLAMA_VOCAB_TYPE_UGM``).
"""

import base64
import binascii
from collections.abc import Mapping
from math import isfinite
from typing import Any

from gguf import TokenType

from modelvault.errors import MalformedRecord, UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer import tokenizer_json
from modelvault_converters.gguf.tokenizer.pretokenizer import flatten
from modelvault_converters.gguf.tokenizer.sentencepiece import KINDS, UNIGRAM, parse_model
from modelvault_converters.gguf.tokenizer.vocabulary import LARGEST, Vocabulary

FILE = "sentencepiece.bpe.model"
"""Named so by transformers, though it holds a Unigram model."""

_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
_MASK = "<mask>"

_SPACES = {"WhitespaceSplit", "Metaspace"}
_NORMALIZERS = {"Precompiled", "Replace", "Strip"}


def is_unigram(file: Mapping[str, Any]) -> bool:
    """Return whether ``tokenizer.json`` describes a Unigram model."""
    model = file.get("model")
    return isinstance(model, dict) and model.get("type") == "Unigram"


def read_vocabulary(file: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary that ``tokenizer.json`` describes.

    Raises:
        UnsupportedTokenizer: It prepares text in a way that the runtime does not.
        MalformedRecord: The file breaks its own rules.
    """
    pieces = _read_pieces(file)
    rules = {str(rule.get("type")) for rule in flatten(file.get("pre_tokenizer"))}
    normalizers = list(flatten(file.get("normalizer")))
    unknown = rules - _SPACES | {str(rule.get("type")) for rule in normalizers} - _NORMALIZERS
    if unknown or "Metaspace" not in rules or file["model"].get("byte_fallback"):
        raise UnsupportedTokenizer(
            "tokenizer.json: a Unigram model that is not made of SentencePiece's is not known"
            + (f" ({', '.join(sorted(unknown)):.200})" if unknown else "")
        )
    ids = {text: number for number, (text, _) in enumerate(pieces)}
    tokens, types = tokenizer_json.list_tokens(file, ids)
    number = file["model"].get("unk_id")
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(types):
        types[number] = TokenType.UNKNOWN
    scores = [score for _, score in pieces] + [0.0] * (len(tokens) - len(pieces))
    return Vocabulary(
        model="t5",
        pre="default",
        tokens=tuple(tokens),
        types=tuple(types),
        scores=tuple(scores),
        space_prefix=True,
        characters=_read_characters(normalizers),
    )


def read_model(data: bytes) -> Vocabulary:
    """Return the vocabulary of a ``sentencepiece.bpe.model``.

    Raises:
        UnsupportedTokenizer: Not a Unigram model.
        MalformedRecord: Not a SentencePiece model.
    """
    model = parse_model(data, FILE)
    if model.kind != UNIGRAM:
        raise UnsupportedTokenizer(
            f"{FILE} is a SentencePiece {KINDS.get(model.kind, 'unknown')} model, not a Unigram"
        )
    first = [(text, 0.0, TokenType.CONTROL) for text in _FIRST[:-1]]
    unknown = (_FIRST[-1], 0.0, TokenType.UNKNOWN)
    rows = [*first, unknown, *model.pieces[3:], (_MASK, 0.0, TokenType.CONTROL)]
    return Vocabulary(
        model="t5",
        pre="default",
        tokens=tuple(text for text, _, _ in rows),
        types=tuple(kind for _, _, kind in rows),
        scores=tuple(score for _, score, _ in rows),
        space_prefix=model.prefix,
        characters=model.characters,
    )


def _read_pieces(file: dict[str, Any]) -> list[tuple[str, float]]:
    listed = file["model"].get("vocab")
    if not isinstance(listed, list) or not 0 < len(listed) <= LARGEST:
        raise MalformedRecord("tokenizer.json: 'vocab' is not a list of pieces")
    pieces = []
    for item in listed:
        match item:
            case [str(text), float() | int() as score] if isfinite(score):
                pieces.append((text, float(score)))
            case _:
                raise MalformedRecord(f"tokenizer.json: {item!r:.100} is not a piece")
    if len({text for text, _ in pieces}) != len(pieces):
        raise MalformedRecord("tokenizer.json: 'vocab' holds a piece twice")
    return pieces


def _read_characters(normalizers: list[dict[str, Any]]) -> bytes:
    """Return SentencePiece's table of characters; empty when there is none."""
    for rule in normalizers:
        if rule.get("type") == "Precompiled":
            text = rule.get("precompiled_charsmap")
            try:
                return base64.b64decode(text or "", validate=True)
            except (TypeError, ValueError, binascii.Error) as error:
                raise MalformedRecord(
                    f"tokenizer.json: the table of characters is damaged: {error}"
                ) from error
    return b""
