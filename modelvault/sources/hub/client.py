"""A Hub asked through its own library: one repository's metadata, at one revision.

The only module that imports ``huggingface_hub``, and for metadata alone: the library
neither resumes downloads nor hashes what it downloads.

Invariant: whatever the library raises, inside iteration too, leaves as an error of this
project's tree; no message holds the token.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from itertools import islice

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
from huggingface_hub.hf_api import DatasetInfo, ModelInfo, RepoFile, RepoFolder
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status, hf_request_event_hook
from huggingface_hub.utils._pagination import paginate

from modelvault.core.manifest import MOST_FILES
from modelvault.core.names import ModelName, is_commit
from modelvault.core.repository import repository_of
from modelvault.errors import (
    BadConfiguration,
    BadReference,
    HubError,
    HubUnreachable,
    ModelVaultError,
    RevisionNotFound,
)
from modelvault.sources.card import clean
from modelvault.sources.hub.commits import PREFIX, choose_commit
from modelvault.sources.hub.endpoint import check_token, is_loopback, unquoted
from modelvault.sources.hub.refusals import Asked
from modelvault.sources.hub.session import PatientClient, upgraded
from modelvault.sources.hub.transport import ProxiedTransport
from modelvault.sources.net.connection import Connection
from modelvault.version import __version__

_MOST_SCANNED = 2000
"""Entries above which the tree is listed without scan results: those come 50 a page."""
_TOKEN_MAY_OPEN = frozenset({401, 403, 404})
_MOST_COMMITS = 2000
"""Commits that are looked through for one that a few digits begin."""

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
        self.requested = revision or "main"
        """What was asked for; the whole commit id where its beginning was."""
        self._connection = connection
        self.endpoint = connection.endpoint
        """Where the Hub is; over https once it is known to have moved there."""
        self.notes: list[str] = []
        """What the user should know of the endpoint, one sentence each."""
        self._settled = False
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
        api = self._api()
        try:
            info = self._ask(api)
        except RevisionNotFound:
            if not PREFIX.fullmatch(self.requested):
                raise
            self._complete_commit(api)
            info = self._ask(api)
        return info, self._check_commit(info)

    def _ask(self, api: HfApi) -> Info:
        name, revision = self._repository.id, self._revision
        with self.translated():
            if self._repository.kind == "dataset":
                return api.dataset_info(name, revision=revision)
            return api.model_info(name, revision=revision, securityStatus=True)

    def _complete_commit(self, api: HfApi) -> None:
        """Replace the beginning of a commit id by all of it; the Hub takes nothing less.

        Raises:
            RevisionNotFound: No commit of the default branch begins so, or several do.
        """
        url = f"{self.endpoint}{self._repository.api_path}/commits/main"
        headers = build_hf_headers(token=api.token, library_name="modelvault")
        with self.translated():
            listed = islice(paginate(url, params={}, headers=headers), _MOST_COMMITS)
            ids = [item["id"] for item in listed]
        page = f"{self.endpoint}/{self._repository.path}/commits/main"
        self._revision = self.requested = choose_commit(self.requested, ids, page=page)

    def list_files(self, info: Info, commit: str) -> list[RepoFile]:
        """Return the files that the repository holds at a commit.

        Args:
            info: What ``describe`` returned; gated repositories are asked for access first.
            commit: The commit that it returned.

        Raises:
            FetchError, NotFound: As ``describe``.
        """
        api = self._api()
        with self.translated():
            if info.gated:
                self._check_access(api)
            # What the description says of the number of files is a hint: mirrors leave it out.
            entries = None
            if len(info.siblings or ()) <= _MOST_SCANNED:
                most = min(_MOST_SCANNED, MOST_FILES)
                entries = self._list_tree(api, commit, expand=True, most=most)
            if entries is None:
                entries = self._list_tree(api, commit, expand=False, most=MOST_FILES)
        if entries is None:
            raise self.unusable(f"more than {MOST_FILES} files")
        return [entry for entry in entries if isinstance(entry, RepoFile)]

    def _list_tree(
        self, api: HfApi, commit: str, *, expand: bool, most: int
    ) -> list[RepoFile | RepoFolder] | None:
        """Return what the tree holds; None where that is more than ``most``."""
        tree = api.list_repo_tree(
            self._repository.id,
            recursive=True,
            expand=expand,
            revision=commit,
            repo_type=self._repository.kind,
        )
        entries = list(islice(tree, most + 1))
        return entries if len(entries) <= most else None

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
            f"{self.endpoint} answers with {self._redact(what)} for {self._model}",
            hint="check that the endpoint is a Hugging Face Hub or a mirror of one",
        )

    def _api(self) -> HfApi:
        _prepare_library(self._connection)
        token = self.find_token()
        self._settle_endpoint()
        return HfApi(
            endpoint=self.endpoint,
            token=token if token is not None else False,
            library_name="modelvault",
            library_version=__version__,
        )

    def _settle_endpoint(self) -> None:
        """Find out whether an endpoint over http has moved to https, before a token is shown."""
        if self._settled or self.token is None or not self.endpoint.startswith("http://"):
            return
        with self.translated():
            answer, endpoint = upgraded(
                self.endpoint, self._repository.api_path, huggingface_hub.get_session()
            )
            if answer.status_code >= 400 and answer.status_code not in _TOKEN_MAY_OPEN:
                hf_raise_for_status(answer)
        if endpoint != self.endpoint:
            self.notes.append(f"{self.endpoint} redirects to {endpoint}, which gets the token")
        elif not is_loopback(self.endpoint):
            self.notes.append(f"{self.endpoint} gets the token unencrypted: name an https endpoint")
        self.endpoint, self._settled = endpoint, True
        self._connection = dataclasses.replace(self._connection, endpoint=endpoint)
        _prepare_library(self._connection)

    def _check_commit(self, info: Info) -> str:
        commit = info.sha
        if not isinstance(commit, str) or not is_commit(commit):
            raise self.unusable("no commit id")
        if is_commit(self.requested) and commit != self.requested:
            raise self.unusable(f"commit {commit} where {self.requested} was asked for")
        if PREFIX.fullmatch(self.requested) and commit.startswith(self.requested):
            self.requested = commit  # a mirror that completes commits by itself
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
                f"{self.endpoint} may not be asked: offline mode is on",
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
        asked = Asked(
            model=self._model,
            endpoint=self.endpoint,
            requested=self.requested,
            with_token=self.token is not None,
        )
        for kind, refuse in _REFUSALS:
            if isinstance(error, kind):
                return refuse(asked)
        status = error.response.status_code
        if status in (401, 403):
            return asked.denied()
        said = self._redact(error.server_message or "")
        return self.unusable(f"status {status}" + (f" ({said})" if said else ""))


_REFUSALS: tuple[tuple[type[HfHubHTTPError], Callable[[Asked], ModelVaultError]], ...] = (
    (GatedRepoError, Asked.gated),  # a subclass of the next one
    (RepositoryNotFoundError, Asked.no_repository),
    (RevisionNotFoundError, Asked.no_revision),
    (DisabledRepoError, Asked.disabled),
)


def _find_token() -> str | None:
    """Return the token that the Hub's own tools would use."""
    if huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if text := os.environ.get(name, "").strip():  # the library would join its lines
            return check_token(unquoted(text), name=name)
    try:
        token = huggingface_hub.get_token()
    except ModelVaultError:
        raise
    except Exception as error:  # the library may exchange or refresh tokens over the network
        raise BadConfiguration(
            f"the stored access token cannot be read ({type(error).__name__})",
            hint="log in again with 'hf auth login', or set HF_TOKEN",
        ) from error
    return check_token(unquoted(token)) if token else None


def _prepare_library(connection: Connection) -> None:
    """Make the library silent, and talk to the chosen endpoint alone, through our client.

    To report which program calls it, the library would ask the real Hub for a list first,
    whatever the endpoint, and wait for the answer.
    """
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    tls = connection.tls_context()
    huggingface_hub.set_client_factory(
        lambda: PatientClient(
            connection,
            event_hooks={"request": [hf_request_event_hook]},  # it keeps offline mode
            follow_redirects=True,
            transport=ProxiedTransport(tls),
            trust_env=False,
        )
    )
