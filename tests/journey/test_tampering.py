"""What a hostile or failing medium does to a bundle, met with the real command.

Each refusal names the culprit, ends with the right status, and leaves the vault as it was:
same blobs, same catalogue, same log.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Site

Tamper = Callable[[Path], None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Return two honest bundles of one publisher, and the publisher's fingerprint."""
    root = tmp_path_factory.mktemp("world")
    site = Site(root / "site")
    for name in ("one", "two"):
        folder = root / f"model-{name}"
        folder.mkdir()
        (folder / "config.json").write_text(f'{{"name": "{name}"}}')
        (folder / "model.safetensors").write_bytes(os.urandom(2_600_000))
        site.run("pull", folder, "--as", f"acme/{name}").ok()
        site.run("export", f"acme/{name}", "--bundle", root / name, "--volume-size", "1MiB").ok()
    fingerprint = site.run("key", "list", "--json").ok().document["fingerprint"]
    return root / "one", root / "two", fingerprint


def volume(bundle: Path, number: int) -> Path:
    """Return the path of a volume."""
    return bundle / "modelvault-bundle" / f"volume-{number:04}.mvb"


def flip(path: Path, offset: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def swap(bundle: Path) -> None:
    """Exchange two volumes."""
    first, second = volume(bundle, 1), volume(bundle, 2)
    third = first.with_name("x")
    first.rename(third)
    second.rename(first)
    third.rename(second)


def rewrite_index(bundle: Path) -> None:
    """Change a number in the index, as somebody without the key would."""
    path = bundle / "modelvault-bundle" / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"serial":1', b'"serial":9'))


ATTACKS: dict[str, tuple[Tamper, int, str]] = {
    "flipped byte": (lambda bundle: flip(volume(bundle, 2), 700_000), 4, "volume-0002"),
    "truncated": (lambda bundle: os.truncate(volume(bundle, 2), 500_000), 4, "volume-0002"),
    "missing": (lambda bundle: volume(bundle, 2).unlink(), 4, "volume-0002"),
    "swapped": (swap, 4, "volume-0001"),
    "oversized": (lambda bundle: os.truncate(volume(bundle, 1), 10_000_000), 4, "volume-0001"),
    "index altered": (rewrite_index, 5, "index.json"),
    "signature missing": (
        lambda bundle: (bundle / "modelvault-bundle" / "index.sig").unlink(),
        5,
        "index.sig",
    ),
    "index replaced by a link": (
        lambda bundle: _link(bundle / "modelvault-bundle" / "index.json"),
        4,
        "index.json",
    ),
}


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def snapshot(vault: Path) -> dict[str, str]:
    """Return the digest of every file of a vault that an import could change."""
    return {
        str(path.relative_to(vault)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(vault.rglob("*"))
        if path.is_file()
        and not path.name.startswith(("catalog.db", "vault.lock"))
        and "partial" not in path.parts
    }


@pytest.fixture(scope="module")
def trusting(
    world: tuple[Path, Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Site]:
    """Return a function that makes a closed site that trusts the publisher."""
    one, _, fingerprint = world
    base = tmp_path_factory.mktemp("base")
    Site(base).run("trust", "add", one, "--fingerprint", fingerprint).ok()

    def make() -> Site:
        home = tmp_path_factory.mktemp("closed")
        shutil.copytree(base, home, dirs_exist_ok=True)
        return Site(home)

    return make


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_on_the_medium_is_refused_and_named(
    world: tuple[Path, Path, str],
    trusting: Callable[[], Site],
    tmp_path: Path,
    attack: str,
) -> None:
    """Import and bundle verify both refuse, naming the culprit; the vault is as before.

    But for one line in its history: that somebody tried.
    """
    tamper, status, culprit = ATTACKS[attack]
    bundle = tmp_path / "bundle"
    shutil.copytree(world[0], bundle)
    tamper(bundle)
    site = trusting()
    before = snapshot(site.vault)
    events = site.run("history", "--json").ok().document
    for command in (("import", bundle), ("bundle", "verify", bundle)):
        refused = site.run("--json", "--quiet", *command)
        assert refused.status == status, refused.stderr
        report = json.loads(refused.stderr.splitlines()[-1])
        assert culprit in " ".join([report["message"], *report["issues"]])
    assert site.run("list", "--json").ok().document == []
    *same, refusal = site.run("history", "--json").ok().document
    assert same == events
    assert (refusal["verb"], refusal["subject"]) == ("import refused", str(bundle))
    assert culprit in " ".join(
        [refusal["details"]["message"], refusal["details"].get("issues", "")]
    )
    orphans = set(snapshot(site.vault)) - set(before)
    assert all(path.startswith("blobs/") for path in orphans), "only orphans, which gc removes"
    site.run("gc").ok()
    assert snapshot(site.vault) == before


def test_attack_mixing_two_honest_bundles_is_refused(
    world: tuple[Path, Path, str], trusting: Callable[[], Site], tmp_path: Path
) -> None:
    """Volumes of one bundle under the index of another never become a model."""
    bundle = tmp_path / "bundle"
    shutil.copytree(world[0], bundle)
    shutil.copy(volume(world[1], 2), volume(bundle, 2))
    site = trusting()
    refused = site.run("--json", "--quiet", "import", bundle)
    assert refused.status == 4
    assert "volume-0002" in refused.stderr
    assert site.run("list", "--json").ok().document == []


def test_honest_bundle_still_imports_after_a_refusal(
    world: tuple[Path, Path, str], trusting: Callable[[], Site], tmp_path: Path
) -> None:
    """A refused import leaves nothing that would poison the honest one."""
    bundle = tmp_path / "bundle"
    shutil.copytree(world[0], bundle)
    flip(volume(bundle, 3), 10_000)
    site = trusting()
    assert site.run("import", bundle).status == 4
    site.run("import", world[0]).ok()
    site.run("verify").ok()
    assert len(site.run("list", "--json").ok().document) == 1
