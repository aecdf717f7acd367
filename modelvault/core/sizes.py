"""Numbers of bytes as people write them.

Example:
    >>> parse_size("25GB"), parse_size("1.5 MiB"), parse_size("4096")
    (25000000000, 1572864, 4096)
"""

import re

from modelvault.core.fields import LARGEST_INTEGER
from modelvault.errors import BadOption

_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?\s*([kmgt]i?b?|b|)", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(
    text: str,
    *,
    what: str = "a size",
    hint: str = "write a number of bytes, or a size such as 25GB or 16GiB",
) -> int:
    """Return a number of bytes, rounded down.

    Args:
        text: A number of bytes, or a number with a decimal (``25GB``) or binary (``16GiB``)
            unit, in any case, the ``B`` left out or not.
        what: What the text should be, for the message.
        hint: How to write one.

    Raises:
        BadOption: Not a size, a fraction of a byte, or beyond 64 bits.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BadOption(f"'{text}' is not {what}", hint=hint)
    whole, fraction, unit = match[1], match[2] or "", match[3].lower()
    if fraction and unit in ("", "b"):
        raise BadOption(f"'{text}' is not a whole number of bytes", hint=hint)
    base = 1024 if "i" in unit else 1000
    scale: int = base ** _POWERS[unit.rstrip("b").rstrip("i")]
    size: int = int(whole + fraction) * scale // 10 ** len(fraction)
    if size > LARGEST_INTEGER:
        raise BadOption(f"'{text}' is larger than any file", hint=hint)
    return size
