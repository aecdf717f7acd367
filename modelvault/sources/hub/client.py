"""A Hub asked through its own library: one repository's metadata, at one revision.

The only module that imports ``huggingface_hub``, and for metadata alone: the library
neither resumes downloads nor hashes what it downloads.

Invariant: whatever the library raises, inside iteration too, leaves as an error of this
project's tree; no message holds the token.
"""

import contextlib
import functools
import ssl
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx2
import huggingface_hub
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import DatasetInfo, ModelInfo, RepoFile
from huggingface_hub.utils import logging as hub_logging

from modelvault.core.manifest import MOST_FILES
from modelvault.core.names import ModelName, is_commit
from modelvault.core.repository import repository_of
from modelvault.errors import (
    AccessDenied,
    BadConfiguration,
    BadReference,
    GatedRepository,
    HubError,
    HubUnreachable,
    ModelVaultError,
    RepositoryNotFound,
    RevisionNotFound,
)
from modelvault.sources.card import clean
from modelvault.sources.hub.endpoint import check_token
from modelvault.sources.hub.session import PatientClient
from modelvault.sources.net.connection import Connection
from modelvault.version import __version__

_MOST_SCANNED = 2000
"""Files above which the tree is listed without scan results: those come 50 a page."""

_LOG_IN = "log in with 'hf auth login', set HF_TOKEN, or give --token-file"

Info = ModelInfo | DatasetInfo
"""What the library makes of a repository's description; any field may be of any type."""


