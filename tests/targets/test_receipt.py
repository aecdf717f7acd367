"""Receipts: one byte string for one install, and nothing hostile gets in by them."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.errors import MalformedRecord
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
