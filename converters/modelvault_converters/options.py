"""Options that several converters read alike."""

import math
from collections.abc import Collection

from modelvault.errors import BadOption


def require_known(given: Collection[str], known: Collection[str], who: str) -> None:
    """Refuse options that nobody reads.

    Args:
        given: Names of a request's options.
        known: Names that have a use.
        who: Reads them, for the message.

    Raises:
        BadOption: One is unknown.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise BadOption(
            f"{who} has no option '{unknown[0]}'",
            hint=f"it has {', '.join(known)}",
            issues=[f"unknown option '{name}'" for name in unknown],
        )


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
