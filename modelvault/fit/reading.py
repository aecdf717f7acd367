"""Numbers out of configurations that anyone may have written: bounded, or refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelvault.errors import ShapeUnknown
from modelvault.fit.shape import LARGEST_WIDTH

Number = int | float | bool


@dataclass(frozen=True, slots=True)
class Keys:
    """A configuration that is asked by name, and refuses what cannot be true.

    Example:
        >>> Keys({"heads": 32}, where="config.json").count("heads")
        32
    """

    values: Mapping[str, Any] = field(hash=False)
    where: str
    """How messages call it."""
    prefix: str = ""
    """What every name begins with."""

    def has(self, name: str) -> bool:
        """Return whether a value stands under a name; null counts as none."""
        return self.values.get(self.prefix + name) is not None

    def count(self, name: str, default: int | None = None, *, most: int = LARGEST_WIDTH) -> int:
        """Return a positive number.

        Args:
            name: Without the prefix.
            default: What holds where there is none; None where there has to be one.
            most: Largest that is believed.

        Raises:
            ShapeUnknown: There is none and there has to be, or it cannot be true.
        """
        found = self.amount(name, -1, most=most)
        if found < 0 and default is not None:
            return default
        if found < 1:
            raise self.refused(name, self.values.get(self.prefix + name))
        return found

    def amount(self, name: str, default: int = 0, *, most: int = LARGEST_WIDTH) -> int:
        """Return a number that may be zero.

        Raises:
            ShapeUnknown: It cannot be true.
        """
        value = self.values.get(self.prefix + name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise self.refused(name, value)
        return value

    def each(self, name: str, layers: int, default: int | None = None) -> tuple[int, ...]:
        """Return a number for each layer, whether one stands there or a list of them.

        Raises:
            ShapeUnknown: There is none and no default, or too few, or one cannot be true.
        """
        value = self.values.get(self.prefix + name)
        if isinstance(value, list | tuple):
            if len(value) < layers:
                raise self.refused(name, f"{len(value)} numbers for {layers} layers")
            single = (Keys({name: item}, self.where).amount(name) for item in value[:layers])
            return tuple(single)
        if value is None and default is None:
            raise self.refused(name, None)
        return (self.amount(name, default or 0),) * layers

    def text(self, name: str) -> str:
        """Return a text; empty where there is none."""
        value = self.values.get(self.prefix + name)
        return value if isinstance(value, str) else ""

    def true(self, name: str, *, default: bool = False) -> bool:
        """Return a yes or no."""
        value = self.values.get(self.prefix + name)
        return value if isinstance(value, bool) else default

    def inner(self, name: str) -> "Keys | None":
        """Return the object under a name; None where there is none."""
        value = self.values.get(self.prefix + name)
        return Keys(value, f"{self.where}: {name}") if isinstance(value, dict) else None

    def refused(self, name: str, value: object) -> ShapeUnknown:
        """Return the error for a value that is missing or cannot be true."""
        said = "is missing" if value is None else f"cannot be {value!r:.60}"
        return ShapeUnknown(
            f"{self.where}: {self.prefix}{name} {said}",
            hint="what the model needs is computed from it: check the file, or pull it again",
        )
