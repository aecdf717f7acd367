"""A vocabulary as GGUF stores it: tokens by id, their types, and how text becomes them."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gguf import TokenType

from modelvault.errors import UnsupportedTokenizer

LARGEST = 1 << 22
"""Most tokens a vocabulary may have; four million is ten times the largest known."""

WORD = "▁"
"""What SentencePiece puts for a space, and llama.cpp before the words of a WordPiece."""

PAD_SCORE = -10000.0
"""Score that no merge can want."""

_LOOKS_SPECIAL = re.compile(
    r"<\|.*\|>|<｜.*｜>|<pad>|<mask>|<2mass>|\[@BOS@\]|<unused.*>",  # noqa: RUF001
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Tokens by id, and how text becomes them."""

    model: Literal["gpt2", "llama", "bert", "t5"]
    """Algorithm: byte-level BPE by merges, SentencePiece BPE by scores, WordPiece or Unigram."""
    pre: str
    """Name of the pre-tokenizer."""
    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] = ()
    space_prefix: bool | None = None
    """Whether a space goes before the text; None for the runtime's default."""
    characters: bytes = b""
    """SentencePiece's table of what characters become; for Unigram."""
    normalizer: Mapping[str, bool] = field(default_factory=dict, hash=False)
    """What WordPiece does to a text first, where it is not the runtime's default."""
    warnings: tuple[str, ...] = field(default=())

    def padded(self, rows: int) -> "Vocabulary":
        """Return the vocabulary with one token for each of ``rows`` rows.

        Raises:
            UnsupportedTokenizer: There are more tokens than rows, or a token is not text.
        """
        used = len(self.tokens)
        if used > rows:
            raise UnsupportedTokenizer(
                f"the tokenizer has {used} tokens, the embedding only {rows} rows",
                hint="save the model again with an embedding as long as the tokenizer, or take the "
                "tokens that were added out of its files",
            )
        _check_text(self.tokens)
        missing = range(used, rows)
        mark = WORD if self.model == "bert" else ""
        return replace(
            self,
            tokens=self.tokens + tuple(f"{mark}[PAD{number}]" for number in missing),
            types=self.types + (TokenType.UNUSED,) * len(missing),
            scores=self.scores and self.scores + (PAD_SCORE,) * len(missing),
        )


def added_type(text: str, *, special: bool) -> TokenType:
    """Return the type of an added token: what looks like markup is control, as in llama.cpp."""
    if special or _LOOKS_SPECIAL.fullmatch(text):
        return TokenType.CONTROL
    return TokenType.USER_DEFINED


def _check_text(tokens: tuple[str, ...]) -> None:
    if len(set(tokens)) != len(tokens):
        twice = next(token for token, count in Counter(tokens).items() if count > 1)
        raise UnsupportedTokenizer(
            f"the tokenizer holds two tokens with the same text: {twice!r:.100}",
            hint="llama.cpp loads no such vocabulary: take the token out of the added tokens",
        )
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError as error:
        raise UnsupportedTokenizer(
            "the tokenizer holds a token that is not Unicode text"
        ) from error
