r"""Mirror lists: what a site carries, one reference a line.

::

    # what the lab runs
    meta-llama/Llama-3.1-8B-Instruct
    Qwen/Qwen3-8B@v1.0
    bartowski/SOME-GGUF:Q4_K_M --exclude 'old/*'
    unsloth/OTHER-GGUF --include '*Q8_0*'
    datasets/acme/evaluation
    https://files.example/models/foo/SHA256SUMS --as acme/foo

Words are split as a shell would; ``#`` begins a comment. Every bad line is reported, not
only the first.
"""

import shlex
from dataclasses import dataclass

from modelvault.core.digest import Digest
from modelvault.core.hub_request import is_hub_address, parse_hub_request
from modelvault.core.names import ModelName, Reference
from modelvault.core.sums import SumsUrl, is_url, parse_sums_digest
from modelvault.errors import BadDigest, BadInput, BadOption, BadReference, UnsupportedVersion

LIST_LIMIT = 1024 * 1024
"""Largest list that is read, in bytes."""
MOST_LINES = 10_000
_PATTERNS = ("--include", "--exclude")
_OF_SUMS = ("--as", "--sums-digest")
_MAIN = "main"
_MOST_ISSUES = 100


class _UnknownOption(ValueError):
    """An option that a newer release may know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """One line that names something to pull."""

    line: int
    """Its number; the first is 1."""
    reference: Reference
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    url: SumsUrl | None = None
    """The list of checksums to pull by; None for a repository of a Hub."""
    pinned: Digest | None = None
    """What that list must hash to."""
    type: str = ""
    """The type of GGUF files that ``include`` stands for; empty where none is named."""

    @property
    def requested(self) -> str:
        """The branch, tag or commit that is meant; for a list, as in ``SumsOrigin``."""
        if self.url is not None:
            return self.url.name if self.pinned is None else self.pinned.hex[:40]
        return self.reference.revision or _MAIN


def parse_list(data: bytes, *, where: str) -> tuple[ListEntry, ...]:
    """Return the entries of a mirror list.

    Args:
        data: The file's bytes.
        where: Its name, for messages.

    Raises:
        UnsupportedVersion: All that is wrong with it is options unknown to this release.
        BadInput: It is too long, not UTF-8, empty, or lines are bad; ``issues`` has each line
            with its number.
    """
    if len(data) > LIST_LIMIT:
        raise BadInput(f"{where}: longer than {LIST_LIMIT} bytes: not a list of references")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8 text") from error
    if len(lines) > MOST_LINES:
        raise BadInput(f"{where}: more than {MOST_LINES} lines")
    entries: list[ListEntry] = []
    issues: list[str] = []
    unknown = 0
    seen: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = _parse_line(number, line)
        except (BadReference, BadOption, BadDigest, ValueError) as error:
            issues.append(f"line {number}: {error}")
            unknown += isinstance(error, _UnknownOption)
            continue
        if entry is None:
            continue
        first = seen.setdefault((str(entry.reference.model), entry.requested), number)
        if first != number:
            issues.append(f"line {number}: {entry.reference} stands on line {first} already")
        entries.append(entry)
    if issues:
        raise _bad_lines(where, issues, unknown)
    if not entries:
        raise BadInput(f"{where}: names nothing to pull")
    return tuple(entries)


def _bad_lines(where: str, issues: list[str], unknown: int) -> BadInput:
    """Return what is wrong with a list, of whose issues ``unknown`` are unknown options."""
    if unknown == len(issues):
        return UnsupportedVersion(
            f"{where}: options unknown to this release",
            hint="check their spelling; if they are a newer release's, update ModelVault",
            issues=issues[:_MOST_ISSUES],
        )
    return BadInput(
        f"{where}: {len(issues)} bad line{'s' if len(issues) > 1 else ''}",
        hint="write ORG/NAME[@REVISION], or the URL of a SHA256SUMS with --as ORG/NAME, one a line;"
        " --include PATTERN and --exclude PATTERN may follow",
        issues=issues[:_MOST_ISSUES],
    )


def _parse_line(number: int, line: str) -> ListEntry | None:
    """Return the entry of a line, or None for an empty one.

    Raises:
        BadReference: The first word is not a reference, nor is what ``--as`` gives.
        BadOption: A URL is none that names a list of checksums.
        BadDigest: What ``--sums-digest`` gives is none.
        ValueError: Something else is wrong with it, in words.
    """
    words = shlex.split(line, comments=True)
    if not words:
        return None
    name, *rest = words
    named = any(word.partition("=")[0] == "--as" for word in rest)
    if is_url(name) and (named or not is_hub_address(name)):
        return _parse_sums_line(number, name, rest)
    request = parse_hub_request(name)
    values = _parse_options(rest, _PATTERNS)
    if request.patterns and values["--include"]:
        raise ValueError(f"{name} says already which files are meant: leave out --include")
    return ListEntry(
        line=number,
        reference=Reference(model=request.model, revision=request.revision),
        include=request.patterns or tuple(values["--include"]),
        exclude=tuple(values["--exclude"]),
        type=request.type,
    )


def _parse_sums_line(number: int, address: str, rest: list[str]) -> ListEntry:
    url = SumsUrl.parse(address)
    values = _parse_options(rest, _PATTERNS + _OF_SUMS)
    names, digests = values["--as"], values["--sums-digest"]
    if len(names) != 1 or len(digests) > 1:
        raise ValueError(f"{url}: --as ORG/NAME once, and --sums-digest at most once")
    if not digests and not url.is_secure:
        raise ValueError(f"{url}: plain http needs --sums-digest sha256:…")
    return ListEntry(
        line=number,
        reference=Reference(model=ModelName.parse(names[0])),
        include=tuple(values["--include"]),
        exclude=tuple(values["--exclude"]),
        url=url,
        pinned=parse_sums_digest(digests[0]) if digests else None,
    )


def _parse_options(words: list[str], known: tuple[str, ...]) -> dict[str, list[str]]:
    """Return each option's values, in order; ``--option VALUE`` and ``--option=VALUE`` alike."""
    values: dict[str, list[str]] = {option: [] for option in known}
    rest = list(words)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option not in values:
            kind = _UnknownOption if option.startswith("--") else ValueError
            raise kind(f"'{option}': none of {', '.join(known)}")
        if not equals:
            value = rest.pop(0) if rest else ""
        if not value:
            raise ValueError(f"{option}: a value is missing")
        values[option].append(value)
    return values
