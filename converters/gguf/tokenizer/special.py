"""Special tokens, the flags that add them, and the chat template.

Where files disagree, what transformers does decides: an explicit setting of
``tokenizer_config.json`` before the template of the post-processor before the default of the
tokenizer's class; ``chat_template.jinja`` before the template in ``tokenizer_config.json``.
``add_bos_token`` is always written: without it the runtime guesses by the pre-tokenizer's name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from converters.gguf.source import Source
from converters.gguf.tensors import Entry
from converters.gguf.tokenizer.vocabulary import Vocabulary
from modelvault.errors import MalformedRecord, UnsupportedTokenizer

_KEYS = {"bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding",
         "mask": "mask"}  # fmt: skip
"""Name in Hugging Face's files → in GGUF's keys (the misspelling is the format's)."""

_TEMPLATE = "tokenizer.chat_template"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


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
        source: Source,
        vocabulary: Vocabulary,
        file: dict[str, Any],
        settings: dict[str, Any],
        config: dict[str, Any],
    ) -> "SpecialTokens":
        """Return what the files of ``source`` say.

        Args:
            source: The model, for the files of templates.
            vocabulary: Its tokens, unpadded.
            file: ``tokenizer.json``, or empty.
            settings: ``tokenizer_config.json``, or empty.
            config: ``config.json``.

        Raises:
            UnsupportedTokenizer: A template is not text.
            MalformedRecord: A file does not parse.
        """
        ids = _find_ids(vocabulary, settings, config)
        templates = _read_templates(source, settings)
        talks = vocabulary.model not in ("bert", "t5")
        warnings = [] if templates or not talks else ["the model has no chat template"]
        if "eos" not in ids:
            warnings.append("the model names no end-of-text token: generation stops at the limit")
        return cls(
            ids=ids,
            added=_find_added(vocabulary, file, settings, ids),
            templates=templates,
            warnings=tuple(warnings),
        )

    def template_entries(self) -> Iterator[Entry]:
        """Yield the keys of the templates."""
        others = [name for name in self.templates if name != "default"]
        if others:
            yield Entry(key=f"{_TEMPLATE}s", kind="strings", value=tuple(others))
        for name in others:
            yield Entry(key=f"{_TEMPLATE}.{name}", kind="string", value=self.templates[name])
        if "default" in self.templates:
            yield Entry(key=_TEMPLATE, kind="string", value=self.templates["default"])


def _find_ids(
    vocabulary: Vocabulary, settings: dict[str, Any], config: dict[str, Any]
) -> dict[str, int]:
    numbers = {token: number for number, token in enumerate(vocabulary.tokens)}
    ids: dict[str, int] = {}
    for name, key in _KEYS.items():
        text = _content(settings.get(f"{name}_token"))
        number = numbers[text] if text and text in numbers else -1
        if number < 0:
            number = _first_id(config.get(f"{name}_token_id"))
        if 0 <= number < len(vocabulary.tokens):
            ids[key] = number
    if vocabulary.model == "bert":
        _add_bert_ends(settings, numbers, ids)
    return ids


def _add_bert_ends(
    settings: dict[str, Any],
    numbers: Mapping[str, int],
    ids: dict[str, int],
) -> None:
    """Add what BERT's files often leave unsaid; the runtime knows its two ends as BOS and EOS."""
    for name, key in (("unk", "unknown"), ("sep", "seperator"), ("pad", "padding"),
                      ("mask", "mask")):  # fmt: skip
        number = numbers.get(f"[{name.upper()}]", -1)
        if key not in ids and number >= 0:
            ids[key] = number
    first = numbers.get(_content(settings.get("cls_token")) or "[CLS]", -1)
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


def _first_id(value: object) -> int:
    """Return an id of ``config.json``, where a list means any of them."""
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _find_added(
    vocabulary: Vocabulary,
    file: dict[str, Any],
    settings: dict[str, Any],
    ids: Mapping[str, int],
) -> dict[str, bool]:
    processor = file.get("post_processor")
    first, last = _template_ends(processor)
    llama = str(settings.get("tokenizer_class", "")).startswith("LlamaTokenizer")
    added = {"bos": llama or (vocabulary.model == "llama" and not file), "eos": False}
    if first or last:
        texts = {name: vocabulary.tokens[number] for name, number in ids.items()}
        added = {"bos": first == texts.get("bos", ""), "eos": last == texts.get("eos", "")}
    for name in added:
        value = settings.get(f"add_{name}_token")
        if isinstance(value, bool):
            added[name] = value
        added[name] = added[name] and name in ids
    if not (first or last) and not isinstance(settings.get("add_eos_token"), bool):
        del added["eos"]  # no file says a word of it, and none is the runtime's own default
    if vocabulary.model == "bert":  # the runtime puts both around a text, whatever a file says
        added = {"bos": True, "eos": True}
    if vocabulary.model == "bert" or (vocabulary.model == "gpt2" and _joins_pairs(processor)):
        added["sep"] = False  # said where a template tells how two texts are joined
    return added


def _joins_pairs(processor: object) -> bool:
    """Return whether a post-processor puts special tokens between two texts."""
    if not isinstance(processor, dict):
        return False
    if processor.get("type") == "Sequence":
        parts = processor.get("processors")
        return any(_joins_pairs(part) for part in parts) if isinstance(parts, list) else False
    pair = processor.get("pair")
    if processor.get("type") != "TemplateProcessing" or not isinstance(pair, list):
        return False
    texts = [at for at, item in enumerate(pair) if isinstance(item, dict) and "Sequence" in item]
    return len(texts) == 2 and texts[1] - texts[0] > 1


def _template_ends(processor: object) -> tuple[str, str]:
    """Return the special tokens that a post-processor puts before and after a text."""
    if not isinstance(processor, dict):
        return "", ""
    if processor.get("type") == "Sequence":
        parts = processor.get("processors")
        ends = [_template_ends(part) for part in parts] if isinstance(parts, list) else []
        return next((pair for pair in ends if any(pair)), ("", ""))
    single = processor.get("single")
    if processor.get("type") != "TemplateProcessing" or not isinstance(single, list):
        return "", ""
    names = [
        str(item["SpecialToken"].get("id", ""))
        if isinstance(item, dict) and isinstance(item.get("SpecialToken"), dict)
        else ""
        for item in single
    ]
    return (names[0], names[-1]) if len(names) > 1 else ("", "")


def _read_templates(source: Source, settings: dict[str, Any]) -> dict[str, str]:
    value: object = settings.get("chat_template")
    if source.has("chat_template.jinja"):
        try:
            value = source.read("chat_template.jinja").decode()
        except UnicodeDecodeError as error:
            raise MalformedRecord("chat_template.jinja is not UTF-8 text") from error
    elif value is None:
        value = source.optional_object("chat_template.json").get("chat_template")
    if value is None:
        return {}
    if isinstance(value, str):
        value = [{"name": "default", "template": value}]
    templates: dict[str, str] = {}
    for item in value if isinstance(value, list) else [value]:
        name = item.get("name") if isinstance(item, dict) else None
        text = item.get("template") if isinstance(item, dict) else None
        if not (isinstance(name, str) and _NAME.fullmatch(name) and _is_text(text)):
            raise UnsupportedTokenizer(
                "the chat template is neither text nor a list of named texts"
            )
        templates[name] = str(text)
    return templates


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
