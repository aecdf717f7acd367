"""From typed values to JSON, in one place.

Example:
    >>> encode(dt.datetime(2026, 11, 27, 17, 5, 9, 250, tzinfo=dt.UTC))
    '2026-11-27T17:05:09Z'
"""

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

from modelvault.core.digest import Digest
from modelvault.core.names import ModelName, Reference

_UNPRINTABLE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What steers a terminal or cannot be written as UTF-8, and what JSON leaves as it is."""


class Document:
    """What a frozen dataclass is derived from to be printed as a JSON object."""

    __slots__ = ()


def encode(value: object) -> Any:
    """Return a value as JSON has it.

    Raises:
        TypeError: No document holds such a value.
        ValueError: A time has no zone.
    """
    match value:
        case Document():
            fields = dataclasses.fields(value)  # type: ignore[arg-type] # each is a dataclass
            found: Any = {field.name: encode(getattr(value, field.name)) for field in fields}
        case Mapping():
            found = {str(key): encode(item) for key, item in value.items()}
        case list() | tuple():
            found = [encode(item) for item in value]
        case dt.datetime():
            found = format_time(value)
        case Enum():
            found = value.value
        case Digest() | Reference() | ModelName() | PurePath():
            found = str(value)
        case None | str() | int() | float():
            found = value
        case _:
            raise TypeError(f"no document holds a {type(value).__name__}")
    return found


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return the JSON text of a document, or of a list of them.

    Args:
        value: What to print.
        indent: Spaces a level; None for a single line.

    Raises:
        ValueError: A number is NaN or infinite: JSON has no word for it.
    """
    text = json.dumps(encode(value), ensure_ascii=False, indent=indent, allow_nan=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def format_time(time: dt.datetime) -> str:
    """Return a time as RFC 3339 in UTC, to the second.

    Raises:
        ValueError: It has no zone.
    """
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> dt.datetime:
    """Return the time of a record that was checked before; one without a zone is UTC.

    Raises:
        ValueError: It is not ISO 8601.
    """
    time = dt.datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
