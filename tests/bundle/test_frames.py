"""The codec ``zstd``: frames that the plain tool opens, and none that harms a reader."""

import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from modelvault.bundle.format import frames
from modelvault.bundle.format.codecs import Encoding, decode, encode
from modelvault.bundle.format.index import NONE, ZSTD, Piece
from modelvault.bundle.read.check import check_bundle
from modelvault.bundle.read.receive import import_blobs
from modelvault.bundle.write.compression import Compression
from modelvault.core.digest import Digest
from modelvault.errors import BundleDamaged
from tests.support.bundles import Site, holds, make_site, noise

TEXT = b"".join(b'"word %d": %d,\n' % (number, number * 7) for number in range(20_000))
FRAME = frames.compress(TEXT)
SKIPPABLE = bytes.fromhex("502a4d18") + (4).to_bytes(4, "little") + b"abcd"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=20_000) | st.text(max_size=20_000).map(str.encode))
def test_any_bytes_come_back_the_same(raw: bytes) -> None:
    """Whatever is encoded decodes to itself, and is never larger."""
    kind, stored = encode(raw, Encoding(codec=ZSTD))
    assert bytes(decode(kind, stored, len(raw))) == raw
    assert len(stored) <= len(raw)


def test_frame_that_loses_bytes_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that does not decode to what went in is never stored."""
    wrong = frames.compress(TEXT[:-1] + b"x")
    monkeypatch.setattr(frames, "compress", lambda raw: wrong)
    assert encode(TEXT, Encoding(codec=ZSTD)) == (NONE, TEXT)


def test_frame_with_oversized_content_is_refused_before_allocation() -> None:
    """The library allocates what the header declares: only the index's size is let through."""
    header = bytes.fromhex("28b52ffd") + bytes([0b11100000]) + (2**62).to_bytes(8, "little")
    with pytest.raises(BundleDamaged, match="raw size"):
        frames.decompress(header + FRAME[8:], len(TEXT))
    bomb = frames.compress(bytes(2**25))
    assert len(bomb) < 10_000
    with pytest.raises(BundleDamaged, match="raw size"):
        frames.decompress(bomb, len(TEXT))


def test_frame_that_holds_more_than_it_declares_is_refused() -> None:
    """The declared size caps the output, whatever the blocks say."""
    rle = len(TEXT) - 1
    header = bytes.fromhex("28b52ffd") + bytes([0b10100000]) + rle.to_bytes(4, "little")
    block = ((len(TEXT) << 3) | 0b011).to_bytes(3, "little") + b"x"
    with pytest.raises(BundleDamaged, match="does not decode"):
        frames.decompress(header + block, rle)


def test_frame_without_a_size_is_refused() -> None:
    """A frame whose length is not known beforehand is not allocated for."""
    stored = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    with pytest.raises(BundleDamaged, match="raw size"):
        frames.decompress(stored, len(TEXT))


def test_window_above_the_bound_is_refused() -> None:
    """More history than every decoder must support would ask outsiders for options."""
    raw = noise(frames.LARGEST_WINDOW) * 2
    for log, right in ((23, True), (24, False)):
        parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
        stored = zstandard.ZstdCompressor(compression_params=parameters).compress(raw)
        if right:
            assert frames.decompress(stored, len(raw)) == raw
        else:
            with pytest.raises(BundleDamaged, match="window"):
                frames.decompress(stored, len(raw))


def test_our_own_frames_keep_the_bounds() -> None:
    """A piece of the largest size that we cut still has a window of the allowed size."""
    raw = TEXT * (2**25 // len(TEXT))
    header = zstandard.get_frame_parameters(frames.compress(raw))
    assert header.window_size <= frames.LARGEST_WINDOW
    assert (header.content_size, header.has_checksum, header.dict_id) == (len(raw), True, 0)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (FRAME + b"\0", "unused data"),
        (FRAME + FRAME, "unused data"),
        (FRAME + SKIPPABLE, "unused data"),
        (SKIPPABLE + FRAME, "magic number"),
        (SKIPPABLE, "magic number"),
        (FRAME[:-1], "does not decode"),
        (FRAME[:6], "does not decode"),
        (b"", "magic number"),
        (bytes.fromhex("1eb52ffd") + FRAME[4:], "magic number"),
        (FRAME[:-4] + b"\0\0\0\0", "does not decode"),
    ],
)
def test_anything_but_one_whole_frame_is_refused(stored: bytes, message: str) -> None:
    """Trailing bytes, several and skippable frames, torn ones and a wrong checksum."""
    with pytest.raises(BundleDamaged, match=message):
        frames.decompress(stored, len(TEXT))


