"""The file of serials: what it keeps, and what it refuses to read."""

from pathlib import Path

import pytest

from modelvault.core.digest import Digest
from modelvault.errors import MalformedRecord, UnsupportedVersion
from modelvault.trust.serials import LIMIT, Received, SerialFile, Serials, parse_serials

INDEX = Digest.of(b"index")
SERIALS = Serials(exported={"SHA256:a": 7}, imported={"SHA256:b": Received(serial=3, index=INDEX)})


def test_serials_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Through the file, and with nothing left beside it."""
    file = SerialFile(tmp_path / "keys")
    assert file.read() == Serials()
    with file.lock():
        file.write(SERIALS)
    assert file.read() == SERIALS
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["serials.json"]


def test_serials_only_rise() -> None:
    """An older bundle that is taken on purpose lowers nothing."""
    older = Received(serial=2, index=Digest.of(b"older"))
    assert SERIALS.with_imported(["SHA256:b"], older) == SERIALS
    assert SERIALS.with_exported("SHA256:a", 5) == SERIALS


def test_format_is_the_documented_one() -> None:
    """Byte for byte as in docs/formats/serials.md."""
    page = Path(__file__).parents[2] / "docs" / "formats" / "serials.md"
    block = page.read_text("utf-8").split("```json\n")[1].split("\n```")[0]
    assert parse_serials(block.encode()).encode() == block.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        SERIALS.encode()[:-1],
        SERIALS.encode().replace(b"7", b"0"),
        SERIALS.encode().replace(b"7", b'"7"'),
        SERIALS.encode().replace(b"sha256:", b"sha257:"),
        SERIALS.encode().replace(b'"exported"', b'"expected"'),
        b" " * (LIMIT + 1),
    ],
)
def test_damaged_file_is_refused_with_its_remedy(tmp_path: Path, data: bytes) -> None:
    """Damage never reads as "nothing known"."""
    (tmp_path / "serials.json").write_bytes(data)
    with pytest.raises(MalformedRecord) as caught:
        SerialFile(tmp_path).read()
    assert "remove it" in caught.value.hint


def test_file_of_a_newer_release_is_not_called_damaged(tmp_path: Path) -> None:
    """It asks for an update."""
    (tmp_path / "serials.json").write_bytes(SERIALS.encode().replace(b"/v1", b"/v2"))
    with pytest.raises(UnsupportedVersion):
        SerialFile(tmp_path).read()
