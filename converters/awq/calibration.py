"""Calibration text as token sequences of equal length, some of them held out.

The text is the embedded set or a file: plain text, or JSON lines with ``text`` or
``messages`` (the model's own chat template then gives them their form).
"""

import hashlib
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from converters.awq.embedded import CONVERSATIONS, TEXTS
from converters.awq.model import Model
from modelvault.core.protocol import Request
from modelvault.errors import BadOption, UnsupportedTokenizer

SAMPLES = 128
LENGTH = 512
_SHORTEST = 32
"""Tokens a sequence at least; a set must give eight of them."""
_PARTS = 8
"""One sequence of so many is held out."""
_HELD_OUT = 8
"""Sequences held out at most."""
_LARGEST_FILE = 256 * 1024 * 1024

Record = str | list[dict[str, str]]
"""A text, or a conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Token sequences, and where they are from."""

    samples: tuple[torch.Tensor, ...]
    """To calibrate with, int64 ``[length]`` each."""
    held_out: tuple[torch.Tensor, ...]
    """To measure with."""
    digest: str
    """Of the text."""

    @property
    def length(self) -> int:
        """Tokens a sequence."""
        return int(self.samples[0].shape[0])


def read_calibration(model: Model, request: Request, longest: int) -> Calibration:
    """Return the sequences that a request asks for.

    Args:
        model: Whose tokenizer is used.
        request: Its options name a file, and how much of it to use.
        longest: Tokens a sequence may have.

    Raises:
        BadOption: The file or a number is not acceptable, or the text is too short.
        UnsupportedTokenizer: The model's tokenizer cannot be loaded.
    """
    samples = read_number(request, "samples", SAMPLES, most=65536)
    wanted = min(read_number(request, "sequence_length", LENGTH, most=1 << 20), longest)
    seed = read_number(request, "seed", 0, least=0, most=1 << 31)
    location = request.options.get("calibration", "")
    default: list[Record] = [*TEXTS, *CONVERSATIONS]
    records = _read_file(Path(location)) if location else default
    tokens = _encode(model, records, Path(request.output))
    length = min(wanted, len(tokens) // _PARTS)
    if length < min(_SHORTEST, longest):
        raise BadOption(
            f"the calibration text is too short: {len(tokens)} tokens",
            hint=f"give at least {_PARTS * _SHORTEST} tokens; a few pages of your domain are best",
        )
    blocks = [tokens[at : at + length] for at in range(0, len(tokens) - length + 1, length)]
    held = blocks[_PARTS - 1 :: _PARTS][:_HELD_OUT]
    rest = [block for at, block in enumerate(blocks) if at % _PARTS != _PARTS - 1]
    random.Random(seed).shuffle(rest)  # noqa: S311 (a choice of samples, not a secret)
    return Calibration(
        samples=tuple(torch.tensor(block) for block in rest[:samples]),
        held_out=tuple(torch.tensor(block) for block in held),
        digest="sha256:" + hashlib.sha256(json.dumps(records).encode()).hexdigest(),
    )


def read_number(request: Request, name: str, default: int, *, least: int = 1, most: int) -> int:
    """Return an option of the request that is a whole number.

    Raises:
        BadOption: It is none, or out of bounds.
    """
    text = request.options.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadOption(f"--{name.replace('_', '-')} {text:.40}: not a whole number")
    if not least <= int(text) <= most:
        raise BadOption(f"--{name.replace('_', '-')} {text}: not from {least} to {most}")
    return int(text)


def _read_file(path: Path) -> list[Record]:
    if not path.is_file():
        raise BadOption(f"--calibration {path}: there is no such file")
    if path.stat().st_size > _LARGEST_FILE:
        raise BadOption(f"--calibration {path}: larger than {_LARGEST_FILE} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadOption(f"--calibration {path}: not UTF-8 text: {error}") from error
    if path.suffix != ".jsonl":
        return [text]
    lines = enumerate(text.splitlines(), start=1)
    return [_parse_line(line, f"{path}:{number}") for number, line in lines if line.strip()]


def _parse_line(line: str, place: str) -> Record:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadOption(f"{place}: not JSON: {error}") from error
    if isinstance(value, dict) and isinstance(text := value.get("text"), str):
        return text
    messages = value.get("messages") if isinstance(value, dict) else None
    if isinstance(messages, list) and all(_is_message(item) for item in messages):
        return [{"role": item["role"], "content": item["content"]} for item in messages]
    raise BadOption(
        f"{place}: neither 'text' nor 'messages'",
        hint='write {"text": "…"} or {"messages": [{"role": "user", "content": "…"}]}',
    )


def _is_message(item: object) -> bool:
    return isinstance(item, dict) and all(
        isinstance(item.get(key), str) for key in ("role", "content")
    )


def _encode(model: Model, records: list[Record], output: Path) -> list[int]:
    """Return the tokens of all records, one after the other."""
    from transformers import AutoTokenizer

    tokens: list[int] = []
    with TemporaryDirectory(dir=output, prefix="tokenizer-") as folder:
        for file in model.source.side_files():
            os.symlink(file.location, Path(folder) / file.path)
        (Path(folder) / "config.json").write_text(
            json.dumps({"model_type": model.family.model_type}), encoding="utf-8"
        )
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            for ids in _encode_records(tokenizer, records):
                tokens += ids
        except Exception as error:
            raise UnsupportedTokenizer(
                f"the model's tokenizer cannot be used: {error}"[:500],
                hint="pull the whole model again; a tokenizer that is Python code is not run",
            ) from error
    return tokens


def _encode_records(tokenizer: Any, records: list[Record]) -> Iterator[list[int]]:
    for record in records:
        if isinstance(record, str):
            yield tokenizer(record, verbose=False)["input_ids"]
        elif getattr(tokenizer, "chat_template", None):
            text = tokenizer.apply_chat_template(record, tokenize=False)
            yield tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        else:
            text = "\n\n".join(message["content"] for message in record)
            yield tokenizer(text, verbose=False)["input_ids"]
