"""The Hub as a source: what a repository holds, pinned to one commit.

The only module that imports ``huggingface_hub``, and for metadata alone: the library
neither resumes downloads nor hashes what it downloads, so bytes come through
``sources/hubfiles.py``.

Invariants:
    * Everything that is offered belongs to the commit the offer names.
    * Whatever the library raises, inside iteration too, leaves as an error of this
      project's tree; no message holds the token.

Example:
    >>> source = HubSource(ModelName.parse("acme/tiny"), None)
    >>> offer = source.offer()
    >>> digests = source.deliver(offer.files, store, Silence())
"""

import contextlib
import functools
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
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

from modelvault import __version__
from modelvault.core.artifact import HubOrigin
from modelvault.core.digest import Digest
from modelvault.core.manifest import MOST_FILES
from modelvault.core.names import ModelName, is_commit
from modelvault.core.ports import Progress
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
from modelvault.sources.card import choose_fields, clean, read_license
from modelvault.sources.certificates import tls_context
from modelvault.sources.download import CONNECTIONS
from modelvault.sources.endpoint import REAL_HUB, check_token, parse_endpoint
from modelvault.sources.engines.choice import HTTP, check_engine
from modelvault.sources.hubfiles import HubFiles
from modelvault.sources.listing import Unusable, parse_name, read_entry
from modelvault.sources.scan import read_scan
from modelvault.sources.session import PatientClient
from modelvault.sources.source import Offer, OfferedFile, Sample, check_paths
from modelvault.store.blobs import Store

_MOST_SCANNED = 2000
"""Files above which the tree is listed without scan results: those come 50 a page."""

_LOG_IN = "log in with 'hf auth login', set HF_TOKEN, or give --token-file"


