"""WordPiece: the tokenizer of BERT and of the embedding models made of it.

A ``tokenizer.json`` marks what continues a word by ``##``. llama.cpp looks words up with a mark
in front instead, so ``##ing`` becomes ``ing`` and ``play`` becomes ``▁play``; special tokens stay
as they are. Cleaning, splitting at punctuation and taking Chinese characters one by one are built
into the runtime; lower case and the removal of accents are flags, on unless a file says no.

Source:
    https://github.com/huggingface/tokenizers (``models/wordpiece``, ``normalizers/bert.rs``);
    llama.cpp ``src/llama-vocab.cpp`` (``LLAMA_VOCAB_TYPE_WPM``).
"""

from collections.abc import Mapping
from typing import Any

from gguf import TokenType

from modelvault.errors import MalformedRecord, UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer import tokenizer_json
from modelvault_converters.gguf.tokenizer.pretokenizer import flatten
from modelvault_converters.gguf.tokenizer.vocabulary import LARGEST, WORD, Vocabulary

PREFIX = "##"
_CHINESE = (
    "the tokenizer keeps Chinese characters together; llama.cpp takes them one by one, so token "
    "ids of Chinese text differ"
)
# Hangul syllables have no entry of their own in the runtime's table of decompositions.
_HANGUL = (
    "Korean: this tokenizer takes Hangul apart, and llama.cpp loses the vowels in doing so; "
    "normalise Korean text to NFD before it goes to the runtime, and all token ids are right"
)
_SPECIAL = ("unk", "sep", "pad", "cls", "mask")


def is_wordpiece(file: Mapping[str, Any]) -> bool:
    """Return whether ``tokenizer.json`` describes a WordPiece model.

    Older files name no type; what tells it from a BPE is the lack of merges.
    """
    model = file.get("model")
    if not isinstance(model, dict):
        return False
    return bool(model.get("type", "" if "merges" in model else "WordPiece") == "WordPiece")


def read_vocabulary(file: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary that ``tokenizer.json`` describes.

    Raises:
        UnsupportedTokenizer: It prepares text in a way that the runtime does not.
        MalformedRecord: The file breaks its own rules.
    """
    prefix = file["model"].get("continuing_subword_prefix", PREFIX)
    if prefix != PREFIX:
        raise UnsupportedTokenizer(
            f"tokenizer.json: words continue with {prefix!r:.40}; llama.cpp knows '{PREFIX}' only"
        )
    if [rule.get("type") for rule in flatten(file.get("pre_tokenizer"))] != ["BertPreTokenizer"]:
        raise UnsupportedTokenizer(
            "tokenizer.json: a WordPiece model without BERT's pre-tokenizer is not known"
        )
    normalizer = file.get("normalizer")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        raise UnsupportedTokenizer(
            "tokenizer.json: a WordPiece model without BERT's normalizer is not known"
        )
    tokens, types = tokenizer_json.list_tokens(file, tokenizer_json.read_ids(file))
    return _assemble(tokens, types, normalizer, from_json=True)


def read_text(data: bytes, settings: Mapping[str, Any]) -> Vocabulary:
    """Return the vocabulary of a ``vocab.txt``: one token a line, its number the id.

    Args:
        data: The file.
        settings: ``tokenizer_config.json``, or empty.

    Raises:
        MalformedRecord: Not UTF-8, or no vocabulary.
    """
    try:
        tokens = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise MalformedRecord("vocab.txt is not UTF-8 text") from error
    tokens = [token.removesuffix("\r") for token in tokens]
    if tokens[-1] == "":
        tokens.pop()
    if not 0 < len(tokens) <= LARGEST:
        raise MalformedRecord(f"vocab.txt holds {len(tokens)} tokens")
    special = {_content(settings, name) for name in _SPECIAL}
    types = [TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens]
    normalizer = {
        "lowercase": settings.get("do_lower_case", True),
        "strip_accents": settings.get("strip_accents"),
        "handle_chinese_chars": settings.get("tokenize_chinese_chars", True),
    }
    return _assemble(tokens, types, normalizer, from_json=False)


def _assemble(
    tokens: list[str],
    types: list[TokenType],
    normalizer: Mapping[str, Any],
    *,
    from_json: bool,
) -> Vocabulary:
    lowercase = normalizer.get("lowercase", True) is not False
    accents = normalizer.get("strip_accents")
    flags = {"lowercase": lowercase, "strip_accents": lowercase if accents is None else accents}
    told = (
        {name for name in flags if isinstance(normalizer.get(name), bool)} if from_json else set()
    )
    warnings = [_HANGUL] if flags["strip_accents"] else []
    if normalizer.get("handle_chinese_chars", True) is False:
        warnings.append(_CHINESE)
    return Vocabulary(
        model="bert",
        pre="default",
        tokens=tuple(_marked(text, kind) for text, kind in zip(tokens, types)),
        types=tuple(types),
        # True is the runtime's default for both: it is written only where tokenizer.json says it.
        normalizer={name: value for name, value in flags.items() if name in told or not value},
        warnings=tuple(warnings),
    )


def _marked(text: str, kind: TokenType) -> str:
    if kind is TokenType.CONTROL:
        return text
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else WORD + text


def _content(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(f"{name}_token", f"[{name.upper()}]")
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""
