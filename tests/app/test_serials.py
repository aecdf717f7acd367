"""Serials of bundles: what is older is refused, here and after everything else was lost."""

import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modelvault.app.export import ExportOptions, choose_artifacts, export
from modelvault.app.housekeeping import rebuild
from modelvault.app.pull import plan_pull, pull
from modelvault.app.vault import Vault
from modelvault.core.names import ModelName
from modelvault.core.ports import Silence
from modelvault.errors import BadOption, MalformedRecord, OlderBundle, WrongClock
from modelvault.sources.folder.source import FolderSource
from modelvault.store.paths import VaultPaths
from tests.support.command import Site, closed_site
from tests.support.publishers import FILES, Publisher, recently, take, trusting


@pytest.fixture
def a(tmp_path: Path) -> Publisher:
    """A publisher."""
    return Publisher(root=tmp_path / "a")


@pytest.fixture
def b(tmp_path: Path) -> Publisher:
    """Another one."""
    return Publisher(root=tmp_path / "b")


@pytest.fixture
def root(tmp_path: Path, a: Publisher, b: Publisher) -> Path:
    """A vault that trusts both."""
    return trusting(tmp_path / "vault", a, b)


def lose_catalog(root: Path) -> None:
    """Lose the database, and make it anew from the store."""
    for path in root.glob("catalog.db*"):
        path.unlink()
    with Vault.open(root) as vault:
        rebuild(vault)


def lose_file(root: Path) -> None:
    """Lose the file of serials."""
    (root / "keys" / "serials.json").unlink()


def nothing(_: Path) -> None:
    """Lose nothing."""


@pytest.mark.parametrize("lose", [nothing, lose_catalog, lose_file])
def test_replayed_older_bundle_is_refused(
    tmp_path: Path, root: Path, a: Publisher, lose: Callable[[Path], None]
) -> None:
    """An old medium is refused by file and log together, and by either alone."""
    old = a.send(tmp_path / "old", serial=1)
    take(root, a.send(tmp_path / "new", serial=2))
    lose(root)
    with pytest.raises(OlderBundle) as caught:
        take(root, old)
    assert caught.value.exit_code == 5
    assert a.fingerprint in caught.value.issues[0]
    assert "--allow-older" in caught.value.hint


@pytest.mark.parametrize("lose", [nothing, lose_catalog, lose_file])
def test_rollback_is_refused_for_each_signer(
    tmp_path: Path, root: Path, a: Publisher, b: Publisher, lose: Callable[[Path], None]
) -> None:
    """Signed by two, then an older one by either of them alone."""
    take(root, a.send(tmp_path / "both", serial=5, beside=b))
    lose(root)
    for number, publisher in enumerate((a, b)):
        with pytest.raises(OlderBundle) as caught:
            take(root, publisher.send(tmp_path / f"old{number}", serial=4))
        assert publisher.fingerprint in caught.value.issues[0]


def test_same_bundle_again_is_fine(tmp_path: Path, root: Path, a: Publisher) -> None:
    """Repeating an import is no rollback, nor after the catalogue was made anew."""
    medium = a.send(tmp_path / "medium", serial=3)
    take(root, medium)
    assert take(root, medium).new == ()
    lose_catalog(root)
    assert take(root, medium).warnings == ()


def test_other_bundle_of_the_same_serial_is_refused(
    tmp_path: Path, root: Path, a: Publisher
) -> None:
    """Two contents with one serial: nobody can tell which came first."""
    take(root, a.send(tmp_path / "one", serial=3))
    other = a.send(tmp_path / "two", a.make(FILES, name="acme/other"), serial=3)
    with pytest.raises(OlderBundle):
        take(root, other)


def test_older_bundle_is_taken_for_a_reason_that_is_logged(
    tmp_path: Path, root: Path, a: Publisher
) -> None:
    """The operator decides, the log tells why, and the next older one is refused again."""
    old = a.send(tmp_path / "old", a.make(FILES, name="acme/other"), serial=1)
    older = a.send(tmp_path / "older", a.make(FILES, name="acme/third"), serial=1)
    take(root, a.send(tmp_path / "new", serial=2))
    for empty in ("", "  ", "a\nb", "x" * 501):
        with pytest.raises(BadOption):
            take(root, old, allow_older=empty)
    done = take(root, old, allow_older="the newer one is broken")
    assert any("older" in warning for warning in done.warnings)
    with Vault.open(root) as vault:
        events = list(vault.catalog.history(verb="import"))
    assert events[-1].details["allow_older"] == "the newer one is broken"
    with pytest.raises(OlderBundle):
        take(root, older)


@pytest.mark.parametrize("serial", [2**53, 10**12])
def test_serial_that_would_lock_the_key_out_is_refused(
    tmp_path: Path, root: Path, a: Publisher, serial: int
) -> None:
    """No bundle can be written or read whose serial is beyond the seconds of its time."""
    with pytest.raises(MalformedRecord, match="serial"):
        a.send(tmp_path / "medium", serial=serial)


