"""Small files that stand for large ones, and names of half a file."""

import pytest

from modelvault.core.stand_ins import describe_stand_in, may_stand_in, unfinished

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 12345\n"
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (POINTER, "Git LFS pointer, not the file itself (12345 bytes)"),
        (POINTER.replace(b"git-lfs", b"hawser"), "Git LFS pointer"),
        (POINTER.replace(b"oid", b"ext-0-foo sha256:1\noid"), "Git LFS pointer"),
        (b"/annex/objects/SHA256E-s9--0.gguf\n", "git-annex pointer"),
        (b"# xet version 0\nfilesize = 9\n", "Xet pointer"),
    ],
)
def test_pointers_of_all_kinds_are_known(data: bytes, words: str) -> None:
    """What a clone or checkout leaves where the weights should be."""
    assert words in describe_stand_in(data)


@pytest.mark.parametrize("data", [b"", b"{}", b"GGUF" + bytes(99), b"version 1.0\n", POINTER[1:]])
def test_small_files_are_themselves(data: bytes) -> None:
    """A configuration is no pointer."""
    assert describe_stand_in(data) == ""


def test_only_small_files_can_be_pointers() -> None:
    """So that nothing large is read for it, and of thousands of small ones hardly any."""
    assert may_stand_in("spiece.model", len(POINTER))
    assert may_stand_in("model.safetensors", 300)
    assert not may_stand_in("config.json", 300)
    assert not may_stand_in("model.safetensors", 1024)
    assert not may_stand_in("model.safetensors", 3)
    assert not may_stand_in("model.safetensors", None)


def test_names_of_half_a_file_tell_the_whole_one() -> None:
    """As download tools leave them."""
    for suffix in ("incomplete", "aria2", "part", "partial", "crdownload", "download"):
        assert unfinished(f"a/model.safetensors.{suffix}") == "a/model.safetensors"
    assert unfinished("model.safetensors") == ""
    assert unfinished("a/.part") == ""
