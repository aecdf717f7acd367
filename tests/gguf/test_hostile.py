"""Hostile weight files and values: each attack on the readers, refused before it matters."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core import safetensors_header
from modelvault.core.protocol import SourceFile
from modelvault.errors import (
    MalformedWeights,
    SizeMismatch,
    SourceIncomplete,
    UnsupportedSource,
)
from modelvault_converters.gguf.container import lay_out
from modelvault_converters.gguf.tensors import Entry, Kind, Value
from modelvault_converters.weights import WeightFile
from tests.gguf.running import convert, edit_json, make_request, plan, run

NORM = "model.norm.weight"


def edit_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a file's header in place, data unchanged."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def open_file(path: Path) -> WeightFile:
    """Open a weight file as the converters do."""
    size = path.stat().st_size
    return WeightFile(SourceFile(path=path.name, location=str(path), size=size))


def test_truncated_file_attack_is_refused(model: Path) -> None:
    """A shard that lost its end is named; nothing is written."""
    path = model / "model-00002-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MalformedWeights, match=r"model-00002.*its tensors end at byte"):
        plan(model)


def test_file_shorter_than_promised_is_refused(model: Path, tmp_path: Path) -> None:
    """A file that shrank after the request was made is named."""
    request = make_request(model, ["F16"], tmp_path / "out")
    path = model / "model-00002-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SizeMismatch, match="bytes long"):
        run(request)


def test_giant_header_attack_allocates_nothing(model: Path) -> None:
    """A header that claims exabytes is refused by its number alone."""
    path = model / "model-00001-of-00003.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 62) + path.read_bytes()[8:])
    with pytest.raises(MalformedWeights, match="claims 4611686018427387904 bytes"):
        plan(model)


def test_header_over_the_cap_attack_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that fits the file but not the cap is refused."""
    monkeypatch.setattr(safetensors_header, "HEADER_LIMIT", 100)
    with pytest.raises(MalformedWeights, match="it claims"):
        plan(model)


def test_overlapping_tensors_attack_is_refused(model: Path) -> None:
    """Two tensors over the same bytes are refused."""

    def overlap(header: dict[str, Any]) -> None:
        keys, values = (f"model.layers.0.self_attn.{name}_proj.weight" for name in "kv")
        header[values]["data_offsets"] = header[keys]["data_offsets"]

    edit_header(model / "model-00001-of-00003.safetensors", overlap)
    with pytest.raises(MalformedWeights, match="overlaps another"):
        plan(model)


def test_name_of_half_a_character_attack_is_refused(model: Path) -> None:
    """An escape that is no character could not be printed, nor written into a report."""

    def rename(header: dict[str, Any]) -> None:
        header["\ud800"] = header.pop("model.layers.0.self_attn.k_proj.weight")

    edit_header(model / "model-00001-of-00003.safetensors", rename)
    with pytest.raises(MalformedWeights, match="surrogates not allowed"):
        plan(model)


def test_hidden_bytes_attack_is_refused(model: Path) -> None:
    """Bytes that belong to no tensor could carry anything; the format forbids them."""

    def drop(header: dict[str, Any]) -> None:
        del header["model.layers.0.self_attn.k_proj.weight"]

    edit_header(model / "model-00001-of-00003.safetensors", drop)
    with pytest.raises(MalformedWeights, match="leaves a hole before it"):
        plan(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_offsets": [0, 1 << 60]}, "no proper offsets"),
        ({"data_offsets": [-2, 510]}, "no proper offsets"),
        ({"data_offsets": [512, 0]}, "no proper offsets"),
        ({"data_offsets": [0]}, "no proper offsets"),
        ({"data_offsets": [0.0, 512.0]}, "no proper offsets"),
        ({"shape": [-256]}, "no proper shape"),
        ({"shape": [1 << 40, 1 << 40, 1 << 40]}, "cannot take"),
        ({"shape": [True]}, "no proper shape"),
        ({"shape": [1] * 9}, "no proper shape"),
        ({"shape": [257]}, "cannot take 512 bytes"),
        ({"dtype": 7}, "has no type"),
        ({"extra": 1}, "is not a tensor"),
    ],
    ids=str,
)
def test_false_entry_attack_is_refused(model: Path, change: dict[str, Any], message: str) -> None:
    """Offsets, shapes and types that cannot be are refused one by one."""
    edit_header(model / "model-00003-of-00003.safetensors", lambda h: h[NORM].update(change))
    with pytest.raises(MalformedWeights, match=message):
        plan(model)


