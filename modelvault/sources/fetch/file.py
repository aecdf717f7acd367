"""Files on a Hub, as the download engine needs to know them."""

import re
from dataclasses import dataclass

from modelvault.core.digest import Digest
from modelvault.errors import HubError
from modelvault.sources.net.urls import origin_of

_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
_XET_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a pinned revision."""

    path: str
    """Path in the repository; a label here, it never reaches the file system."""
    size: int
    """Declared length in bytes."""
    url: str
    """``{endpoint}/{repo}/resolve/{commit}/{path}``, on the origin that may see the token."""
    sha256: Digest | None
    """Declared digest; None for files outside LFS."""
    git_sha1: str | None
    """Declared git blob id of the content; only looked at without ``sha256``."""
    commit: str
    """Full commit id that was pinned."""
    xet_hash: str | None = None
    """Name of the content in the Hub's Xet storage, where it is there."""

    def __post_init__(self) -> None:
        """Refuse what could not be checked on arrival.

        Raises:
            HubError: No usable checksum or Xet hash, a negative size, or a URL that is not HTTP.
        """
        if self.sha256 is None and not _GIT_SHA1.fullmatch(self.git_sha1 or ""):
            raise HubError(
                f"{self.path}: the Hub declares no checksum, so its bytes could not be verified",
                hint="pull from an endpoint that lists sha256 or git blob ids",
            )
        if self.xet_hash is not None and not _XET_HASH.fullmatch(self.xet_hash):
            raise HubError(f"{self.path}: the Hub names {self.xet_hash!r:.80} as its Xet hash")
        if self.size < 0:
            raise HubError(f"{self.path}: the Hub declares a size of {self.size} bytes")
        origin_of(self.url)

    @property
    def key(self) -> str:
        """Name of the content: ``sha256-<hex>`` or ``git-<sha1>``; a partial's key."""
        return f"git-{self.git_sha1}" if self.sha256 is None else f"sha256-{self.sha256.hex}"


def read_xet_hash(value: object) -> str | None:
    """Return a Xet hash as the Hub spells it; None for anything else: it is never needed."""
    return value if isinstance(value, str) and _XET_HASH.fullmatch(value) else None
