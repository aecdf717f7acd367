"""SentencePiece BPE: from ``tokenizer.model``, or from a ``tokenizer.json`` made of one.

A ``tokenizer.json`` holds ranked merges where SentencePiece holds scores. Both say the same: a
token's score is the negated rank at which it first comes to be.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gguf import TokenType

from modelvault.errors import MalformedRecord, UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer import tokenizer_json
from modelvault_converters.gguf.tokenizer.pretokenizer import flatten
from modelvault_converters.gguf.tokenizer.sentencepiece import BPE, KINDS, Piece, parse_model
from modelvault_converters.gguf.tokenizer.vocabulary import (
    LARGEST,
    PAD_SCORE,
    WORD,
    Vocabulary,
    added_type,
)

FILE = "tokenizer.model"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_ADDED_SCORE = -1000.0

Added = Mapping[int, tuple[str, TokenType]]
"""Id → text and type of an added token."""


def read_added(
    settings: dict[str, Any], listed: dict[str, Any], file: dict[str, Any], *, literal: bool
) -> Added:
    """Return the tokens that other files add to those of a ``tokenizer.model``.

    Args:
        settings: ``tokenizer_config.json``, or empty.
        listed: ``added_tokens.json``, or empty.
        file: ``tokenizer.json``, or empty.
        literal: Take the files at their word, ``tokenizer.json`` last, as llama.cpp does for
            Phi-3. Elsewhere it takes what looks like markup for control, and leaves that file.

    Raises:
        MalformedRecord: An id or a text is not one.
    """
    added: dict[int, tuple[str, TokenType]] = {}
    for text, number in listed.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < LARGEST:
            raise MalformedRecord(f"added_tokens.json: {text!r:.100} has no proper id")
        added[number] = (text, TokenType.USER_DEFINED)
    decoder = settings.get("added_tokens_decoder")
    for key, token in decoder.items() if isinstance(decoder, dict) else ():
        content = token.get("content") if isinstance(token, dict) else None
        is_id = re.fullmatch(r"[0-9]{1,7}", key) is not None and int(key) < LARGEST
        if not isinstance(content, str) or not is_id:
            raise MalformedRecord(f"tokenizer_config.json: added token {key!r:.20} is not one")
        special = token.get("special") is True
        added[int(key)] = (content, _added_type(content, special=special, literal=literal))
    for content, number, special in tokenizer_json.read_added(file) if literal else ():
        added[number] = (content, _added_type(content, special=special, literal=literal))
    return added


def _added_type(text: str, *, special: bool, literal: bool) -> TokenType:
    if literal:
        return TokenType.CONTROL if special else TokenType.USER_DEFINED
    return added_type(text, special=special)


def _newer(pieces: Sequence[Piece], added: Added, file: dict[str, Any]) -> Added:
    """Return ``added`` with those tokens of a newer ``tokenizer.json`` that nothing else has.

    A model that was trained on with new tokens is saved with them in ``tokenizer.json`` alone.

    Raises:
        UnsupportedTokenizer: Two files put different tokens in one place.
        MalformedRecord: An added token is not one.
    """
    if not isinstance(file.get("model"), dict):
        return added
    found = dict(added)
    ids = tokenizer_json.read_ids(file)
    for text, (number, special) in tokenizer_json.place_added(file, ids).items():
        if number < len(pieces) and number not in added and _is_marked(pieces[number], text):
            continue
        if found.get(number, (text,))[0] != text:
            raise UnsupportedTokenizer(
                f"tokenizer.json has the added token {text!r:.100} where another file has "
                f"{found[number][0]!r:.100} (token {number})",
                hint="leave out the files that are not the model's own: the older of the two",
            )
        found.setdefault(number, (text, added_type(text, special=special)))
    return found


def _is_marked(piece: Piece, text: str) -> bool:
    """Return whether a piece is the token ``text`` and is looked for as a whole.

    A symbol that a SentencePiece model's user defined is not: the runtime takes it for an
    ordinary piece, which it finds by merging.
    """
    return piece[0] == text and piece[2] is not TokenType.NORMAL


def read_vocabulary(
    data: bytes, added: Added, settings: dict[str, Any], file: Mapping[str, Any] | None = None
) -> Vocabulary:
    """Return the vocabulary of a ``tokenizer.model``.

    Args:
        data: The file's bytes.
        added: Tokens that other files add or describe.
        settings: ``tokenizer_config.json``, or empty.
        file: ``tokenizer.json``, whose added tokens count, too; None or empty for none.

    Raises:
        UnsupportedTokenizer: Not a BPE model, or two files contradict each other.
        MalformedRecord: Not a SentencePiece model.
    """
    model = parse_model(data, FILE)
    if model.kind != BPE:
        raise UnsupportedTokenizer(
            f"{FILE} is a SentencePiece {KINDS.get(model.kind, 'unknown')} model; "
            "a GGUF of this architecture needs BPE"
        )
    added = _newer(model.pieces, added, dict(file or {}))
    warnings = (
        ("tokenizer.model normalises text or drops spaces; llama.cpp does not",)
        if model.characters or model.collapses
        else ()
    )
    return _build(model.pieces, added, _space_prefix(settings, default=model.prefix), warnings)


def read_json_vocabulary(file: dict[str, Any], settings: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary of a ``tokenizer.json`` that was made of a SentencePiece model.

    Raises:
        UnsupportedTokenizer: It is no such file.
        MalformedRecord: The file breaks its own rules.
    """
    model = file.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        raise UnsupportedTokenizer("tokenizer.json describes no BPE")
    marks_spaces = WORD in str((file.get("pre_tokenizer"), file.get("normalizer")))
    if not model.get("byte_fallback") or not marks_spaces:
        raise UnsupportedTokenizer(
            "tokenizer.json is a BPE neither over bytes nor made of a SentencePiece model"
        )
    vocabulary = tokenizer_json.read_ids(file)
    scores: dict[str, float] = {}
    for merge in tokenizer_json.read_merges(file):
        scores.setdefault(merge.replace(" ", "", 1), float(-len(scores)))
    unknown = model.get("unk_token") or settings.get("unk_token")
    pieces = [
        (text, scores.get(text, _ADDED_SCORE), _json_type(text, kind, unknown))
        for text, kind in zip(*tokenizer_json.list_tokens(file, vocabulary))
    ]
    return _build(pieces, {}, _space_prefix(settings, default=_adds_prefix(file)), ())


