"""The first schema: tables, triggers that keep the log append-only, the listing's view.

Described column by column in ``docs/formats/catalog.md``. A released migration is never
edited: later ones change what it made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_HEX = sa.String(64)
_TIME = sa.String(27)


def upgrade() -> None:
    """Make everything."""
    _create_models()
    _create_artifacts()
    _create_bundles()
    _create_installs()
    _create_events()
    if op.get_bind().dialect.name == "sqlite":
        _guard_events_on_sqlite()
        _create_listing("group_concat(label, ',')", "group_concat(DISTINCT target)")
    else:
        _guard_events_on_postgresql()
        _create_listing("string_agg(label, ',')", "string_agg(DISTINCT target, ',')")


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
    )
    op.create_table(
        "revisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "model_id", sa.Integer, sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("revision", sa.String(255), nullable=False),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("model_id", "revision"),
    )
    op.create_index("ix_revisions_ordinal", "revisions", ["ordinal"])
    op.create_table(
        "labels",
        sa.Column(
            "model_id", sa.Integer, sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("label", sa.String(255), nullable=False),
        sa.Column(
            "revision_id",
            sa.Integer,
            sa.ForeignKey("revisions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("seen_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "label"),
    )
    op.create_index("ix_labels_revision_id", "labels", ["revision_id"])


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("digest", _HEX, primary_key=True),
        sa.Column("revision_id", sa.Integer, sa.ForeignKey("revisions.id"), nullable=False),
        sa.Column("variant", sa.String(64)),
        sa.Column("format", sa.String(64), nullable=False),
        sa.Column("quantization", sa.String(64)),
        sa.Column("manifest", _HEX, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("file_count", sa.BigInteger, nullable=False),
        sa.Column("license", sa.String(255)),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_index("ix_artifacts_revision_variant", "artifacts", ["revision_id", "variant"])
    op.create_index("ix_artifacts_ordinal", "artifacts", ["ordinal"])
    op.create_table(
        "files",
        sa.Column("artifact", _HEX, _of_artifact(), nullable=False),
        sa.Column("path", sa.String(1024), nullable=False),
        sa.Column("digest", _HEX, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("artifact", "path"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lineage",
        sa.Column("child", _HEX, _of_artifact(), nullable=False),
        sa.Column("parent", _HEX, nullable=False),
        sa.Column("converter", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("child", "parent"),
    )
    op.create_index("ix_lineage_parent", "lineage", ["parent"])


def _of_artifact() -> sa.ForeignKey:
    return sa.ForeignKey("artifacts.digest", ondelete="CASCADE")


def _create_bundles() -> None:
    op.create_table(
        "bundles",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("index_digest", _HEX, nullable=False),
        sa.Column("direction", sa.String(16), nullable=False),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.Column("publisher", sa.String(255), nullable=False),
        sa.Column("layout", sa.String(64), nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint("direction IN ('exported', 'imported')", name="bundles_direction"),
    )
    op.create_index("ix_bundles_publisher_serial", "bundles", ["publisher", "serial"])
    op.create_table(
        "bundle_artifacts",
        sa.Column(
            "bundle_id", sa.Integer, sa.ForeignKey("bundles.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("artifact", _HEX, nullable=False),
        sa.PrimaryKeyConstraint("bundle_id", "artifact"),
    )


def _create_installs() -> None:
    op.create_table(
        "installs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("artifact", _HEX, nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("receipt", sa.Text, nullable=False),
        sa.Column("installed_at", _TIME, nullable=False),
        sa.Column("removed_at", _TIME),
    )
    op.create_index("ix_installs_artifact", "installs", ["artifact"])


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("verb", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("hash", _HEX, nullable=False),
    )
    op.create_index("ix_events_subject", "events", ["subject"])


def _guard_events_on_sqlite() -> None:
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER events_refuse_{action.lower()} BEFORE {action} ON events BEGIN "
            "SELECT RAISE(ABORT, 'the event log is append-only'); END"
        )
    # INSERT OR REPLACE removes the old row without firing delete triggers, so that an
    # insert has to be refused wherever it is not the next event.
    op.execute(
        "CREATE TRIGGER events_append_only BEFORE INSERT ON events "
        "WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM events) BEGIN "
        "SELECT RAISE(ABORT, 'the event log is append-only'); END"
    )


def _guard_events_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION modelvault_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'the event log is append-only' "
        "USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE ON events "
        "FOR EACH ROW EXECUTE FUNCTION modelvault_refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER events_refuse_truncate BEFORE TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION modelvault_refuse_change()"
    )


def _create_listing(join_labels: str, join_targets: str) -> None:
    op.execute(
        "CREATE VIEW artifact_listing AS "  # noqa: S608 - both parts are constants
        "SELECT models.name AS model, revisions.revision, artifacts.variant, "
        f"(SELECT {join_labels} FROM labels WHERE labels.revision_id = revisions.id) AS labels, "
        "artifacts.format, artifacts.quantization, artifacts.license, artifacts.digest, "
        "artifacts.size, artifacts.file_count, artifacts.created_at, artifacts.ordinal, "
        f"(SELECT {join_targets} FROM installs WHERE installs.artifact = artifacts.digest "
        "AND installs.removed_at IS NULL) AS targets "
        "FROM artifacts JOIN revisions ON revisions.id = artifacts.revision_id "
        "JOIN models ON models.id = revisions.model_id"
    )
