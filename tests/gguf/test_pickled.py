"""``pytorch_model.bin``: tensors are read in place, and nothing of a pickle is ever run."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from modelvault.core.protocol import SourceFile
from modelvault.errors import MalformedWeights, SourceIncomplete, UnsupportedSource
from modelvault_converters.pickled import FILE, INDEX, PickledFile
from tests.gguf.running import convert, edit_json, plan
from tests.support.tinymodel import make_tiny_llama


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """Take a model's weights out of its folder."""
    found: dict[str, torch.Tensor] = {}
    for path in folder.glob("model*.safetensors*"):
        if path.suffix == ".safetensors":
            found |= load_file(path)
        path.unlink()
    return found


def as_pickle(folder: Path, **settings: Any) -> None:
    """Store a model's weights as PyTorch does."""
    torch.save(weights_of(folder), folder / FILE, **settings)


def open_pickle(path: Path) -> PickledFile:
    """Open a weight file as the converter does."""
    size = path.stat().st_size
    return PickledFile(SourceFile(path=path.name, location=str(path), size=size))


def test_pickled_weights_give_the_bytes_of_safetensors(model: Path, tmp_path: Path) -> None:
    """A model that has no other weights becomes the same file."""
    expected = convert(model, "Q4_K_M", tmp_path / "a").read_bytes()
    as_pickle(model)
    assert convert(model, "Q4_K_M", tmp_path / "b").read_bytes() == expected


def test_pickled_shards_are_found_by_their_index(model: Path, tmp_path: Path) -> None:
    """Larger models come in several files and an index."""
    expected = convert(model, "F16", tmp_path / "a").read_bytes()
    weights = weights_of(model)
    names = [f"pytorch_model-{number:05}-of-00002.bin" for number in (1, 2)]
    places = {name: names[at % 2] for at, name in enumerate(weights)}
    for file in names:
        torch.save({k: v for k, v in weights.items() if places[k] == file}, model / file)
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert convert(model, "F16", tmp_path / "b").read_bytes() == expected
    (model / names[1]).unlink()
    with pytest.raises(SourceIncomplete, match="1 of 2 weight files are missing"):
        plan(model)


def test_safetensors_count_before_pickles(model: Path, tmp_path: Path) -> None:
    """Where both are there, what cannot hold code is read."""
    expected = convert(model, "F16", tmp_path / "a").read_bytes()
    (model / FILE).write_bytes(b"not read")
    assert convert(model, "F16", tmp_path / "b").read_bytes() == expected


def test_tensors_that_share_their_bytes_are_both_listed(tmp_path: Path) -> None:
    """An output that is the embedding points to the same storage; views begin inside it."""
    table = torch.arange(24, dtype=torch.float32).reshape(6, 4).to(torch.bfloat16)
    torch.save(
        {"a": table, "b": table, "c": table[2:5], "d": torch.nn.Parameter(table.float())},
        tmp_path / "x.bin",
    )
    file = open_pickle(tmp_path / "x.bin")
    found = {entry.name: entry for entry in file.tensors}
    assert found["a"].offset == found["b"].offset == found["c"].offset - 2 * 4 * 2
    assert [found[name].shape for name in "abcd"] == [(6, 4), (6, 4), (3, 4), (6, 4)]
    assert [found[name].dtype for name in "ad"] == ["BF16", "F32"]
    data = bytearray(24)
    file.read_into(memoryview(data), found["c"].offset)
    assert data == bytearray(table[2:5].contiguous().view(torch.uint8).numpy().tobytes())
    file.close()


class Runs:
    """What a hostile pickle asks for."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Return what loading calls."""
        return self._call


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda mark: {"a": Runs(open, str(mark), "w")}, id="opens a file"),
        pytest.param(lambda mark: {"a": Runs(eval, f"open({str(mark)!r}, 'w')")}, id="evaluates"),
        pytest.param(lambda mark: {"a": Runs(getattr, "x", "upper")}, id="looks up"),
        pytest.param(lambda mark: {"a": Runs(torch.load, str(mark))}, id="loads again"),
    ],
)
def test_code_in_a_pickle_attack_is_refused(
    model: Path, tmp_path: Path, content: Callable[[Path], Any]
) -> None:
    """Whatever is no tensor is refused by its name, before it is called."""
    weights_of(model)
    mark = tmp_path / "mark"
    torch.save(content(mark), model / FILE)
    with pytest.raises(UnsupportedSource, match="which is no tensor") as caught:
        plan(model)
    assert "safetensors" in caught.value.hint
    assert not mark.exists()


