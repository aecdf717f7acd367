"""How many bytes the files of models take, each counted once, and what of it models share."""

from collections.abc import Collection

from sqlalchemy import case, func, select, text
from sqlalchemy.orm import Session

from modelvault.catalog.rows import FileRow
from modelvault.catalog.values import ModelUsage, Usage
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName
from modelvault.errors import BadReference, CatalogDamaged

_USED = (
    "WITH used AS (SELECT DISTINCT revisions.model_id, files.digest, files.size FROM files "
    "JOIN artifacts ON artifacts.digest = files.artifact "
    "JOIN revisions ON revisions.id = artifacts.revision_id), "
    "owned AS (SELECT digest, min(size) AS size, count(*) AS owners FROM used GROUP BY digest) "
)
_MODELS = text(
    _USED  # noqa: S608 - constants
    + "SELECT models.name, held.artifacts, held.size, "
    "coalesce(taken.stored, 0), coalesce(taken.shared, 0) FROM models "
    "JOIN (SELECT revisions.model_id, count(*) AS artifacts, sum(artifacts.size) AS size "
    "FROM artifacts JOIN revisions ON revisions.id = artifacts.revision_id "
    "GROUP BY revisions.model_id) AS held ON held.model_id = models.id "
    "LEFT JOIN (SELECT used.model_id, sum(used.size) AS stored, "
    "sum(CASE WHEN owned.owners > 1 THEN used.size ELSE 0 END) AS shared "
    "FROM used JOIN owned ON owned.digest = used.digest "
    "GROUP BY used.model_id) AS taken ON taken.model_id = models.id ORDER BY models.name"
)
_STORED = text(_USED + "SELECT coalesce(sum(size), 0) FROM owned")  # noqa: S608 - constants


def read_usage(session: Session) -> Usage:
    """Return how much the artefacts take; their records and manifests are not counted.

    Raises:
        CatalogDamaged: A row holds what the catalogue never writes.
    """
    try:
        models = tuple(
            ModelUsage(
                model=ModelName.parse(name),
                artifacts=int(artifacts),
                size=int(size),
                stored=int(stored),
                shared=int(shared),
            )
            for name, artifacts, size, stored, shared in session.execute(_MODELS)
        )
        return Usage(models=models, stored=int(session.execute(_STORED).scalar_one()))
    except (BadReference, TypeError, ValueError) as error:
        raise CatalogDamaged(f"the catalogue's sizes cannot be read: {error}") from error


def read_freed(session: Session, digests: Collection[Digest]) -> int:
    """Return how many bytes of files only these artefacts need: what their removal frees."""
    if not digests:
        return 0
    theirs = func.sum(case((FileRow.artifact.in_(digests), 1), else_=0))
    only = (
        select(func.min(FileRow.size).label("size"))
        .group_by(FileRow.digest)
        .having(theirs == func.count())
        .subquery()
    )
    return int(session.scalar(select(func.coalesce(func.sum(only.c.size), 0))) or 0)
