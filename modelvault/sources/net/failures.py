"""What the network does to a request: worth another attempt, or not."""

import contextlib
import re
import ssl
from collections.abc import Iterator
from http.client import HTTPException
from typing import Final

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    ProxyError,
    ReadTimeoutError,
)

from modelvault.errors import SourceError, SourceUnreachable
from modelvault.sources.net import certificates
from modelvault.sources.net.proxies import refused_by_proxy
from modelvault.sources.net.urls import label_of

_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: 407\b")  # http.client says so
_UNREACHABLE: Final = {
    ProxyError: "the proxy does not let the connection through",
    NameResolutionError: "the host name does not resolve",
    ConnectTimeoutError: "no connection can be made",
}


class TransientFailure(Exception):
    """A request failed in a way that another attempt may mend."""

    def __init__(
        self, reason: str, *, hint: float | None = None, unreachable: bool = False
    ) -> None:
        """Describe it.

        Args:
            reason: What happened, without secrets.
            hint: Seconds the server asks to wait.
            unreachable: No connection could be made at all.
        """
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.unreachable = unreachable


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Translate what urllib3 raises in the block.

    Args:
        url: What is being asked for; only its label is shown.

    Raises:
        TransientFailure: Worth another attempt.
        SourceUnreachable: The certificate does not convince: no attempt will change that.
        SourceError: The URL cannot be used.
    """
    try:
        yield
    except LocationValueError as error:
        raise SourceError(f"{label_of(url)}: not an HTTP URL") from error
    except HTTPError as error:
        raise _translate(error, url) from error
    except (OSError, HTTPException, ValueError, AttributeError) as error:
        # A socket that is shut down under its reader shows as any of these.
        raise TransientFailure(f"the connection broke ({type(error).__name__})") from error


def _translate(error: HTTPError, url: str) -> TransientFailure | SourceUnreachable:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SourceUnreachable(
                f"{label_of(url)}: the server's certificate is not trusted"
                f" ({cause.verify_message})",
                hint=certificates.HINT,
            )
        if _TUNNEL_REFUSED.match(str(cause)):
            return refused_by_proxy()
    for kind, reason in _UNREACHABLE.items():
        if isinstance(error, kind):
            return TransientFailure(reason, unreachable=True)
    if isinstance(error, ReadTimeoutError):
        return TransientFailure("the connection fell silent")
    return TransientFailure(f"the connection broke ({type(_cause(error)).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it wraps; at most four deep, for chains may be circular."""
    for _ in range(4):
        yield error
        error = _cause(error)


def _cause(error: BaseException) -> BaseException:
    inner = error.args[-1] if error.args else None
    return inner if isinstance(inner, BaseException) else error.__cause__ or error
