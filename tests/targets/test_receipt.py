"""Receipts: one byte string for one install, and nothing hostile gets in by them."""

import dataclasses
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.errors import MalformedRecord, UnsupportedVersion
from modelvault.targets.receipt import InstalledFile, Placement, Receipt
from tests.support.installable import WHEN

RECEIPT = Receipt(
    target="ollama",
    location="/srv/models",
    name="tiny:q4_k_m",
    artifact=Digest.of(b"artefact"),
    files=(
        InstalledFile(
            path="blobs/sha256-00",
            digest=Digest.of(b"weights"),
            size=7,
            placement=Placement.HARDLINK,
            inode=42,
        ),
    ),
    folders=(".", "blobs"),
    installed=WHEN,
    notes=("ollama run tiny:q4_k_m",),
)

VECTOR = (
    b'{"_type":"modelvault/receipt/v1","artifact":"sha256:4edfbd28d0483e702f24bd5247ed646f'
    b'7e5752aec9d6b1461d837ccab6d27f7b","files":[{"digest":"sha256:9a129038d9a00aed0cf6a7e'
    b'a059ca50a813449061ab87848cf1a13eafdf33b2c","inode":42,"path":"blobs/sha256-00","plac'
    b'ement":"hardlink","size":7}],"folders":[".","blobs"],"installed":"2026-11-20T12:00:0'
    b'0+00:00","location":"/srv/models","name":"tiny:q4_k_m","notes":["ollama run tiny:q4_'
    b'k_m"],"target":"ollama"}'
)


def test_receipt_of_version_one_stays_readable() -> None:
    """The vector is read, and written again byte for byte, for ever."""
    receipt = Receipt.parse(VECTOR)
    assert receipt.encode() == VECTOR
    assert receipt == RECEIPT
    assert (receipt.size, receipt.count(Placement.HARDLINK), receipt.count(Placement.COPY)) == (
        7,
        1,
        0,
    )


@given(
    st.lists(
        st.builds(
            InstalledFile,
            path=st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,3}", fullmatch=True).filter(
                lambda path: not {"con", "prn", "aux", "nul"} & set(path.split("/"))
            ),
            digest=st.binary().map(Digest.of),
            size=st.integers(0, 2**63 - 1),
            placement=st.sampled_from(sorted(set(Placement) - {Placement.LINK})),
            inode=st.integers(0, 2**63 - 1),
        ),
        max_size=5,
    ),
    st.datetimes(timezones=st.timezones()).map(lambda when: when.replace(microsecond=0)),
)
def test_encoded_receipt_parses_to_itself(files: list[InstalledFile], when: datetime) -> None:
    """What is written is read back, inside other records too."""
    fixed = datetime.fromisoformat(when.isoformat())
    receipt = Receipt(
        target="vllm",
        location="/srv",
        name="a/b",
        artifact=Digest.of(b""),
        files=tuple(files),
        folders=(),
        installed=fixed,
    )
    assert Receipt.parse(receipt.encode()) == receipt
    assert Receipt.from_json(json.loads(canonical.encode(receipt.as_json()))) == receipt


LINKED = dataclasses.replace(
    RECEIPT,
    files=(
        dataclasses.replace(RECEIPT.files[0], path="blobs/00"),
        InstalledFile.of_link("files/weights", "../blobs/00", Placement.LINK),
        InstalledFile.of_link("files/again", "../blobs/00", Placement.PRESENT),
    ),
)


def test_documented_receipt_is_read_and_written_as_it_stands() -> None:
    """The permanent vector of version two, which has links."""
    page = (Path(__file__).parents[2] / "docs" / "formats" / "receipt.md").read_text("utf-8")
    ((digest, record),) = re.findall(r"vector: (sha256:\w{64}) -->\n```json\n(.*)\n", page)
    receipt = Receipt.parse(record.encode())
    assert str(Digest.of(record.encode())) == digest
    assert receipt.encode().decode() == record
    assert [file.link is None for file in receipt.files] == [True, False]
    for word in Placement:
        assert f"`{word.value}`" in page


def test_receipt_is_written_in_the_lowest_version_that_can_say_it() -> None:
    """Without a link an older release can still undo it; with one it must not try."""
    assert RECEIPT.as_json()["_type"] == "modelvault/receipt/v1"
    assert LINKED.as_json()["_type"] == "modelvault/receipt/v2"
    assert Receipt.parse(LINKED.encode()) == LINKED


def _linked(number: int, **changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["files"][number].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(_type="modelvault/receipt/v3"),
        lambda value: value.update(_type="modelvault/receipt/v9999", files=None),
        lambda value: value.update(service="tiny.service"),
        _linked(0, kind="device"),
        _linked(0, placement="overlay"),
        _linked(1, placement="junction"),
        _linked(1, mode=511),
    ],
)
def test_receipt_of_a_newer_release_is_told_apart_from_damage(
    change: Callable[[dict[str, Any]], None],
) -> None:
    """Its version, or a field, kind or placement unknown here: newer, and not obeyed."""
    value = json.loads(LINKED.encode())
    change(value)
    with pytest.raises(UnsupportedVersion) as caught:
        Receipt.parse(canonical.encode(value))
    assert "newer release" in caught.value.message
    assert "update modelvault" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        _linked(0, kind="link"),  # no text
        _linked(0, placement="link"),  # of a file
        _linked(1, placement="copy"),  # of a link
        _linked(1, link="/etc/passwd"),
        _linked(1, link="../../etc/passwd"),
        _linked(1, link=7),
        _linked(1, kind=7),
        _linked(1, path="../up"),
        lambda value: value["files"][1].pop("kind"),
        lambda value: value.update(_type="modelvault/receipt/v1"),
        lambda value: value.update(_type="modelvault/receipt/v02"),
    ],
)
def test_attack_linked_receipt_that_reaches_outside(
    change: Callable[[dict[str, Any]], None],
) -> None:
    """What is known and wrong is damage, in version two as in one."""
    value = json.loads(LINKED.encode())
    change(value)
    with pytest.raises(MalformedRecord):
        Receipt.parse(canonical.encode(value))


def _file(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda value: value["files"][0].update(changes)


def _top(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda value: value.update(changes)


@pytest.mark.parametrize(
    "change",
    [
        _file(path="../../etc/passwd"),
        _file(path="/etc/passwd"),
        _file(path="a\0b"),
        _file(digest="md5:00"),
        _file(size=-1),
        _file(size=2**64),
        _file(placement="symlink"),
        _file(extra=1),
        _top(folders=[".."]),
        _top(folders=["/"]),
        _top(folders=[1]),
        _top(location="relative"),
        _top(location="/srv/../etc"),
        _top(location="/a\0b"),
        _top(installed="yesterday"),
        _top(installed="2026-11-20T12:00:00"),
        _top(notes=["x" * 4097]),
        _top(notes=[None]),
        _top(_type="modelvault/receipt/v2"),  # its files say what kind they are
        _top(_type="modelvault/receipt/v0"),
        _top(_type="modelvault/manifest/v1"),
        _top(extra=True),
    ],
)
def test_attack_receipt_that_would_remove_other_files(
    change: Callable[[dict[str, Any]], None],
) -> None:
    """A receipt that points outside, or is not one, is refused before it is used."""
    value = json.loads(VECTOR)
    change(value)
    with pytest.raises(MalformedRecord):
        Receipt.parse(canonical.encode(value))
