"""The tables as SQLAlchemy sees them; private to ``modelvault.catalog``.

Rows never leave this package: readers get the values of ``values``. The tables, their
triggers and the view are made by the migrations; a test holds these mappings and the
migrated schema together. ``docs/formats/catalog.md`` describes every column.
"""

import datetime as dt
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from modelvault.core.digest import Digest
from modelvault.errors import BadDigest, CatalogDamaged

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def encode_time(time: dt.datetime) -> str:
    """Return a time as the catalogue writes it: UTC, microseconds, 27 characters."""
    return time.astimezone(dt.UTC).strftime(_TIME)


def parse_time(text: str) -> dt.datetime:
    """Return the time written in ``text``.

    Raises:
        CatalogDamaged: It is not a time in the catalogue's form.
    """
    try:
        time = dt.datetime.fromisoformat(text)
        if time.tzinfo is dt.UTC and encode_time(time) == text:
            return time
    except (ValueError, TypeError):
        pass
    raise CatalogDamaged(f"the catalogue holds {text!r} where a time belongs")


class HexDigest(TypeDecorator[Digest]):
    """A digest, kept as its 64 hexadecimal digits."""

    impl = String(64)
    cache_ok = True

    def process_bind_param(self, value: Digest | None, _dialect: Dialect) -> str | None:
        """Return what the database gets."""
        return None if value is None else value.hex

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> Digest | None:
        """Return what the program gets."""
        try:
            return None if value is None else Digest(value)
        except (BadDigest, TypeError) as error:
            raise CatalogDamaged(f"the catalogue holds {value!r} where a digest belongs") from error


class UtcTime(TypeDecorator[dt.datetime]):
    """A moment, kept as text: the same characters on every database, sortable."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, _dialect: Dialect) -> str | None:
        """Return what the database gets."""
        return None if value is None else encode_time(value)

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> dt.datetime | None:
        """Return what the program gets."""
        return None if value is None else parse_time(value)


class Row(DeclarativeBase):
    """Base of all mappings."""


class ModelRow(Row):
    """A model's name."""

    __tablename__ = "models"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)


class RevisionRow(Row):
    """One commit of a model."""

    __tablename__ = "revisions"
    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    revision: Mapped[str] = mapped_column(String(255))
    ordinal: Mapped[int] = mapped_column(BigInteger, index=True)
    __table_args__ = (UniqueConstraint("model_id", "revision"),)


class LabelRow(Row):
    """A branch or tag, and the revision it was last seen at."""

    __tablename__ = "labels"
    model_id: Mapped[int] = mapped_column(
        ForeignKey("models.id", ondelete="CASCADE"), primary_key=True
    )
    label: Mapped[str] = mapped_column(String(255), primary_key=True)
    revision_id: Mapped[int] = mapped_column(
        ForeignKey("revisions.id", ondelete="CASCADE"), index=True
    )
    seen_at: Mapped[dt.datetime] = mapped_column(UtcTime)


class ArtifactRow(Row):
    """One artefact."""

    __tablename__ = "artifacts"
    digest: Mapped[Digest] = mapped_column(HexDigest, primary_key=True)
    revision_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"))
    variant: Mapped[str | None] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(64))
    quantization: Mapped[str | None] = mapped_column(String(64))
    manifest: Mapped[Digest] = mapped_column(HexDigest)
    size: Mapped[int] = mapped_column(BigInteger)
    file_count: Mapped[int] = mapped_column(BigInteger)
    license: Mapped[str | None] = mapped_column(String(255))
    record: Mapped[str] = mapped_column(Text)
    ordinal: Mapped[int] = mapped_column(BigInteger, index=True)
    created_at: Mapped[dt.datetime] = mapped_column(UtcTime)
    __table_args__ = (Index("ix_artifacts_revision_variant", "revision_id", "variant"),)


class FileRow(Row):
    """One file of an artefact's manifest."""

    __tablename__ = "files"
    artifact: Mapped[Digest] = mapped_column(
        HexDigest, ForeignKey("artifacts.digest", ondelete="CASCADE"), primary_key=True
    )
    path: Mapped[str] = mapped_column(String(1024), primary_key=True)
    digest: Mapped[Digest] = mapped_column(HexDigest)
    size: Mapped[int] = mapped_column(BigInteger)


class LineageRow(Row):
    """Which artefact was converted from which; the parent need not be in this vault."""

    __tablename__ = "lineage"
    child: Mapped[Digest] = mapped_column(
        HexDigest, ForeignKey("artifacts.digest", ondelete="CASCADE"), primary_key=True
    )
    parent: Mapped[Digest] = mapped_column(HexDigest, primary_key=True, index=True)
    converter: Mapped[str] = mapped_column(String(255))


class VaultRow(Row):
    """Whose catalogue this is; one row."""

    __tablename__ = "vault"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(String(32))
    __table_args__ = (CheckConstraint("number = 1", name="vault_single"),)


class BundleRow(Row):
    """A bundle that left or entered this site."""

    __tablename__ = "bundles"
    id: Mapped[int] = mapped_column(primary_key=True)
    index_digest: Mapped[Digest] = mapped_column(HexDigest)
    direction: Mapped[str] = mapped_column(String(16))
    serial: Mapped[int] = mapped_column(BigInteger)
    publisher: Mapped[str] = mapped_column(String(255))
    layout: Mapped[str] = mapped_column(String(64))
    location: Mapped[str] = mapped_column(Text)
    created_at: Mapped[dt.datetime] = mapped_column(UtcTime)
    __table_args__ = (Index("ix_bundles_publisher_serial", "publisher", "serial"),)


class BundleArtifactRow(Row):
    """Which artefacts were in a bundle; they may have been removed since."""

    __tablename__ = "bundle_artifacts"
    bundle_id: Mapped[int] = mapped_column(
        ForeignKey("bundles.id", ondelete="CASCADE"), primary_key=True
    )
    artifact: Mapped[Digest] = mapped_column(HexDigest, primary_key=True)


class InstallRow(Row):
    """An artefact put into a runtime; the row outlives the artefact's."""

    __tablename__ = "installs"
    id: Mapped[int] = mapped_column(primary_key=True)
    artifact: Mapped[Digest] = mapped_column(HexDigest, index=True)
    target: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(Text)
    location: Mapped[str] = mapped_column(Text)
    receipt: Mapped[str] = mapped_column(Text)
    installed_at: Mapped[dt.datetime] = mapped_column(UtcTime)
    removed_at: Mapped[dt.datetime | None] = mapped_column(UtcTime)


class EventRow(Row):
    """One entry of the append-only log, exactly as it was hashed."""

    __tablename__ = "events"
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    time: Mapped[str] = mapped_column(String(27))
    actor: Mapped[str] = mapped_column(Text)
    host: Mapped[str] = mapped_column(Text)
    verb: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text, index=True)
    details: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(String(64))
