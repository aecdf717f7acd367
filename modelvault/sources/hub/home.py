"""The Hub as the home of files: its headers, its words, its refusals.

Source: https://huggingface.co/docs/hub/api (``X-Repo-Commit``, ``X-Linked-Etag``,
``X-Linked-Size``, ``X-Error-Code``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from modelvault.errors import (
    AccessDenied,
    DownloadFailed,
    GatedRepository,
    ModelVaultError,
    RepositoryNotFound,
    RevisionNotFound,
    UpstreamChanged,
)
from modelvault.sources.fetch.file import RemoteFile
from modelvault.sources.fetch.home import AGAIN
from modelvault.sources.net.urls import label_of, plain_etag

_ACCESS_HINT = "set HF_TOKEN to a token of an account that may read it"
_PIN_AGAIN = "pull again to pin the revision as it is now"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubHome:
    """A Hub or a mirror of one, at one commit."""

    commit: str
    """Full commit id that was pinned."""

    @property
    def name(self) -> str:
        """How messages call it."""
        return "the Hub"

    def check(self, file: RemoteFile, headers: Mapping[str, str]) -> None:
        """Compare one of the Hub's own answers with what was pinned.

        Raises:
            UpstreamChanged: It answers for another commit, content or size.
        """
        commit = headers.get("X-Repo-Commit") or self.commit
        if commit != self.commit:
            _changed(file, f"the Hub answers for commit {commit[:64]!r} instead of {self.commit}")
        pinned = file.checksum.hex
        linked = plain_etag(headers.get("X-Linked-Etag"))
        if linked != pinned and len(linked) == len(pinned):  # a digest of the same kind
            _changed(file, f"its content is {linked[:80]!r} now, instead of {pinned}")
        size = headers.get("X-Linked-Size") or str(file.size)
        if size != str(file.size):
            _changed(file, f"it has {size[:32]!r} bytes now, instead of {file.size}")

    def refusal(self, file: RemoteFile, status: int, headers: Mapping[str, str]) -> ModelVaultError:
        """Return the error that stands for the Hub's refusal to hand out a file."""
        url = label_of(file.url)
        match headers.get("X-Error-Code", ""):
            case "GatedRepo":
                return GatedRepository(
                    f"{url}: the repository asks for acceptance of its terms",
                    hint=f"accept them on its page, then {_ACCESS_HINT}",
                )
            case "RepoNotFound":
                return RepositoryNotFound(
                    f"{url}: the Hub knows no such repository, or hides it", hint=_ACCESS_HINT
                )
            case "RevisionNotFound":
                return RevisionNotFound(f"{url}: the Hub no longer knows commit {self.commit}")
        if status in (404, 410):
            return UpstreamChanged(
                f"{file.path}: the Hub no longer has this file at commit {self.commit}",
                hint=_PIN_AGAIN,
            )
        if status in (401, 403):
            return AccessDenied(f"{url}: the Hub refuses access", hint=_ACCESS_HINT)
        return DownloadFailed(f"{url}: the Hub answers {status}", hint=AGAIN)


def _changed(file: RemoteFile, how: str) -> NoReturn:
    raise UpstreamChanged(f"{file.path}: {how}", hint=_PIN_AGAIN)
