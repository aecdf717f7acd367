"""A web server on loopback with models in folders, a ``SHA256SUMS`` in each.

It speaks like the servers that sites have: their headers, their storage on another host, their
logins; what goes wrong is armed as at the loopback hub.

Example:
    >>> with FileServer({"config.json": b"{}"}) as server:
    ...     server.url.endswith("/models/tiny/SHA256SUMS")
    True
"""

import hashlib
import ssl
from collections.abc import Mapping
from enum import StrEnum
from types import TracebackType
from typing import Self
from urllib.parse import quote

from modelvault.core.digest import Digest
from tests.support.hub.faults import Faults, Stage
from tests.support.hub.journal import Journal
from tests.support.hub.repository import Content, HubFile
from tests.support.hub.transport import Exchange, Origin

BASE = "models/tiny"
SUMS = "SHA256SUMS"


class Style(StrEnum):
    """Whose habits the server has."""

    NGINX = "nginx"
    APACHE = "apache"
    ARTIFACTORY = "artifactory"
    NEXUS = "nexus"


class FileServer:
    """The server, and its storage on a second origin; use it in a ``with`` block."""

    def __init__(
        self,
        files: Mapping[str, Content],
        *,
        style: Style = Style.NGINX,
        redirects: bool = False,
        login: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Listen; nothing is served before the block is entered.

        Args:
            files: Path → content, below ``/models/tiny``.
            style: Whose headers it sends.
            redirects: Whether files come from the storage, which knows signed GETs alone.
            login: The ``Authorization`` that every request has to show; None for none.
            tls: Speak https, both of them; None for http.
        """
        self.style = style
        self.redirects = redirects
        self.login = login
        self.faults = Faults()
        self.journal = Journal()
        self.sums: bytes | None = None
        """The list as it stands there; None for one of all files."""
        self._files: dict[str, HubFile] = {}
        self.publish(files)
        kinds = {"files": FilesExchange, "storage": StorageExchange}
        self._origins = [
            Origin(
                type(kind.__name__, (kind,), {"files": self}),
                name=name,
                port=0,
                faults=self.faults,
                journal=self.journal,
                tls=tls,
            )
            for name, kind in kinds.items()
        ]
        self.origin, self.storage = (origin.url for origin in self._origins)

    @property
    def url(self) -> str:
        """Where the list is."""
        return f"{self.origin}/{BASE}/{SUMS}"

    @property
    def digest(self) -> str:
        """Digest of the list, as ``--sums-digest`` takes it."""
        return str(Digest.of(self.list()))

    def publish(self, files: Mapping[str, Content]) -> None:
        """Serve other files from now on."""
        self._files = {path: HubFile(path, data, lfs=False) for path, data in files.items()}

    def list(self) -> bytes:
        """Return the list."""
        if self.sums is not None:
            return self.sums
        files = self._files.values()
        return "".join(f"{file.sha256}  {file.path}\n" for file in files).encode()

    def find(self, path: str) -> HubFile | None:
        """Return what stands at a path below the folder."""
        if path == SUMS:
            return HubFile(SUMS, self.list(), lfs=False)
        return self._files.get(path)

    def headers(self, file: HubFile) -> dict[str, str]:
        """Return what a server of this style says of a file.

        Source: answers of nginx 1.26, httpd 2.4, Artifactory 7 and Nexus Repository 3.
        """
        sha1 = hashlib.sha1(file.sha256.encode()).hexdigest()
        match self.style:
            case Style.NGINX:
                return {"ETag": f'"6729e3f1-{file.size:x}"', "Content-Type": "text/plain"}
            case Style.APACHE:
                return {"ETag": f'"{file.size:x}-62a5b7c0d1e40"', "Vary": "Accept-Encoding"}
            case Style.ARTIFACTORY:
                return {
                    "ETag": sha1,
                    "X-Checksum-Sha1": sha1,
                    "X-Checksum-Sha256": file.sha256,
                    "X-Artifactory-Filename": quote(file.path.rpartition("/")[2]),
                }
            case Style.NEXUS:
                return {"ETag": f'"{{SHA1{{{sha1}}}}}"', "Content-Disposition": "attachment"}

    def __enter__(self) -> Self:
        """Serve."""
        for origin in self._origins:
            origin.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and cut every connection."""
        for origin in self._origins:
            origin.stop()


class FilesExchange(Exchange):
    """Requests to the server itself."""

    files: FileServer

    def serve(self) -> None:
        """Describe or send a file, or say where it comes from."""
        path = "/".join(self.split()[0]).removeprefix(f"{BASE}/")
        if not self.begin(Stage.API if path == SUMS else Stage.RESOLVE, path):
            return
        login = self.files.login
        if login is not None and self.headers.get("Authorization") != login:
            self.answer(401, {"WWW-Authenticate": 'Basic realm="models"'})
            return
        file = self.files.find(path)
        if file is None:
            self.answer(404, {"Content-Type": "text/html"}, b"<html>404 Not Found</html>")
        elif self.files.redirects:
            self.answer(302, {"Location": f"{self.files.storage}/{quote(path)}?signature=hush"})
        elif self.command == "HEAD":
            self.answer(200, {**self.files.headers(file), "Content-Length": str(file.size)})
        else:
            self.send_file(file, self.files.headers(file))


class StorageExchange(Exchange):
    """Requests to the storage: signed for GET, so that a HEAD is refused."""

    files: FileServer

    def serve(self) -> None:
        """Send a file."""
        parts, query = self.split()
        path = "/".join(parts)
        if not self.begin(Stage.CDN, path):
            return
        file = self.files.find(path)
        if self.command != "GET" or query != "signature=hush" or file is None:
            self.answer(403, {"Content-Type": "application/xml"})
        else:
            self.send_file(file, {"ETag": f'"{file.sha256[:32]}"'})
