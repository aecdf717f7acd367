"""Shards: cut, loaded by real llama.cpp, put together again; and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from modelvault.app.split import find_shards, merge_files, split_file
from modelvault.core.gguf import read_header
from modelvault.core.gguf_shards import KEYS, split
from modelvault.core.ports import Silence
from modelvault.errors import BadOption, MalformedWeights, SourceIncomplete
from tests.gguf.running import convert
from tests.support import tinygguf
from tests.support.command import Site
from tests.support.llamacpp import Model
from tests.support.tinymodel import Kind

LIMIT = 600_000


@pytest.fixture(scope="module")
def whole(tiny: Callable[[Kind], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny model as one file."""
    return convert(tiny("bpe"), "Q8_0", tmp_path_factory.mktemp("whole"))


@pytest.fixture
def shards(whole: Path, tmp_path: Path) -> list[Path]:
    """Return the same model in shards of at most ``LIMIT`` bytes."""
    return split_file(whole, tmp_path / "shards", limit=LIMIT, progress=Silence())


def test_shards_are_marked_as_llama_cpp_marks_them(whole: Path, shards: list[Path]) -> None:
    """Names, sizes and the three keys are right; only the first carries the metadata."""
    total = len(gguf.GGUFReader(whole).tensors)
    count = len(shards)
    assert count > 2
    for number, path in enumerate(shards):
        assert path.name == f"tiny-bpe-Q8_0-{number + 1:05}-of-{count:05}.gguf"
        assert path.stat().st_size <= LIMIT
        fields = gguf.GGUFReader(path).fields
        assert [fields[key].contents() for key in KEYS] == [number, count, total]
        assert [fields[key].types[0].name for key in KEYS] == ["UINT16", "UINT16", "INT32"]
        assert ("general.architecture" in fields) == (number == 0)


def test_shards_run_in_llama_cpp(whole: Path, shards: list[Path]) -> None:
    """Loaded by its first shard the model computes what the whole file computes."""
    with Model.load(whole) as one, Model.load(shards[0]) as other:
        ids = one.tokenize("The old lighthouse keeper")
        assert (one.logits(ids) == other.logits(ids)).all()


def test_merged_shards_are_the_file_that_was_split(
    whole: Path, shards: list[Path], tmp_path: Path
) -> None:
    """Splitting and merging give every byte back."""
    target = tmp_path / "merged.gguf"
    merge_files(find_shards(shards[1]), target, progress=Silence())
    assert target.read_bytes() == whole.read_bytes()


def test_foreign_shards_are_merged(whole: Path, tmp_path: Path) -> None:
    """Shards that another writer made come together, in their order."""
    reader = gguf.GGUFReader(whole)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=9)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = find_shards(tmp_path / "m-00001-of-00003.gguf")
    merge_files(found, tmp_path / "merged.gguf", progress=Silence())
    merged = gguf.GGUFReader(tmp_path / "merged.gguf")
    assert "split.count" not in merged.fields
    assert [(t.name, t.data.tobytes()) for t in merged.tensors] == [
        (t.name, t.data.tobytes()) for t in reader.tensors
    ]


def test_limit_that_no_tensor_fits_is_refused(whole: Path, tmp_path: Path) -> None:
    """The tensor is named, and nothing is written."""
    with pytest.raises(BadOption, match="no shard of 1000 bytes") as caught:
        split_file(whole, tmp_path / "out", limit=1000, progress=Silence())
    assert "--max-size" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_shard_is_not_split_again(shards: list[Path], tmp_path: Path) -> None:
    """Shards of shards would load nowhere."""
    with pytest.raises(BadOption, match="one shard of several"):
        split_file(shards[0], tmp_path / "out", limit=LIMIT, progress=Silence())


def test_existing_file_is_not_overwritten(whole: Path, shards: list[Path]) -> None:
    """What stands at a target stays."""
    before = shards[0].stat()
    with pytest.raises(BadOption, match="is there already"):
        split_file(whole, shards[0].parent, limit=LIMIT, progress=Silence())
    with pytest.raises(BadOption, match="is there already"):
        merge_files(shards, shards[0], progress=Silence())
    assert shards[0].stat() == before


def test_missing_shard_is_named(shards: list[Path]) -> None:
    """A set is merged whole or not at all."""
    shards[1].unlink()
    with pytest.raises(SourceIncomplete, match=shards[1].name):
        find_shards(shards[0])


def test_attack_with_swapped_shards_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """The order follows from what the shards say, not only from their names."""
    with pytest.raises(MalformedWeights, match=r"shard 1 of .* says \(1,"):
        merge_files([shards[1], shards[0], *shards[2:]], tmp_path / "x", progress=Silence())
    assert not (tmp_path / "x").exists()


