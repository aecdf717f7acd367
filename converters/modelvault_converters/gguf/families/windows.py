"""Sliding windows: which blocks see one, and what is said where the runtime knows another.

A configuration lists a kind for each block (``layer_types``) or leaves it to the class, which
then lets every so many blocks see the whole context.
"""

from collections.abc import Iterator

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.tensors import Entry

LEFT_OUT = (
    "the sliding window of config.json has no place in a GGUF of this architecture: "
    "llama.cpp attends to the whole context"
)

_SLIDING, _FULL = "sliding_attention", "full_attention"


def read_windows(values: Config, decoder: Decoder, *, period: int) -> tuple[bool, ...]:
    """Return for each block whether it sees a window; note a list of another length.

    Args:
        values: The configuration.
        decoder: Its dimensions.
        period: Every so many blocks one sees the whole context, where no list says it.
    """
    kinds = values.texts("layer_types")
    if not kinds:
        return _usual(decoder, period)
    if len(kinds) != decoder.layers:
        values.fault(f"'layer_types' names {len(kinds)} of {decoder.layers} blocks")
    return tuple(kind == _SLIDING for kind in kinds)


def read_pattern(values: Config, decoder: Decoder, *, period: int) -> tuple[bool, ...]:
    """Return for each block whether it sees a window, where a pattern may say it in letters.

    Args:
        values: The configuration: ``layer_types``, else ``sliding_window_pattern``, which is a
            period or letters that repeat (``LLLG``: local, local, local, global).
        decoder: Its dimensions.
        period: Every so many blocks one sees the whole context, where nothing says it.
    """
    said = dict(values.items()).get("sliding_window_pattern")
    if values.texts("layer_types"):
        return read_windows(values, decoder, period=period)
    if not isinstance(said, str):
        usual = values.integer("sliding_window_pattern", default=period)
        return read_windows(values, decoder, period=usual)
    if not said or set(said) - {"L", "G"}:
        values.fault(f"'sliding_window_pattern' is {said!r:.40}, not letters of L and G")
        return ()
    return tuple(said[layer % len(said)] == "L" for layer in range(decoder.layers))


def pattern_entries(values: Config, decoder: Decoder, pattern: tuple[bool, ...]) -> Iterator[Entry]:
    """Yield a window's length, and which blocks see it.

    Args:
        values: The configuration.
        decoder: Its dimensions.
        pattern: For each block whether it sees the window.
    """
    yield decoder.number("attention.sliding_window", values.integer("sliding_window"))
    key = f"{decoder.architecture}.attention.sliding_window_pattern"
    yield Entry(key=key, kind="bools", value=pattern)


def window_warnings(values: Config, decoder: Decoder, *, period: int) -> tuple[str, ...]:
    """Return a warning where windows do not follow the only pattern that the runtime knows.

    Args:
        values: The configuration.
        decoder: Its dimensions.
        period: Every so many blocks one sees the whole context, in the runtime.
    """
    kinds = values.texts("layer_types")
    usual = tuple(_SLIDING if sees else _FULL for sees in _usual(decoder, period))
    if kinds in ((), usual):
        return ()
    warning = (
        "config.json: 'layer_types' is not the pattern that llama.cpp takes (one block of "
        f"{period} sees the whole context): answers differ beyond the sliding window"
    )
    return (warning,)


def _usual(decoder: Decoder, period: int) -> tuple[bool, ...]:
    return tuple((layer + 1) % period != 0 for layer in range(decoder.layers))