def _build(
    pieces: Sequence[Piece],
    added: Added,
    space_prefix: bool | None,
    warnings: tuple[str, ...],
) -> Vocabulary:
    """Return the vocabulary of ``pieces`` once added tokens took their places."""
    rows = list(pieces)
    rows.extend(
        (f"[PAD{number}]", PAD_SCORE, TokenType.UNUSED)
        for number in range(len(rows), max(added, default=-1) + 1)
    )
    for number, (text, kind) in added.items():
        shown = text if kind is TokenType.CONTROL else text.replace(WORD, " ")
        rows[number] = (shown, _ADDED_SCORE, kind)
    return Vocabulary(
        model="llama",
        pre="default",
        tokens=tuple(text for text, _, _ in rows),
        types=tuple(kind for _, _, kind in rows),
        scores=tuple(score for _, score, _ in rows),
        space_prefix=space_prefix,
        warnings=warnings,
    )


def _space_prefix(settings: dict[str, Any], *, default: bool) -> bool | None:
    """Return what to write: nothing where it is the runtime's own default."""
    if str(settings.get("tokenizer_class", "")).startswith("Gemma"):
        return False  # transformers' class never adds one, whatever the model file says
    value = settings.get("add_prefix_space")
    if isinstance(value, bool):
        return value
    return None if default else False


def _json_type(text: str, kind: TokenType, unknown: object) -> TokenType:
    if text == unknown:
        return TokenType.UNKNOWN
    if kind is TokenType.NORMAL and _BYTE.fullmatch(text):
        return TokenType.BYTE
    return kind


def _adds_prefix(file: dict[str, Any]) -> bool:
    """Return whether a space goes before the text, by the pre-tokenizer or the normalizer."""
    rules = [*flatten(file.get("normalizer")), *flatten(file.get("pre_tokenizer"))]
    for rule in rules:
        if rule.get("type") == "Prepend":
            return True
        if rule.get("type") == "Metaspace":
            scheme = rule.get("prepend_scheme")
            return bool(rule.get("add_prefix_space", True)) if scheme is None else scheme != "never"
    return False
