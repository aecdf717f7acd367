"""``config.json``, read with types and bounds; every fault is collected, not just the first."""

from collections.abc import Mapping
from typing import Any

from modelvault.errors import UnsupportedSource

LARGEST = 1 << 24
"""No dimension of a real model exceeds this; larger ones are a fault or an attack."""
_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
"""Of float32, in which GGUF keeps numbers."""


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Return whether a model of a known family ends with a classifier; rerankers are such."""
    (architecture,) = config["architectures"]
    return str(architecture).endswith("ForSequenceClassification")


class Config:
    """Typed access to a configuration; ``check`` raises everything that was wrong."""

    def __init__(self, values: Mapping[str, Any], *, where: str = "config.json") -> None:
        """Wrap a JSON object; faults of its sections are reported by their parent.

        Args:
            values: The object.
            where: Its file, and its key in there, for messages.
        """
        self._values = values
        self._where = where
        self.issues: list[str] = []

    def has(self, key: str) -> bool:
        """Return whether ``key`` is there and not null."""
        return self._values.get(key) is not None

    def names(self) -> tuple[str, ...]:
        """Return every key that is there."""
        return tuple(self._values)

    def has_items(self, key: str) -> bool:
        """Return whether ``key`` is a list with something in it."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, list):
            self.fault(f"'{key}' is not a list")
        return bool(value)

    def integer(self, *keys: str, default: int | None = None, least: int = 1) -> int:
        """Return the first of ``keys`` that is set, from ``least`` to ``LARGEST``."""
        for key in keys:
            value = self._values.get(key)
            if value is None:
                continue
            if isinstance(value, float) and value.is_integer():
                value = int(value)  # JSON knows one kind of number
            if isinstance(value, bool) or not isinstance(value, int):
                return self._fault(f"'{key}' is {value!r:.40}, not an integer", least)
            if not least <= value <= LARGEST:
                return self._fault(f"'{key}' is {value!r:.40}, out of {least} … {LARGEST}", least)
            return value
        if default is None:
            return self._fault(f"'{keys[0]}' is missing", least)
        return default

    def number(self, key: str, *, default: float | None = None) -> float:
        """Return ``key`` as a finite number."""
        value = self._values.get(key)
        if value is None:
            if default is None:
                self.issues.append(f"{self._where}: '{key}' is missing")
            return 1.0 if default is None else default
        if isinstance(value, bool) or not isinstance(value, int | float) or not _sane(value):
            self.issues.append(f"{self._where}: '{key}' is {value!r:.40}, not a number")
            return 1.0
        return float(value)

    def numbers(self, key: str, *, count: int) -> tuple[float, ...]:
        """Return ``key`` as ``count`` finite numbers."""
        value = self._values.get(key)
        if not isinstance(value, list) or len(value) != count:
            self.issues.append(f"{self._where}: '{key}' is no list of {count} numbers")
            return (1.0,) * count
        items = Config({str(at): item for at, item in enumerate(value)}, where=self._at(key))
        items.issues = self.issues
        return tuple(items.number(str(at)) for at in range(count))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return ``key`` as a list of texts; empty when it is missing."""
        value = self._values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.issues.append(f"{self._where}: '{key}' is no list of texts")
            return ()
        return tuple(value)

    def text(self, key: str, *, default: str = "") -> str:
        """Return ``key`` as text."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.issues.append(f"{self._where}: '{key}' is {value!r:.40}, not text")
            return default
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return ``key`` as a boolean."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.issues.append(f"{self._where}: '{key}' is {value!r:.40}, not true or false")
            return default
        return value

    def sections(self) -> tuple[str, ...]:
        """Return every key that holds an object."""
        return tuple(key for key, value in self._values.items() if isinstance(value, dict))

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Return every key with what it holds, unchecked: to compare, not to use."""
        return tuple(self._values.items())

    def section(self, key: str) -> "Config":
        """Return the object under ``key``; an empty one when it is missing."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, dict):
            self.issues.append(f"{self._where}: '{key}' is not an object")
            value = None
        section = Config(value or {}, where=self._at(key))
        section.issues = self.issues
        return section

    def fault(self, message: str) -> None:
        """Note something that is wrong beyond a single value."""
        self.issues.append(f"{self._where}: {message}")

    def check(self) -> None:
        """Raise what was noted, if anything was.

        Raises:
            UnsupportedSource: With one issue a fault.
        """
        if self.issues:
            raise UnsupportedSource(
                f"{self._where} cannot be used: {self.issues[0]}",
                hint="compare the file with the one on the Hub",
                issues=self.issues,
            )

    def _at(self, key: str) -> str:
        return f"{self._where}: {key}"

    def _fault(self, message: str, stand_in: int) -> int:
        self.fault(message)
        return max(stand_in, 1)


def _sane(value: float) -> bool:
    try:
        return abs(float(value)) <= _LARGEST_FLOAT
    except OverflowError:
        return False
