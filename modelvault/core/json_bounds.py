"""How deep and how wide JSON is, told from its bytes before a parser makes values of it.

A parser takes some hundred bytes and a microsecond for a value of three bytes, so that the
length of hostile JSON says little about what it costs. The scan here costs a few nanoseconds a
byte and a window of memory, and ends where a bound is passed. It agrees with the grammar about
what is a string; what is not JSON at all is left for the parser to refuse.

Source: RFC 8259, sections 2 (structural characters) and 7 (strings).
"""

import re
from collections.abc import Iterator
from itertools import accumulate

from modelvault.errors import MalformedRecord

DEEPEST = 32
"""Lists and objects within each other, the outermost included; records of ours have at most six."""
MOST_VALUES = 65_536
"""Values of a record for which its reader names no other bound."""

_WINDOW = 64 * 1024
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[]{}", b"\x02\x00\x02\x00")


def check_bounds(data: bytes, *, values: int = MOST_VALUES, deepest: int = DEEPEST) -> None:
    """Refuse JSON that holds more values, or is nested more deeply, than its reader expects.

    Args:
        data: The encoded value, in UTF-8.
        values: Most values: numbers, strings, lists and so on. A list or an object without
            content counts as two.
        deepest: Most lists and objects within each other.

    Raises:
        MalformedRecord: There are more.
    """
    found, depth = 1, 0
    for bare in _without_strings(data):
        found += bare.count(b",") + bare.count(b"[") + bare.count(b"{")
        if found > values:
            raise MalformedRecord(f"a record holds more than {values} values")
        steps = bare.translate(_STEPS, _NO_BRACKETS)
        depths = list(accumulate((step - 1 for step in steps), initial=depth))
        if max(depths) > deepest:
            raise MalformedRecord(f"a record is nested more than {deepest} deep")
        depth = depths[-1]


def _without_strings(data: bytes) -> Iterator[bytes]:
    """Yield what stands between the strings of JSON, a window at a time."""
    view = memoryview(data)
    start, inside = 0, 0
    while start < len(data):
        window = bytes(view[start : start + _WINDOW])
        start += len(window)
        if b"\\" in window:
            window = _ESCAPE.sub(b"", window)
            if window.endswith(b"\\"):  # the first half of an escape: its second is in the next
                window = window[:-1]
                start += 1
        parts = window.split(b'"')  # in turn outside and inside of strings
        yield b"".join(parts[inside::2])
        inside ^= (len(parts) - 1) & 1
