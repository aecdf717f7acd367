"""What ends a generation: the tokens at which a runtime stops.

llama.cpp stops at the tokens that a file names as end of text, of turn and of message
(``eos``, ``eot``, ``eom``), and at those whose text it knows. A publisher lists in
``eos_token_id``, of ``config.json`` and ``generation_config.json``, everything at which his model
stops: what of it the runtime does not know by its text takes the two places that are free.

Source:
    llama.cpp ``src/llama-vocab.cpp`` (``special_eog_ids``);
    https://huggingface.co/docs/transformers/main_classes/text_generation (``eos_token_id``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gguf import TokenType

from modelvault.errors import UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer.vocabulary import Vocabulary

_DEEPSEEK = "<\uff5cend\u2581of\u2581sentence\uff5c>"
_KNOWN = f"""
    <|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn>
    <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance>
    <eos> <turn|> <|tool_response> {_DEEPSEEK} [e~[
    <|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> <REPO>
    <reponame> <|file_sep|>
"""
KNOWN = frozenset(_KNOWN.split())
"""Texts that the runtime stops at, whatever a file says of them."""

_PLACES = ("eot", "eom")
"""GGUF's roles beside ``eos`` at which the runtime stops."""
_TALKING = ("gpt2", "llama")
"""Algorithms of models that generate; encoders have no end to stop at."""
_ENDING = (TokenType.CONTROL, TokenType.USER_DEFINED)
"""Types that an end may have: an ordinary piece of text is one by mistake only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """The ends that a model's files list, as ids."""

    configured: tuple[int, ...]
    """Those of ``config.json``."""
    generated: tuple[int, ...]
    """Those that ``generation_config.json`` alone has."""
    derived: bool
    """Whether nobody chose the latter: transformers wrote the one that its classes have."""

    @property
    def chosen(self) -> tuple[int, ...]:
        """Return all that somebody chose."""
        return self.configured + (() if self.derived else self.generated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What becomes of the listed ends."""

    ids: Mapping[str, int] = field(hash=False)
    """GGUF's role → id."""
    warnings: tuple[str, ...] = ()


def read_ends(config: Mapping[str, Any], generation: Mapping[str, Any]) -> Stated:
    """Return the ends that ``config.json`` and ``generation_config.json`` list.

    Args:
        config: The one; its part about text counts where it is silent itself.
        generation: The other, or empty.
    """
    own, text = config.get("eos_token_id"), config.get("text_config")
    if own is None and isinstance(text, Mapping):
        own = text.get("eos_token_id")
    configured = tuple(dict.fromkeys(_ids(own)))
    listed = generation.get("eos_token_id")
    generated = dict.fromkeys(_ids(listed))
    return Stated(
        configured=configured,
        generated=tuple(number for number in generated if number not in configured),
        derived=generation.get("_from_model_config") is True and not isinstance(listed, list),
    )


def place_ends(vocabulary: Vocabulary, ids: Mapping[str, int], stated: Stated) -> Ends:
    """Return roles for the listed ends that the runtime would go past.

    Args:
        vocabulary: The tokens, one a row of the embedding.
        ids: GGUF's role → id of the special tokens that are found already.
        stated: What the model's files list.

    Raises:
        UnsupportedTokenizer: The only end there is stands for no token.
    """
    if vocabulary.model not in _TALKING:
        return Ends(ids={})
    _check_end(vocabulary, ids, stated)
    free = [role for role in _PLACES if role not in ids]
    warnings: list[str] = []
    placed: dict[str, int] = {}
    for number in stated.configured + stated.generated:
        if number in ids.values() or _is_known(vocabulary, number):
            continue
        if reason := find_fault(vocabulary, number):
            if number in stated.chosen:
                warnings.append(f"'eos_token_id' lists token {number}, which {reason}: left out")
        elif free:
            placed[free.pop(0)] = number
        else:
            warnings.append(
                f"'eos_token_id' lists more ends than a GGUF has places for: generation goes on "
                f"after {vocabulary.tokens[number]!r:.60}"
            )
    return Ends(ids=placed, warnings=tuple(warnings))


def _check_end(vocabulary: Vocabulary, ids: Mapping[str, int], stated: Stated) -> None:
    """Refuse an end of text that is known by its number alone, and is none."""
    number = ids.get("eos", stated.chosen[0] if stated.chosen else None)
    if number is None or not is_nothing(vocabulary, number):
        return
    used = sum(kind is not TokenType.UNUSED for kind in vocabulary.types)
    raise UnsupportedTokenizer(
        f"'eos_token_id' is {number}, which {find_fault(vocabulary, number)}: the tokenizer has "
        f"{used} tokens and names no end among them, so generation would not stop",
        hint="the tokenizer's files are of another model or an older one: convert with those that "
        "the model was trained with, or name its 'eos_token' in tokenizer_config.json",
    )


def find_fault(vocabulary: Vocabulary, number: int) -> str:
    """Return why a listed token cannot be an end; empty when it can."""
    if number >= len(vocabulary.tokens):
        return "does not exist"
    if is_nothing(vocabulary, number):
        return "is padding"
    if vocabulary.types[number] not in _ENDING:
        return f"is a piece of text ({vocabulary.tokens[number]!r:.40})"
    return ""


def is_nothing(vocabulary: Vocabulary, number: int) -> bool:
    """Return whether an id stands for no token of the tokenizer."""
    known = 0 <= number < len(vocabulary.tokens)
    return not known or vocabulary.types[number] is TokenType.UNUSED


def _is_known(vocabulary: Vocabulary, number: int) -> bool:
    return number < len(vocabulary.tokens) and vocabulary.tokens[number] in KNOWN


def _ids(value: object) -> Iterator[int]:
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, int) and not isinstance(item, bool) and item >= 0:
            yield item
