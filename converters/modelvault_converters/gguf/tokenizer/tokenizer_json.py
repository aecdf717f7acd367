"""``tokenizer.json``: the vocabulary, the merges and the added tokens that it holds.

Source:
    https://github.com/huggingface/tokenizers (the file is its own serialisation).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gguf import TokenType

from modelvault.errors import MalformedRecord
from modelvault_converters.gguf.tokenizer.vocabulary import LARGEST, added_type


def read_ids(file: dict[str, Any]) -> dict[str, int]:
    """Return token → id of the model itself, without added tokens.

    Raises:
        MalformedRecord: Ids are not distinct numbers within bounds.
    """
    vocabulary = file["model"].get("vocab")
    if not isinstance(vocabulary, dict) or not _are_ids(vocabulary.values()):
        raise MalformedRecord("tokenizer.json: 'vocab' is not an object of ids")
    if len(set(vocabulary.values())) != len(vocabulary):
        raise MalformedRecord("tokenizer.json: 'vocab' gives one id to two tokens")
    return vocabulary


def list_tokens(
    file: dict[str, Any], vocabulary: dict[str, int]
) -> tuple[list[str], list[TokenType]]:
    """Return tokens and types by id; ids without a token are unused padding.

    Raises:
        MalformedRecord: Added tokens are not what they should be.
    """
    texts = {number: (text, TokenType.NORMAL) for text, number in vocabulary.items()}
    for text, (number, special) in place_added(file, vocabulary).items():
        kind = added_type(text, special=special)
        texts[number] = (text, kind)
    count = max(texts, default=-1) + 1
    entries = [texts.get(number, (f"[PAD{number}]", TokenType.UNUSED)) for number in range(count)]
    return [text for text, _ in entries], [kind for _, kind in entries]


def place_added(file: dict[str, Any], vocabulary: Mapping[str, int]) -> dict[str, tuple[int, bool]]:
    """Return text → id and whether it is special, of added tokens.

    The tokenizers library reads no id: a token that the vocabulary holds keeps its place there,
    the others follow one after another. So do training and inference, and so it is done here,
    unless the place is taken, which only a vocabulary with holes can bring about.
    """
    placed: dict[str, tuple[int, bool]] = {}
    taken, following = set(vocabulary.values()), len(vocabulary)
    for text, said, special in read_added(file):
        if text in placed or text == "":
            continue
        number = vocabulary.get(text, following)
        if text not in vocabulary and number in taken:
            number = said
        placed[text] = (number, special)
        following = max(following, number + 1)
    return placed


def read_merges(file: dict[str, Any]) -> Iterator[str]:
    """Yield the merges in order of rank, as ``LEFT RIGHT``.

    Raises:
        MalformedRecord: They are neither pairs nor lines.
    """
    merges = file["model"].get("merges")
    if not isinstance(merges, list) or len(merges) > LARGEST:
        raise MalformedRecord("tokenizer.json: 'merges' is not a list")
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_part(part) for part in pair):
            raise MalformedRecord(f"tokenizer.json: {merge!r:.100} is not a merge")
        yield f"{pair[0]} {pair[1]}"


def read_added(file: dict[str, Any]) -> Iterator[tuple[str, int, bool]]:
    """Yield text, id and whether it is special of the tokens added to ``tokenizer.json``.

    Raises:
        MalformedRecord: They are not what they should be.
    """
    added = file.get("added_tokens") or []
    if not isinstance(added, list):
        raise MalformedRecord("tokenizer.json: 'added_tokens' is not a list")
    for token in added:
        text = token.get("content") if isinstance(token, dict) else None
        if not isinstance(text, str) or not _are_ids([token.get("id")]):
            raise MalformedRecord(f"tokenizer.json: {token!r:.100} is not an added token")
        yield text, token["id"], token.get("special") is True


def _are_ids(values: Iterable[object]) -> bool:
    return all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST
        for value in values
    )


def _is_part(part: object) -> bool:
    # Byte-level text holds no space of its own: a space is written as another letter.
    return isinstance(part, str) and part != "" and " " not in part
