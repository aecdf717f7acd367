"""A vault and its catalogue know each other, and neither is taken for another's."""

import shutil
from pathlib import Path

import psycopg
import pytest

from modelvault.catalog.catalog import Catalog
from modelvault.catalog.listing import read_listing
from modelvault.errors import (
    CatalogElsewhere,
    CatalogIncomplete,
    ForeignCatalog,
    MalformedRecord,
    UnsupportedVersion,
    VaultNotFound,
)
from modelvault.store.blobs import Store
from modelvault.store.identity import (
    POSTGRESQL,
    SQLITE,
    CatalogPlace,
    Identity,
    bind_catalog,
    ensure_identity,
    parse_identity,
    read_identity,
)
from modelvault.store.paths import VaultPaths
from tests.catalog.place import ACTOR, Place, add, artifact, event, manifest, new_paths


def keep(paths: VaultPaths, commit: str = "a" * 40) -> None:
    """Put an artefact's record and manifest into the store, as a pull does."""
    store = Store(paths)
    files = manifest()
    store.put(files.encode())
    store.put(artifact(files, commit=commit).encode())


def test_opening_binds_vault_and_catalog(place: Place) -> None:
    """The identity in the folder is the one in the database, and says where that is."""
    place.open().close()
    identity = read_identity(place.paths)
    assert identity is not None
    assert identity.catalog is not None
    assert identity.catalog.kind == (SQLITE if place.is_sqlite else POSTGRESQL)
    assert place.run("SELECT id FROM vault") == [(identity.id,)]
    if place.url is not None:
        assert "vault:" not in identity.catalog.where, "no account, no password"


def test_lost_catalog_is_no_empty_one(lite: Place) -> None:
    """Whoever asks is told, and no catalogue appears in the lost one's place."""
    with lite.open() as catalog:
        add(catalog, artifact())
    lite.paths.catalog.unlink()
    for _ in range(2):
        with pytest.raises(CatalogIncomplete, match="gone") as caught:
            read_listing(lite.paths)
        assert "modelvault rebuild" in caught.value.hint
        with pytest.raises(CatalogIncomplete):
            lite.open()


def test_records_without_any_catalog_are_no_new_vault(tmp_path: Path) -> None:
    """Neither an identity nor a catalogue, but records: a vault that lost both."""
    paths = new_paths(tmp_path / "vault")
    keep(paths)
    with pytest.raises(CatalogIncomplete):
        Catalog.open(paths)
    with Catalog.open(paths, anew=True) as catalog:
        assert catalog.listing() == []


def test_attack_another_vaults_catalog_is_refused(tmp_path: Path) -> None:
    """A catalogue copied from another vault would let gc remove everything."""
    mine, others = (Place(paths=new_paths(tmp_path / name), url=None) for name in ("a", "b"))
    for place in (mine, others):
        with place.open() as catalog:
            add(catalog, artifact())
    shutil.copy(others.paths.catalog, mine.paths.catalog)
    with pytest.raises(ForeignCatalog, match="another vault"):
        mine.open()
    with pytest.raises(ForeignCatalog):
        read_listing(mine.paths)


def test_vaults_that_share_a_database_do_not_mix(server: Place, tmp_path: Path) -> None:
    """Each sees its own models; a rebuild of one leaves the other's rows alone."""
    other = Place(paths=new_paths(tmp_path / "other"), url=server.url)
    with server.open() as mine, other.open() as theirs:
        add(mine, artifact(model="org/mine"))
        add(theirs, artifact(model="org/theirs"))
        theirs.rebuild([], event=event("rebuild"))
        assert [str(row.reference.model) for row in mine.listing()] == ["org/mine"]
        assert theirs.listing() == []
        assert mine.verify_history() == 1
        assert theirs.verify_history() == 2


def test_shell_without_the_url_gets_no_empty_catalog(server: Place) -> None:
    """The vault remembers that its catalogue is on a server, and says which."""
    with server.open() as catalog:
        add(catalog, artifact())
    for anew in (False, True):
        with pytest.raises(CatalogElsewhere, match=r"127\.0\.0\.1:\d+/vault_") as caught:
            Catalog.open(server.paths, anew=anew)
        assert "MODELVAULT_DATABASE_URL" in caught.value.hint
    with pytest.raises(CatalogElsewhere):
        read_listing(server.paths)
    assert not server.paths.catalog.exists()


def test_catalog_moves_only_when_it_is_rebuilt(server: Place) -> None:
    """Another database named by mistake is refused; a rebuild there binds the vault to it."""
    lite = Place(paths=server.paths, url=None)
    with lite.open() as catalog:
        add(catalog, artifact())
    with pytest.raises(CatalogElsewhere, match=r"catalog\.db"):
        server.open()
    with server.open(anew=True) as catalog:
        assert catalog.listing() == []
    server.open().close()
    with pytest.raises(CatalogElsewhere):
        lite.open()
    back = Place(paths=server.paths, url=SQLITE)
    with back.open() as catalog:
        assert len(catalog.listing()) == 1, "it was there all the time, and is this vault's"


