"""Canonical JSON: one byte string for one value, so that a digest can name it.

Rules: UTF-8, keys sorted by code point, no insignificant white space, no floats
(whose text differs between writers), no duplicate keys. What ``parse`` accepts is
exactly what ``encode`` writes: a record that re-encodes to other bytes is refused,
so that two different byte strings can never mean the same record.

Source: the same restrictions as the OLPC canonical JSON used by TUF, without its
escaping rules; string escapes are those of Python's :mod:`json`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NoReturn

from modelvault.errors import MalformedRecord

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]


def encode(value: Json) -> bytes:
    """Return the one canonical byte string of a JSON value.

    Raises:
        TypeError: For floats and other values that canonical JSON does not hold.
    """
    _refuse_floats(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def parse(data: bytes, *, limit: int) -> Json:
    """Return the value of canonical JSON bytes.

    Args:
        data: The encoded value.
        limit: Largest acceptable length in bytes; checked before parsing.

    Raises:
        MalformedRecord: Too long, not JSON, duplicate keys, floats, or not canonical.
    """
    if len(data) > limit:
        raise MalformedRecord(f"a record of {len(data)} bytes exceeds the limit of {limit}")
    try:
        value: Json = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        canonical = encode(value) == data
    except (ValueError, RecursionError) as error:
        raise MalformedRecord(f"a record is not valid JSON: {error}") from error
    if not canonical:
        raise MalformedRecord("a record is not in canonical form")
    return value


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key in object")
    return result


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not an integer")


def _refuse_floats(value: Json) -> None:
    if isinstance(value, float):
        raise TypeError(f"canonical JSON holds no floats: {value!r}")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"canonical JSON keys are strings: {key!r}")
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
