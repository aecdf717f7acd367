"""Kill points: whatever dies in a transaction, the catalogue is as it was before."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelvault.errors import CatalogIncomplete
from tests.catalog.place import Place, add, artifact, event, manifest

REPOSITORY = Path(__file__).parents[2]

_DYING = """
import os, signal, sys
from pathlib import Path
from modelvault.catalog.catalog import Catalog
from modelvault.store.paths import VaultPaths
from tests.catalog.place import artifact, event, manifest

def items(limit):
    for number in range(10_000):
        if number == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        files = manifest(*(f"{number} {part}" for part in range(50)))
        yield artifact(files, commit=f"{number:040x}"), files

with Catalog.open(VaultPaths(Path(sys.argv[1])), url=sys.argv[2] or None) as catalog:
    catalog.add_artifacts(items(int(sys.argv[3])), event=event("import"))
"""

_DYING_IN_MIGRATION = """
import os, signal, sys
from pathlib import Path
from modelvault.catalog import schema
from modelvault.catalog.catalog import Catalog
from modelvault.store.paths import VaultPaths
upgrade = schema._upgrade
def die(connection, where):
    upgrade(connection, where)
    os.kill(os.getpid(), signal.SIGKILL)
schema._upgrade = die
Catalog.open(VaultPaths(Path(sys.argv[1])), url=sys.argv[2] or None)
"""


def run_until_killed(code: str, place: Place, *arguments: str) -> None:
    """Run a program that kills itself."""
    command = [sys.executable, "-c", code, str(place.paths.root), place.url or "", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("killed_at", [0, 1, 200])
def test_kill_in_a_transaction_changes_nothing(place: Place, killed_at: int) -> None:
    """Neither artefacts nor the event of a killed import are there; the next one works."""
    with place.open() as catalog:
        item = add(catalog, artifact())
        head = catalog.chain_head()
    run_until_killed(_DYING, place, str(killed_at))
    with place.open() as catalog:
        assert [found.artifact for found in catalog.artifacts()] == [item]
        assert catalog.chain_head() == head
        assert catalog.record(event()).sequence == 2
        assert catalog.verify_history(anchor=head) == 2


def test_kill_in_the_first_migration_leaves_it_to_the_next(place: Place) -> None:
    """A half-made schema is none."""
    run_until_killed(_DYING_IN_MIGRATION, place)
    with place.open() as catalog:
        add(catalog, artifact())
        assert catalog.verify_history() == 1


def test_rebuild_after_losing_the_catalog_gives_the_same_list(lite: Place) -> None:
    """The store alone is enough, as long as records and manifests are kept there."""
    with lite.open() as catalog:
        for number in range(3):
            add(catalog, artifact(commit=f"{number:040x}"))
        before = catalog.listing()
        records = [(item.artifact, manifest(), item.created_at) for item in catalog.artifacts()]
    lite.paths.catalog.unlink()
    with pytest.raises(CatalogIncomplete, match="gone"):
        lite.open()
    with lite.open(anew=True) as catalog:
        assert catalog.listing() == []
        catalog.rebuild(reversed(records), event=event("rebuild"))
        assert catalog.listing() == before
