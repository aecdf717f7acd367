"""Names, sizes and mounts: pure functions at the edge of a bundle."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.bundle.format.layouts.volumes import (
    parse_volume_size,
    usual_volume_size,
    volume_name,
)
from modelvault.bundle.medium.mounts import (
    Mount,
    file_system_of,
    is_unmounted,
    parse_mounts,
    read_mounts,
)
from modelvault.bundle.read.find import find_bundles, is_medium
from modelvault.errors import BadOption
from tests.support.bundles import make_site

pytestmark = pytest.mark.memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("fat32", 2**32 - 1),
        ("FAT32", 2**32 - 1),
        ("dvd", 4_650_000_000),
        ("25GB", 25 * 10**9),
        ("25 GB", 25 * 10**9),
        ("4.7GB", 4_700_000_000),
        ("16GiB", 16 * 2**30),
        ("1.5TiB", 3 * 2**39),
        ("700m", 700 * 10**6),
        ("2ki", None),
        ("1048576", 2**20),
        ("1048576B", 2**20),
    ],
)
def test_volume_size_is_understood(text: str, size: int | None) -> None:
    """Names, decimal and binary units, and plain bytes."""
    if size is None:
        with pytest.raises(BadOption, match="at least"):
            parse_volume_size(text)
    else:
        assert parse_volume_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "big", "-1GB", "1e9", "1048575", "0", "1.5", "9" * 30, "25XB"]
)
def test_other_volume_sizes_are_refused(text: str) -> None:
    """A typing error is never a size."""
    with pytest.raises(BadOption):
        parse_volume_size(text)


@given(st.integers(2**20, 10**15 - 1))
def test_bytes_are_themselves(size: int) -> None:
    """A number without unit is that many bytes."""
    assert parse_volume_size(str(size)) == size


def test_fat_gets_volumes_that_fit() -> None:
    """Other file systems get large ones."""
    assert usual_volume_size("vfat") == 2**32 - 1
    assert usual_volume_size("exfat") == usual_volume_size("") > 2**32
    assert volume_name(0) == "volume-0001.mvb"


TABLE = r"""
22 1 252:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 8:17 / /media/op/MY\040STICK rw,nosuid shared:9 master:1 - vfat /dev/sdb1 rw,uid=1000
31 22 0:50 / /mnt/nfs rw - nfs4 server:/export rw
32 22 8:33 / /mnt/disk rw - ext4 /dev/sdc1 rw
33 22 11:0 / /srv/cd ro - iso9660 /dev/sr0 ro
34 22 0:4 / /proc rw - proc proc rw
35 22 8:49 / /media/over rw - ext4 /dev/sdd1 rw
36 22 8:50 / /media/over rw - exfat /dev/sde1 rw
nonsense
37 22 8:49 /
"""


def test_mount_table_is_parsed() -> None:
    """Escapes, optional fields and odd lines."""
    mounts = parse_mounts(TABLE)
    assert [mount.point for mount in mounts][:2] == [Path("/"), Path("/media/op/MY STICK")]
    assert len(mounts) == 8
    assert [str(mount.point) for mount in mounts if is_medium(mount)] == [
        "/media/op/MY STICK",
        "/mnt/disk",
        "/srv/cd",
        "/media/over",
        "/media/over",
    ]


def test_file_system_is_that_of_the_nearest_mount() -> None:
    """The longest point counts; of two at one point the later."""
    mounts = parse_mounts(TABLE)
    assert file_system_of(Path("/media/op/MY STICK/x"), mounts) == "vfat"
    assert file_system_of(Path("/media/over"), mounts) == "exfat"
    assert file_system_of(Path("/home"), mounts) == "ext4"
    assert file_system_of(Path("/home"), ()) == ""


@pytest.mark.parametrize(
    ("path", "unmounted"),
    [
        ("/media/op/MY STICK", False),
        ("/media/op/MY STICK/new/folder", False),
        ("/media/op/OTHER", True),
        ("/media/op/MY STICK 2", True),
        ("/media", True),
        ("/mnt", True),
        ("/mnt/usb", True),
        ("/mnt/nfs/share", False),
        ("/run/media/op/STICK", True),
        ("/mnt/auto", True),
        ("/mnt/auto/usb", False),
        ("/srv/cd", False),
        ("/srv/nothing", False),
        ("/home/op/mnt/usb", False),
        ("/mnt/../srv/x", False),
        ("/media2/usb", False),
    ],
)
def test_places_of_media_without_a_medium_are_told(path: str, unmounted: bool) -> None:
    """Below the three folders only what is mounted is a medium; elsewhere nobody can say."""
    table = TABLE + (
        "40 22 0:60 / /mnt/auto rw - autofs systemd-1 rw\n"
        "41 40 8:65 / /mnt/auto/usb rw - vfat /dev/sdf1 rw\n"
    )
    assert is_unmounted(Path(path), parse_mounts(table)) is unmounted
    assert not is_unmounted(Path(path), ())


def test_this_hosts_mounts_can_be_read() -> None:
    """The kernel's own table parses."""
    assert file_system_of(Path("/proc"), read_mounts()) == "proc"


@given(st.text())
def test_any_mount_table_parses(text: str) -> None:
    """No table makes the search fail."""
    assert len(parse_mounts(text)) <= len(text.splitlines())


def test_bundles_are_found_on_media(tmp_path: Path) -> None:
    """At a mount point and one folder below; not through links, not when unfinished."""
    for name in ("stick", "disk", "network"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = make_site(tmp_path / "a"), make_site(tmp_path / "b")
    first.export()
    second.export()
    first.bundle.rename(tmp_path / "stick" / "modelvault-bundle")
    (tmp_path / "disk" / "july").mkdir()
    second.bundle.rename(tmp_path / "disk" / "july" / "modelvault-bundle")
    (tmp_path / "disk" / "link").symlink_to(tmp_path / "stick")
    (tmp_path / "disk" / "empty" / "modelvault-bundle.partial").mkdir(parents=True)
    mounts = [
        Mount(point=tmp_path / name, file_system=kind, source=source)
        for name, kind, source in (
            ("stick", "vfat", "/dev/sdb1"),
            ("disk", "exfat", "/dev/sdc1"),
            ("network", "nfs4", "server:/x"),
            ("gone", "vfat", "/dev/sdd1"),
        )
    ]
    assert find_bundles(mounts) == [tmp_path / "disk" / "july", tmp_path / "stick"]
    assert find_bundles(mounts[2:]) == []
    if os.geteuid():
        (tmp_path / "disk").chmod(0)
        assert find_bundles(mounts) == [tmp_path / "stick"]
        (tmp_path / "disk").chmod(0o755)
