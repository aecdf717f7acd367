"""Which source a ``pull`` reads from: the Hub, a folder, or a list of checksums on the web."""

import dataclasses
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelvault import fsio
from modelvault.app.config import Config
from modelvault.core.artifact import Artifact, HubOrigin, SumsOrigin
from modelvault.core.digest import Digest
from modelvault.core.hub_request import is_hub_address, parse_hub_request
from modelvault.core.names import ModelName, is_revision
from modelvault.core.sums import SumsUrl, is_url, parse_sums_digest
from modelvault.errors import BadOption, NotFound
from modelvault.sources.net.connection import CONNECTIONS, Connection, Tell, say_nothing
from modelvault.sources.net.rate_limit import parse_rate
from modelvault.sources.net.retry import Limits, with_timeout
from modelvault.sources.net.timeouts import read_timeout
from modelvault.sources.source import FollowableSource, Source

if TYPE_CHECKING:
    from modelvault.sources.hub.source import HubSource
    from modelvault.sources.sums.source import SumsSource

_log = logging.getLogger(__name__)

_LONGEST_TOKEN = 4096
_NO_SETTINGS = Config()
_OF_THE_NETWORK = (
    "endpoint",
    "token_file",
    "connections",
    "engine",
    "limit_rate",
    "ca_bundle",
    "timeout",
)
_LONGEST_WAIT_OF_A_LIST = 3600.0
"""Seconds that a server may ask a list to wait: its other entries would only be refused, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What the command line says about the source."""

    name: str | None = None
    """``--as``: the model's name, for folders and lists of checksums."""
    dataset: bool = False
    """``--dataset``: the name is one of the Hub's datasets."""
    sums_digest: str | None = None
    """``--sums-digest``: what a list of checksums must hash to."""
    revision: str | None = None
    endpoint: str | None = None
    token_file: Path | None = None
    many: bool = False
    """Whether several servers are asked: a token is the Hub's then, and no web server's."""
    connections: int | None = None
    engine: str | None = None
    """``http``, ``xet`` or ``hf-transfer``."""
    limit_rate: str | None = None
    """Bytes a second, as text: ``20MB``."""
    ca_bundle: Path | None = None
    timeout: float | None = None
    """Seconds for which a connection may be silent."""
    tell: Tell = say_nothing
    """Told when a server asks to wait."""

    def or_configured(self, config: Config) -> "SourceOptions":
        """Return them with what the vault's settings say where nothing is said here."""
        return dataclasses.replace(
            self,
            endpoint=self.endpoint or config.endpoint,
            connections=config.connections if self.connections is None else self.connections,
            engine=self.engine or config.engine,
            limit_rate=self.limit_rate or config.limit_rate,
            ca_bundle=self.ca_bundle or config.ca_bundle,
            timeout=config.timeout if self.timeout is None else self.timeout,
        )

    def refuse(self, names: Iterable[str], what: str) -> None:
        """Refuse options that something cannot heed; call it before ``or_configured``.

        Args:
            names: Of the fields.
            what: What cannot heed them, such as ``a folder``.

        Raises:
            BadOption: One of them was given.
        """
        given = [name for name in names if getattr(self, name) not in (None, False)]
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            verb = "does" if len(given) == 1 else "do"
            raise BadOption(f"{options} {verb} not go with {what}", hint="leave it out")


def choose_source(text: str, options: SourceOptions, config: Config = _NO_SETTINGS) -> Source:
    """Return the source that ``pull TEXT`` means.

    A page of the Hub, or of the endpoint, stands for its repository. Any other URL is that of a
    list of checksums; a folder is meant where ``--as`` is given or the text is spelled as a path.

    Args:
        text: What is to be pulled.
        options: What was said besides.
        config: The vault's settings, for what was not.

    Raises:
        BadReference: Neither a path nor a repository.
        BadOption: Options that do not go together, or that the source cannot heed.
        NotFound: No such folder.
    """
    configured = options.or_configured(config)
    endpoint = configured.endpoint or os.environ.get("HF_ENDPOINT") or ""
    if options.name is None and is_hub_address(text, endpoint):
        return _hub(text, configured, endpoint)
    if is_url(text):
        if options.engine or options.endpoint:  # settings for the Hub say nothing of this server
            raise BadOption("--engine and --endpoint do not go with a list of checksums")
        return _sums(text, configured)
    if options.sums_digest is not None:
        raise BadOption("--sums-digest goes with the URL of a list of checksums only")
    if options.name is not None or text.startswith((".", "/", "~")):
        options.refuse((*_OF_THE_NETWORK, "revision", "dataset"), "a folder")
        return _folder(text, options)
    return _hub(text, configured, endpoint)


def _folder(text: str, options: SourceOptions) -> Source:
    from modelvault.sources.folder.source import FolderSource

    if options.name is None:
        raise BadOption(f"{text} is a folder", hint=f"name the model: pull {text} --as ORG/NAME")
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise NotFound(
            f"{folder}: no such folder",
            hint="--as names what comes from a folder or a URL; what comes from the Hub has its"
            " own name",
        )
    _log.info("%s from the folder %s", options.name, folder)
    return FolderSource(folder, ModelName.parse(options.name))


