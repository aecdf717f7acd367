"""Whether what is chosen can work at all: parts that are missing, files that stand for others.

What cannot work is refused before it is fetched, not found out on the far side: a pointer of Git
LFS where the weights should be, a download that was interrupted, one part of three. Whoever
wants an offer as it is asks for everything (``--include '*'``), and is told all the same.

Example:
    >>> find_gaps([OfferedFile(path="m-00001-of-00002.gguf", size=9)], (), {}).issues
    ('1 of 2 parts of m-*-of-00002.gguf is missing: m-00002-of-00002.gguf',)
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelvault.core.model_files import WeightFormat, indexed_name, weight_format
from modelvault.core.stand_ins import describe_stand_in, may_stand_in, unfinished
from modelvault.core.weight_names import missing_parts, parse_part
from modelvault.errors import IncompleteModel
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.selection import EVERYTHING, USERS_REASONS, LeftOut

_MOST_ISSUES = 100
_SUFFIX = ".json"
_HINT = (
    "bring what is missing, or leave such files out with --exclude;"
    " to take everything as it is: --include '*'"
)
_LFS_HINT = "fetch the files themselves with 'git lfs pull'; or "


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """What a selection lacks."""

    issues: tuple[str, ...]
    """Why it cannot work as it is, one sentence each."""
    notes: tuple[str, ...]
    """What is missing because the user asked for it so, one sentence each."""


def wanted_contents(chosen: Sequence[OfferedFile]) -> list[OfferedFile]:
    """Return the small files whose content tells whether something is missing.

    An index is read where the names of its weights do not tell how many there are.
    """
    paths = {file.path for file in chosen}
    counted = {path.rpartition("/")[0] for path in paths if parse_part(path) is not None}
    return [
        file
        for file in chosen
        if (_is_index(file.path) and file.path.rpartition("/")[0] not in counted)
        or (weight_format(file.path) is not None and may_stand_in(file.path, file.size))
    ]


def check_whole(
    chosen: Sequence[OfferedFile],
    left_out: Sequence[LeftOut],
    contents: Mapping[str, bytes],
    *,
    include: Sequence[str],
    dataset: bool = False,
) -> tuple[str, ...]:
    """Return what the user should know of a selection that can work.

    Args:
        chosen: What is to be pulled.
        left_out: What else is offered.
        contents: Path → bytes of ``wanted_contents``, as far as they could be read.
        include: The user's patterns.
        dataset: Whether the files are data, of which nobody knows what belongs together.

    Raises:
        IncompleteModel: It cannot work; ``issues`` has each reason.
    """
    gaps = find_gaps(chosen, () if dataset else left_out, contents, sets=not dataset)
    if not gaps.issues or EVERYTHING in include:
        return (*gaps.issues, *gaps.notes)
    more = f", and {len(gaps.issues) - 1} more" if len(gaps.issues) > 1 else ""
    lfs = any("Git LFS" in issue for issue in gaps.issues)
    raise IncompleteModel(
        f"what is to be pulled is not whole: {gaps.issues[0]}{more}",
        hint=f"{_LFS_HINT if lfs else ''}{_HINT}",
        issues=gaps.issues[:_MOST_ISSUES],
    )


def find_gaps(
    chosen: Sequence[OfferedFile],
    left_out: Sequence[LeftOut],
    contents: Mapping[str, bytes],
    *,
    sets: bool = True,
) -> Gaps:
    """Return what is missing from a selection, and what in it is not what its name says.

    Args:
        chosen: What is to be pulled.
        left_out: What else is offered.
        contents: Path → bytes of ``wanted_contents``, as far as they could be read.
        sets: Whether files are looked for that others name, or count on.
    """
    paths = {file.path for file in chosen}
    users = {item.path for item in left_out if item.reason in USERS_REASONS}
    issues = [*_stand_ins(chosen, contents), *_unfinished(paths)]
    if not sets:
        return Gaps(issues=tuple(issues), notes=())
    notes: list[str] = []
    told: set[str] = set()
    for whole, parts in missing_parts(paths).items():
        told.update(parts)
        part = parse_part(parts[0])
        count = part.count if part else len(parts)
        verb = "is" if len(parts) == 1 else "are"
        text = f"{len(parts)} of {count} parts of {whole} {verb} missing: {parts[0]}"
        asked = weight_format(whole) is not WeightFormat.GGUF and users.issuperset(parts)
        (notes if asked else issues).append(text)
    for index, names in _indexed(paths, contents):
        absent = [name for name in names if name not in paths and name not in told]
        if absent and indexed_name(index) in paths:
            notes.append(f"{index} names {absent[0]}, which is not there: a leftover, it seems")
        elif absent:
            text = f"{index} names {len(absent)} files that are not there: {absent[0]}"
            (notes if users.issuperset(absent) else issues).append(text)
    return Gaps(issues=tuple(issues), notes=tuple(notes))


def _stand_ins(chosen: Sequence[OfferedFile], contents: Mapping[str, bytes]) -> Iterator[str]:
    for file in chosen:
        doubt = file.doubt or describe_stand_in(contents.get(file.path, b""))
        if doubt:
            yield f"{file.path}: {doubt}"


def _unfinished(paths: Collection[str]) -> Iterator[str]:
    for path in sorted(paths):
        name = unfinished(path)
        if name and name in paths:
            yield f"{name}: its download is not finished, {path} stands beside it"
        elif name:
            yield f"{path}: an unfinished download"


def _is_index(path: str) -> bool:
    return path.endswith(_SUFFIX) and weight_format(indexed_name(path)) is not None


def _indexed(
    paths: Iterable[str], contents: Mapping[str, bytes]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each index that was read, with the paths of the weights that it names.

    Source: https://huggingface.co/docs/transformers (``weight_map``).
    """
    for path in sorted(paths):
        if path in contents and _is_index(path):
            try:
                names = set(json.loads(contents[path])["weight_map"].values())
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # whoever converts or loads it says what is wrong with it
            folder = path.rpartition("/")[0]
            yield (
                path,
                tuple(
                    sorted(
                        f"{folder}/{name}" if folder else name
                        for name in names
                        if isinstance(name, str)
                    )
                ),
            )
