"""What the loopback hub knows: repositories, tokens, signed URLs, faults and the journal."""

import hashlib
import hmac
import os
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from tests.support.hub.faults import Faults
from tests.support.hub.journal import Journal
from tests.support.hub.repository import Content, HubFile, Repository, front_matter


class HubState:
    """Everything but the servers; safe to change while they run."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.cdn = ""
        """Base URL of the CDN."""
        self.endpoint = ""
        """Base URL of the hub; what ``HF_ENDPOINT`` would be."""
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        """Old name → new name; both the API and ``resolve`` redirect (307)."""
        self.tokens: dict[str, set[str]] = {}
        """Token → private or gated repositories that it may read."""
        self.faults = Faults()
        self.journal = Journal()
        self.url_lifetime = 3600.0
        """Seconds a signed URL is good for."""
        self.page_size = 1000
        """Entries on a page of ``/tree``; a twentieth of it when expanded."""
        self.mirror = False
        """True to answer like a caching mirror: no redirect, no ``X-Linked-*`` headers."""
        self.resolve_cache = False
        """True to send small files by a relative redirect, as the real Hub does."""
        self.cas = ""
        """Where the Xet storage is; empty for a hub without one."""
        self._secret = os.urandom(16)
        self._epoch = 0
        self._blobs: dict[str, HubFile] = {}
        self._mutex = threading.Lock()

    def add(
        self,
        name: str,
        files: Mapping[str, Content],
        *,
        card: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Repository:
        """Publish a repository with one commit on ``main``.

        Args:
            name: ``ORG/NAME``; ``datasets/ORG/NAME`` for a dataset.
            files: Path → bytes, or a file on disk.
            card: Front matter; makes a ``README.md`` of it.
            options: Fields of ``Repository``: ``gated``, ``private``, ``lfs``, ``scans``.
        """
        repository = Repository(name, **options)
        repository.commit({**files, **({"README.md": front_matter(card)} if card else {})})
        with self._mutex:
            self.repositories[name] = repository
        return repository

    def grant(self, token: str, *names: str) -> str:
        """Make a token known, and let it read these private or gated repositories."""
        with self._mutex:
            self.tokens.setdefault(token, set()).update(names)
        return token

    def lend_xet_token(self) -> dict[str, str]:
        """Return the headers that give access to the Xet storage for an hour."""
        return {
            "X-Xet-Cas-Url": self.cas,
            "X-Xet-Access-Token": "lent-token",
            "X-Xet-Token-Expiration": str(int(time.time()) + 3600),
        }

    def expire_urls(self) -> None:
        """Make every signed URL that was handed out so far answer 403."""
        self._epoch += 1

    def sign(self, file: HubFile, *, etag: str) -> str:
        """Return a signed URL of a file at the CDN."""
        with self._mutex:
            self._blobs[file.sha256] = file
        expires = f"{time.time() + self.url_lifetime:.3f}"
        query = {
            "path": file.path,
            "etag": etag,
            "Expires": expires,
            "Signature": self._signature(file.sha256, expires),
        }
        return f"{self.cdn}/blobs/{file.sha256}?{urlencode(query)}"

    def accept(self, sha256: str, expires: str, signature: str) -> HubFile | None:
        """Return the file that a signed URL stands for; None when it is not valid (now)."""
        if not hmac.compare_digest(signature, self._signature(sha256, expires)):
            return None
        if float(expires) < time.time():
            return None
        with self._mutex:
            return self._blobs.get(sha256)

    def _signature(self, sha256: str, expires: str) -> str:
        text = f"{self._epoch} {sha256} {expires}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
