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
from modelvault.catalog.listing_query import ListingQuery
from modelvault.catalog.values import Install, ListingRow
from modelvault.core.names import Reference
from modelvault.errors import BadOption, CatalogDamaged, NewerCatalog
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


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["model=org/*"], ["org/name", "org/name", "org/name:Q4_K_M"]),
        (["model=ORG/NAME", "variant="], ["org/name", "org/name"]),
        (["reference=org/name:q4*"], ["org/name:Q4_K_M"]),
        (["variant=Q4_K_M"], ["org/name:Q4_K_M"]),
        (["variant=Q4?K?M"], ["org/name:Q4_K_M"]),
        (["variant=Q4%"], []),
        (["format=gguf"], ["org/name:Q4_K_M"]),
        (["format=q4_k_m"], ["org/name:Q4_K_M"]),
        (
            ["format=gguf", "format=safetensors", "model=org/*"],
            ["org/name"] * 2 + ["org/name:Q4_K_M"],
        ),
        (["label=v1.0"], ["org/name"] * 2 + ["org/name:Q4_K_M"]),
        (["label=v1"], []),
        (["labels=v*"], ["org/name"] * 2 + ["org/name:Q4_K_M"]),
        (["licence="], ["acme/other"]),
        (["installed=ollama"], ["org/name:Q4_K_M"]),
        (["installed=", "model=org/*"], ["org/name"] * 2),
        (["revision=aaaa", "model=acme/*"], ["acme/other"]),
        (["added=2030-01-02"], ["acme/other"] + ["org/name"] * 2 + ["org/name:Q4_K_M"]),
        (["added=2031"], []),
        (["model='; DROP TABLE models"], []),
    ],
)
def test_filter_chooses_in_the_database(
    catalog: Catalog, place: Place, filters: list[str], expected: list[str]
) -> None:
    """Of several values of one key any, of several keys all; both ways of listing agree."""
    fill(catalog)
    query = ListingQuery.parse(filters, None)
    rows = read_listing(place.paths, place.url, query)
    assert [row.reference.label for row in rows] == expected
    assert catalog.listing(query) == rows


def test_filter_by_the_start_of_a_digest(catalog: Catalog, place: Place) -> None:
    """As the list shows it, with or without the algorithm."""
    fill(catalog)
    small = catalog.find(Reference.parse("org/name:Q4_K_M")).digest
    for text in (small.hex[:12], f"sha256:{small.hex[:8]}"):
        (row,) = read_listing(place.paths, place.url, ListingQuery.parse([f"id={text}"], None))
        assert row.digest == str(small)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("reference", ["acme/other", "org/name", "org/name", "org/name:Q4_K_M"]),
        ("-reference", ["org/name:Q4_K_M", "org/name", "org/name", "acme/other"]),
        ("size", ["acme/other", "org/name", "org/name", "org/name:Q4_K_M"]),
        ("added", ["org/name", "org/name", "org/name:Q4_K_M", "acme/other"]),
        ("-added_at", ["acme/other", "org/name:Q4_K_M", "org/name", "org/name"]),
        ("format", ["org/name:Q4_K_M", "acme/other", "org/name", "org/name"]),
        ("-files", ["org/name:Q4_K_M", "acme/other", "org/name", "org/name"]),
    ],
)
def test_list_is_sorted_as_asked(
    catalog: Catalog, place: Place, sort: str, expected: list[str]
) -> None:
    """Ascending, or descending with a minus; ties by model, oldest first."""
    fill(catalog)
    rows = read_listing(place.paths, place.url, ListingQuery.parse([], sort))
    assert [row.reference.label for row in rows] == expected


@pytest.mark.parametrize(
    ("filters", "sort"), [(["model"], None), (["nothing=x"], None), ([], "nothing"), (["=x"], None)]
)
def test_unknown_key_of_a_list_is_refused_with_those_there_are(
    filters: list[str], sort: str | None
) -> None:
    """A slip is told, not taken for a list without matches."""
    with pytest.raises(BadOption, match=r"size|variant"):
        ListingQuery.parse(filters, sort)


def test_usage_counts_each_byte_once_and_what_models_share(catalog: Catalog) -> None:
    """A file that two models hold is on the disk once, and stays when one of them goes."""
    shared, own = manifest("weights", "tokenizer"), manifest("weights", "else")
    first = add(catalog, artifact(shared), shared)
    second = add(catalog, artifact(own, model="acme/other"), own)
    again = add(catalog, artifact(shared, commit="b" * 40), shared)
    usage = catalog.usage()
    assert [(str(item.model), item.artifacts) for item in usage.models] == [
        ("acme/other", 1),
        ("org/name", 2),
    ]
    assert [(item.size, item.stored, item.shared) for item in usage.models] == [
        (11, 11, 7),
        (32, 16, 7),
    ]
    assert (usage.artifacts, usage.size, usage.stored) == (3, 43, 20)
    assert catalog.freed_by([second.digest]) == len("else")
    assert catalog.freed_by([first.digest]) == 0
    assert catalog.freed_by([first.digest, again.digest]) == len("tokenizer")
    assert catalog.freed_by([]) == 0


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
