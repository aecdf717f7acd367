"""Freed memory, given back to the system.

The allocator keeps what is freed, and small things between large ones keep it in pieces: after
a few hundred sequences a process can hold twice what it uses.

Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
"""

import ctypes


def give_back() -> None:
    """Return free memory to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
