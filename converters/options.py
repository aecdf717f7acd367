"""Options that several converters read alike."""

import math

from modelvault.errors import BadOption


def read_max_kl(text: str) -> float | None:
    """Return the largest divergence that is accepted, in nats a token; None without a limit.

    Raises:
        BadOption: It is no number, negative or infinite.
    """
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError as error:
        raise BadOption(f"--max-kl {text:.20}: not a number") from error
    if not math.isfinite(limit) or limit < 0:
        raise BadOption(f"--max-kl {text:.20}: give nats, zero or more")
    return limit