def test_dropped_schema_on_the_server_is_no_empty_catalog(server: Place) -> None:
    """Someone restored the database from before the vault: said, not shown as empty."""
    server.open().close()
    assert server.url is not None
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {server.schema} CASCADE".encode())
    with pytest.raises(CatalogIncomplete, match="gone"):
        server.open()


def _make_former(server: Place, tmp_path: Path) -> None:
    """Leave a catalogue of the first release in the schema ``public``, with one artefact."""
    former = Place(paths=new_paths(tmp_path / "former"), url=server.url)
    with former.open() as catalog:
        add(catalog, artifact())
    assert server.url is not None
    with psycopg.connect(server.url, autocommit=True) as connection:
        schema = former.schema
        connection.execute(f"DROP TABLE {schema}.vault".encode())
        connection.execute(f"UPDATE {schema}.alembic_version SET version_num = '0001'".encode())
        connection.execute("DROP SCHEMA public")
        connection.execute(f"ALTER SCHEMA {schema} RENAME TO public".encode())


def test_former_catalog_on_a_server_becomes_the_vaults_own(server: Place, tmp_path: Path) -> None:
    """With all rows and the log; a second vault on the same URL then finds nothing of it."""
    _make_former(server, tmp_path)
    keep(server.paths)
    with server.open() as catalog:
        assert len(catalog.listing()) == 1
        assert catalog.verify_history() == 1
        catalog.rebuild([], event=event("rebuild"))
    other = Place(paths=new_paths(tmp_path / "other"), url=server.url)
    with other.open() as catalog:
        assert catalog.listing() == []
        assert catalog.verify_history() == 0


def test_former_catalog_of_several_vaults_is_nobodys(server: Place, tmp_path: Path) -> None:
    """A record that this store lacks: the mixed list stays where it is, untouched."""
    _make_former(server, tmp_path)
    keep(server.paths, commit="b" * 40)
    with pytest.raises(CatalogIncomplete):
        server.open()
    assert server.url is not None
    with psycopg.connect(server.url) as connection:
        rows = connection.execute("SELECT count(*) FROM public.artifacts").fetchall()
    assert rows == [(1,)]


def test_folder_without_a_vault_gets_no_database(tmp_path: Path) -> None:
    """Looking at a folder leaves it as it was."""
    with pytest.raises(VaultNotFound):
        read_listing(VaultPaths(tmp_path))
    with pytest.raises(VaultNotFound):
        Catalog.open(VaultPaths(tmp_path), actor=ACTOR)
    assert list(tmp_path.iterdir()) == []


def test_identity_is_made_once(tmp_path: Path) -> None:
    """It stays the same, and is read back as it was written."""
    paths = new_paths(tmp_path / "vault")
    first = ensure_identity(paths)
    assert ensure_identity(paths) == first == parse_identity(first.encode())
    place = CatalogPlace(kind=POSTGRESQL, where="db.example:5432/models")
    assert bind_catalog(paths, first, place) == read_identity(paths)


def test_identity_vector_stays_readable() -> None:
    """The permanent vector of vault/v1, as the document has it."""
    document = Path(__file__).parents[2] / "docs" / "formats" / "vault.md"
    record = document.read_text(encoding="utf-8").partition("```json\n")[2].partition("\n```")[0]
    place = CatalogPlace(kind=POSTGRESQL, where="db.example:5432/models")
    identity = Identity(id="8f14e45fceea167a5a36dedd4bea2543", catalog=place)
    assert identity.encode() == record.encode()
    assert parse_identity(record.encode()) == identity


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", MalformedRecord),
        (b"{}", MalformedRecord),
        (b'{"_type":"modelvault/vault/v1","catalog":null,"id":"no"}', MalformedRecord),
        (Identity(id="A" * 32).encode(), MalformedRecord),
        (b'{"_type":"something","catalog":null,"id":"' + b"0" * 32 + b'"}', MalformedRecord),
        (b'{"_type":"modelvault/vault/v2"}', UnsupportedVersion),
        (
            b'{"_type":"modelvault/vault/v1","catalog":{"kind":"duckdb","where":"x"},"id":"'
            + b"0" * 32 + b'"}',
            UnsupportedVersion,
        ),
        (b"[" * 70_000, MalformedRecord),
    ],
)  # fmt: skip
def test_attack_identity_that_is_none_is_refused(
    tmp_path: Path, content: bytes, kind: type[Exception]
) -> None:
    """Damage and newer formats are told apart; the vault is not opened with either."""
    paths = new_paths(tmp_path / "vault")
    paths.identity.write_bytes(content)
    with pytest.raises(kind):
        Catalog.open(paths)
    assert not paths.catalog.exists()
