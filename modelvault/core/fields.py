"""Typed access to the fields of parsed JSON objects.

Every reader of a record goes through these functions, so that a wrong type, a
missing field or an unknown one is always the same error with the same wording.

Example:
    >>> record = Fields({"size": 3}, where="file")
    >>> record.integer("size", least=0)
    3
    >>> record.finish()
"""

import re
from collections.abc import Mapping, Sequence

from modelvault.core.canonical import Json
from modelvault.errors import MalformedRecord, UnsupportedVersion

LARGEST_INTEGER = 2**63 - 1
"""Sizes and offsets fit a signed 64-bit integer, as file systems and databases do."""

UPDATE = "a newer release wrote this and reads it: update ModelVault on this side"
"""The hint of every ``UnsupportedVersion``: what is newer is not damaged."""

_VERSION = re.compile(r"v([1-9][0-9]{0,8})")


class Fields:
    """One JSON object, read field by field; ``finish`` refuses fields that were not read."""

    def __init__(self, value: Json, *, where: str) -> None:
        """Take a parsed value.

        Args:
            value: What the parser returned for it.
            where: What the object is, for messages.

        Raises:
            MalformedRecord: The value is not an object.
        """
        if value.__class__ is not dict and not isinstance(value, Mapping):
            raise MalformedRecord(f"{where}: an object is expected")
        self._value = value
        self._where = where
        self._read: set[str] = set()

    def _take(self, name: str) -> Json:
        try:
            value = self._value[name]
        except KeyError:
            raise MalformedRecord(f"{self._where}: field '{name}' is missing") from None
        self._read.add(name)
        return value

    def version(self, kind: str, *, newest: int = 1) -> int:
        """Return the number in ``_type``, which is spelled ``KIND/vNUMBER``.

        Args:
            kind: Such as ``modelvault/artifact``.
            newest: The highest version that the caller reads.

        Raises:
            MalformedRecord: Something else than this kind, or no version.
            UnsupportedVersion: A version above ``newest``.
        """
        found, _, version = self.text("_type").rpartition("/")
        match = _VERSION.fullmatch(version)
        if found != kind or match is None:
            raise MalformedRecord(f"{self._where}: not of type {kind}/v{newest}")
        number = int(match[1])
        if number > newest:
            raise UnsupportedVersion(
                f"{self._where}: of version {number}; this release reads {newest}", hint=UPDATE
            )
        return number

    def has(self, name: str) -> bool:
        """Return whether the field is there."""
        return name in self._value

    def names(self) -> tuple[str, ...]:
        """Return the names of all fields, for objects whose names are data."""
        return tuple(self._value)

    def is_null(self, name: str) -> bool:
        """Return whether the field holds null."""
        return self._take(name) is None

    def text(self, name: str, *, longest: int = 4096) -> str:
        """Return a string of at most ``longest`` characters."""
        value = self._take(name)
        if not isinstance(value, str) or len(value) > longest:
            raise MalformedRecord(f"{self._where}: '{name}' must be a string up to {longest} long")
        return value

    def optional_text(self, name: str, *, longest: int = 4096) -> str | None:
        """Return a string, or None where the field holds null."""
        if self.is_null(name):
            return None
        return self.text(name, longest=longest)

    def integer(self, name: str, *, least: int = 0, most: int = LARGEST_INTEGER) -> int:
        """Return an integer between ``least`` and ``most``, inclusive."""
        value = self._take(name)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise MalformedRecord(f"{self._where}: '{name}' must be an integer from {least} to {most}")

    def boolean(self, name: str) -> bool:
        """Return true or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise MalformedRecord(f"{self._where}: '{name}' must be true or false")
        return value

    def items(self, name: str, *, most: int) -> Sequence[Json]:
        """Return a list of at most ``most`` values."""
        value = self._take(name)
        if not isinstance(value, list) or len(value) > most:
            raise MalformedRecord(f"{self._where}: '{name}' must be a list of at most {most}")
        return value

    def object(self, name: str) -> "Fields":
        """Return a nested object."""
        return Fields(self._take(name), where=f"{self._where}.{name}")

    def texts(self, name: str, *, most: int = 256) -> dict[str, str]:
        """Return an object whose values are all strings."""
        value = self._take(name)
        if not isinstance(value, Mapping) or len(value) > most:
            raise MalformedRecord(f"{self._where}: '{name}' must be an object of at most {most}")
        result: dict[str, str] = {}
        for key, item in value.items():
            if not isinstance(item, str):
                raise MalformedRecord(f"{self._where}: '{name}.{key}' must be a string")
            result[key] = item
        return result

    def rest(self) -> dict[str, Json]:
        """Return the fields that nobody asked for so far, as they are."""
        unread = {name: value for name, value in self._value.items() if name not in self._read}
        self._read.update(unread)
        return unread

    def finish(self) -> None:
        """Refuse fields that the caller did not read.

        Raises:
            MalformedRecord: An unknown field stands in the object.
        """
        if len(self._read) < len(self._value):
            unknown = sorted(set(self._value) - self._read)
            raise MalformedRecord(f"{self._where}: unknown field '{unknown[0]}'")
