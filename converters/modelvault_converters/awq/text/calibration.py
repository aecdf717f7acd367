"""Calibration text as token sequences of equal length, and text that is held out."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch

from modelvault.errors import BadOption
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.options import Options
from modelvault_converters.awq.text.records import (
    EMBEDDED,
    digest_file,
    digest_records,
    read_records,
)
from modelvault_converters.awq.text.tokens import Encoder

_SHORTEST = 32
"""Tokens a sequence at least, unless fewer are asked for; a set must give eight of them."""
_PARTS = 8
"""One sequence of so many is held out."""
HELD_OUT = 8
"""Sequences held out at most."""

Sequences = tuple[torch.Tensor, ...]
"""int64 ``[length]`` each, of one length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Token sequences, and where they are from."""

    samples: Sequences
    """To calibrate with; none where only the result is measured."""
    held_out: Sequences
    """To measure with."""
    digest: str
    """Of the calibration text; empty where there is none."""
    held_out_digest: str
    """Of the file with the text that was held out, where one was named; else empty."""


def read_calibration(
    model: Model, options: Options, longest: int, folder: Path, *, calibrate: bool = True
) -> Calibration:
    """Return the sequences that a request asks for.

    Args:
        model: Whose tokenizer is used.
        options: Name files, and how much of them to use.
        longest: Tokens a sequence may have.
        folder: For what the tokenizer needs for the time being.
        calibrate: Whether any are to calibrate with.

    Raises:
        BadOption: A file is not acceptable, or a text is too short.
        UnsupportedTokenizer: The model's tokenizer cannot be used.
    """
    wanted = min(options.sequence_length, longest)
    held = read_records(options.check_text, "--check-text") if options.check_text else ()
    texts = EMBEDDED
    if calibrate and options.calibration:
        texts = read_records(options.calibration, "--calibration")
    encoder = Encoder(model, folder)
    tokens = encoder.encode(texts)
    samples: list[torch.Tensor] = []
    if calibrate:
        blocks = _cut(tokens, wanted)
        held_out = blocks[_PARTS - 1 :: _PARTS][:HELD_OUT]
        samples = [block for at, block in enumerate(blocks) if at % _PARTS != _PARTS - 1]
        random.Random(options.seed).shuffle(samples)  # noqa: S311 (a choice, not a secret)
    if held or not calibrate:
        held_out = _cut_whole(encoder.encode(held) if held else tokens, wanted)
    return Calibration(
        samples=tuple(samples[: options.samples]),
        held_out=tuple(held_out),
        digest=digest_records(texts) if calibrate else "",
        held_out_digest=digest_file(options.check_text) if options.check_text else "",
    )


def _cut(tokens: torch.Tensor, wanted: int) -> list[torch.Tensor]:
    """Return sequences of the length wanted, or shorter ones where the text is short."""
    length = min(wanted, len(tokens) // _PARTS)
    least = min(_SHORTEST, wanted)
    if length < least:
        raise BadOption(
            f"the calibration text is too short: {len(tokens)} tokens",
            hint=f"give at least {_PARTS * least} tokens; a few pages of your domain are best",
        )
    return _blocks(tokens, length)


def _cut_whole(tokens: torch.Tensor, wanted: int) -> list[torch.Tensor]:
    """Return the first sequences of a text that is read as a whole."""
    if len(tokens) < _SHORTEST:
        raise BadOption(
            f"the text for the check is too short: {len(tokens)} tokens",
            hint=f"give at least {_SHORTEST} tokens",
        )
    return _blocks(tokens, min(wanted, len(tokens)))[:HELD_OUT]


def _blocks(tokens: torch.Tensor, length: int) -> list[torch.Tensor]:
    count = len(tokens) // length
    return list(tokens[: count * length].view(count, length))