def _sums(text: str, options: SourceOptions) -> Source:
    url = SumsUrl.parse(text)
    if options.name is None:
        raise BadOption(
            f"{url} is an address on the web",
            hint=f"name the model: pull {url} --as ORG/NAME; from the Hub: pull ORG/NAME",
        )
    if options.revision or options.dataset:
        raise BadOption("--revision and --dataset do not go with a list of checksums")
    pinned = parse_sums_digest(options.sums_digest) if options.sums_digest else None
    return sums_source(ModelName.parse(options.name), url, pinned, options)


def sums_source(
    model: ModelName, url: SumsUrl, pinned: Digest | None, options: SourceOptions
) -> "SumsSource":
    """Return the files of a list of checksums as a source.

    Args:
        model: What they are called in the vault.
        url: Where the list is.
        pinned: What its bytes must hash to; None for whatever https brings.
        options: Token, connections, rate, times and certificates; the rest is not looked at.

    Raises:
        BadOption: Nothing protects the list, or the rate or the token file cannot be used.
        BadConfiguration: ``~/.netrc`` cannot be used.
    """
    from modelvault.sources.sums.source import SumsSource

    if options.many:
        options = dataclasses.replace(options, token_file=None)
    return SumsSource(url, model, open_connection(str(url), options), pinned=pinned)


def _hub(text: str, options: SourceOptions, endpoint: str) -> Source:
    if options.sums_digest is not None:
        raise BadOption("--sums-digest goes with the URL of a list of checksums only")
    request = parse_hub_request(text, dataset=options.dataset, endpoint=endpoint)
    if request.revision and options.revision and request.revision != options.revision:
        raise BadOption(f"{text}: --revision {options.revision} names another revision")
    revision = options.revision or request.revision
    if revision is not None and not is_revision(revision):
        raise BadOption(f"--revision {revision!r}: not a branch, tag or commit")
    return hub_source(
        request.model,
        revision,
        options.endpoint,
        options,
        include=request.include,
        type_=request.type,
    )


def hub_source(
    model: ModelName,
    revision: str | None,
    endpoint: str | None,
    options: SourceOptions,
    *,
    include: tuple[str, ...] = (),
    type_: str = "",
) -> "HubSource":
    """Return one repository of a Hub as a source.

    Args:
        model: Its name in a vault.
        revision: Branch, tag or commit; None for the default branch.
        endpoint: Base URL of the Hub or mirror; None for the environment's.
        options: Token, connections, rate, times and certificates; the rest is not looked at.
        include: Patterns of the files that were named with it.
        type_: The type of GGUF files that was named with it.

    Raises:
        BadOption: The endpoint, the rate or the token file cannot be used.
        BadConfiguration: The token cannot be sent, or a variable cannot be used.
    """
    connection = open_connection(endpoint, options)  # before the Hub's library reads variables
    from modelvault.sources.hub.source import HubSource

    return HubSource(
        model,
        revision,
        connection,
        engine=options.engine or "http",
        include=include,
        type_=type_,
    )


def reopen(artifact: Artifact, options: SourceOptions) -> FollowableSource:
    """Return the source that an artefact was pulled from, to be asked again.

    Args:
        artifact: What was pulled; its origin says from where, and by which name.
        options: Token, connections, rate, times and certificates; the rest is not looked at.

    Raises:
        BadOption: It came from nothing that can be asked.
    """
    origin = artifact.origin
    match origin:
        case HubOrigin():
            return hub_source(artifact.model, origin.requested, origin.endpoint, options)
        case SumsOrigin():
            pinned = origin.sums if origin.is_pinned else None
            return sums_source(artifact.model, SumsUrl.parse(origin.url), pinned, options)
        case _:
            raise BadOption(
                f"{artifact.reference} came neither from a Hub nor by a list of checksums: there"
                " is nothing to follow"
            )


def open_connection(endpoint: str | None, options: SourceOptions) -> Connection:
    """Return how a server is spoken to, as the command line says; nothing is sent yet.

    Args:
        endpoint: Base URL; None for the source's own default.
        options: Token, connections, rate, times and certificates; the rest is not looked at.

    Raises:
        BadOption: The rate, the connections, the timeout or the token file cannot be used.
        BadConfiguration: A variable of the environment cannot be used.
    """
    usual = Connection()
    _log.info(
        "%s: %d connections, rate %s, token %s",
        endpoint or "the usual endpoint",
        options.connections or CONNECTIONS,
        options.limit_rate or "unlimited",
        "from a file" if options.token_file else "of the environment, if any",
    )
    return dataclasses.replace(
        usual,
        endpoint=endpoint or "",
        token=_read_token(options.token_file) if options.token_file else None,
        ca_bundle=options.ca_bundle,
        connections=CONNECTIONS if options.connections is None else options.connections,
        rate=parse_rate(options.limit_rate) if options.limit_rate else None,
        limits=with_timeout(Limits(), read_timeout(options.timeout)),
        longest_wait=_LONGEST_WAIT_OF_A_LIST if options.many else usual.longest_wait,
        tell=options.tell,
    )


def _read_token(path: Path) -> str:
    from modelvault.sources.hub.endpoint import unquoted

    try:
        with fsio.storage_errors(path), open(path, encoding="utf-8-sig") as file:
            token = unquoted(file.read(_LONGEST_TOKEN))
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise BadOption(f"--token-file {path}: not a readable token file") from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise BadOption(f"--token-file {path}: does not hold a token")
    return token
