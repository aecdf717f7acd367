"""What a post-processor of ``tokenizer.json`` puts before, between and after texts.

Source:
    https://github.com/huggingface/tokenizers (``processors/template.rs``, ``roberta.rs``,
    ``byte_level.rs``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The special tokens around a text; empty where none is said."""

    silent: bool = False
    """Whether a byte-level step says that nothing is added, but for what a template adds."""
    first: str = ""
    last: str = ""
    between: tuple[str, ...] = ()
    """Special tokens from the end of a first text to the start of a second."""


def read_frame(file: dict[str, Any]) -> Frame:
    """Return what the post-processor of ``tokenizer.json`` adds.

    Args:
        file: The parsed file, or empty.
    """
    parts = list(_flatten(file.get("post_processor")))
    silent = any(part.get("type") == "ByteLevel" for part in parts)
    templates = [part for part in parts if part.get("type") == "TemplateProcessing"]
    roberta = next((part for part in parts if part.get("type") == "RobertaProcessing"), None)
    if roberta is not None and not templates:
        first, last = _text(roberta, "cls"), _text(roberta, "sep")
        return Frame(silent=silent, first=first, last=last, between=(last, last) if last else ())
    if not templates:
        return Frame(silent=silent)
    single, pair = _items(templates[-1], "single"), _items(templates[-1], "pair")
    first = single[0] if len(single) > 1 and single[0] != _TEXT else ""
    last = single[-1] if len(single) > 1 and single[-1] != _TEXT else ""
    return Frame(silent=silent, first=first, last=last, between=_between(pair, first, last))


_TEXT = "\0"
"""Stands for a text in a template, where a token's name cannot."""


def _flatten(processor: object) -> Iterator[dict[str, Any]]:
    if not isinstance(processor, dict):
        return
    parts = processor.get("processors")
    if not isinstance(parts, list):
        yield processor
        return
    for part in parts:
        yield from _flatten(part)


def _text(processor: dict[str, Any], key: str) -> str:
    """Return the text of a token that is written with its id, as ``["</s>", 2]``."""
    match processor.get(key):
        case [str(text), *_]:
            return text
    return ""


def _items(template: dict[str, Any], key: str) -> list[str]:
    """Return a template as names of special tokens, and ``_TEXT`` for texts."""
    items = template.get(key)
    names = []
    for item in items if isinstance(items, list) else ():
        token = item.get("SpecialToken") if isinstance(item, dict) else None
        name = token.get("id") if isinstance(token, dict) else None
        names.append(name if isinstance(name, str) else _TEXT)
    return names


def _between(pair: list[str], first: str, last: str) -> tuple[str, ...]:
    """Return what stands between the texts of a pair, ends left out; empty for another form."""
    if first and pair[:1] == [first]:
        pair = pair[1:]
    if last and pair[-1:] == [last]:
        pair = pair[:-1]
    if len(pair) < 3 or pair[0] != _TEXT or pair[-1] != _TEXT or _TEXT in pair[1:-1]:
        return ()
    return tuple(pair[1:-1])
