"""What cannot work is refused before it is fetched, with every reason."""

import json

import pytest

from modelvault.errors import IncompleteModel
from modelvault.sources.completeness import check_whole, find_gaps, wanted_contents
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.selection import EXCLUDED, NOT_INCLUDED, LeftOut
from tests.core.test_stand_ins import POINTER

INDEX = "model.safetensors.index.json"


def files(*paths: str) -> list[OfferedFile]:
    """Return files of some size."""
    return [OfferedFile(path=path, size=5000) for path in paths]


def index(*names: str) -> bytes:
    """Return an index that names these files."""
    return json.dumps({"weight_map": {f"t{n}": name for n, name in enumerate(names)}}).encode()


def left(path: str, reason: str) -> LeftOut:
    """Return a file that was left out."""
    return LeftOut(path=path, size=1, reason=reason)


def test_part_of_a_set_is_refused_with_those_that_are_missing() -> None:
    """Of GGUF and of safetensors, from wherever they come."""
    for name in ("m-0000{}-of-00003.gguf", "model-0000{}-of-00003.safetensors"):
        with pytest.raises(IncompleteModel) as error:
            check_whole(files(name.format(2)), (), {}, include=())
        assert "2 of 3 parts" in error.value.message
        assert name.format(1) in error.value.message
        assert "--include '*'" in error.value.hint


def test_whoever_asks_for_everything_gets_it_and_is_told() -> None:
    """An unfinished repository can be mirrored as it is."""
    notes = check_whole(files("m-00002-of-00003.gguf"), (), {}, include=("*",))
    assert "2 of 3 parts" in notes[0]


def test_part_that_a_pattern_leaves_out_is_refused_of_gguf_and_noted_of_others() -> None:
    """A GGUF is loaded whole; safetensors are looked into one by one."""
    for reason in (EXCLUDED, NOT_INCLUDED):
        other = left("m-00001-of-00002.gguf", reason)
        assert find_gaps(files("m-00002-of-00002.gguf"), [other], {}).issues
        other = left("m-00001-of-00002.safetensors", reason)
        gaps = find_gaps(files("m-00002-of-00002.safetensors"), [other], {})
        assert (len(gaps.issues), len(gaps.notes)) == (0, 1)


def test_file_that_the_index_names_and_nobody_has_is_missing() -> None:
    """Whatever the weights are called, and in whatever folder."""
    chosen = files(f"sub/{INDEX}", "sub/language.safetensors")
    contents = {f"sub/{INDEX}": index("language.safetensors", "vision.safetensors")}
    assert wanted_contents(chosen) == chosen[:1]
    with pytest.raises(IncompleteModel, match=r"sub/vision\.safetensors"):
        check_whole(chosen, (), contents, include=())
    whole = [*chosen, *files("sub/vision.safetensors")]
    assert check_whole(whole, (), contents, include=()) == ()


def test_index_that_was_left_behind_is_a_note() -> None:
    """Weights that were merged leave an index of parts that are gone."""
    chosen = files(INDEX, "model.safetensors")
    contents = {INDEX: index("model-00001-of-00002.safetensors")}
    (note,) = check_whole(chosen, (), contents, include=())
    assert "a leftover" in note


@pytest.mark.parametrize("data", [b"", b"[", b"[]", b"{}", b'{"weight_map": 7}', b"[" * 9000])
def test_attack_index_that_makes_no_sense_says_nothing(data: bytes) -> None:
    """It is the converter's and the runtime's to complain about."""
    assert check_whole(files(INDEX, "a.safetensors"), (), {INDEX: data}, include=()) == ()


def test_index_is_not_read_where_the_names_tell_the_number() -> None:
    """Most models cost no question for it."""
    chosen = files(INDEX, "model-00001-of-00001.safetensors")
    assert wanted_contents(chosen) == []


def test_pointer_in_place_of_weights_is_refused_with_the_way_on() -> None:
    """Whether its source knows it, or its content tells."""
    small = [OfferedFile(path="model.safetensors", size=len(POINTER))]
    assert wanted_contents(small) == small
    for chosen, contents in (
        (small, {"model.safetensors": POINTER}),
        ([OfferedFile(path="spiece.model", size=99, doubt="a Git LFS pointer")], {}),
    ):
        with pytest.raises(IncompleteModel) as error:
            check_whole(chosen, (), contents, include=())
        assert "Git LFS pointer" in error.value.message
        assert "git lfs pull" in error.value.hint
        with pytest.raises(IncompleteModel):  # data can be pointers, too
            check_whole(chosen, (), contents, include=(), dataset=True)


def test_unfinished_downloads_are_refused_by_both_names() -> None:
    """The control file beside a file says that it is not whole; a half file says so itself."""
    chosen = files("a.safetensors", "a.safetensors.aria2", "b.gguf.incomplete", "config.json")
    with pytest.raises(IncompleteModel) as error:
        check_whole(chosen, (), {}, include=())
    assert len(error.value.issues) == 2
    assert error.value.issues[0].startswith("a.safetensors: its download is not finished")
    assert error.value.issues[1] == "b.gguf.incomplete: an unfinished download"


def test_parts_of_datasets_are_nobodys_business() -> None:
    """Who knows what belongs together in data."""
    chosen = files("data-00001-of-00009.safetensors")
    assert check_whole(chosen, (), {}, include=(), dataset=True) == ()
