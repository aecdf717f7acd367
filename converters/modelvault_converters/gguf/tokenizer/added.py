"""Special tokens in texts: the runtime must find each of them, and give it its own id.

Texts to compare are plain, and a plain text meets no special token. A file that holds padding
where the publisher added a token would pass, and cut every chat wrongly. So the runtime is asked
for each added token by its text, and for a Korean sentence with several of them inside.
"""

from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

from gguf import TokenType

from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf.tokenizer import Tokenizer, tokenizer_json, unigram
from modelvault_converters.gguf.tokenizer.spm import FILE, read_added
from modelvault_converters.gguf.tokenizer.vocabulary import WORD

_MOST = 512
"""Of the first and of the last added tokens that are asked for: many vocabularies keep thousands
in reserve, and the time grows with their square."""
_INSIDE = 8
"""Tokens that stand inside the sentence."""
_TEXT_BESIDE = {"</s>": "<|tool_response>"}
"""Token that the runtime takes for ordinary text where the vocabulary has the other, as Gemma 4."""
_SENTENCE = ("금고의 열쇠는", "두 사람이 나누어", "가지고 있습니다.")


def stated_tokens(source: Checkpoint, tokenizer: Tokenizer) -> dict[str, int]:
    """Return text → id of the tokens that the publisher's files add.

    Left out is what only looks like text: white space, which vocabularies add in runs, and
    SentencePiece's mark for it.

    Args:
        source: The model.
        tokenizer: Its tokenizer as it was read.

    Raises:
        MalformedRecord: A file is not what it should be.
    """
    added = _from_json(dict(tokenizer.file))
    if tokenizer.vocabulary.model == "llama" and source.has(FILE):
        listed = source.optional_object("added_tokens.json")
        settings = source.optional_object("tokenizer_config.json")
        older = read_added(settings, listed, {}, literal=True)
        added = {text: number for number, (text, _) in older.items()} | added
    texts = sorted((added[text], text) for text in _findable(added))
    chosen = texts if len(texts) <= 2 * _MOST else texts[:_MOST] + texts[-_MOST:]
    return {text: number for number, text in chosen}


def mixed_text(tokenizer: Tokenizer) -> str:
    """Return a Korean sentence with special tokens inside; empty where none can stand there.

    Only a byte-level BPE gets one: elsewhere libraries disagree among themselves about the space
    behind a special token.

    Args:
        tokenizer: The tokenizer as it was read.
    """
    vocabulary, file = tokenizer.vocabulary, tokenizer.file
    if vocabulary.model != "gpt2" or not file:
        return ""
    tight = _findable(
        token["content"]
        for token in file.get("added_tokens") or ()
        if not any(token.get(key) for key in ("lstrip", "rstrip", "single_word"))
    )
    control = (
        text
        for text, kind in zip(vocabulary.tokens, vocabulary.types)
        if kind is TokenType.CONTROL and text in tight
    )
    chosen = list(islice(control, _INSIDE))
    if not chosen:
        return ""
    parts = [_SENTENCE[at % len(_SENTENCE)] for at in range(len(chosen) + 1)]
    return "".join(chain.from_iterable(zip(parts, [*chosen, ""])))


def _from_json(file: dict[str, Any]) -> dict[str, int]:
    if not isinstance(file.get("model"), dict):
        return {}
    if unigram.is_unigram(file):
        ids = {str(item[0]): number for number, item in enumerate(file["model"]["vocab"])}
    else:
        ids = tokenizer_json.read_ids(file)
    return {text: number for text, (number, _) in tokenizer_json.place_added(file, ids).items()}


def _findable(texts: Iterable[str]) -> set[str]:
    """Return those of the added tokens that the runtime looks for as they are written."""
    plain = {text for text in texts if text == text.strip() != "" and WORD not in text}
    return plain - {text for text, other in _TEXT_BESIDE.items() if other in plain}
