"""Where a Hub is and what opens it: endpoints and access tokens, checked before use."""

import re
from urllib.parse import urlsplit

from modelvault.errors import BadConfiguration, BadOption

REAL_HUB = "https://huggingface.co"

_TOKEN = re.compile(r"[!-~]{1,4096}")


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


def check_token(text: str) -> str:
    """Return an access token that can be sent as a header.

    Raises:
        BadConfiguration: It cannot; the message does not quote it.
    """
    if not _TOKEN.fullmatch(text):
        raise BadConfiguration(
            "the access token holds white space or characters that cannot be sent",
            hint="copy it again from the Hub's settings",
        )
    return text
