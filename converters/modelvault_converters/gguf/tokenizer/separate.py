"""A byte-level BPE in separate files, ``vocab.json`` and ``merges.txt``, as one ``tokenizer.json``.

Such files say nothing of how a text is cut: transformers' class of the tokenizer does. The classes
below are those that cut as they are described here; a model with any other is refused.

Source:
    transformers ``models/gpt2/tokenization_gpt2.py``, ``models/qwen2/tokenization_qwen2.py``,
    ``models/roberta/tokenization_roberta.py``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from modelvault.errors import MalformedRecord, UnsupportedTokenizer
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf.tokenizer.expressions import QWEN2
from modelvault_converters.gguf.tokenizer.vocabulary import LARGEST

VOCABULARY, MERGES = "vocab.json", "merges.txt"
_ADDED, _SPECIAL = "added_tokens.json", "special_tokens_map.json"
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

_QWEN_CUT = {
    "type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False,
}  # fmt: skip
_CLASSES = {
    "GPT2": "gpt2",
    "CodeGen": "gpt2",
    "Qwen2": "qwen2",
    "Roberta": "roberta",
    "Longformer": "roberta",
}
"""Class of transformers without ``Tokenizer`` → what cuts alike."""
_MODELS = {
    "gpt2": "gpt2", "phi": "gpt2", "qwen2": "qwen2", "qwen2_moe": "qwen2", "qwen3": "qwen2",
    "qwen3_moe": "qwen2", "roberta": "roberta",
}  # fmt: skip
"""``model_type`` of a configuration → the same, where no file names a class."""


def assemble(
    source: Checkpoint, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what ``tokenizer.json`` would hold; empty where the separate files are not there.

    Args:
        source: The model.
        settings: ``tokenizer_config.json``, or empty.
        config: ``config.json``.

    Raises:
        UnsupportedTokenizer: How the tokenizer cuts a text is not known.
        MalformedRecord: A file does not parse.
    """
    if not (source.has(VOCABULARY) and source.has(MERGES)):
        return {}
    kind = _find_kind(settings, config)
    file: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": list(_added(source, settings)),
        "normalizer": {"type": "NFC"} if kind == "qwen2" else None,
        "pre_tokenizer": _cut(kind, settings),
        "post_processor": None,
        "model": {
            "type": "BPE",
            "ignore_merges": False,
            "vocab": source.object(VOCABULARY),
            "merges": _merges(source),
        },
    }
    if kind == "roberta":
        file["post_processor"] = _ends(file, settings)
    return file


def _find_kind(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    said = settings.get("tokenizer_class") or config.get("tokenizer_class")
    name = str(said or "").removesuffix("Fast").removesuffix("Tokenizer")
    kind = _CLASSES.get(name, "") if said else _MODELS.get(str(config.get("model_type")), "")
    if not kind:
        raise UnsupportedTokenizer(
            f"{VOCABULARY} and {MERGES} do not say how a text is cut, and the class of the "
            f"tokenizer, {said or config.get('model_type')!r:.60}, is not known for it "
            f"(known: {', '.join(f'{name}Tokenizer' for name in _CLASSES)})",
            hint="save the tokenizer once with transformers, which writes tokenizer.json: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
        )
    return kind


def _cut(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    prefix = settings.get("add_prefix_space") is True
    level = {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True}
    if kind != "qwen2":
        return level | {"use_regex": True}
    return {"type": "Sequence", "pretokenizers": [_QWEN_CUT, level | {"use_regex": False}]}


def _merges(source: Checkpoint) -> list[list[str]]:
    try:
        lines = source.read(MERGES).decode().split("\n")
    except UnicodeDecodeError as error:
        raise MalformedRecord(f"{MERGES} is not UTF-8 text") from error
    merges = []
    for number, line in enumerate(lines):
        pair = line.strip().split(" ")
        if pair == [""] or (number == 0 and line.startswith("#version")):
            continue
        if len(pair) != 2:
            raise MalformedRecord(f"{MERGES}: {line!r:.100} is not a merge")
        merges.append(pair)
    return merges


def _added(source: Checkpoint, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the added tokens by their ids: those that files list, and those that have a role."""
    vocabulary = source.object(VOCABULARY)
    places: dict[str, int] = dict(source.optional_object(_ADDED))
    special: set[str] = set()
    decoder = settings.get("added_tokens_decoder")
    for number, token in decoder.items() if isinstance(decoder, dict) else ():
        text = _text(token)
        if text and number.isascii() and number.isdecimal():
            places[text] = int(number)
            if isinstance(token, dict) and token.get("special") is True:
                special.add(text)
    roles = source.optional_object(_SPECIAL)
    named = [_text(roles.get(f"{role}_token")) or _text(settings.get(f"{role}_token"))
             for role in _ROLES]  # fmt: skip
    more = roles.get("additional_special_tokens")
    for text in (*named, *(map(_text, more) if isinstance(more, list) else ())):
        place = places.get(text, vocabulary.get(text)) if text else None
        if place is not None:
            places[text] = place
            special.add(text)
    if not all(_is_id(number) for number in places.values()):
        raise MalformedRecord(f"{_ADDED}: an id is not a number")
    for text, number in sorted(places.items(), key=lambda item: item[1]):
        yield {
            "id": number, "content": text, "special": text in special, "single_word": False,
            "lstrip": False, "rstrip": False, "normalized": False,
        }  # fmt: skip


def _ends(file: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what RoBERTa's class puts around every text."""
    ids = {token["content"]: token["id"] for token in file["added_tokens"]}
    first, last = (_text(settings.get("cls_token")) or "<s>",
                   _text(settings.get("sep_token")) or "</s>")  # fmt: skip
    if first not in ids or last not in ids:
        return None
    return {
        "type": "RobertaProcessing", "cls": [first, ids[first]], "sep": [last, ids[last]],
        "trim_offsets": True, "add_prefix_space": False,
    }  # fmt: skip


def _text(token: object) -> str:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _is_id(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < LARGEST
