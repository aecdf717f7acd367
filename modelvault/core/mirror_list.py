r"""Mirror lists: what a site carries, one reference a line.

::

    # what the lab runs
    meta-llama/Llama-3.1-8B-Instruct
    Qwen/Qwen3-8B@v1.0
    bartowski/SOME-GGUF --include '*Q4_K_M*' --exclude 'old/*'
    datasets/acme/evaluation

Words are split as a shell would; ``#`` begins a comment. Every bad line is reported, not
only the first.
"""

import shlex
from dataclasses import dataclass

from modelvault.core.names import Reference
from modelvault.core.repository import parse_hub_reference
from modelvault.errors import BadInput, BadReference, UnsupportedVersion

LIST_LIMIT = 1024 * 1024
"""Largest list that is read, in bytes."""
MOST_LINES = 10_000
_OPTIONS = ("--include", "--exclude")
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

    @property
    def requested(self) -> str:
        """The branch, tag or commit that is meant."""
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
        except (BadReference, ValueError) as error:
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
        hint="write ORG/NAME[@REVISION] [--include PATTERN] [--exclude PATTERN], one a line",
        issues=issues[:_MOST_ISSUES],
    )


def _parse_line(number: int, line: str) -> ListEntry | None:
    """Return the entry of a line, or None for an empty one.

    Raises:
        BadReference: The first word is not a reference.
        ValueError: Something else is wrong with it, in words.
    """
    words = shlex.split(line, comments=True)
    if not words:
        return None
    name, *rest = words
    reference = parse_hub_reference(name)
    if reference.variant:
        raise ValueError(f"{name}: the Hub has no variants")
    patterns: dict[str, list[str]] = {option: [] for option in _OPTIONS}
    while rest:
        option, equals, pattern = rest.pop(0).partition("=")
        if option not in patterns:
            kind = _UnknownOption if option.startswith("--") else ValueError
            raise kind(f"'{option}': neither {' nor '.join(_OPTIONS)}")
        if not equals:
            pattern = rest.pop(0) if rest else ""
        if not pattern:
            raise ValueError(f"{option}: a pattern is missing")
        patterns[option].append(pattern)
    return ListEntry(
        line=number,
        reference=reference,
        include=tuple(patterns["--include"]),
        exclude=tuple(patterns["--exclude"]),
    )
