"""Completion as the shells ask for it: what they send, and what they get.

A shell's function asks with ``_MODELVAULT_COMPLETE`` in the environment and gets one offer a
line. What differs between shells:

* bash breaks words where ``COMP_WORDBREAKS`` says, at ``:``, ``=`` and ``@`` among others, and
  replaces only what stands behind the last break. So it sends the whole line, and an offer comes
  back without what stands before the break. Functions that send bash's own words, as earlier
  releases installed them, are understood, too.
* zsh and fish complete whole words, and show a description beside each.

Words come as they were typed: ``~`` and variables are expanded here, as the shell will.
"""

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typer._click.shell_completion import CompletionItem, ShellComplete

if TYPE_CHECKING:
    from typer._click import Command

VARIABLE = "_MODELVAULT_COMPLETE"
"""What a shell's function sets to ask: ``complete_bash`` and so on."""

_OF_WORDS = ("zsh", "fish")
_BREAKS = " \t\n\"'@><=;|&(:"
"""What bash breaks words at, unless its user says otherwise."""
_JOINED = re.compile("[:=@]+")
"""What bash makes words of their own."""
_PLAIN = re.compile(r"[\w@%+=:,./~-]*", re.ASCII)
"""What a shell reads as it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a shell wants completed."""

    before: tuple[str, ...]
    """The words after the program's name that are finished, as the program will get them."""
    word: str
    """What there is of the word to complete."""
    typed: str = ""
    """The part of it that stays: an offer comes without it."""
    quote: str = ""
    """The quote that is open around it, if any."""


def answer(
    command: "Command", context: MutableMapping[str, Any], name: str, environment: Mapping[str, str]
) -> str | None:
    """Return the offers for what a shell asks, one a line; None for a shell not known here.

    Args:
        command: The program's.
        context: Settings of its context.
        name: What the program is called.
        environment: What the shell sends.
    """
    shell = environment[VARIABLE].removeprefix("complete_")
    if shell == "bash":
        question = _bash_question(environment)
    elif shell in _OF_WORDS and "_MODELVAULT_WORDS" in environment:
        question = _question_of_words(environment)
    else:
        return None
    before, option = list(question.before), ""
    word = question.word
    if word.startswith("-") and "=" in word:
        option, _, word = word.partition("=")
        before.append(option)
        option += "="
    items = _Offers(command, context, name, VARIABLE).get_completions(before, word)
    lines = []
    for item in items:
        value = f"{option}{item.value}"
        if not value.isprintable() or not value.startswith(question.typed):
            continue  # what cannot be typed, or differs in case from what stays
        if shell == "bash":
            lines.append(_quoted(value.removeprefix(question.typed), question.quote))
        else:  # they quote for themselves
            beside = f"\t{item.help}" if item.help and item.help.isprintable() else ""
            lines.append(value + beside)
    return "\n".join(lines)


class _Offers(ShellComplete):
    """Finds what a word completes to; shells' own forms are made here, not there."""

    name = "offers"
    source_template = ""

    def source_vars(self) -> dict[str, Any]:
        """Return nothing: there is no script to fill."""
        return {}

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return nothing: ``get_completions`` is given them."""
        return [], ""

    def format_completion(self, item: CompletionItem) -> str:
        """Return the bare value."""
        return str(item.value)


def _question_of_words(environment: Mapping[str, str]) -> Question:
    """Return what zsh or fish asks: finished words, one a line, and the one to complete."""
    words = environment["_MODELVAULT_WORDS"].split("\n")
    word, _ = _words(environment.get("_MODELVAULT_WORD", ""))[0]
    before = (_words(item)[0][0] for item in words[1:])
    return Question(before=tuple(map(_expanded, before)), word=word)


def _bash_question(environment: Mapping[str, str]) -> Question:
    breaks = environment.get("COMP_WORDBREAKS", _BREAKS)
    if "COMP_LINE" not in environment:
        return _question_of_bash_words(environment)
    line = environment["COMP_LINE"][: int(environment["COMP_POINT"])]
    _, *before, (word, quote) = _words(line)
    return Question(
        before=tuple(_expanded(item) for item, _ in before),
        word=word,
        typed="" if quote else word[: _last_break(word, breaks)],
        quote=quote,
    )


def _question_of_bash_words(environment: Mapping[str, str]) -> Question:
    """Return what is asked by bash's words: those that it has broken are joined again."""
    words = [word for word, _ in _words(environment["COMP_WORDS"]) if word]
    index = int(environment["COMP_CWORD"])
    joined: list[str] = []
    typed, goes_on = "", False
    for part in [*words[:index], words[index] if index < len(words) else ""]:
        is_break = _JOINED.fullmatch(part) is not None
        if joined and (is_break or (goes_on and part)):
            typed = joined[-1] + (part if is_break else "")
            typed = typed.removesuffix("@")
            joined[-1] += part
        else:
            typed = ""
            joined.append(part)
        goes_on = is_break
    return Question(before=tuple(map(_expanded, joined[1:-1])), word=joined[-1], typed=typed)


def _last_break(word: str, breaks: str) -> int:
    """Return where bash's own word begins: behind the last break in the one that was typed.

    An ``@`` is a break, too, but bash counts it as part of what follows.
    """
    ends = (word.rfind(character) + (character != "@") for character in breaks if character in word)
    return max(ends, default=0)


def _words(line: str) -> list[tuple[str, str]]:
    """Return the words of a line without quotes and backslashes, each with its open quote.

    The last one is the one to complete: empty after a space.
    """
    words = [("", "")]
    begun = escaped = False
    for character in line:
        word, quote = words[-1]
        if escaped:
            words[-1] = (word + character, quote)
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = begun = True
        elif quote:
            words[-1] = (word, "") if character == quote else (word + character, quote)
        elif character in "'\"":
            words[-1] = (word, character)
            begun = True
        elif not character.isspace():
            words[-1] = (word + character, "")
            begun = True
        elif begun:
            words.append(("", ""))
            begun = False
    return words


def _expanded(word: str) -> str:
    """Return a word as the shell will hand it over."""
    return os.path.expandvars(os.path.expanduser(word))


def _quoted(value: str, quote: str) -> str:
    """Return a value as it has to be typed, so that the shell hands over just that."""
    if quote == "'":
        return value.replace("'", "'\\''")
    if quote == '"':
        return re.sub(r'([\\"$`])', r"\\\1", value)
    if _PLAIN.fullmatch(value):
        return value
    return "".join(c if _PLAIN.fullmatch(c) or ord(c) > 127 else f"\\{c}" for c in value)
