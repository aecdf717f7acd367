"""URLs: whose a token is, and how they may be shown.

Example:
    >>> origin_of("https://Hub.example/acme/tiny/resolve/0f/config.json")
    'https://hub.example:443'
"""

from urllib.parse import urlsplit

from modelvault.errors import SourceError

_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL: the unit that a token is shown to.

    Raises:
        SourceError: Not an ``http`` or ``https`` URL with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise SourceError(f"{label_of(url)}: not an HTTP URL") from error
    if not parts.hostname:
        raise SourceError(f"{label_of(url)}: not an HTTP URL")
    return f"{parts.scheme}://{parts.hostname}:{port}"


def label_of(url: str) -> str:
    """Return a URL as it may be shown: without credentials, query and fragment.

    Signed URLs carry their signature in the query; who sees it can fetch the file.
    """
    bare = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    shown = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
    return "".join(character if character.isprintable() else "?" for character in shown[:300])


def plain_etag(value: str | None) -> str:
    """Return an entity tag without quotes and weakness mark; empty when there is none."""
    return (value or "").strip().removeprefix("W/").strip('"')
