"""The model's own tokenizer, and its own form of a conversation."""

import json
import os
import shutil
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from modelvault.errors import BadOption, UnsupportedTokenizer
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.text.records import Message, Record

FOLDER = "tokenizer"
"""Name of the folder that a tokenizer is loaded from, within the output folder."""

_PIECE = 1 << 16
"""Characters of a text that are encoded at once, at least where a line ends there."""

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json", "spiece.model")


class Encoder:
    """Turns records into tokens."""

    def __init__(self, model: Model, output: Path) -> None:
        """Load the tokenizer; code that a model brings is not run.

        Args:
            model: Whose tokenizer is used.
            output: Folder where a folder of links may be made for the time being.

        Raises:
            UnsupportedTokenizer: It cannot be loaded.
        """
        from transformers import AutoTokenizer

        if not any(model.source.has(name) for name in _FILES):
            raise UnsupportedTokenizer(
                f"the model has no tokenizer: none of {', '.join(_FILES)}",
                hint="pull the whole model again, without --exclude patterns",
            )
        folder = output / FOLDER
        if folder.exists():  # a run was killed here
            shutil.rmtree(folder)
        folder.mkdir()
        try:
            for file in model.side_files():
                (folder / file.path).parent.mkdir(exist_ok=True)
                os.symlink(file.location, folder / file.path)
            config = {"model_type": model.family.model_type}
            (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False
            )
        except Exception as error:
            raise UnsupportedTokenizer(
                f"the model's tokenizer cannot be used: {error}"[:500],
                hint="pull the whole model again; a tokenizer that is Python code is not run",
            ) from error
        finally:
            shutil.rmtree(folder)

    def encode(self, records: Iterable[Record]) -> torch.Tensor:
        """Return the tokens of all records, one after the other, int64 ``[tokens]``.

        Raises:
            BadOption: The model's chat template refuses a conversation.
            UnsupportedTokenizer: The tokenizer fails.
        """
        tokens = array("q")
        for record in records:
            special = not record.messages or not self._has_template
            text = self._form(record) if record.messages else record.text
            try:
                for number, piece in enumerate(_pieces(text)):
                    tokens.extend(
                        self._tokenizer(
                            piece, add_special_tokens=special and not number, verbose=False
                        )["input_ids"]
                    )
            except Exception as error:
                raise UnsupportedTokenizer(
                    f"the model's tokenizer fails: {error}"[:500],
                    hint="pull the whole model again",
                ) from error
        return torch.tensor(tokens, dtype=torch.int64)

    @property
    def _has_template(self) -> bool:
        return bool(getattr(self._tokenizer, "chat_template", None))

    def _form(self, record: Record) -> str:
        """Return a conversation as the model's template writes it."""
        plain = "\n\n".join(message["content"] for message in record.messages)
        if not self._has_template:
            return plain
        refusal: Exception | None = None
        for messages in (record.messages, _without_system(record.messages)):
            try:
                return self._apply(messages)
            except Exception as error:
                refusal = error
        if not record.where:
            return plain  # an embedded conversation, which any model must take
        raise BadOption(
            f"{record.where}: the model's chat template refuses it: {refusal}"[:500],
            hint="let user and assistant take turns, the user first, or give 'text'",
        ) from refusal

    def _apply(self, messages: Sequence[Message]) -> str:
        text: str = self._tokenizer.apply_chat_template(list(messages), tokenize=False)
        return text


def _without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return messages with a system prompt put before what the user says first.

    Templates that know no such role refuse it; this is what their publishers advise.
    """
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
        return tuple(messages)
    content = f"{messages[0]['content']}\n\n{messages[1]['content']}"
    return ({"role": "user", "content": content}, *messages[2:])


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in parts that a tokenizer takes at once, cut where lines end if it can be."""
    start = 0
    while len(text) - start > _PIECE:
        end = text.rfind("\n", start, start + _PIECE) + 1 or start + _PIECE
        yield text[start:end]
        start = end
    yield text[start:]
