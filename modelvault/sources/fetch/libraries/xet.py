"""The Xet engine: chunks from the Hub's content-addressed storage, put together by hf_xet.

The Hub says by which hash the storage (CAS) knows a file, and lends a token for it. Each
missing range comes as one stream, in order; a resume asks for what is missing and no more.
The token is asked for anew for every attempt, so that one that has expired costs a resume.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from modelvault.errors import FetchError
from modelvault.sources.fetch.engine import EngineFailed, Inlet
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.libraries.child import Child, Silent
from modelvault.sources.net.connection import Connection
from modelvault.sources.net.questions import Questions

NAME: Final = "xet"
_ATTEMPTS = 3
_LONGEST_HEADER = 8192
_LONGEST_ANSWER = 64 * 1024
_EXPIRY = re.compile(r"\d{1,15}")
_SCHEMES = frozenset({"http", "https"})

SETTINGS: Final = {
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "3",
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "500ms",
    "HF_XET_CLIENT_RETRY_MAX_DURATION": "60s",
    "HF_XET_CLIENT_CONNECT_TIMEOUT": "10s",
    "HF_XET_CLIENT_READ_TIMEOUT": "30s",
    # how much is fetched ahead; the library's own values take gigabytes of memory
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_SIZE": "32mb",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_PERFILE_SIZE": "32mb",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT": "32mb",
    "HF_XET_RECONSTRUCTION_MIN_RECONSTRUCTION_FETCH_SIZE": "16mb",
    "HF_XET_RECONSTRUCTION_MAX_RECONSTRUCTION_FETCH_SIZE": "32mb",
    "HF_XET_RECONSTRUCTION_MIN_PREFETCH_BUFFER": "16mb",
    "MALLOC_ARENA_MAX": "2",
    "HF_XET_TELEMETRY_ENABLED": "false",
    "HF_XET_LOG_LEVEL": "error",
}
"""What the library reads when it starts, unless the environment says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class XetAccess:
    """Permission to read from a CAS, for a while."""

    cas: str
    """Base URL."""
    token: str = field(repr=False)
    expires: int
    """Seconds since 1970."""


class HubAccess:
    """Asks the Hub for permission to read one revision's files."""

    def __init__(self, url: str, questions: Questions) -> None:
        """Remember where; nothing is asked yet.

        Args:
            url: ``{endpoint}/api/models/{repo}/xet-read-token/{commit}``.
            questions: Asks; knows the Hub's token.
        """
        self._url = url
        self._questions = questions

    def __call__(self) -> XetAccess:
        """Return a fresh permission.

        Raises:
            EngineFailed: The Hub gives none.
        """
        try:
            reply = self._questions.read(self._url, limit=_LONGEST_ANSWER)
        except FetchError as error:
            raise EngineFailed(f"no Xet token: {error.message}") from error
        if reply.status != 200:
            raise EngineFailed(f"no Xet token: the Hub answers {reply.status}")
        cas, token, expires = (
            reply.headers.get(name, "")
            for name in ("X-Xet-Cas-Url", "X-Xet-Access-Token", "X-Xet-Token-Expiration")
        )
        secure = urlsplit(self._url).scheme == "https"
        if not (_is_cas(cas, secure=secure) and _is_token(token) and _EXPIRY.fullmatch(expires)):
            raise EngineFailed("no Xet token: the Hub's answer cannot be used")
        return XetAccess(cas=cas, token=token, expires=int(expires))


class XetEngine:
    """Brings files that have a Xet hash."""

    name = NAME

    def __init__(
        self,
        access: Callable[[], XetAccess],
        connection: Connection,
    ) -> None:
        """Read the library's settings from the environment; nothing is asked yet.

        Args:
            access: Gives a fresh permission, or raises ``EngineFailed``.
            connection: Certificates to believe, and where patience ends.
        """
        self._settings = {name: os.environ.get(name, value) for name, value in SETTINGS.items()}
        if connection.ca_bundle is not None:
            self._settings["SSL_CERT_FILE"] = str(connection.ca_bundle)
        self._access = access
        self._limits = connection.limits

    def suits(self, file: RemoteFile) -> bool:
        """Return whether the Hub names a Xet hash for the file."""
        return file.xet_hash is not None and file.size > 0

    def bring(self, file: RemoteFile, inlet: Inlet) -> None:
        """Bring everything that the inlet lacks.

        Raises:
            EngineFailed: Several attempts brought nothing new, or the library is silent.
            StorageError: The file system refuses.
        """
        failures = 0
        while gaps := inlet.gaps():
            start, end = gaps[0]
            try:
                self._stream(file, inlet, start, end)
            except Silent:
                raise  # it had its time
            except EngineFailed:
                first = next(iter(inlet.gaps()), (end, end))[0]
                failures = 1 if first - start >= self._limits.progress else failures + 1
                if failures >= _ATTEMPTS:
                    raise

    def _stream(self, file: RemoteFile, inlet: Inlet, start: int, end: int) -> None:
        access = self._access()
        request = {
            "cas": access.cas,
            "token": access.token,
            "expires": access.expires,
            "hash": file.xet_hash,
            "size": file.size,
            "start": start,
            "end": end,
        }
        with Child(
            "modelvault.sources.fetch.libraries.xet_child",
            request,
            settings=self._settings,
            window=self._limits.stall_window,
        ) as child:
            for frame in child.frames():
                if isinstance(frame, int):
                    continue  # the watchdog has seen it
                if start + len(frame) > end:
                    raise EngineFailed("the storage sends more than was asked for")
                inlet.write(start, frame)
                start += len(frame)
        if start < end:
            raise EngineFailed(f"the storage's answer ends {end - start} bytes early")


def _is_cas(url: str, *, secure: bool) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    known = parts.scheme in _SCHEMES and len(url) <= _LONGEST_HEADER and url.isprintable()
    return known and not (secure and parts.scheme == "http")


def _is_token(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_HEADER and text.isascii() and text.isprintable()