@pytest.mark.parametrize(
    "header",
    [b"{", b"[]", b'{"a":1}', b'{"a":{},"a":{}}', b"[" * 100_000, b"\xff\xfe", b'{"a":NaN}'],
    ids=lambda header: header[:12].decode("latin-1"),
)
def test_malformed_header_attack_is_refused(tmp_path: Path, header: bytes) -> None:
    """What is not a header of unique tensors is refused, deep nesting included."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(MalformedWeights):
        open_file(path)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Whatever the bytes, the only error is the documented one."""
    path = tmp_path_factory.mktemp("any") / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(MalformedWeights):
        open_file(path)


@given(text=st.text(max_size=80))
def test_any_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """A header around one entry of arbitrary text never escapes as another error."""
    header = json.dumps({text: {"dtype": text, "shape": [1], "data_offsets": [0, 2]}}).encode()
    path = tmp_path_factory.mktemp("any") / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    try:
        file = open_file(path)
    except MalformedWeights:
        return
    assert [entry.name for entry in file.tensors] == [text] or text == "__metadata__"
    file.close()


def test_missing_shard_is_named(model: Path) -> None:
    """All shards that are missing are listed."""
    (model / "model-00002-of-00003.safetensors").unlink()
    (model / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(SourceIncomplete) as caught:
        plan(model)
    assert caught.value.issues == (
        "model-00002-of-00003.safetensors is missing",
        "model-00003-of-00003.safetensors is missing",
    )


def test_missing_shard_without_index_is_named(model: Path) -> None:
    """The shards' own names say how many there should be."""
    (model / "model.safetensors.index.json").unlink()
    plan(model)
    (model / "model-00001-of-00003.safetensors").unlink()
    with pytest.raises(SourceIncomplete, match="1 of 3 weight files"):
        plan(model)


def test_index_pointing_outside_attack_is_refused(model: Path) -> None:
    """An index cannot name files in other folders."""
    edit_json(
        model / "model.safetensors.index.json",
        lambda index: index["weight_map"].update({NORM: "../../etc/passwd"}),
    )
    with pytest.raises(MalformedWeights, match="weight_map"):
        plan(model)


def test_index_of_another_revision_is_noticed(model: Path) -> None:
    """A tensor that is not in the shard the index names is reported."""
    edit_json(
        model / "model.safetensors.index.json",
        lambda index: index["weight_map"].update({NORM: "model-00001-of-00003.safetensors"}),
    )
    with pytest.raises(SourceIncomplete, match="not where it says"):
        plan(model)


def test_tensor_in_two_shards_is_refused(model: Path) -> None:
    """Two shards cannot both hold a tensor: one of them would silently lose."""
    first = model / "model-00001-of-00003.safetensors"

    def rename(header: dict[str, Any]) -> None:
        header["model.layers.0.input_layernorm.weight"] = header.pop(NORM)

    assert "model.layers.0.input_layernorm.weight" in str(first.read_bytes()[:4000])
    edit_header(model / "model-00003-of-00003.safetensors", rename)
    with pytest.raises(MalformedWeights, match="is in model-00001"):
        plan(model)


@pytest.mark.parametrize("bits", [0x7FC0, 0x7F80, 0xFF80], ids=["nan", "inf", "-inf"])
def test_weight_that_is_no_number_is_named(model: Path, tmp_path: Path, bits: int) -> None:
    """NaN and infinity stop the conversion with tensor and place, and leave no file."""
    path = model / "model-00003-of-00003.safetensors"
    data = bytearray(path.read_bytes())
    data[-2 * (3 * 256 + 5) : -2 * (3 * 256 + 5) + 2] = struct.pack("<H", bits)
    path.write_bytes(data)
    with pytest.raises(MalformedWeights, match=r"lm_head.weight.*row 1020, column 251"):
        convert(model, "Q4_K_M", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("u32", 2**32),
        ("u32", -1),
        ("f32", 1e39),
        ("string", "\ud800"),
        ("strings", ("a", "\udfff")),
    ],
)
def test_value_that_no_key_can_hold_is_refused(kind: Kind, value: Value) -> None:
    """Whatever a file says, a key that cannot be written is named and not a crash."""
    with pytest.raises(UnsupportedSource, match=r"give 'llama\.x' a value"):
        lay_out([Entry(key="llama.x", kind=kind, value=value)], (), ())
