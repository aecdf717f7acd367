"""The list: the same through SQLite's own door as through the catalogue, only quicker."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelvault.catalog.catalog import Catalog
from modelvault.catalog.listing import read_listing
from modelvault.catalog.values import Install, ListingRow
from modelvault.core.names import Reference
from modelvault.errors import CatalogDamaged, NewerCatalog
from tests.catalog.place import (
    COMMIT_A,
    Place,
    add,
    artifact,
    converted,
    event,
    manifest,
    new_paths,
)

_AS_NOBODY = """
import os, sys
from pathlib import Path
from modelvault.catalog.catalog import Catalog
from modelvault.catalog.listing import read_listing
from modelvault.catalog.values import Event
from modelvault.errors import ModelVaultError
from modelvault.store.paths import VaultPaths

def look(root):
    paths = VaultPaths(Path(root))
    yield len(read_listing(paths))
    with Catalog.open(paths) as catalog:
        yield len(list(catalog.artifacts()))
        yield catalog.verify_history()
        try:
            catalog.record(Event(verb="check", subject="x"))
        except ModelVaultError as error:
            yield type(error).__name__

real, rehearsal = sys.argv[1:]
list(look(rehearsal))  # imports all: nobody may be unable to enter the folder of this checkout
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(*look(real))
"""

REPOSITORY = Path(__file__).parents[2]


def fill(catalog: Catalog) -> None:
    """Add artefacts of every kind."""
    source = add(catalog, artifact())
    add(catalog, artifact(requested="v1.0"))
    files = manifest("q4", "extra")
    small = add(catalog, converted(source, "Q4_K_M", files), files)
    add(catalog, artifact(model="acme/other", license_=None))
    for target in ("vllm", "ollama"):
        for name in ("x", "y"):
            install = Install(
                artifact=small.digest, target=target, name=name, location="/", receipt=b"null"
            )
            catalog.add_install(install, event=event("install"))


def test_listing_shows_every_artifact(catalog: Catalog, place: Place) -> None:
    """Sorted by model, oldest first, with labels and runtimes."""
    fill(catalog)
    rows = read_listing(place.paths, place.url)
    assert [str(row.reference.model) for row in rows] == ["acme/other"] + ["org/name"] * 3
    small = catalog.find(Reference.parse("org/name:Q4_K_M"))
    assert rows[-1] == ListingRow(
        reference=Reference.parse(f"org/name@{COMMIT_A}:Q4_K_M"),
        labels=("main", "v1.0"),
        format="gguf",
        quantization="Q4_K_M",
        license="apache-2.0",
        digest=str(small.digest),
        size=7,
        file_count=2,
        created_at=small.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        targets=("ollama", "vllm"),
    )
    assert rows[0].license is None
    assert rows[0].targets == ()


def test_quick_listing_equals_the_catalogs(catalog: Catalog, place: Place) -> None:
    """Two ways to the same rows."""
    fill(catalog)
    assert read_listing(place.paths, place.url) == catalog.listing()


def test_listing_of_a_vault_without_a_catalog_is_empty(place: Place) -> None:
    """A fresh vault lists nothing, and has its catalogue from then on."""
    assert read_listing(place.paths, place.url) == []
    assert place.run("SELECT count(*) FROM artifacts") == [(0,)]


def test_listing_of_a_stale_catalog_brings_it_up_to_date(lite: Place) -> None:
    """A file without a schema is migrated, as at any first use."""
    lite.paths.catalog.touch()
    assert read_listing(lite.paths) == []
    lite.run("SELECT 1 FROM artifact_listing")


def test_listing_of_a_newer_catalog_is_refused(lite: Place) -> None:
    """The quick way keeps the rule of the other."""
    lite.open().close()
    lite.run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NewerCatalog):
        read_listing(lite.paths)


def test_attack_damaged_catalog_is_damage_on_the_quick_way(lite: Place) -> None:
    """Garbage in the file or in a row is named, not thrown."""
    with lite.open() as catalog:
        fill(catalog)
    lite.run("UPDATE models SET name = 'nonsense' WHERE name = 'org/name'")
    with pytest.raises(CatalogDamaged, match="nonsense"):
        read_listing(lite.paths)
    lite.paths.catalog.write_bytes(b"garbage" * 1000)
    with pytest.raises(CatalogDamaged):
        read_listing(lite.paths)


def test_listing_imports_neither_sqlalchemy_nor_alembic(lite: Place) -> None:
    """That is what makes it quick."""
    with lite.open() as catalog:
        fill(catalog)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from modelvault.catalog.listing import read_listing\n"
        "from modelvault.store.paths import VaultPaths\n"
        "print(len(read_listing(VaultPaths(Path(sys.argv[1])))))\n"
        "print(sorted({'sqlalchemy', 'alembic'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(lite.paths.root)],
        cwd=REPOSITORY, check=True, capture_output=True,
    )  # fmt: skip
    assert done.stdout == b"4\n[]\n"


def test_listing_sees_a_commit_at_once(catalog: Catalog, place: Place) -> None:
    """Readers do not wait for a checkpoint of the write-ahead log."""
    for number in range(3):
        add(catalog, artifact(commit=f"{number:040x}"))
        assert len(read_listing(place.paths, place.url)) == number + 1


def test_listing_of_a_vault_with_odd_characters_in_its_path(lite: Place, tmp_path: Path) -> None:
    """A path is not a URI: question marks, hashes and percent signs are only characters."""
    place = Place(paths=new_paths(tmp_path / "a?b#c%20d é"), url=None)
    with place.open() as catalog:
        fill(catalog)
    assert len(read_listing(place.paths)) == 4


@pytest.fixture
def read_only() -> Iterator[Place]:
    """A filled vault in a folder that others may only read."""
    root = Path(tempfile.mkdtemp())
    try:
        place = Place(paths=new_paths(root), url=None)
        with place.open() as catalog:
            fill(catalog)
        place.paths.catalog.chmod(0o444)
        root.chmod(0o555)
        yield place
    finally:
        root.chmod(0o755)
        shutil.rmtree(root)


def test_vault_of_another_account_can_be_read_but_not_changed(
    read_only: Place, tmp_path: Path
) -> None:
    """WAL's side files cannot be made there; the catalogue opens all the same."""
    rehearsal = shutil.copytree(read_only.paths.root, tmp_path / "rehearsal")
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(read_only.paths.root), str(rehearsal)],
        cwd=REPOSITORY, check=False, capture_output=True,
    )  # fmt: skip
    assert done.stderr == b""
    assert done.stdout.split() == [b"4", b"4", b"8", b"ReadOnly"]


def test_listing_of_many_artifacts_costs_the_same_for_each(
    lite: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten thousand artefacts each takes the database's machine a few dozen instructions."""
    connect, thousands = sqlite3.connect, list[None]()

    def counting(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_progress_handler(lambda: thousands.append(None), 1000)
        return connection

    with lite.open() as catalog:
        add(catalog, artifact())
    numbers = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
    lite.run(
        numbers + "INSERT INTO models SELECT i, 'org/name' || i FROM n",
        numbers + "INSERT INTO revisions SELECT i, i, printf('%040x', i), i FROM n",
        numbers + "INSERT INTO labels SELECT i, 'main', i, seen_at FROM n, labels",
        numbers + "INSERT INTO artifacts SELECT printf('%064x', i), i, variant, format, "
        "quantization, manifest, size, file_count, license, record, i, created_at "
        "FROM n, artifacts",
    )
    monkeypatch.setattr(sqlite3, "connect", counting)
    assert len(read_listing(lite.paths)) == 10_000
    assert 100 < len(thousands) < 1000
