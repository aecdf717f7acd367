"""How long a connection may be silent: what was said, or what the environment says.

Example:
    >>> read_timeout(None, {"HF_HUB_DOWNLOAD_TIMEOUT": "60"})
    60.0
"""

import math
import os
from collections.abc import Mapping

from modelvault.errors import BadConfiguration, BadOption

_LONGEST = 86_400.0
"""Seconds; beyond a day nobody waits for one answer."""
_OF_THE_HUB = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
"""Variables of the Hub's own tools, which read them as whole seconds when they are imported."""


def read_timeout(given: float | None, environment: Mapping[str, str] = os.environ) -> float | None:
    """Return the seconds of silence that are borne; None where nobody says.

    Args:
        given: What an option or the configuration says; None for nothing.
        environment: Variables to look into.

    Raises:
        BadOption: What was given is not between 1 second and a day.
        BadConfiguration: A variable holds no whole number of seconds.
    """
    named = {name: _read(name, environment.get(name, "")) for name in _OF_THE_HUB}
    if given is None:
        return named["HF_HUB_DOWNLOAD_TIMEOUT"]
    if not math.isfinite(given) or not 1 <= given <= _LONGEST:
        raise BadOption(
            f"a timeout of {given:g} seconds cannot be used",
            hint=f"choose 1 to {_LONGEST:.0f} seconds of silence",
        )
    return given


def _read(name: str, text: str) -> float | None:
    """Return what a variable says; zero is the usual, as the Hub's own tools have it."""
    if not text.strip():
        return None
    try:
        seconds = int(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _LONGEST:
        raise BadConfiguration(
            f"{name}={text:.40}: not a whole number of seconds", hint=f"unset {name}, or say 60"
        )
    return float(seconds) or None
