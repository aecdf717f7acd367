"""What the files of an offer are called in a vault.

Two spellings of one name are one name: macOS writes ``é`` as two characters, everybody else as
one. Records know the composed one (Unicode's normal form C), so that a file has the same name
wherever it is unpacked. What cannot be carried at all is found when it is chosen
(``selection``), so that it hinders nobody who leaves it out.

Example:
    >>> name_files(["cafe\u0301.txt"]).recorded
    {'café.txt': 'café.txt'}
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How the files of an offer are recorded."""

    recorded: Mapping[str, str] = field(hash=False)
    """Path as the source spells it → path as it is recorded."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""


def name_files(paths: Sequence[str]) -> Naming:
    """Return what the files of an offer are called.

    A name whose composed form is another file's stays as it is: which of the two is meant, nobody
    but the user can say.

    Args:
        paths: As the source spells them.
    """
    composed = {path: _compose(path) for path in paths}
    taken = Counter(composed.values())
    recorded = {path: name if taken[name] == 1 else path for path, name in composed.items()}
    changed = sorted(name for path, name in recorded.items() if name != path)
    if not changed:
        return Naming(recorded=recorded, notes=())
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    note = (
        f"{changed[0]}{more}: the source spells the name in parts, as macOS does; it is recorded"
        " in the composed spelling (NFC)"
    )
    return Naming(recorded=recorded, notes=(note,))


def _compose(path: str) -> str:
    return path if path.isascii() else unicodedata.normalize("NFC", path)