def test_frame_with_a_dictionary_is_refused() -> None:
    """A frame that needs bytes from elsewhere cannot be opened by anyone who has it."""
    words = zstandard.train_dictionary(
        2_000, [TEXT[start : start + 200] for start in range(0, len(TEXT), 200)]
    )
    stored = zstandard.ZstdCompressor(dict_data=words).compress(TEXT)
    with pytest.raises(BundleDamaged, match="dictionary"):
        frames.decompress(stored, len(TEXT))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=20))
def test_altered_frames_never_give_more_than_was_declared(changes: list[tuple[int, int]]) -> None:
    """Whatever happens to a frame, the result has the declared size or is an error."""
    stored = bytearray(FRAME)
    for offset, value in changes:
        stored[offset % len(stored)] = value
    try:
        length = len(frames.decompress(bytes(stored), len(TEXT)))
    except BundleDamaged:
        length = len(TEXT)
    assert length == len(TEXT)


def text_site(root: Path) -> Site:
    """Return a site whose bundle holds text over several pieces, and weights."""
    site = make_site(root, {"tokenizer.json": TEXT * 4, "model.gguf": noise(300_000)})
    site.export(compression=Compression.AUTO, volume_size=2_000_000)
    return site


def pieces_of(site: Site, data: bytes) -> list[tuple[Path, Piece]]:
    """Return where the pieces of a file stand on the medium."""
    index = site.verified().index
    return [
        (site.bundle / index.carriers[piece.carrier].name, piece)
        for blob, piece in index.pieces()
        if blob.digest == Digest.of(data)
    ]


def test_text_travels_as_frames_and_arrives_whole(tmp_path: Path) -> None:
    """The index asks for version 2; weights that do not shrink stay as they are."""
    site = text_site(tmp_path)
    index = site.verified().index
    assert index.version == 2
    assert {piece.codec for _, piece in pieces_of(site, TEXT * 4)} == {ZSTD}
    assert {piece.codec for _, piece in pieces_of(site, noise(300_000))} == {NONE}
    check_bundle(site.verified())
    import_blobs(site.verified(), site.beyond)
    assert holds(site.beyond, site.artifacts[0])


def test_bundle_without_text_worth_it_keeps_version_1(tmp_path: Path) -> None:
    """Sites with an older release go on reading what needs nothing new."""
    site = make_site(tmp_path)
    site.export(compression=Compression.AUTO)
    assert site.verified().index.version == 1
    assert site.index()["_type"] == "modelvault/bundle/v1"


def test_plain_tool_opens_text_out_of_a_volume(tmp_path: Path) -> None:
    """``tail | head | zstd -d``, as the format's document says, gives back the file."""
    tool = shutil.which("zstd")
    if tool is None:
        pytest.skip("zstd is not installed")
    site = text_site(tmp_path)
    opened = b""
    for path, piece in pieces_of(site, TEXT * 4):
        opened += subprocess.run(
            f"tail -c +{piece.offset + 1} '{path}' | head -c {piece.stored} | '{tool}' -dc",
            shell=True,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    assert opened == TEXT * 4


def test_library_alone_opens_text_out_of_a_volume(tmp_path: Path) -> None:
    """Any Zstandard decoder does, without limits changed or our header checks."""
    site = text_site(tmp_path)
    opened = b""
    for path, piece in pieces_of(site, TEXT * 4):
        stored = path.read_bytes()[piece.offset : piece.offset + piece.stored]
        opened += zstandard.ZstdDecompressor().stream_reader(stored).read()
    assert opened == TEXT * 4
