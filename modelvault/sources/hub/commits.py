"""Commits that are named by their beginning, as people copy them from a page.

Example:
    >>> choose_commit("0f3c", ["0f3c" + "0" * 36, "9" * 40], page="")[:8]
    '0f3c0000'
"""

import re
from collections.abc import Iterable

from modelvault.core.names import is_commit
from modelvault.errors import RevisionNotFound

PREFIX = re.compile(r"[0-9a-f]{4,39}")
"""What may be the beginning of a commit id."""

_SHOWN = 5


def choose_commit(prefix: str, ids: Iterable[object], *, page: str) -> str:
    """Return the one commit that some digits begin.

    Args:
        prefix: The digits.
        ids: The repository's commits, as a Hub lists them; what is no id is passed over.
        page: Where the commits are listed for people.

    Raises:
        RevisionNotFound: None begins so, or several do.
    """
    found = {text for text in ids if isinstance(text, str) and is_commit(text)}
    fitting = sorted(text for text in found if text.startswith(prefix))
    if not fitting:
        raise RevisionNotFound(
            f"'{prefix}' is no branch or tag, and begins no commit of the default branch",
            hint=f"write all 40 digits of the commit; commits are listed at {page}",
        )
    if len(fitting) > 1:
        raise RevisionNotFound(
            f"'{prefix}' begins {len(fitting)} commits",
            hint=f"write more digits: {', '.join(fitting[:_SHOWN])}",
        )
    return fitting[0]
