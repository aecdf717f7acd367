"""``inspect`` reads headers of any GGUF or safetensors file, and believes none of them."""

import json
import struct
from contextlib import suppress
from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from modelvault.app.inspect import inspect_path
from modelvault.core.model_files import shard_names
from modelvault.core.safetensors_header import read_header
from modelvault.errors import BadOption, MalformedWeights, SourceIncomplete
from tests.support import tinygguf
from tests.support.seventy import PARAMETERS, SHARDS, make_seventy
from tests.support.tinymodel import make_tiny_llama


def safetensors(path: Path, header: object, data: bytes = b"") -> Path:
    """Write a safetensors file with this header; return its path."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    """Return one tensor of a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_safetensors_set_is_what_the_library_reads(tmp_path: Path) -> None:
    """Names, types and shapes of all shards agree with the safetensors library."""
    make_tiny_llama(tmp_path, shards=3)
    found = inspect_path(tmp_path / "model-00002-of-00003.safetensors")
    expected = {}
    for name in found.files:
        with safe_open(tmp_path / name, "np") as file:
            for key in file.keys():  # noqa: SIM118 - not a mapping
                piece = file.get_slice(key)
                expected[key] = (piece.get_dtype(), tuple(piece.get_shape()), name)
    assert len(found.files) == 3
    assert {t.name: (t.type, t.shape, t.file) for t in found.tensors} == expected
    assert found.bits_per_weight == 16
    assert found == inspect_path(tmp_path)


def test_gguf_is_what_the_library_reads(tmp_path: Path) -> None:
    """Tensors, offsets, sizes and metadata agree with the gguf package."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tinygguf.tiny_llama())
    found = inspect_path(path)
    reader = gguf.GGUFReader(path)
    assert [(t.name, t.type, t.offset, t.size, t.count) for t in found.tensors] == [
        (t.name, t.tensor_type.name, t.data_offset, t.n_bytes, t.n_elements) for t in reader.tensors
    ]
    assert found.tensors[0].shape == (2, 32)
    assert found.metadata["general.architecture"] == "llama"
    assert found.arrays == {"tokenizer.ggml.tokens": 3}
    assert found.parameters == 96
    assert found.bits_per_weight == 32


def test_totals_count_each_type(tmp_path: Path) -> None:
    """Types are summed apart, the heaviest first."""
    header = {"a": entry([8], 0, 32), "b": entry([4], 32, 36, "I8"), "c": entry([8], 36, 68)}
    found = inspect_path(safetensors(tmp_path / "x.safetensors", header, bytes(68)))
    totals = [(t.type, t.tensors, t.parameters, t.size) for t in found.totals]
    assert totals == [("F32", 2, 16, 64), ("I8", 1, 4, 4)]


def test_four_bit_floats_have_their_size(tmp_path: Path) -> None:
    """Types of less than a byte are checked and counted, too."""
    found = inspect_path(
        safetensors(tmp_path / "x.safetensors", {"a": entry([8], 0, 4, "F4")}, bytes(4))
    )
    assert found.bits_per_weight == 4


def test_unknown_gguf_type_is_shown_as_such(tmp_path: Path) -> None:
    """A type of a later llama.cpp has no size here, and counts for no average."""
    path = tmp_path / "new.gguf"
    path.write_bytes(tinygguf.gguf([], [tinygguf.tensor("a", [32], 200, 0)], data=bytes(64)))
    (tensor,) = inspect_path(path).tensors
    assert (tensor.type, tensor.size) == ("type 200", None)
    assert inspect_path(path).bits_per_weight == 0


def test_seventy_billion_weights_are_read_off_the_headers(tmp_path: Path) -> None:
    """A sparse model of 141 GB: all of its shards are counted."""
    make_seventy(tmp_path)
    found = inspect_path(tmp_path)
    assert len(found.files) == SHARDS
    assert found.parameters == PARAMETERS
    assert found.size > 141e9


def test_missing_shard_is_named(tmp_path: Path) -> None:
    """A set is shown whole or not at all."""
    make_tiny_llama(tmp_path, shards=3)
    (tmp_path / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(SourceIncomplete, match="model-00003-of-00003"):
        inspect_path(tmp_path / "model-00001-of-00003.safetensors")


def test_folder_with_several_models_asks_which(tmp_path: Path) -> None:
    """Two GGUF files are two models."""
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(tinygguf.tiny_llama())
    with pytest.raises(BadOption, match="2 weight files") as caught:
        inspect_path(tmp_path)
    assert caught.value.issues == ("a.gguf", "b.gguf")


def test_consolidated_copy_is_not_counted(tmp_path: Path) -> None:
    """Mistral's folders hold the weights twice; alone, the consolidated file is the model."""
    consolidated = safetensors(
        tmp_path / "consolidated.safetensors", {"tok": entry([4], 0, 16)}, bytes(16)
    )
    assert inspect_path(tmp_path).files == (consolidated.name,)
    safetensors(tmp_path / "model.safetensors", {"embed": entry([4], 0, 16)}, bytes(16))
    assert inspect_path(tmp_path).files == ("model.safetensors",)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"#!/bin/sh\n" * 40], ids=repr)
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    """What is neither format is said to be neither."""
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(BadOption, match="neither GGUF nor safetensors"):
        inspect_path(path)


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        ({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, 24, "overlaps"),
        ({"a": entry([4], 0, 16), "b": entry([4], 20, 36)}, 36, "hole"),
        ({"a": entry([4], 0, 16)}, 12, "ends? at byte"),
        ({"\ud800": entry([4], 0, 16)}, 16, "surrogates"),
        ({"__metadata__": {"a": "\udfff"}}, 0, "surrogates"),
        ({"a": entry([5], 0, 16)}, 16, "cannot take"),
        ({"a": entry([1 << 60], 0, 16)}, 16, "proper shape"),
        ({"a": entry([-4], 0, 16)}, 16, "proper shape"),
        ({"a": entry([1] * 9, 0, 4)}, 4, "proper shape"),
        ({"a": entry([4], 16, 0)}, 16, "proper offsets"),
        ({"a": {"dtype": "F32"}}, 0, "not a tensor"),
        ({"__metadata__": {"a": 1}}, 0, "not texts"),
        ([], 0, "not an object"),
    ],
)
def test_attack_with_a_lying_safetensors_header_is_refused(
    tmp_path: Path, header: object, data: int, reason: str
) -> None:
    """Sizes, shapes and places are compared with each other and with the file."""
    path = safetensors(tmp_path / "x.safetensors", header, bytes(data))
    with pytest.raises(MalformedWeights, match=reason) as caught:
        inspect_path(path)
    assert caught.value.message.startswith("x.safetensors: ")


