"""The documents of the formats say what the code does: their vectors are checked."""

import dataclasses
import re
from pathlib import Path

import psycopg
import pytest

from modelvault.catalog.database import _WRITER_LOCK
from modelvault.catalog.rows import Row
from modelvault.catalog.values import Install
from modelvault.catalog.versions import HEAD
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from tests.catalog.place import START, Place, add, artifact, event, manifest

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
_VECTOR = re.compile(r"<!-- vector: (sha256:[0-9a-f]{64}) -->\n```json\n(.*)\n```")


def read_vectors(name: str) -> list[tuple[str, bytes]]:
    """Return the digests and records a document gives as examples."""
    text = (FORMATS / name).read_text(encoding="utf-8")
    return [(digest, record.encode()) for digest, record in _VECTOR.findall(text)]


@pytest.mark.parametrize(("name", "count"), [("records.md", 2), ("catalog.md", 1)])
def test_documented_records_have_the_documented_digests(name: str, count: int) -> None:
    """A reader can check an implementation against the text alone."""
    vectors = read_vectors(name)
    assert len(vectors) == count
    for digest, record in vectors:
        assert str(Digest.of(record)) == digest


def test_documented_manifest_and_artifact_are_read_and_written_as_they_stand() -> None:
    """The permanent vectors of manifest/v1 and artifact/v1."""
    (_, first), (_, second) = read_vectors("records.md")
    files, item = Manifest.parse(first), Artifact.parse(second)
    assert files.encode() == first
    assert item.encode() == second
    assert item.manifest == files.digest
    assert f"Example, {len(first)} bytes" in (FORMATS / "records.md").read_text(encoding="utf-8")


def test_catalog_document_names_every_table_column_and_number() -> None:
    """A column that is added gets its line in the document."""
    text = (FORMATS / "catalog.md").read_text(encoding="utf-8")
    assert f"schema `{HEAD}`" in text
    assert f"{_WRITER_LOCK:,}" in text
    for table in Row.metadata.sorted_tables:
        assert f"**`{table.name}`**" in text
        for column in table.columns:
            assert f"`{column.name}`" in text, f"{table.name}.{column.name}"


def test_documented_grants_are_enough_for_daily_work_and_not_for_tampering(server: Place) -> None:
    """An account without ownership works as usual, and cannot touch the log or its guards."""
    assert server.url is not None
    server.open().close()
    text = (FORMATS / "catalog.md").read_text(encoding="utf-8")
    grants = re.search(r"```sql\n(.*?)```", text, re.DOTALL)
    assert grants is not None
    statements = grants[1].replace("modelvault_ID", server.schema)
    server.run("CREATE ROLE clerk LOGIN PASSWORD 'clerk'", statements)
    clerk = dataclasses.replace(
        server, url="postgresql://clerk:clerk@" + server.url.partition("@")[2]
    )
    try:
        with clerk.open() as catalog:
            item = add(catalog, artifact())
            install = Install(
                artifact=item.digest, target="vllm", name="n", location="/srv", receipt=b"null"
            )
            number = catalog.add_install(install, event=event("install")).id
            catalog.close_install(number, event=event("uninstall"))
            catalog.rebuild([(item, manifest(), START)], event=event("rebuild"))
            catalog.remove_artifact(item.digest, event=event("remove"))
            assert catalog.listing() == []
            assert catalog.verify_history() == 5
        for attack in ("DROP TRIGGER events_refuse_change ON events", "DELETE FROM events"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                clerk.run(attack)
    finally:
        server.run("DROP OWNED BY clerk", "DROP ROLE clerk")
