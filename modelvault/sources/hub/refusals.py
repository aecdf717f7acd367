"""What a Hub's refusals mean, and what to do about each."""

from dataclasses import dataclass

from modelvault.core.names import ModelName
from modelvault.core.repository import HubRepository, repository_of
from modelvault.errors import (
    AccessDenied,
    GatedRepository,
    RepositoryNotFound,
    RevisionNotFound,
)

_LOG_IN = "log in with 'hf auth login', set HF_TOKEN, or give --token-file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for, and how; each method is one way to say no."""

    model: ModelName
    endpoint: str
    requested: str
    """Branch, tag or commit."""
    with_token: bool

    @property
    def _repository(self) -> HubRepository:
        return repository_of(self.model)

    @property
    def _page(self) -> str:
        return f"{self.endpoint}/{self._repository.path}"

    def gated(self) -> GatedRepository:
        """Return the error for terms that have not been accepted."""
        asked = f"ask for access at {self._page}"
        if self.with_token:
            hint = f"{asked} with the account of this token, and wait until it is granted"
        else:
            hint = f"{asked}, then {_LOG_IN}"
        return GatedRepository(f"{self.model} is gated: its owner's terms apply", hint=hint)

    def no_repository(self) -> RepositoryNotFound:
        """Return the error for a repository that is absent, or hidden."""
        hint = f"check the spelling; for a private repository, {_LOG_IN}"
        if self.with_token:
            hint = "check the spelling, and that this token may read the repository"
        kind, name = self._repository.kind, self._repository.id
        return RepositoryNotFound(f"{self.endpoint} has no {kind} {name}", hint=hint)

    def no_revision(self) -> RevisionNotFound:
        """Return the error for a branch, tag or commit that is absent."""
        return RevisionNotFound(
            f"{self.model} has no revision '{self.requested}'",
            hint=f"branches, tags and commits are listed at {self._page}/tree/main",
        )

    def disabled(self) -> AccessDenied:
        """Return the error for what the Hub has taken down."""
        return AccessDenied(f"{self.endpoint} has disabled {self.model}")

    def denied(self) -> AccessDenied:
        """Return the error for any other refusal of who asks."""
        refused = "this token" if self.with_token else "a request without token"
        return AccessDenied(f"{self.endpoint} refuses {refused} for {self.model}", hint=_LOG_IN)
