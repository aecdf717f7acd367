"""Which certificate authorities are believed, for metadata and bytes alike.

The first of these decides: ``--ca-bundle``, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``,
``REQUESTS_CA_BUNDLE``, the system's store. What is named replaces the system's store, as
curl and OpenSSL have it: whoever names an authority may want no other. A file that is
named and cannot be used is an error; OpenSSL by itself would go on without it, and fail
at the first connection with a message about the server.
"""

import contextlib
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from modelvault.errors import BadConfiguration

HINT = (
    "if your site has its own certificate authority or inspects TLS, give its certificate "
    "with --ca-bundle FILE or SSL_CERT_FILE"
)
"""What to do about a server's certificate that nobody vouches for."""


def tls_context(
    ca_bundle: Path | None = None, environment: Mapping[str, str] = os.environ
) -> ssl.SSLContext:
    """Return a context that checks servers' certificates and names.

    Args:
        ca_bundle: File of PEM certificates, or a folder prepared by ``openssl rehash``; None
            for what the environment or the system says.
        environment: Variables to look into.

    Raises:
        BadConfiguration: A file or folder that is named cannot be used.
    """
    if ca_bundle is not None:
        return _context("--ca-bundle", str(ca_bundle))
    file, folder = (environment.get(name, "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if file:
        context = _context("SSL_CERT_FILE", file)
        if folder:
            _load(context, "SSL_CERT_DIR", folder)
        return context
    if folder:
        return _context("SSL_CERT_DIR", folder)
    if bundle := environment.get("REQUESTS_CA_BUNDLE"):
        return _context("REQUESTS_CA_BUNDLE", bundle)
    return _system_context()


def _context(name: str, location: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, name, location)
    return context


def _load(context: ssl.SSLContext, name: str, location: str) -> None:
    try:
        if os.path.isdir(location):
            context.load_verify_locations(capath=location)
        else:
            context.load_verify_locations(cafile=location)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise BadConfiguration(
            f"{name}: no certificates can be read from {location}",
            hint="name a file of PEM certificates, or a folder prepared by 'openssl rehash'",
        ) from error


def _system_context() -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
        paths = ssl.get_default_verify_paths()
        if paths.cafile is None and paths.capath is None:  # a slim container
            with contextlib.suppress(ImportError):
                import certifi

                context.load_verify_locations(certifi.where())
    except OSError as error:
        raise BadConfiguration(
            "the system's TLS certificates cannot be loaded", hint=HINT
        ) from error
    return context
