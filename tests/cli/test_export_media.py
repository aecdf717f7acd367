"""``export`` fills media, not the disk of the host that no medium is mounted on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Outcome, Site, imitated_media

BUNDLE = "modelvault-bundle"
Export = Callable[..., Outcome]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return what stands for /media: an empty mount point, and a stick that is mounted."""
    folder = tmp_path / "media"
    (folder / "unplugged").mkdir(parents=True)
    (folder / "stick").mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path, media: Path) -> Site:
    """Return a site with a model, that sees these media and no others."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type":"llama"}')
    (model / "model.safetensors").write_bytes(bytes(8) + b"{}")
    site = Site(tmp_path / "site", **imitated_media(tmp_path / "mounts", media, media / "stick"))
    site.run("pull", model, "--as", "acme/tiny").ok()
    return site


def files_below(folder: Path) -> list[Path]:
    """Return everything below a folder."""
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("where", ["unplugged", "unplugged/2026", "gone", "gone/a/b", ""])
def test_medium_that_is_not_mounted_is_refused(site: Site, media: Path, where: str) -> None:
    """An empty mount point, a folder below one, none at all: nothing is written, no key made."""
    if not where:  # what media are mounted below is no medium either
        for folder in media.iterdir():
            folder.rmdir()
    before = files_below(media)
    for dry in ([], ["--dry-run"]):
        refused = site.run("export", "--bundle", media / where, *dry)
        assert refused.status == 9
        assert f"error: {media / where}" in refused.stderr
        assert "no medium mounted" in refused.stderr
        assert "hint: mount the medium, or insist with --create" in refused.stderr
    assert files_below(media) == before
    assert not (site.vault / "keys" / "signing.pem").exists()


def test_link_to_a_medium_that_is_not_mounted_is_refused(
    site: Site, media: Path, tmp_path: Path
) -> None:
    """Where a path ends counts, not how it is spelled."""
    (tmp_path / "usb").symlink_to(media / "unplugged")
    assert site.run("export", "--bundle", tmp_path / "usb").status == 9
    assert files_below(media / "unplugged") == []


@pytest.mark.parametrize("where", ["unplugged", "gone/a/b"])
def test_create_insists(site: Site, media: Path, where: str) -> None:
    """Whoever wants it gets it, folders on the way included; then it needs no word again."""
    site.run("export", "--bundle", media / where, "--create", "--dry-run").ok()
    site.run("export", "--bundle", media / where, "--create").ok()
    site.run("bundle", "verify", media / where).ok()
    assert "already there" in site.run("export", "--bundle", media / where).ok().stdout


@pytest.mark.parametrize("where", ["stick", "stick/2026", "stick/2026/july"])
def test_mounted_medium_takes_a_bundle_in_any_folder(site: Site, media: Path, where: str) -> None:
    """On a medium a folder may be new, one above another, too."""
    (media / "stick" / "2026").mkdir()
    site.run("export", "--bundle", media / where).ok()
    assert (media / where / BUNDLE / "index.sig").exists()


def test_elsewhere_a_new_folder_is_made_in_one_that_is_there(site: Site, tmp_path: Path) -> None:
    """As mkdir does; a path whose beginning is missing is a typing error until told otherwise."""
    site.run("export", "--bundle", tmp_path / "out").ok()
    refused = site.run("export", "--bundle", tmp_path / "typo" / "out")
    assert refused.status == 9
    assert "neither it nor the folder above it is there" in refused.stderr
    assert not (tmp_path / "typo").exists()
    site.run("export", "--bundle", tmp_path / "typo" / "out", "--create").ok()


def test_replacing_beside_thumbs_db_ends_well(site: Site, media: Path) -> None:
    """Windows' file stays, is named, and each bundle has a serial of its own."""
    stick = media / "stick"
    first = site.run("export", "--bundle", stick, "--json").ok().document
    (stick / BUNDLE / "Thumbs.db").write_bytes(b"pictures")
    model = site.home.parent / "model"
    (model / "config.json").write_text('{"model_type":"qwen2"}')
    site.run("pull", model, "--as", "acme/other").ok()
    second = site.run("export", "--bundle", stick, "--replace", "--json").ok()
    assert second.document["serial"] == first["serial"] + 1
    assert "Thumbs.db: not ours, and left alone" in second.stderr
    assert (stick / BUNDLE / "Thumbs.db").read_bytes() == b"pictures"
    third = site.run("export", "acme/tiny", "--bundle", stick, "--replace", "--json").ok()
    assert third.document["serial"] == first["serial"] + 2
    assert [path.name for path in stick.iterdir()] == [BUNDLE]
    site.run("bundle", "verify", stick).ok()
