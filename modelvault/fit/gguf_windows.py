"""Which layers of a GGUF look back through a window only, as llama.cpp knows them.

Source: ``src/models`` of llama.cpp, October 2026 (``load_swa_pattern``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.fit.reading import Keys
from modelvault.fit.shape import LARGEST_CONTEXT


@dataclass(frozen=True, slots=True)
class _Period:
    """Which layers look back through a window only."""

    length: int
    """One layer of so many sees everything; 0 for none, 1 for all."""
    full_first: bool = False
    """Whether that is the first of them, not the last."""
    window: int = 0
    """Tokens, where the file does not say."""


_PERIODS: Mapping[str, _Period] = {
    "afmoe": _Period(4),
    "cohere2": _Period(4),
    "cohere2moe": _Period(4, full_first=True),
    "exaone-moe": _Period(4, window=128),
    "gemma-embedding": _Period(6),
    "gemma2": _Period(2, window=4096),
    "gemma3": _Period(6),
    "gemma3n": _Period(5),
    "gpt-oss": _Period(2),
    "laguna": _Period(4, full_first=True),
    "mellum": _Period(4),
    "modern-bert": _Period(3, full_first=True),
    "muse-glimmer": _Period(4),
    "olmo2": _Period(4),
    "plamo3": _Period(8),
    "smallthinker": _Period(4, full_first=True),
}
_UNWINDOWED = frozenset({"phi3", "exaone4", "llama", "mistral3", "qwen2", "qwen3", "mixtral"})
"""Architectures whose window llama.cpp does not keep to: their cache holds everything."""
_EXAONE4_LAYERS = 64
"""Of the one EXAONE 4 that has windows."""
_CHUNK = 8192
"""Tokens that Llama 4's local layers see."""


def window_of(keys: Keys, architecture: str, layers: int, number: int) -> int | None:
    """Return how far a layer looks back; None for everything.

    Args:
        keys: Of the architecture.
        architecture: As the file names it.
        layers: How many there are.
        number: Which one, from 0.

    Raises:
        ShapeUnknown: A number cannot be true.
    """
    window = keys.amount("attention.sliding_window", most=LARGEST_CONTEXT)
    if architecture == "llama4":
        off = keys.has("attention.sliding_window") and not window
        return None if off else _periodic(keys, number, _Period(4), _CHUNK)
    period = _PERIODS.get(architecture)
    if architecture == "exaone4" and layers == _EXAONE4_LAYERS:
        period = _Period(4, window=4096)
    elif architecture in _UNWINDOWED:
        return None
    window = window or (period.window if period else 0)
    if not window or architecture in ("lfm2", "lfm2moe"):
        return window or None
    return _periodic(keys, number, period, window)


def _periodic(keys: Keys, number: int, period: _Period | None, window: int) -> int | None:
    pattern = keys.values.get(keys.prefix + "attention.sliding_window_pattern")
    if isinstance(pattern, tuple | list):
        return window if number < len(pattern) and pattern[number] else None
    if isinstance(pattern, int) and not isinstance(pattern, bool):
        period = _Period(pattern, full_first=bool(period and period.full_first))
    if period is None:
        return None
    if period.length == 0:
        return window
    place = number % period.length
    full = place == 0 if period.full_first else place == period.length - 1
    return None if full else window
