"""What tells one layout of a bundle from another; an index names its layout.

What holds for every layout is not said here: pieces in the order of the index cover the
carriers exactly (``format/rules.py``), and a carrier is a regular file of the bundle's folder.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One way in which carriers are called."""

    name: str
    """As the index spells it."""
    carrier_name: Callable[[int], str]
    """The one name that the carrier at a position, counted from 0, may have."""
    is_carrier: Callable[[str], bool]
    """Whether a file's name is that of a carrier: one that no index lists is foreign."""
