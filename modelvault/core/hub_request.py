"""What a user names at the Hub, in all the spellings that people paste.

::

    ORG/NAME[@REVISION]          datasets/ORG/NAME[@REVISION]
    ORG/NAME-GGUF:Q4_K_M         the files of one type, of a GGUF repository
    https://huggingface.co/ORG/NAME[/tree/REVISION[/FOLDER]]
    https://huggingface.co/ORG/NAME/blob/REVISION/FILE
    hf.co/ORG/NAME[:TYPE]        hf://[datasets/]ORG/NAME[@REVISION][/FILE]

An address says which repository is meant, not which server is asked: a site that goes through a
mirror does so for addresses of the Hub's own pages, too.

Example:
    >>> request = parse_hub_request("https://huggingface.co/acme/tiny/blob/v1/a.gguf")
    >>> str(request.model), request.revision, request.include
    ('acme/tiny', 'v1', ('a.gguf',))
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from modelvault.core.names import ModelName, Reference, is_revision, is_variant
from modelvault.core.repository import dataset_name, is_dataset
from modelvault.errors import BadReference

HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"})

_SCHEME = "hf://"
_HINT = "write ORG/NAME, ORG/NAME@REVISION, datasets/ORG/NAME, or paste the address of its page"
_FILES = frozenset({"blob", "resolve", "raw", "blame", "edit"})
_WHOLE = frozenset({"discussions", "settings", "commits", "viewer", "activity"})
"""Pages of a repository that name neither a file nor, safely, a revision."""
_OTHERS = {
    "spaces": "a Space is a program that runs on the Hub, not a model",
    "buckets": "a bucket has no commit that could be pinned",
    "collections": "a collection is a list: name the models in it, one a line, with --from-file",
    "papers": "a paper is not a model",
    "organizations": "an organisation is not a model",
}
_GLOB = re.compile(r"([\[*?])")
_OLD_NAMES = (
    (re.compile(r"gpt2(?:-(?:medium|large|xl))?|openai-gpt"), "openai-community"),
    (re.compile(r"bert-(?:base|large)-.+"), "google-bert"),
    (re.compile(r"(?:roberta|xlm-roberta|xlm-mlm|xlm-clm)-.+"), "FacebookAI"),
    (re.compile(r"distilbert-.+|distilgpt2|distilroberta-base"), "distilbert"),
    (re.compile(r"t5-(?:small|base|large|3b|11b)"), "google-t5"),
    (re.compile(r"albert-.+"), "albert"),
    (re.compile(r"xlnet-.+"), "xlnet"),
)
"""Models of the Hub's first years, which had no organisation, and where they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRequest:
    """One repository, and what of it is meant."""

    model: ModelName
    """By its name in a vault (``dataset_name``)."""
    revision: str | None
    """Branch, tag or commit; None where none is named."""
    include: tuple[str, ...] = ()
    """Patterns of the files that are named; empty for what a pull takes by itself."""
    type: str = ""
    """A type of GGUF files, such as ``Q4_K_M``; empty where none is named."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns of the files that are meant, by name or by type; empty for no narrower wish."""
        return self.include or (patterns_for_type(self.type) if self.type else ())


def patterns_for_type(label: str) -> tuple[str, ...]:
    """Return patterns that take the files of one type from any listing, in either case.

    Example:
        >>> patterns_for_type("Q8_0")[0]
        '[Qq]8_0[./-]*'
    """
    text = "".join(
        f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else letter for letter in label
    )
    return (f"{text}[./-]*", f"*[!A-Za-z0-9]{text}[./-]*")


def is_hub_address(text: str, endpoint: str = "") -> bool:
    """Return whether a text is the address of a page of the Hub, or of the endpoint.

    Args:
        text: What a user named.
        endpoint: Base URL of a mirror; empty where none is in use.
    """
    return _below(text, endpoint) is not None


