"""Canonical JSON: one byte string for one value, so that a digest can name it.

It is RFC 8785 (JCS), so that a standard tool can verify a record, for the values that records
hold: objects, lists, strings, booleans, null and integers. There are no floats. Integers beyond
``EXACT_INTEGER``, which RFC 8785 leaves out, are written digit by digit; only a receipt can
hold one (the number of an inode), and no receipt leaves its vault.

What ``parse`` accepts is exactly what ``encode`` writes: a record that re-encodes to other
bytes is refused, so that two different byte strings can never mean the same record.

Source:
    https://www.rfc-editor.org/rfc/rfc8785
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from modelvault.core.json_bounds import MOST_VALUES, check_bounds
from modelvault.errors import MalformedRecord

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]

EXACT_INTEGER = 2**53 - 1
"""Largest integer, and least when negative, that RFC 8785 covers."""

_LEAVES = frozenset({str, int, bool, type(None)})


def encode(value: Json) -> bytes:
    """Return the one canonical byte string of a JSON value.

    Raises:
        TypeError: For floats and other values that canonical JSON does not hold.
        ValueError: A string holds half a character: a lone surrogate.
    """
    if _is_plain(value):
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    else:
        text = json.dumps(_ordered(value), separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def parse(data: bytes, *, limit: int, values: int = MOST_VALUES) -> Json:
    """Return the value of canonical JSON bytes.

    What is longer, wider or deeper than the bounds is refused before anything is made of it.

    Args:
        data: The encoded value.
        limit: Largest acceptable length in bytes.
        values: Most values, as ``check_bounds`` counts them.

    Raises:
        MalformedRecord: Too long, too many values, nested too deeply, not JSON, duplicate keys,
            floats, or not canonical.
    """
    if len(data) > limit:
        raise MalformedRecord(f"a record of {len(data)} bytes exceeds the limit of {limit}")
    check_bounds(data, values=values)
    try:
        value: Json = json.loads(
            data.decode("utf-8"), parse_float=_refuse_number, parse_constant=_refuse_number
        )
        if encode(value) == data:  # of a key that stands there twice one would be missing
            return value
        json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise MalformedRecord(f"a record is not valid JSON: {error}") from error
    raise MalformedRecord("a record is not in canonical form")


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key in object")
    return result


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not an integer")


def _is_plain(value: Json) -> bool:
    """Return whether all keys are ASCII, so that every order of keys is the same.

    Raises:
        TypeError: For floats, and keys that are no strings.
    """
    plain = True
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            plain = "".join(item).isascii() and plain  # joins strings only
            item = item.values()
        elif isinstance(item, float):
            raise TypeError(f"canonical JSON holds no floats: {item!r}")
        elif not isinstance(item, list | tuple):
            continue
        waiting += [inner for inner in item if inner.__class__ not in _LEAVES]
    return plain


def _ordered(value: Json) -> Json:
    """Return a value whose keys stand by their UTF-16 code units, as RFC 8785 sorts them."""
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return {key: _ordered(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    return value
