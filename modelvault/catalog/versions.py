"""Which schemas this release knows; importable without SQLAlchemy or Alembic.

A catalogue's schema is named by the revision in its ``alembic_version`` table. Comparing
that one value keeps Alembic, which is slow to import, out of every ordinary command.
"""

from modelvault.errors import NewerCatalog

REVISIONS = ("0001", "0002")
"""Alembic revisions, oldest first; a test keeps them equal to the migrations folder's."""

HEAD = REVISIONS[-1]
"""The revision this release reads and writes."""


def is_current(found: str | None, where: str) -> bool:
    """Return whether a catalogue needs no migration.

    Args:
        found: The revision it is at; None where it has no schema yet.
        where: The database, for messages.

    Raises:
        NewerCatalog: The revision is not one of this release's: a newer one wrote it.
    """
    if found is not None and found not in REVISIONS:
        raise NewerCatalog(
            f"{where} was written by a newer release (its schema is {found!r}, "
            f"this release knows {HEAD!r})",
            hint="run the newer modelvault here as well",
        )
    return found == HEAD
