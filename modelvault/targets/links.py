"""Symbolic links in a target: where one may lead, decided from its text alone.

A link is relative and stays inside the target's own root, so that the folder can be moved,
mounted in a container, and removed, without touching anything else. Following ``..`` by text
is right because every folder of an install is a real one: ``fsio.safe_join`` refuses a link
on the way.

Example:
    >>> resolve_link("snapshots/9f1c/config.json", "../../blobs/44136fa3")
    'blobs/44136fa3'
"""

from modelvault.core.names import check_path
from modelvault.errors import BadPath

LONGEST_LINK = 1024
"""Most characters of a link's text."""


def resolve_link(path: str, link: str) -> str:
    """Return what a link leads to, relative to the same root as its own path.

    Args:
        path: Where the link stands, relative to the target's root.
        link: Its text, relative to the folder it stands in; ``..`` only at the beginning.

    Raises:
        BadPath: The path is unsafe, or the link is absolute, leads out of the root, or
            holds a part that ``check_path`` refuses.
    """
    folders = check_path(path).split("/")[:-1]
    parts = link.split("/") if len(link) <= LONGEST_LINK else []
    above = 0
    while above < len(parts) and parts[above] == "..":
        above += 1
    if not parts or above > len(folders):
        raise BadPath(f"'{path}': a link to {link[:80]!r} leads out of the folder: refused")
    below = check_path("/".join(parts[above:]))
    return "/".join([*folders[: len(folders) - above], below])
