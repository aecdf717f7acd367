"""Which files of an offer to pull: a decision, without touching disk or network.

Patterns are the Hub client's: ``fnmatch`` over the whole path, ``*`` crosses folders, and
``folder/`` stands for everything below it. Excludes go first. Without includes everything comes
along but copies of weights that come (``copies``); of a dataset, everything. An include overrides
that: what it matches comes, with what that does not work without (``companions``).

Whatever is left out is named, with its reason. A name that cannot be carried is refused only where
the file is chosen.

Example:
    >>> selection = select(offer.files, include=["*.json", "*Q4_K_M*"], exclude=[])
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate

from modelvault.core.digest import Digest
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import check_path
from modelvault.errors import BadOption, BadPath, NothingSelected
from modelvault.sources.companions import find_companions
from modelvault.sources.copies import find_copies
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.quantizations import group_quantizations

EVERYTHING = "*"
"""The include that takes an offer as it is."""

EXCLUDED = "matches --exclude"
NOT_INCLUDED = "does not match --include"
USERS_REASONS = frozenset({EXCLUDED, NOT_INCLUDED})
"""Reasons that the user gave; any other is a decision of ours."""

_ANY_DIGEST = Digest("0" * 64)
_EXAMPLES = 5
_MOST_ISSUES = 100
_ODD = re.compile(r"[^A-Za-z0-9_./ +=@%,-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that is not pulled."""

    path: str
    size: int | None
    """Length in bytes; None where the source was not asked for it."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is pulled of an offer and what is not."""

    chosen: tuple[OfferedFile, ...]
    """Sorted by path."""
    left_out: tuple[LeftOut, ...]
    """Sorted by path."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""


def select(
    files: Iterable[OfferedFile],
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    dataset: bool = False,
) -> Selection:
    """Return what to pull of ``files``.

    Args:
        files: What is offered.
        include: Patterns of what is wanted; none for everything but copies.
        exclude: Patterns of what is not.
        dataset: Whether the files are data: nothing of it is a copy, or belongs to another.

    Raises:
        BadOption: A pattern is empty.
        NothingSelected: No file is left; the hint names some that there are.
        BadPath: Chosen names cannot be carried, or two would be one file on some systems.
    """
    offered = sorted(files, key=lambda file: file.path)
    reasons = _by_patterns(offered, include, exclude)
    left = [file.path for file in offered if file.path not in reasons]
    notes: tuple[str, ...] = ()
    if not include and not dataset:
        reasons |= find_copies(left)
    elif include and not dataset:
        others = [path for path, reason in reasons.items() if reason == NOT_INCLUDED]
        companions = find_companions(left, others)
        notes = companions.notes
        for path in companions.added:
            del reasons[path]
    chosen = tuple(file for file in offered if file.path not in reasons)
    if not chosen:
        raise _nothing_selected(offered)
    _check_names(chosen)
    return Selection(
        chosen=chosen,
        left_out=tuple(
            LeftOut(path=file.path, size=file.size, reason=reasons[file.path])
            for file in offered
            if file.path in reasons
        ),
        notes=(*_unmatched(offered, include, exclude), *notes, *_suggest_one(chosen, include)),
    )


def _by_patterns(
    offered: Sequence[OfferedFile], include: Sequence[str], exclude: Sequence[str]
) -> dict[str, str]:
    """Return what the user's patterns leave out."""
    wanted, unwanted = _patterns(include, "--include"), _patterns(exclude, "--exclude")
    reasons: dict[str, str] = {}
    for file in offered:
        if unwanted and unwanted.match(file.path):
            reasons[file.path] = EXCLUDED
        elif wanted and not wanted.match(file.path):
            reasons[file.path] = NOT_INCLUDED
    return reasons


def _patterns(patterns: Sequence[str], option: str) -> re.Pattern[str] | None:
    if not all(patterns):
        raise BadOption(f"{option}: an empty pattern matches nothing")
    if not patterns:
        return None
    return re.compile("|".join(translate(_pattern(text)) for text in patterns))


def _pattern(text: str) -> str:
    text = text.replace("\\", "/")
    return f"{text}*" if text.endswith("/") else text


def pattern_for(path: str) -> str:
    """Return a pattern that takes a path, whatever is in its name, and can be typed anywhere."""
    return _ODD.sub("?", path)


# -- what the user is told


def _nothing_selected(offered: Sequence[OfferedFile]) -> NothingSelected:
    if not offered:
        return NothingSelected("there are no files to pull", hint="check the revision or folder")
    groups = group_quantizations(offered)
    if len(groups) > 1:
        labels = ", ".join(sorted(group.label for group in groups))
        return NothingSelected(
            f"none of {len(offered)} files is selected", hint=f"there are the types {labels}"
        )
    names = ", ".join(file.path for file in offered[:_EXAMPLES])
    more = f" and {len(offered) - _EXAMPLES} more" if len(offered) > _EXAMPLES else ""
    return NothingSelected(
        f"none of {len(offered)} files is selected", hint=f"there are: {names}{more}"
    )


def _check_names(chosen: Sequence[OfferedFile]) -> None:
    """Refuse what cannot be carried, all of it at once, before a byte is fetched."""
    bad: dict[str, str] = {}
    for file in chosen:
        try:
            check_path(file.path)
        except BadPath as error:
            bad[file.path] = error.message
        if file.fault:
            bad[file.path] = file.fault
    if bad:
        issues = list(bad.values())
        more = f", and {len(issues) - 1} more" if len(issues) > 1 else ""
        options = " ".join(f"--exclude '{pattern_for(path)}'" for path in list(bad)[:_EXAMPLES])
        raise BadPath(
            f"{issues[0]}{more}",
            hint=f"leave it out: {options}; or have it renamed where it comes from",
            issues=issues[:_MOST_ISSUES],
        )
    _check_together(chosen)


def _check_together(chosen: Sequence[OfferedFile]) -> None:
    """Apply the manifest's own rule for sets of paths before a byte is fetched."""
    try:
        Manifest.of(
            FileEntry(path=file.path, digest=_ANY_DIGEST, size=file.size or 0) for file in chosen
        )
    except BadPath as error:
        raise BadPath(error.message, hint="leave one of them out with --exclude") from error


def _unmatched(
    offered: Sequence[OfferedFile], include: Sequence[str], exclude: Sequence[str]
) -> list[str]:
    """Name patterns that match nothing: most likely they are misspelt."""
    return [
        f"{option} '{text}' matches no file"
        for option, patterns in (("--include", include), ("--exclude", exclude))
        for text in patterns
        if not any(fnmatchcase(file.path, _pattern(text)) for file in offered)
    ]


def _suggest_one(chosen: Sequence[OfferedFile], include: Sequence[str]) -> list[str]:
    """Suggest an include where a repository offers one model many times over."""
    groups = group_quantizations(chosen)
    if include or len(groups) < 2:
        return []
    one = next((group for group in groups if group.label == "Q4_K_M"), groups[0])
    listed = ", ".join(sorted(group.label for group in groups))
    note = f"{len(groups)} quantisations of one model are chosen ({listed})"
    return [f"{note}: --include '{one.include}' takes one"]
