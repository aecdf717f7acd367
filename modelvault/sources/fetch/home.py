"""A plain web server as the home of files: it pins nothing but their checksums."""

from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.errors import AccessDenied, DownloadFailed, ModelVaultError, UpstreamChanged
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.net.urls import label_of

AGAIN = "run the same command again later: what came is kept"
"""What to do about a server that may answer better another time."""

LOGIN = "give a token with --token-file, or the server's login in ~/.netrc; https carries them"
"""What to do about a server that wants to know who asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainHome:
    """Any web server, Artifactory and Nexus among them."""

    name: str = "the server"
    """How messages call it."""

    def check(self, file: RemoteFile, headers: Mapping[str, str]) -> None:
        """Compare the checksum that a repository manager declares, where one does.

        Raises:
            UpstreamChanged: It is another than was pinned.

        Source: Artifactory's and Nexus's ``X-Checksum-Sha256``.
        """
        declared = headers.get("X-Checksum-Sha256", "").lower()
        if file.sha256 is not None and declared not in ("", file.sha256.hex):
            raise UpstreamChanged(
                f"{file.path}: {self.name} declares sha256 {declared[:64]!r} now,"
                f" instead of {file.sha256.hex}",
                hint="the checksums that were read do not belong to what is served: ask whoever"
                " publishes it",
            )

    def refusal(self, file: RemoteFile, status: int, headers: Mapping[str, str]) -> ModelVaultError:
        """Return the error that stands for its refusal to hand out a file."""
        url = label_of(file.url)
        if status in (404, 410):
            return UpstreamChanged(
                f"{url}: {self.name} has no such file",
                hint="what was listed there is gone, or was never there",
            )
        if status in (401, 403):
            login = " without a login" if headers.get("WWW-Authenticate") else ""
            return AccessDenied(f"{url}: {self.name} refuses access{login}", hint=LOGIN)
        return DownloadFailed(f"{url}: {self.name} answers {status}", hint=AGAIN)
