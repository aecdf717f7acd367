"""What headers are read off: an open file, or whatever reads like one."""

from typing import Protocol


class Readable(Protocol):
    """Bytes from where it stands on."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, fewer than asked for only at the end."""
