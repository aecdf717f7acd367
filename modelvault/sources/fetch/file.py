"""What is fetched: a file, the checksum it has to have, the server that answers for it.

Example:
    >>> listed = OfferedFile(path="config.json", size=2, checksum=Digest.of(b"{}"))
    >>> listed.sha256 == Digest.of(b"{}")
    True
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from modelvault.core.digest import Digest
from modelvault.errors import BadDigest, ModelVaultError, SourceError
from modelvault.sources.net.urls import origin_of

_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
_XET_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class GitBlob:
    """Git's id of a file's content: the SHA-1 of a short header and the bytes."""

    hex: str
    """40 lower-case hexadecimal digits."""

    def __post_init__(self) -> None:
        """Refuse anything else.

        Raises:
            BadDigest: Not 40 lower-case hexadecimal digits.
        """
        if not _GIT_SHA1.fullmatch(self.hex):
            raise BadDigest(f"{self.hex!r:.80} is not the id of a git blob")


Checksum = Digest | GitBlob
"""What a file's bytes have to hash to, as its source declares it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedFile:
    """One file of an offered revision."""

    path: str
    """Relative path as it is recorded; only what is chosen is checked to be safe."""
    size: int | None
    """Length in bytes; None where the source has to be asked for each file's."""
    checksum: Checksum | None = None
    """Declared checksum; None where the source has none (a folder)."""
    xet_hash: str | None = None
    """Name of the content in the Hub's Xet storage, where it is there."""
    scan: str = ""
    """The Hub's verdict on the file (``safe``, ``unsafe``, ``suspicious`` …), where known."""
    fault: str = ""
    """Why nobody can take it, in words: a link out of its folder. Empty for a usable file."""
    doubt: str = ""
    """Why it may not be what its name says: a Git LFS pointer. Empty where nothing is known."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            SourceError: A negative size, or something that is no Xet hash.
        """
        if self.size is not None and self.size < 0:
            raise SourceError(f"{self.path}: a size of {self.size} bytes is declared")
        if self.xet_hash is not None and not _XET_HASH.fullmatch(self.xet_hash):
            raise SourceError(f"{self.path}: {self.xet_hash!r:.80} is declared as its Xet hash")

    @property
    def sha256(self) -> Digest | None:
        """The declared SHA-256; None where the checksum is of another kind, or there is none."""
        return self.checksum if isinstance(self.checksum, Digest) else None

    @property
    def known_size(self) -> int:
        """Length in bytes of a file that was chosen: its source has been asked by then.

        Raises:
            SourceError: The source did not say.
        """
        if self.size is None:
            raise SourceError(f"{self.path}: its source does not say how long it is")
        return self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile(OfferedFile):
    """A file that HTTP can fetch: its size is known, and its bytes can be checked."""

    size: int
    """Length in bytes."""
    checksum: Checksum
    """What its bytes have to hash to."""
    url: str
    """Where its home has it; the origin of this URL is the only one that may see a token."""
    home: "Home"
    """The server that the URL names."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            SourceError: A negative size, no Xet hash, or a URL that is not HTTP.
        """
        OfferedFile.__post_init__(self)
        origin_of(self.url)

    @classmethod
    def of(cls, file: OfferedFile, *, url: str, home: "Home", size: int | None = None) -> Self:
        """Return an offered file as one that can be fetched.

        Args:
            file: What was offered.
            url: Where it is.
            home: The server that the URL names.
            size: Its length in bytes, where the offer did not know it.

        Raises:
            SourceError: No checksum is declared, the size is not known, or the URL is not HTTP.
        """
        if file.checksum is None:
            raise SourceError(
                f"{file.path}: no checksum is declared, so its bytes could not be verified",
                hint="pull from an endpoint that lists sha256 or git blob ids",
            )
        return cls(
            path=file.path,
            size=file.known_size if size is None else size,
            checksum=file.checksum,
            xet_hash=file.xet_hash,
            scan=file.scan,
            fault=file.fault,
            doubt=file.doubt,
            url=url,
            home=home,
        )

    @property
    def key(self) -> str:
        """Name of the content: ``sha256-<hex>`` or ``git-<sha1>``; a partial's key."""
        kind = "git" if isinstance(self.checksum, GitBlob) else "sha256"
        return f"{kind}-{self.checksum.hex}"


class Home(Protocol):
    """The server that a file's own URL names, and that knows what was pinned.

    Its answers are judged by this; those of other servers that it redirects to are not.
    """

    @property
    def name(self) -> str:
        """How messages call it: ``the Hub``."""

    def check(self, file: RemoteFile, headers: Mapping[str, str]) -> None:
        """Compare one of its answers with what was pinned.

        Raises:
            UpstreamChanged: It answers for something else.
        """

    def refusal(self, file: RemoteFile, status: int, headers: Mapping[str, str]) -> ModelVaultError:
        """Return the error that stands for its refusal to hand out a file."""


def remote_files(files: Iterable[OfferedFile]) -> list[RemoteFile]:
    """Return offered files as what HTTP can fetch.

    Raises:
        SourceError: One of them cannot be: another source offered it, or its size is unsettled.
    """
    remote = []
    for file in files:
        if not isinstance(file, RemoteFile):
            raise SourceError(f"{file.path}: nothing says where it can be fetched")
        remote.append(file)
    return remote


def read_xet_hash(value: object) -> str | None:
    """Return a Xet hash as the Hub spells it; None for anything else: it is never needed."""
    return value if isinstance(value, str) and _XET_HASH.fullmatch(value) else None