def archive(pickled: bytes, storage: bytes = b"\0" * 64, **settings: Any) -> bytes:
    """Return an archive as PyTorch writes it, around a pickle of one's own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **settings) as out:
        out.writestr("archive/data.pkl", pickled)
        out.writestr("archive/byteorder", b"little")
        out.writestr("archive/data/0", storage)
        out.writestr("archive/version", b"3\n")
    return file.getvalue()


def one_tensor(**changes: Any) -> bytes:
    """Return the pickle of a file with one tensor, some of it changed."""
    file = io.BytesIO()
    torch.save({"a": torch.zeros(4, 4)}, file)
    with zipfile.ZipFile(file) as made:
        (name,) = [item for item in made.namelist() if item.endswith("data.pkl")]
        data = made.read(name)
    for old, new in changes.values():
        assert old in data
        data = data.replace(old, new)
    return data


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", UnsupportedSource, "since release 1.6"),
        (b"PK\x03\x04 and no more", UnsupportedSource, "since release 1.6"),
        (pickle.dumps({"a": 1}), UnsupportedSource, "since release 1.6"),
        (archive(b"nothing"), MalformedWeights, "cannot be read"),
        (archive(pickle.dumps([1, 2])), UnsupportedSource, "something else than tensors"),
        (archive(pickle.dumps({"a": 1})), UnsupportedSource, "'a' in it is no tensor"),
        (archive(pickle.dumps({1: 1})), UnsupportedSource, "1 in it is no tensor"),
        (archive(one_tensor(), b"\0" * 60), MalformedWeights, "not as they should be"),
        (
            archive(one_tensor(), compression=zipfile.ZIP_DEFLATED),
            MalformedWeights,
            "not as they should be",
        ),
        (
            archive(one_tensor(shape=(b"K\x04K\x04\x86", b"K\x05K\x04\x86"))),
            MalformedWeights,
            "outside its storage",
        ),
        (
            archive(one_tensor(stride=(b"K\x04K\x01\x86", b"K\x01K\x04\x86"))),
            UnsupportedSource,
            "in one piece",
        ),
        (
            archive(b"\x80\x02r\xff\xff\xff\x7f." + b"]" * 9),
            MalformedWeights,
            "cannot be read",
        ),
    ],
)
def test_false_pickle_attack_is_refused(
    model: Path, data: bytes, kind: type[Exception], message: str
) -> None:
    """What contradicts itself, or is of another form, is named; nothing of it is believed."""
    weights_of(model)
    (model / FILE).write_bytes(data)
    with pytest.raises(kind, match=message):
        plan(model)


def test_memory_attack_ends_with_its_process(model: Path) -> None:
    """A pickle that asks for sixteen thousand million places is stopped by the kernel's limit."""
    weights_of(model)
    huge = b"\x80\x04N" + b"r" + struct.pack("<I", 0xFFFFFFF0) + b"."
    (model / FILE).write_bytes(archive(huge))
    with pytest.raises(MalformedWeights):
        plan(model)


def test_older_form_is_refused_with_the_way(model: Path) -> None:
    """Before release 1.6 PyTorch wrote pickles one after another."""
    as_pickle(model, _use_new_zipfile_serialization=False)
    with pytest.raises(UnsupportedSource, match=r"since release 1\.6") as caught:
        plan(model)
    assert "save_pretrained" in caught.value.hint


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.integers(0, 2**31), bits=st.integers(1, 255))
def test_damaged_pickle_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, bits: int
) -> None:
    """Any changed byte gives tensors within the file, or an error of this program."""
    data = bytearray(archive(one_tensor()))
    data[at % len(data)] ^= bits
    path = tmp_path_factory.mktemp("pickles") / FILE
    path.write_bytes(data)
    try:
        file = open_pickle(path)
    except (MalformedWeights, UnsupportedSource):
        return
    assert all(entry.offset + entry.size <= len(data) for entry in file.tensors)
    file.close()


def test_converter_without_torch_reads_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the converter nor the process that takes a pickle apart imports PyTorch."""
    make_tiny_llama(tmp_path / "tiny")
    as_pickle(tmp_path / "tiny")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    convert(tmp_path / "tiny", "F16", tmp_path / "out")


def test_index_of_other_files_is_refused(model: Path) -> None:
    """An index that names a path outside the folder is no index."""
    weights_of(model)
    (model / INDEX).write_text(json.dumps({"weight_map": {"a": "../x.bin"}}))
    with pytest.raises(MalformedWeights, match="no proper weight_map"):
        plan(model)
    edit_json(model / INDEX, lambda value: value.update(weight_map={"a": "x.bin"}))
    with pytest.raises(SourceIncomplete, match=r"x\.bin"):
        plan(model)