def parse_hub_request(text: str, *, dataset: bool = False, endpoint: str = "") -> HubRequest:
    """Return what a user names at the Hub.

    Args:
        text: In any spelling of this module.
        dataset: Whether a bare name means a dataset.
        endpoint: Base URL of a mirror, whose addresses are understood, too.

    Raises:
        BadReference: It names no model or dataset; the hint says how to write it.
    """
    below = _below(text, endpoint)
    if below is None:
        name, *rest = re.split(r"(?=[@:])", text, maxsplit=1)  # a revision may have slashes
        *folders, last = name.split("/")
        return _parse_segments(text, [*folders, "".join((last, *rest))], dataset=dataset)
    path, _, query = below.partition("?")
    segments = [unquote(part) for part in path.partition("#")[0].split("/") if part]
    shown = parse_qs(query.partition("#")[0]).get("show_file_info", [""])[0]
    request = _parse_segments(text, segments, dataset=dataset)
    if shown and not request.include:
        return HubRequest(
            model=request.model, revision=request.revision, include=(literal_pattern(shown),)
        )
    return request


def _below(text: str, endpoint: str) -> str | None:
    """Return the part of an address below its server; None for anything else."""
    if text.startswith(_SCHEME):
        return text.removeprefix(_SCHEME)
    if endpoint and text.startswith(f"{endpoint.rstrip('/')}/"):
        return text.removeprefix(f"{endpoint.rstrip('/')}/")
    address = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or host not in HUB_HOSTS:
        return None
    return address.partition("://")[2].partition("/")[2]


def _parse_segments(text: str, segments: Sequence[str], *, dataset: bool) -> HubRequest:
    kind, *rest = segments or [""]
    if kind in _OTHERS:
        raise BadReference(f"{text:.200}: {_OTHERS[kind]}", hint=_HINT)
    if kind == "datasets" or (kind == "models" and len(rest) > 1):
        dataset, segments = dataset or kind == "datasets", rest
    if len(segments) < 2 or not segments[1]:
        raise _no_organisation(text, segments[0] if segments else "", dataset=dataset)
    reference = _parse_name("/".join(segments[:2]))
    model = dataset_name(reference.model) if dataset else reference.model
    revision, include = _parse_rest(text, segments[2:], reference.revision)
    if reference.variant and is_dataset(model):
        raise BadReference(f"{text:.200}: a dataset has no types", hint=_HINT)
    return HubRequest(model=model, revision=revision, include=include, type=reference.variant or "")


def _parse_name(text: str) -> Reference:
    rest, colon, variant = text.partition(":")
    if colon and not is_variant(variant):
        raise BadReference(f"{variant!r:.80} is not a type of GGUF files", hint=_HINT)
    return Reference.parse(f"{rest}:{variant}" if colon else rest)


def _parse_rest(
    text: str, rest: Sequence[str], revision: str | None
) -> tuple[str | None, tuple[str, ...]]:
    """Return the revision and the patterns that the end of an address names."""
    if not rest or rest[0] in _WHOLE:
        return revision, ()
    page, *names = rest
    if text.startswith(_SCHEME):
        return revision, (literal_pattern("/".join(rest)),)
    if page not in (*_FILES, "tree", "commit") or not names:
        raise BadReference(f"{text:.200}: no page of a repository's files", hint=_HINT)
    named, path = names[0], "/".join(names[1:])
    if not is_revision(named):
        raise BadReference(f"{named!r:.80} is not a revision", hint=_HINT)
    if page == "tree" and path:
        return named, (f"{literal_pattern(path)}/",)
    if page in _FILES and path:
        return named, (literal_pattern(path),)
    return named, ()


def _no_organisation(text: str, name: str, *, dataset: bool) -> BadReference:
    bare = re.split(r"[@:]", name)[0]
    if not bare or not re.fullmatch(r"[A-Za-z0-9._-]+", bare):
        return BadReference(f"{text!r:.200} is not a model name", hint=_HINT)
    if dataset:
        hint = "datasets live below an organisation, too: pull --dataset ORG/NAME"
    else:
        owner = next((org for names, org in _OLD_NAMES if names.fullmatch(bare)), None)
        hint = (
            f"it is called {owner}/{bare} now: modelvault pull {owner}/{bare}"
            if owner
            else f"write ORG/{bare}: open its page on the Hub and copy the name that stands"
            " there, for old short names lead on to it"
        )
        hint += f"; for a folder: modelvault pull ./{bare} --as ORG/NAME"
    return BadReference(f"'{bare}' is a name without an organisation", hint=hint)


def literal_pattern(path: str) -> str:
    """Return a pattern that matches this path alone."""
    return _GLOB.sub(r"[\1]", path)
