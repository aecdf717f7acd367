"""Special tokens, the flags that add them, and the chat template.

Ids and flags are those of llama.cpp's converter: a token that ``tokenizer_config.json`` names has
its id from the added tokens of ``tokenizer.json``, then from ``config.json``; what the
post-processor adds counts before a setting, as in transformers 5. ``add_bos_token`` is always
written where text is generated: some runtimes take its absence for true.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import gguf
from gguf import TokenType

from modelvault.errors import FamilyDefect, UnsupportedTokenizer
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf.config import is_classifier
from modelvault_converters.gguf.tensors import Entry
from modelvault_converters.gguf.tokenizer.ends import Stated, is_nothing, place_ends, read_ends
from modelvault_converters.gguf.tokenizer.processor import Frame, read_frame
from modelvault_converters.gguf.tokenizer.templates import DEFAULT, read_templates
from modelvault_converters.gguf.tokenizer.vocabulary import Vocabulary

_KEYS = {"bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding",
         "mask": "mask"}  # fmt: skip
"""Name in Hugging Face's files → in GGUF's keys (the misspelling is the format's)."""
_TURN = "eot"
"""What ends a turn, where something else ends a text."""

ROLES = frozenset(
    key.removeprefix("tokenizer.ggml.").removesuffix("_token_id")
    for key in vars(gguf.Keys.Tokenizer).values()
    if isinstance(key, str) and key.endswith("_token_id")
)
"""Special tokens that GGUF has a key for: ``bos``, ``eos``, ``eot``, ``fim_pre`` …"""

_TEMPLATE = gguf.Keys.Tokenizer.CHAT_TEMPLATE


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Ids, flags and templates."""

    ids: Mapping[str, int] = field(hash=False)
    """GGUF name (``bos``, ``eos``, ``unknown`` …) → id."""
    added: Mapping[str, bool] = field(hash=False)
    """``bos``, ``eos``, ``sep`` → whether encoding adds it."""
    templates: Mapping[str, str] = field(hash=False)
    """Name → Jinja text; ``default`` is the chat template."""
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        source: Checkpoint,
        vocabulary: Vocabulary,
        file: dict[str, Any],
        settings: dict[str, Any],
        config: dict[str, Any],
        *,
        known: Mapping[str, str | int],
    ) -> "SpecialTokens":
        """Return what the files of ``source`` say.

        Args:
            source: The model, for the files of templates.
            vocabulary: Its tokens, one a row of the embedding.
            file: ``tokenizer.json``, or empty.
            settings: ``tokenizer_config.json``, or empty.
            config: ``config.json``.
            known: What the model's family knows: GGUF's role → text or id. It counts where the
                files are silent and the vocabulary has the token.

        Raises:
            FamilyDefect: A role is none of GGUF's.
            UnsupportedTokenizer: A template is not text, or the end of a text is no token.
            MalformedRecord: A file does not parse.
        """
        texts = _read_texts(settings, read_frame(file))
        stated = read_ends(config, source.optional_object("generation_config.json"))
        ids = _known_ids(vocabulary, known) | _find_ids(vocabulary, file, texts, config, stated)
        ends = place_ends(vocabulary, ids, stated)
        ids |= ends.ids
        templates = read_templates(source, settings)
        talks = vocabulary.model not in ("bert", "t5")
        warnings = [] if templates or not talks else ["the model has no chat template"]
        warnings.extend(ends.warnings)
        if "eos" not in ids:
            warnings.append("the model names no end-of-text token: generation stops at the limit")
        return cls(
            ids=ids,
            added=_find_added(vocabulary, file, settings, texts, ids, pairs=is_classifier(config)),
            templates=templates,
            warnings=tuple(warnings),
        )

    def template_entries(self) -> Iterator[Entry]:
        """Yield the keys of the templates."""
        others = [name for name in self.templates if name != DEFAULT]
        if others:
            yield Entry(key=f"{_TEMPLATE}s", kind="strings", value=tuple(others))
        for name in others:
            yield Entry(key=f"{_TEMPLATE}.{name}", kind="string", value=self.templates[name])
        if DEFAULT in self.templates:
            yield Entry(key=_TEMPLATE, kind="string", value=self.templates[DEFAULT])


def _read_texts(settings: dict[str, Any], frame: Frame) -> dict[str, str]:
    """Return role → text of the special tokens that the settings and the post-processor name.

    An embedder's template may end a text with another token than the one that ends an answer
    (Qwen3-Embedding): that one is the end of text, and the other ends a turn.
    """
    texts = {name: _content(settings.get(f"{name}_token")) for name in (*_KEYS, "cls")}
    texts["bos"] = texts["bos"] or texts["cls"] or frame.first
    texts["eos"] = texts["eos"] or texts["sep"]
    if frame.last and frame.last != texts["eos"]:
        texts[_TURN], texts["eos"] = texts["eos"], frame.last
    if _separates(frame, texts):
        texts["sep"] = texts["sep"] or texts["eos"]
    return texts


def _find_ids(
    vocabulary: Vocabulary,
    file: dict[str, Any],
    texts: dict[str, str],
    config: dict[str, Any],
    stated: Stated,
) -> dict[str, int]:
    numbers = {token: number for number, token in enumerate(vocabulary.tokens)}
    listed = _listed(file)
    ids: dict[str, int] = {}
    for name, key in (*_KEYS.items(), (_TURN, _TURN)):
        text = texts.get(name, "")
        # A file may name another id than the token has: see ``tokenizer_json.list_tokens``.
        number = numbers.get(text, listed[text]) if text in listed else -1
        if number < 0 and name in _KEYS:
            number = _config_id(config, f"{name}_token_id")
        if name in ("bos", "eos") and is_nothing(vocabulary, number):
            number = numbers.get(texts[name], number)
        if number < 0 and name == "eos" and stated.chosen:
            number = stated.chosen[0]
        if 0 <= number < len(vocabulary.tokens):
            ids[key] = number
    if vocabulary.model == "bert":
        _add_bert_ends(texts, numbers, ids)
    if vocabulary.model == "t5" and TokenType.UNKNOWN in vocabulary.types:
        ids.setdefault("unknown", vocabulary.types.index(TokenType.UNKNOWN))
    return ids


def _known_ids(vocabulary: Vocabulary, known: Mapping[str, str | int]) -> dict[str, int]:
    """Return role → id of what a family knows, as far as the vocabulary has it."""
    numbers = {token: number for number, token in enumerate(vocabulary.tokens)} if known else {}
    for role in known:
        if role not in ROLES:
            raise FamilyDefect(
                f"GGUF has no special token '{role:.40}'", hint=f"it has {', '.join(sorted(ROLES))}"
            )
    ids = {role: numbers.get(token, -1) if isinstance(token, str) else token
           for role, token in known.items()}  # fmt: skip
    return {role: number for role, number in ids.items() if 0 <= number < len(vocabulary.tokens)}


def _listed(file: dict[str, Any]) -> dict[str, int]:
    """Return text → id of the added tokens of ``tokenizer.json``; the first of a text counts."""
    found: dict[str, int] = {}
    added = file.get("added_tokens")
    for token in added if isinstance(added, list) else ():
        text, number = _content(token), token.get("id") if isinstance(token, dict) else None
        if text and isinstance(number, int) and not isinstance(number, bool):
            found.setdefault(text, number)
    return found


def _add_bert_ends(
    texts: Mapping[str, str],
    numbers: Mapping[str, int],
    ids: dict[str, int],
) -> None:
    """Add what BERT's files often leave unsaid; the runtime knows its two ends as BOS and EOS."""
    for name, key in (("unk", "unknown"), ("sep", "seperator"), ("pad", "padding"),
                      ("mask", "mask")):  # fmt: skip
        number = numbers.get(f"[{name.upper()}]", -1)
        if key not in ids and number >= 0:
            ids[key] = number
    first = numbers.get(texts["cls"] or "[CLS]", -1)
    if first < 0 or "seperator" not in ids:
        raise UnsupportedTokenizer(
            "the tokenizer names no [CLS] or no [SEP], which go around every text of BERT",
            hint="pull tokenizer_config.json and tokenizer.json with the model",
        )
    ids.setdefault("bos", first)
    ids.setdefault("eos", ids["seperator"])


def _content(token: object) -> str:
    """Return a token's text: settings hold it plain or in an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _config_id(config: Mapping[str, Any], key: str) -> int:
    """Return an id of ``config.json``, or of its part about text; below zero for none."""
    value, text = config.get(key), config.get("text_config")
    if value is None and isinstance(text, dict):
        value = text.get(key)
    return _first_id(value)


def _first_id(value: object) -> int:
    """Return an id of ``config.json``, where a list means any of them."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _find_added(
    vocabulary: Vocabulary,
    file: dict[str, Any],
    settings: dict[str, Any],
    texts: Mapping[str, str],
    ids: Mapping[str, int],
    *,
    pairs: bool,
) -> dict[str, bool]:
    """Return which special tokens encoding adds; what no file says is left to the runtime.

    Args:
        vocabulary: The tokens.
        file: ``tokenizer.json``, or empty.
        settings: ``tokenizer_config.json``, or empty.
        texts: Of the special tokens, by role.
        ids: Of those that the vocabulary has.
        pairs: Whether texts may come in pairs, which servers put together by these flags.
    """
    frame = read_frame(file)
    said = {"bos": False, "eos": False} if frame.silent else {}
    if frame.first:
        said["bos"] = frame.first in (texts["bos"], texts["cls"]) or not texts["cls"]
    if frame.last:
        said["eos"] = True
    if frame.between:
        said["sep"] = _separates(frame, texts)
    for name in ("bos", "eos", "sep"):
        value = settings.get(f"add_{name}_token")
        if isinstance(value, bool):
            said.setdefault(name, value)
    if vocabulary.model == "t5":
        said = {"bos": True, "eos": True} | said  # the class that all of these tokenizers have
    elif vocabulary.model == "bert" and pairs:
        said = {"bos": True, "eos": True, "sep": False} | said  # [CLS] one [SEP] other [SEP]
    elif vocabulary.model != "bert":  # BERT's ends go around every text, whatever a file says
        llama = str(settings.get("tokenizer_class", "")).startswith("LlamaTokenizer")
        said.setdefault("bos", llama or (vocabulary.model == "llama" and not file))
    return {name: said[name] and (name in ids or name == "sep")
            for name in ("bos", "eos", "sep") if name in said}  # fmt: skip


def _separates(frame: Frame, texts: Mapping[str, str]) -> bool:
    """Return whether two texts stand apart by a separator of their own."""
    marks = {texts["sep"], texts["eos"]} - {""}
    if len(frame.between) == 2 and frame.between[1] in marks:
        return True
    return bool(frame.between) and frame.between[0] in marks and not frame.last
