"""Text to calibrate or measure with: the embedded set, or a file of the user's.

A file is plain text, or JSON lines with ``text`` or ``messages``, which may be called ``chat``.

Example:
    >>> read_records(Path("ours.jsonl"), "--calibration")[0].messages
    ({'role': 'user', 'content': 'Hello'}, {'role': 'assistant', 'content': 'Good day.'})
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault.errors import BadOption
from modelvault_converters.awq.text.embedded import CONVERSATIONS, TEXTS

_LARGEST_FILE = 64 * 1024 * 1024
_LONGEST_LINE = 4 * 1024 * 1024
"""Bytes of a JSON line."""
_JSON_LINES = (".jsonl", ".ndjson", ".json")
"""Ends of names of files that hold a JSON value a line."""
_TURNS = ("messages", "chat")
"""Fields that hold a conversation."""

Message = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A text, or a conversation."""

    text: str = ""
    messages: tuple[Message, ...] = ()
    """With ``role`` and ``content`` each; empty for a text."""
    where: str = ""
    """Where it was read, for messages; empty for embedded ones."""


EMBEDDED = (
    *(Record(text=text) for text in TEXTS),
    *(Record(messages=tuple(messages)) for messages in CONVERSATIONS),
)


def read_records(path: Path, option: str) -> tuple[Record, ...]:
    """Return the records of a file.

    Args:
        path: Of the file; ``.jsonl``, ``.ndjson`` or ``.json`` for JSON lines.
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
        text = data.decode("utf-8-sig")  # Windows puts a mark before the text
    except UnicodeDecodeError as error:
        raise BadOption(f"{option} {path}: not UTF-8 text: {error}") from error
    if "\0" in text:
        raise BadOption(f"{option} {path}: a binary file, no text")
    if path.suffix.lower() not in _JSON_LINES:
        return (Record(text=text, where=str(path)),)
    return tuple(_parse_lines(text, f"{option} {path}"))


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes, as the vault names them."""
    with open(path, "rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def digest_records(records: Sequence[Record]) -> str:
    """Return the digest of what records say."""
    said = [record.text or record.messages for record in records]
    return "sha256:" + hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _parse_lines(text: str, where: str) -> Iterator[Record]:
    # not splitlines(): JSON strings may hold separators that it takes for the end of a line
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > _LONGEST_LINE:
            raise BadOption(f"{where}:{number}: a line of more than {_LONGEST_LINE} characters")
        if line.strip():
            yield _parse_line(line, f"{where}:{number}")


def _parse_line(line: str, where: str) -> Record:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadOption(f"{where}: not JSON: {error}") from error
    fields = value if isinstance(value, dict) else {}
    if isinstance(text := fields.get("text"), str):
        return Record(text=_require_characters(text, where), where=where)
    for name in _TURNS:
        if name in fields:
            return Record(messages=_read_turns(fields[name], f"{where}: '{name}'"), where=where)
    raise BadOption(
        f"{where}: neither 'text' nor 'messages'",
        hint='write {"text": "…"} or {"messages": [{"role": "user", "content": "…"}]} a line',
    )


def _read_turns(turns: object, where: str) -> tuple[Message, ...]:
    if not isinstance(turns, list) or not turns:
        raise BadOption(f"{where} is no list of messages")
    return tuple(_read_message(turn, where) for turn in turns)


def _read_message(turn: object, where: str) -> Message:
    """Return a message; parts of text, as servers take them, become one."""
    fields = turn if isinstance(turn, dict) else {}
    role, content = fields.get("role"), fields.get("content")
    if isinstance(content, list):
        parts = [part["text"] for part in content if isinstance(part, dict) and "text" in part]
        if len(parts) == len(content) and all(isinstance(part, str) for part in parts):
            content = "".join(parts)
    if not isinstance(role, str) or not isinstance(content, str):
        raise BadOption(
            f"{where} holds a message without 'role' and 'content' in text",
            hint='write {"role": "user", "content": "…"}; leave out calls of tools, and images',
        )
    return {
        "role": _require_characters(role, where),
        "content": _require_characters(content, where),
    }


def _require_characters(text: str, where: str) -> str:
    """Return a text, unless it holds half a character, as JSON can and no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadOption(
            f"{where} holds half a character: {error.reason}", hint="leave the line out"
        ) from error
    return text