class HubClient:
    """Asks a Hub about one repository."""

    def __init__(self, model: ModelName, revision: str | None, connection: Connection) -> None:
        """Name what is asked about; nothing is asked yet.

        Args:
            model: The repository, by its name in the vault.
            revision: Branch, tag or commit; None for the default branch.
            connection: Where the Hub is. Without a token, the one that the Hub's own tools
                would use is looked up with the first question: refreshing it may take the
                network.
        """
        self._model = model
        self._revision = revision
        self._requested = revision or "main"
        self._endpoint = connection.endpoint
        self._tls = connection.tls_context
        self._repository = repository_of(model)
        self.token = connection.token
        """What the Hub is shown; None before the first question, and where there is none."""

    def find_token(self) -> str | None:
        """Return what the Hub is shown: the given token, or the one its own tools would use.

        Raises:
            BadConfiguration: The stored token cannot be read or sent.
        """
        if self.token is None:
            self.token = _find_token()
        return self.token

    def describe(self) -> tuple[Info, str]:
        """Return what the Hub says of the repository, and the commit of the revision.

        Raises:
            RepositoryNotFound: No such repository, or it is hidden from this token.
            RevisionNotFound: No such branch, tag or commit.
            GatedRepository: The owner's terms have not been accepted for this token.
            AccessDenied: The token is refused.
            BadConfiguration: The stored token cannot be read or sent.
            HubUnreachable: No answer within the permitted attempts.
            HubError: The answer cannot be used.
        """
        api, repository = self._api(), self._repository
        info: Info
        with self.translated():
            if repository.kind == "dataset":
                info = api.dataset_info(repository.id, revision=self._revision)
            else:
                info = api.model_info(repository.id, revision=self._revision, securityStatus=True)
        return info, self._check_commit(info)

    def list_files(self, info: Info, commit: str) -> list[RepoFile]:
        """Return the files that the repository holds at a commit.

        Args:
            info: What ``describe`` returned; gated repositories are asked for access first.
            commit: The commit that it returned.

        Raises:
            FetchError, NotFound: As ``describe``.
        """
        api, repository = self._api(), self._repository
        with self.translated():
            if info.gated:
                self._check_access(api)
            tree = api.list_repo_tree(
                repository.id,
                recursive=True,
                expand=len(info.siblings or ()) <= _MOST_SCANNED,
                revision=commit,
                repo_type=repository.kind,
            )
            entries = list(islice(tree, MOST_FILES + 1))
        if len(entries) > MOST_FILES:
            raise self.unusable(f"more than {MOST_FILES} files")
        return [entry for entry in entries if isinstance(entry, RepoFile)]

    def read_card(self, info: Info) -> dict[str, object]:
        """Return the model card's fields, as the library parsed them.

        Raises:
            HubError: They cannot be used.
        """
        with self.translated():
            return info.card_data.to_dict() if info.card_data else {}  # type: ignore[no-untyped-call]

    def unusable(self, what: str) -> HubError:
        """Return the error for an answer that makes no sense."""
        return HubError(
            f"{self._endpoint} answers with {self._redact(what)} for {self._model}",
            hint="check that the endpoint is a Hugging Face Hub or a mirror of one",
        )

    def _api(self) -> HfApi:
        _prepare_library(self._tls())
        token = self.find_token()
        return HfApi(
            endpoint=self._endpoint,
            token=token if token is not None else False,
            library_name="modelvault",
            library_version=__version__,
        )

    def _check_commit(self, info: Info) -> str:
        commit = info.sha
        if not isinstance(commit, str) or not is_commit(commit):
            raise self.unusable("no commit id")
        if is_commit(self._requested) and commit != self._requested:
            raise self.unusable(f"commit {commit} where {self._requested} was asked for")
        return commit

    def _check_access(self, api: HfApi) -> None:
        """Ask now whether gated files may be read, instead of at the first download."""
        try:
            api.auth_check(self._repository.id, repo_type=self._repository.kind)
        except (GatedRepoError, RepositoryNotFoundError):
            raise
        except HfHubHTTPError as error:
            if error.response.status_code != 404:  # mirrors lack this call
                raise

    def _redact(self, text: str) -> str:
        return clean(text.replace(self.token, "***") if self.token else text, longest=300)

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what the library raises inside the block into this project's errors."""
        try:
            yield
        except ModelVaultError:
            raise
        except HFValidationError as error:
            raise BadReference(f"'{self._model}' is not a name the Hub accepts") from error
        except OfflineModeIsEnabled as error:
            raise HubUnreachable(
                f"{self._endpoint} may not be asked: offline mode is on",
                hint="unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE",
            ) from error
        except HfHubHTTPError as error:
            raise self._translate(error) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            # the library indexes into whatever JSON came
            raise self.unusable(
                f"something that is not a Hub's ({type(error).__name__})"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self.unusable(f"bad HTTP ({type(error).__name__})") from error

    def _translate(self, error: HfHubHTTPError) -> ModelVaultError:
        status = error.response.status_code
        page = f"{self._endpoint}/{self._repository.path}"
        if isinstance(error, GatedRepoError):
            asked = f"ask for access at {page}"
            if self.token is None:
                hint = f"{asked}, then {_LOG_IN}"
            else:
                hint = f"{asked} with the account of this token, and wait until it is granted"
            return GatedRepository(f"{self._model} is gated: its owner's terms apply", hint=hint)
        if isinstance(error, RepositoryNotFoundError):
            hint = f"check the spelling; for a private repository, {_LOG_IN}"
            if self.token is not None:
                hint = "check the spelling, and that this token may read the repository"
            return RepositoryNotFound(
                f"{self._endpoint} has no {self._repository.kind} {self._repository.id}", hint=hint
            )
        if isinstance(error, RevisionNotFoundError):
            return RevisionNotFound(
                f"{self._model} has no revision '{self._requested}'",
                hint=f"branches, tags and commits are listed at {page}/tree/main",
            )
        if isinstance(error, DisabledRepoError):
            return AccessDenied(f"{self._endpoint} has disabled {self._model}")
        if status in (401, 403):
            refused = "this token" if self.token is not None else "a request without token"
            return AccessDenied(
                f"{self._endpoint} refuses {refused} for {self._model}", hint=_LOG_IN
            )
        said = self._redact(error.server_message or "")
        return self.unusable(f"status {status}" + (f" ({said})" if said else ""))


def _find_token() -> str | None:
    """Return the token that the Hub's own tools would use."""
    if huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    try:
        token = huggingface_hub.get_token()
    except ModelVaultError:
        raise
    except Exception as error:  # the library may exchange or refresh tokens over the network
        raise BadConfiguration(
            f"the stored access token cannot be read ({type(error).__name__})",
            hint="log in again with 'hf auth login', or set HF_TOKEN",
        ) from error
    return check_token(token) if token else None


def _prepare_library(tls: ssl.SSLContext) -> None:
    """Make the library silent, and talk to the chosen endpoint alone.

    To report which program calls it, the library would ask the real Hub for a list first,
    whatever the endpoint, and wait for the answer.
    """
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    _install_session(tls)


def _install_session(tls: ssl.SSLContext) -> None:
    """Make the library talk through our client, with its own request hooks kept."""
    hooks = _library_hooks()
    huggingface_hub.set_client_factory(
        lambda: PatientClient(event_hooks=hooks, follow_redirects=True, verify=tls)
    )


@functools.cache
def _library_hooks() -> dict[str, Any]:
    """Return the hooks of the library's own client, as it stood before ours took its place."""
    return dict(huggingface_hub.get_session().event_hooks)
