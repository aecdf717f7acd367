"""Where a Hub is and what opens it: endpoints and access tokens, checked before use."""

import ipaddress
import re
from urllib.parse import urlsplit

from modelvault.errors import BadConfiguration, BadOption

REAL_HUB = "https://huggingface.co"

_TOKEN = re.compile(r"[!#-&(-~]{1,4096}")
"""What a header takes, but for quotes: no token has any, and one left on it is refused."""


def parse_endpoint(text: str) -> str:
    """Return a Hub's base URL, without a slash at its end.

    Raises:
        BadOption: Not a plain ``http`` or ``https`` URL; the message does not quote it,
            for it may hold a password.
    """
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and text.isascii() and text.isprintable() and " " not in text
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.query or parts.fragment:
        raise BadOption(
            "the endpoint is not a plain http or https URL",
            hint="give --endpoint or HF_ENDPOINT as https://HOST, with no user or query",
        )
    return text.rstrip("/")


def is_loopback(endpoint: str) -> bool:
    """Return whether an endpoint is on this machine, so that nobody reads along."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def unquoted(token: str) -> str:
    """Return a token without the white space and the quotes that files and shells left on it.

    ``docker --env-file`` and unit files hand on quotes as they stand; no token has any.
    """
    token = token.strip().removeprefix("\ufeff").strip()
    if len(token) > 1 and token[0] == token[-1] and token[0] in "'\"":
        return token[1:-1].strip()
    return token


def check_token(text: str, *, name: str = "") -> str:
    """Return an access token that can be sent as a header.

    Args:
        text: The token.
        name: Of the variable that holds it; empty for any other place.

    Raises:
        BadConfiguration: It cannot; the message does not quote it.
    """
    if not _TOKEN.fullmatch(text):
        raise BadConfiguration(
            f"the access token{f' in {name}' if name else ''} holds white space, line ends, quotes"
            " or characters that cannot be sent",
            hint="copy it again from the Hub's settings",
        )
    return text