def test_attack_with_a_shard_of_another_set_is_refused(shards: list[Path], tmp_path: Path) -> None:
    """A tensor that stands in two shards is no part of a model."""
    stranger = tmp_path / "stranger.gguf"
    shutil.copy(shards[1], stranger)
    with pytest.raises(MalformedWeights, match="of itself"):
        merge_files([*shards[:2], stranger, *shards[3:]], tmp_path / "x", progress=Silence())


def test_tensor_of_unknown_type_is_refused(tmp_path: Path) -> None:
    """Where the size of a tensor is not known, it is not guessed."""
    path = tmp_path / "new.gguf"
    path.write_bytes(tinygguf.gguf([], [tinygguf.tensor("a", [32], 200, 0)], data=bytes(64)))
    with open(path, "rb") as file:
        header = read_header(file, path.stat().st_size)
    with pytest.raises(MalformedWeights, match="type 200"):
        split(header, {}, 10_000)


def test_alignment_of_the_file_is_kept(tmp_path: Path) -> None:
    """Offsets of every shard obey the alignment, which every shard names."""
    path = tmp_path / "wide.gguf"
    tensors = [tinygguf.tensor(name, [32], 0, 256 * at) for at, name in enumerate("abc")]
    pair = tinygguf.u32_pair("general.alignment", 256)
    data = (bytes(range(128)) + bytes(128)) * 3
    path.write_bytes(tinygguf.gguf([pair], tensors, data=data, alignment=256))
    made = split_file(path, tmp_path / "out", limit=768, progress=Silence())
    assert len(made) > 1
    merge_files(made, tmp_path / "merged.gguf", progress=Silence())
    assert (tmp_path / "merged.gguf").read_bytes() == path.read_bytes()


def test_commands_split_pull_and_merge(whole: Path, tmp_path: Path) -> None:
    """Shards on disk are merged to a file, shards in the vault to a variant with lineage."""
    site = Site(tmp_path / "home")
    folder = tmp_path / "model"
    made = site.run("gguf", "split", whole, "--max-size", "1100kB", "--out", folder).ok()
    first = made.stdout.splitlines()[0]
    site.run("gguf", "merge", first, "--out", tmp_path / "again.gguf").ok()
    assert (tmp_path / "again.gguf").read_bytes() == whole.read_bytes()
    site.run("pull", folder, "--as", "test/tiny").ok()
    merged = site.run("--json", "gguf", "merge", "test/tiny").ok().document
    assert merged["reference"].endswith(":Q8_0")
    shown = site.run("show", "test/tiny:Q8_0").ok().stdout
    assert "merge" in shown
    assert site.run("--json", "inspect", "test/tiny:Q8_0").ok().document["size"] == (
        whole.stat().st_size
    )
    assert site.run("gguf", "merge", first).status == 2


def test_variant_is_split_and_merged_in_the_vault(whole: Path, tmp_path: Path) -> None:
    """Each makes a variant with its lineage, and merging gives the bytes back."""
    site = Site(tmp_path / "home")
    (tmp_path / "model").mkdir()
    shutil.copy(whole, tmp_path / "model")
    site.run("pull", tmp_path / "model", "--as", "test/tiny").ok()
    made = site.run("--json", "gguf", "split", "test/tiny", "--max-size", "1100kB").ok().document
    assert made["reference"].endswith(":Q8_0-split")
    shown = site.run("--json", "show", "test/tiny:Q8_0-split").ok().document
    names = [item["path"] for item in shown["files"]]
    assert len(names) > 1
    assert names[0] == f"{whole.stem}-00001-of-{len(names):05}.gguf"
    assert shown["record"]["origin"]["parameters"]["file"] == whole.name
    out = tmp_path / "again.gguf"
    site.run("gguf", "merge", "test/tiny:Q8_0-split", "--out", out).ok()
    assert out.read_bytes() == whole.read_bytes()
    merged = site.run("--json", "gguf", "merge", "test/tiny:Q8_0-split").ok().document
    assert merged["reference"].endswith(":Q8_0")


def test_variant_is_split_into_files(whole: Path, tmp_path: Path) -> None:
    """With ``--out`` the vault stays as it was."""
    site = Site(tmp_path / "home")
    (tmp_path / "model").mkdir()
    shutil.copy(whole, tmp_path / "model" / "one.gguf")
    shutil.copy(whole, tmp_path / "model" / "two.gguf")
    site.run("pull", tmp_path / "model", "--as", "test/tiny").ok()
    command = ("gguf", "split", "test/tiny", "--max-size", "1100kB", "--out", tmp_path / "out")
    refused = site.run(*command)
    assert refused.status == 8
    assert "one.gguf" in refused.stderr
    assert "two.gguf" in refused.stderr
    made = site.run("--json", *command, "--file", "two.gguf").ok().document["files"]
    assert Path(made[0]).name.startswith("two-00001-of-")
    assert len(site.run("--json", "list").ok().document) == 1
