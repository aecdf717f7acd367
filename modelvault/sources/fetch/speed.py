"""How fast bytes come: what a probe found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast bytes came for a moment."""

    size: int
    """Bytes that came; none of them is kept."""
    seconds: float
    """Time they took, from the answer's beginning on."""

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds
