"""Text to calibrate or measure with: the embedded set, or a file of the user's.

A file is plain text, or JSON lines with ``text`` or ``messages``.

Example:
    >>> read_records(Path("ours.jsonl"), "--calibration")[0].messages
    ({'role': 'user', 'content': 'Hello'}, {'role': 'assistant', 'content': 'Good day.'})
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.awq.text.embedded import CONVERSATIONS, TEXTS
from modelvault.errors import BadOption

_LARGEST_FILE = 64 * 1024 * 1024
_LONGEST_LINE = 4 * 1024 * 1024
"""Bytes of a JSON line."""

Message = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A text, or a conversation."""

    text: str = ""
    messages: tuple[Message, ...] = ()
    """With ``role`` and ``content`` each; empty for a text."""
    place: str = ""
    """Where it was read, for messages; empty for embedded ones."""


EMBEDDED = (
    *(Record(text=text) for text in TEXTS),
    *(Record(messages=tuple(messages)) for messages in CONVERSATIONS),
)


def read_records(path: Path, option: str) -> tuple[Record, ...]:
    """Return the records of a file.

    Args:
        path: Of the file; ``.jsonl`` for JSON lines.
        option: That names it, for messages.

    Raises:
        BadOption: Too large, no text, or a line that is no record.
    """
    if path.stat().st_size > _LARGEST_FILE:
        raise BadOption(
            f"{option} {path}: larger than {_LARGEST_FILE // 2**20} MiB",
            hint="a few hundred pages are enough: choose some at random",
        )
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadOption(f"{option} {path}: not UTF-8 text: {error}") from error
    if "\0" in text:
        raise BadOption(f"{option} {path}: a binary file, no text")
    if path.suffix != ".jsonl":
        return (Record(text=text, place=str(path)),)
    return tuple(_parse_lines(text, f"{option} {path}"))


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes, as the vault names them."""
    with open(path, "rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def digest_records(records: Sequence[Record]) -> str:
    """Return the digest of what records say."""
    said = [record.text or record.messages for record in records]
    return "sha256:" + hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _parse_lines(text: str, place: str) -> Iterator[Record]:
    # not splitlines(): JSON strings may hold separators that it takes for the end of a line
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > _LONGEST_LINE:
            raise BadOption(f"{place}:{number}: a line of more than {_LONGEST_LINE} characters")
        if line.strip():
            yield _parse_line(line, f"{place}:{number}")


def _parse_line(line: str, place: str) -> Record:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadOption(f"{place}: not JSON: {error}") from error
    if isinstance(value, dict) and isinstance(text := value.get("text"), str):
        return Record(text=text, place=place)
    messages = value.get("messages") if isinstance(value, dict) else None
    if isinstance(messages, list) and messages and all(_is_message(item) for item in messages):
        said = tuple({"role": item["role"], "content": item["content"]} for item in messages)
        return Record(messages=said, place=place)
    raise BadOption(
        f"{place}: neither 'text' nor 'messages'",
        hint='write {"text": "…"} or {"messages": [{"role": "user", "content": "…"}]}',
    )


def _is_message(item: object) -> bool:
    return isinstance(item, dict) and all(
        isinstance(item.get(key), str) for key in ("role", "content")
    )