def test_times_that_cannot_be_are_refused(tmp_path: Path, root: Path, a: Publisher) -> None:
    """The year 9999 by the format; two years ahead by this host's clock, and nothing is noted."""
    with pytest.raises(MalformedRecord, match="2199"):
        a.send(tmp_path / "never", serial=1, created="9999-01-01T00:00:00Z")
    ahead = a.send(tmp_path / "ahead", serial=9, created=recently(days=-800))
    with pytest.raises(WrongClock):
        take(root, ahead, allow_older="whatever")
    assert take(root, a.send(tmp_path / "now", serial=1)).new


def test_bundle_from_tomorrow_is_said(tmp_path: Path, root: Path, a: Publisher) -> None:
    """More than a day ahead is taken with a warning, less is nothing to speak of."""
    near = take(root, a.send(tmp_path / "near", serial=1, created=recently(hours=-20)))
    assert near.warnings == ()
    far = take(root, a.send(tmp_path / "far", serial=2, created=recently(days=-3)))
    assert any("clock" in warning for warning in far.warnings)


def test_damaged_file_of_serials_stops_the_import(tmp_path: Path, root: Path, a: Publisher) -> None:
    """What cannot be read is not taken for nothing."""
    take(root, a.send(tmp_path / "one", serial=1))
    (root / "keys" / "serials.json").write_bytes(b"{")
    with pytest.raises(MalformedRecord):
        take(root, a.send(tmp_path / "two", serial=2))


# -- the exporting side


@pytest.fixture
def site(tmp_path: Path, model: Path) -> Path:
    """A vault with a model to export."""
    root = tmp_path / "site"
    source = FolderSource(model, ModelName.parse("acme/tiny"))
    plan = plan_pull(source, VaultPaths(root), include=(), exclude=())
    with Vault.open(root, create=True) as vault:
        pull(vault, plan, Silence())
    return root


def serial_of_export(root: Path, medium: Path, *, replace: bool = False) -> int:
    """Export everything; return the serial that stands on the medium."""
    with Vault.open(root) as vault:
        chosen = choose_artifacts(vault, ())
        export(vault, chosen, medium, ExportOptions(replace=replace), Silence())
    index = json.loads((medium / "modelvault-bundle" / "index.json").read_bytes())
    assert isinstance(index["serial"], int)
    return index["serial"]


@pytest.mark.parametrize("lose", [nothing, lose_catalog, lose_file])
def test_export_goes_on_counting(tmp_path: Path, site: Path, lose: Callable[[Path], None]) -> None:
    """The next serial is the next, whatever else was lost."""
    assert serial_of_export(site, tmp_path / "one") == 1
    assert serial_of_export(site, tmp_path / "two") == 2
    lose(site)
    assert serial_of_export(site, tmp_path / "three") == 3


def test_export_goes_on_from_the_medium(tmp_path: Path, site: Path) -> None:
    """What this key signed on the medium counts; what another one signed there does not."""
    for _ in range(3):
        serial = serial_of_export(site, tmp_path / "one", replace=True)
    assert serial == 3
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    lose_file(site)
    lose_catalog(site)
    assert serial_of_export(site, tmp_path / "copy", replace=True) == 4


def test_key_on_a_new_host_does_not_begin_again(
    tmp_path: Path, site: Path, root: Path, model: Path
) -> None:
    """Where nothing is known of an older key, its serials go on from the time."""
    assert serial_of_export(site, tmp_path / "one") == 1
    lose_file(site)
    lose_catalog(site)
    before = int(dt.datetime.now(dt.UTC).timestamp())
    serial = serial_of_export(site, tmp_path / "two")
    assert before <= serial <= before + 60
    assert serial_of_export(site, tmp_path / "three", replace=True) == serial + 1
    with Vault.open(site) as vault:
        key, _ = vault.keystore.signing_key()
    with Vault.open(root) as vault:
        vault.keystore.trust(key.public_key, "site", None, when=dt.datetime.now(dt.UTC))
    take(root, tmp_path / "one")
    take(root, tmp_path / "two")


_EARLIER = """
import datetime

class Earlier(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) - datetime.timedelta(days=365 * 40)

datetime.datetime = Earlier
"""


def test_clock_that_runs_backwards_is_said(tmp_path: Path, model: Path) -> None:
    """An import at a time before the log's end warns; --allow-older is on the command line."""
    site, closed = Site(tmp_path / "site"), closed_site(tmp_path / "closed")
    site.run("pull", model, "--as", "acme/tiny").ok()
    first = site.run("export", "--bundle", tmp_path / "old").ok()
    assert "this host's clock" not in first.stderr  # though the key is made, and logged, on the way
    site.run("export", "--bundle", tmp_path / "new").ok()
    fingerprint = site.run("key", "list", "--json").ok().document["fingerprint"]
    closed.run("trust", "add", tmp_path / "new", "--fingerprint", fingerprint).ok()
    closed.run("import", tmp_path / "new").ok()
    refused = closed.run("import", tmp_path / "old")
    assert refused.status == 5
    assert "--allow-older" in refused.stderr
    taken = closed.run("import", tmp_path / "old", "--allow-older", "ticket 12").ok()
    assert "warning: this bundle is older" in taken.stderr
    assert "ticket 12" in closed.run("history", "--json").ok().stdout
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "sitecustomize.py").write_text(_EARLIER)
    back = Site(tmp_path / "site", PYTHONPATH=str(earlier))
    said = back.run("export", "--bundle", tmp_path / "third").ok()
    assert "this host's clock" in said.stderr