def test_attack_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    """JSON lets a later key win; here it does not."""
    one = json.dumps(entry([1], 0, 4))
    text = f'{{"a": {one}, "a": {one}}}'.encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(MalformedWeights, match="twice"):
        inspect_path(path)


def test_attack_with_a_giant_header_is_refused_unread(tmp_path: Path) -> None:
    """A length beyond the file or the limit allocates nothing."""
    path = tmp_path / "x.safetensors"
    for length in (2**63, 2**40, 17):
        path.write_bytes(struct.pack("<Q", length) + bytes(16))
        with pytest.raises(MalformedWeights, match=f"claims {length} bytes"):
            inspect_path(path)


def test_attack_with_one_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    """A name stands once in a set."""
    for number in (1, 2):
        safetensors(
            tmp_path / f"m-0000{number}-of-00002.safetensors", {"a": entry([1], 0, 4)}, bytes(4)
        )
    with pytest.raises(MalformedWeights, match=r"is in m-00001-of-00002.* and in m-00002"):
        inspect_path(tmp_path)


@given(data=st.binary(max_size=200))
def test_attack_with_arbitrary_bytes_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Whatever stands in the header, nothing but the one error comes out."""
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    with open(path, "rb") as file, suppress(MalformedWeights):
        assert read_header(file, 8 + len(data)).tensors == ()


def test_shards_of_a_name_are_all_of_its_set() -> None:
    """The set follows from any of its names; other names stand alone."""
    assert shard_names("a-00002-of-00003.gguf") == [
        f"a-0000{number}-of-00003.gguf" for number in (1, 2, 3)
    ]
    assert shard_names("a-00001-of-00000.gguf") == ["a-00001-of-00000.gguf"]
    assert shard_names("a-00001-of-99999.gguf") == ["a-00001-of-99999.gguf"]
    assert shard_names("a.gguf") == ["a.gguf"]
