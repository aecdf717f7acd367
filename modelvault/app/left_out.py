"""What pulls leave out, in words: said when it happens, remembered by the event log, shown later.

Example:
    >>> group_left_out([LeftOut(path="a.bin", size=3, reason="safetensors hold the same weights")])
    (LeftOutGroup(reason='safetensors hold the same weights', paths=('a.bin',), count=1, size=3),)
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelvault.app.filters import last_pull
from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact
from modelvault.sources.selection import USERS_REASONS, LeftOut

LEFT_OUT = "left_out_files"
"""Detail of a pull's event that names them."""

_LONGEST = 3000
"""Characters of names that one event remembers."""
_MOST_VALUES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutGroup:
    """Files that were left out for one reason."""

    reason: str
    paths: tuple[str, ...]
    """The first of them."""
    count: int
    """How many there are."""
    size: int | None
    """Bytes of all of them; None where that is not known."""

    @property
    def is_users(self) -> bool:
        """Whether the user's own patterns left them out."""
        return self.reason in USERS_REASONS


def group_left_out(files: Iterable[LeftOut]) -> tuple[LeftOutGroup, ...]:
    """Return the files by reason, those first that no pattern of the user's left out."""
    groups: dict[str, list[LeftOut]] = {}
    for file in files:
        groups.setdefault(file.reason, []).append(file)
    made = [
        LeftOutGroup(
            reason=reason,
            paths=tuple(file.path for file in members),
            count=len(members),
            size=_total(file.size for file in members),
        )
        for reason, members in groups.items()
    ]
    return tuple(sorted(made, key=lambda group: (group.is_users, group.reason)))


def _total(sizes: Iterable[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else sum(size for size in known if size is not None)


def remember_left_out(files: Iterable[LeftOut]) -> dict[str, str]:
    """Return details of an event that name the files, as far as one holds them."""
    room = _LONGEST
    remembered = []
    for group in group_left_out(files):
        names: list[str] = []
        for path in group.paths:
            room -= len(json.dumps(path))
            if room < 0:
                break
            names.append(path)
        remembered.append({"reason": group.reason, "count": group.count, "files": names})
    return {LEFT_OUT: json.dumps(remembered)} if remembered else {}


def recall_left_out(vault: Vault, artifact: Artifact) -> tuple[LeftOutGroup, ...]:
    """Return what the last pull of an artefact left out; nothing where no pull is logged.

    What the log holds is not trusted to be what a pull writes: anything else says nothing.
    """
    return _parse(last_pull(vault, artifact))


def _parse(details: Mapping[str, str]) -> tuple[LeftOutGroup, ...]:
    try:
        items = json.loads(details.get(LEFT_OUT, "[]"))
        return tuple(
            LeftOutGroup(
                reason=str(item["reason"]),
                paths=tuple(str(path) for path in item["files"][:_MOST_VALUES]),
                count=int(item["count"]),
                size=None,
            )
            for item in items[:_MOST_VALUES]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()
