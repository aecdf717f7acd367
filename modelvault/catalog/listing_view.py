"""The view ``artifact_listing``: its columns, and its rows as values.

``listing_query`` makes the one query for both ways of reading it, with SQLAlchemy and without;
importable without.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from modelvault.catalog.values import ListingRow
from modelvault.core.names import ModelName, Reference
from modelvault.errors import BadReference, CatalogDamaged

COLUMNS = (
    "model, revision, variant, labels, format, quantization, license, digest, size, "
    "file_count, created_at, targets"
)
SOURCE = "artifact_listing"
ORDER = "model, ordinal"
"""What a list is sorted by where nothing else is asked for."""


def parse_listing(rows: Iterable[Any]) -> list[ListingRow]:
    """Return the rows of a query for ``COLUMNS`` as values.

    Raises:
        CatalogDamaged: A row holds what the catalogue never writes.
    """
    try:
        return [_parse(row) for row in rows]
    except (BadReference, TypeError, ValueError, AttributeError) as error:
        raise CatalogDamaged(f"the catalogue's list cannot be read: {error}") from error


@lru_cache(maxsize=1024)
def _model(text: str) -> ModelName:
    return ModelName.parse(text)


def _parse(row: Sequence[Any]) -> ListingRow:
    model, revision, variant, labels, format_, quantization, license_, digest, *rest = row
    size, file_count, created_at, targets = rest
    return ListingRow(
        reference=Reference(model=_model(model), revision=revision, variant=variant),
        labels=_split(labels),
        format=format_,
        quantization=quantization,
        license=license_,
        digest=f"sha256:{digest}",
        size=int(size),
        file_count=int(file_count),
        created_at=created_at,
        targets=_split(targets),
    )


def _split(joined: str | None) -> tuple[str, ...]:
    return tuple(sorted(set(joined.split(",")))) if joined else ()