class HubSource:
    """One repository of a Hub, at one revision."""

    def __init__(
        self,
        model: ModelName,
        revision: str | None,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        connections: int = CONNECTIONS,
        limit_rate: int | None = None,
        ca_bundle: Path | None = None,
        engine: str = HTTP,
    ) -> None:
        """Name what to pull; nothing is asked yet.

        Args:
            model: The repository; a dataset by its name in the vault (``dataset_name``).
            revision: Branch, tag or commit; None for the default branch.
            endpoint: Base URL of the Hub or mirror; None for ``HF_ENDPOINT`` or the real one.
            token: Access token; None for ``HF_TOKEN``, ``HUGGING_FACE_HUB_TOKEN`` or the file
                that ``hf auth login`` writes.
            connections: Downloads at once.
            limit_rate: Bytes a second over all connections; None for no limit.
            ca_bundle: Certificates to believe; see ``certificates.tls_context``.
            engine: How large files come; see ``engines.choice``.

        Raises:
            BadOption: The endpoint is not a plain ``http`` or ``https`` URL, or the engine
                cannot be used.
            BadConfiguration: The token cannot be sent.
        """
        check_engine(engine, limited=limit_rate is not None)
        self._engine = engine
        self._model = model
        self._requested = revision or "main"
        self._revision = revision
        self._endpoint = parse_endpoint(endpoint or os.environ.get("HF_ENDPOINT") or REAL_HUB)
        # a stored token is looked up in ``offer``: refreshing it may take the network
        self._token = check_token(token) if token is not None else None
        self._connections = connections
        self._limit_rate = limit_rate
        self._ca_bundle = ca_bundle
        self._offer: Offer | None = None
        self._repository = repository_of(model)

    def offer(self) -> Offer:
        """Return what the repository holds at the revision, pinned to its commit.

        Raises:
            RepositoryNotFound: No such repository, or it is hidden from this token.
            RevisionNotFound: No such branch, tag or commit.
            GatedRepository: The owner's terms have not been accepted for this token.
            AccessDenied: The token is refused.
            BadConfiguration: The stored token cannot be read or sent.
            HubUnreachable: No answer within the permitted attempts.
            HubError: The answer cannot be used.
            BadPath: The repository holds paths that are unsafe.
        """
        api = self._api()
        info, commit = self._ask(api)
        with self._translated():
            if info.gated:
                self._check_access(api)
            scanned = len(info.siblings or ()) <= _MOST_SCANNED
            tree = api.list_repo_tree(
                self._repository.id,
                recursive=True,
                expand=scanned,
                revision=commit,
                repo_type=self._repository.kind,
            )
            entries = list(islice(tree, MOST_FILES + 1))
        self._offer = self._describe(info, commit, entries)
        return self._offer

    def find_commit(self) -> str:
        """Return the commit that the revision stands for now; asks one question.

        Raises:
            NotFound: No such repository or revision.
            FetchError: As ``offer``.
        """
        return self._ask(self._api())[1]

    def measure(self, files: Sequence[OfferedFile]) -> Sample | None:
        """Fetch the beginning of the largest file and drop it; None where all are empty.

        Raises:
            FetchError: The file cannot be had.
        """
        offer = self._offer or self.offer()
        return self._files(offer.revision).measure(files)

    def _api(self) -> HfApi:
        _prepare_library(self._ca_bundle)
        if self._token is None:
            self._token = _find_token()
        return HfApi(
            endpoint=self._endpoint,
            token=self._token if self._token is not None else False,
            library_name="modelvault",
            library_version=__version__,
        )

    def _ask(self, api: HfApi) -> tuple[ModelInfo | DatasetInfo, str]:
        info: ModelInfo | DatasetInfo
        with self._translated():
            if self._repository.kind == "dataset":
                info = api.dataset_info(self._repository.id, revision=self._revision)
            else:
                info = api.model_info(
                    self._repository.id, revision=self._revision, securityStatus=True
                )
        return info, self._check_commit(info)

    def deliver(
        self, files: Sequence[OfferedFile], store: Store, progress: Progress
    ) -> Mapping[str, Digest]:
        """Bring the files into the store; return path → digest of each.

        Raises:
            FetchError: A file could not be fetched; everything that came is kept.
            Corruption: Bytes do not match the declared digest, even after a second fetch.
            StorageError: The disk is full or refuses.
        """
        offer = self._offer or self.offer()
        return self._files(offer.revision).deliver(files, store, progress)

    def _files(self, commit: str) -> HubFiles:
        return HubFiles(
            endpoint=self._endpoint,
            repository=self._repository,
            commit=commit,
            token=self._token,
            connections=self._connections,
            limit_rate=self._limit_rate,
            ca_bundle=self._ca_bundle,
            engine=self._engine,
        )

    def _check_commit(self, info: ModelInfo | DatasetInfo) -> str:
        commit = info.sha
        if not isinstance(commit, str) or not is_commit(commit):
            raise self._unusable("no commit id")
        if is_commit(self._requested) and commit != self._requested:
            raise self._unusable(f"commit {commit} where {self._requested} was asked for")
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

    def _describe(
        self, info: ModelInfo | DatasetInfo, commit: str, entries: Sequence[object]
    ) -> Offer:
        if len(entries) > MOST_FILES:
            raise self._unusable(f"more than {MOST_FILES} files")
        scan = read_scan(getattr(info, "security_repo_status", None))
        files = [
            self._read_file(entry, scan.files) for entry in entries if isinstance(entry, RepoFile)
        ]
        check_paths([file.path for file in files], where=str(self._model))
        with self._translated():
            card: dict[str, object] = info.card_data.to_dict() if info.card_data else {}  # type: ignore[no-untyped-call]
        notes: tuple[str, ...] = ()
        known = self._repository
        renamed = parse_name(info.id, known)
        if renamed is not None and renamed != known:
            self._repository = renamed
            notes = (f"{known.path} is now called {renamed.path} on the Hub",)
        return Offer(
            model=self._model,
            revision=commit,
            files=tuple(sorted(files, key=lambda file: file.path)),
            license=read_license(card),
            card=choose_fields(card),
            origin=HubOrigin(
                endpoint=self._endpoint,
                commit=commit,
                requested=self._requested,
                gated=bool(info.gated),
                private=bool(info.private),
            ),
            notes=notes,
            scan=scan.summary,
        )

    def _read_file(self, entry: RepoFile, findings: Mapping[str, str]) -> OfferedFile:
        try:
            return read_entry(entry, findings)
        except Unusable as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, what: str) -> HubError:
        return HubError(
            f"{self._endpoint} answers with {self._redact(what)} for {self._model}",
            hint="check that the endpoint is a Hugging Face Hub or a mirror of one",
        )

    def _redact(self, text: str) -> str:
        return clean(text.replace(self._token, "***") if self._token else text, longest=300)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
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
            raise self._unusable(
                f"something that is not a Hub's ({type(error).__name__})"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._unusable(f"bad HTTP ({type(error).__name__})") from error

    def _translate(self, error: HfHubHTTPError) -> ModelVaultError:
        status = error.response.status_code
        page = f"{self._endpoint}/{self._repository.path}"
        if isinstance(error, GatedRepoError):
            asked = f"ask for access at {page}"
            if self._token is None:
                hint = f"{asked}, then {_LOG_IN}"
            else:
                hint = f"{asked} with the account of this token, and wait until it is granted"
            return GatedRepository(f"{self._model} is gated: its owner's terms apply", hint=hint)
        if isinstance(error, RepositoryNotFoundError):
            hint = f"check the spelling; for a private repository, {_LOG_IN}"
            if self._token is not None:
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
            refused = "this token" if self._token is not None else "a request without token"
            return AccessDenied(
                f"{self._endpoint} refuses {refused} for {self._model}", hint=_LOG_IN
            )
        said = self._redact(error.server_message or "")
        return self._unusable(f"status {status}" + (f" ({said})" if said else ""))


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


def _prepare_library(ca_bundle: Path | None) -> None:
    """Make the library silent, and talk to the chosen endpoint alone.

    To report which program calls it, the library would ask the real Hub for a list first,
    whatever the endpoint, and wait for the answer.
    """
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    _install_session(tls_context(ca_bundle))


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
