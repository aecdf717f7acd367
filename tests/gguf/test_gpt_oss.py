"""gpt-oss: experts in turn and on their side, in 16 bits and in MXFP4, which stays as it is.

That it computes what transformers computes is in ``test_family_runtime.py``.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.torch import load_file, save_file

from modelvault.errors import MalformedWeights, SourceIncomplete, UnsupportedSource
from modelvault_converters.gguf import mxfp4
from modelvault_converters.gguf.families import gpt_oss
from modelvault_converters.gguf.tensors import Entry
from tests.gguf.running import convert, edit_json, make_request, plan, run, warnings
from tests.gguf.test_runtime import compared, difference, reference
from tests.support.llamacpp import Model
from tests.support.mxfp4 import pack_experts
from tests.support.tinyfamilies import make_tiny_family
from tests.support.tinymodel import MIXED_SCRIPT

NEAR = 5e-3
"""Largest difference of a logit in float32, in deviations of the logits."""
NEAR_PACKED = 0.1
"""The same where the runtime rounds activations to eight bits beside MXFP4."""


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, Path]:
    """Return a model with experts in MXFP4, and the same one in 16 bits."""
    folder, wide = tmp_path / "tiny", tmp_path / "wide"
    make_tiny_family(folder, "gpt_oss")
    pack_experts(folder, wide)
    return folder, wide


def experts(path: Path) -> dict[str, Any]:
    """Return name → tensor of the experts' matrices of a file."""
    return {tensor.name: tensor for tensor in GGUFReader(path).tensors
            if "_exps.weight" in tensor.name}  # fmt: skip


@pytest.mark.parametrize("target", ["F32", "BF16", "Q8_0", "Q4_K_M"])
def test_packed_experts_stay_as_they_are(
    packed: tuple[Path, Path], tmp_path: Path, target: str
) -> None:
    """In every type the file's experts are MXFP4, and stand for the publisher's values exactly."""
    folder, wide = packed
    found = experts(convert(folder, target, tmp_path / "out"))
    expected = experts(convert(wide, "F32", tmp_path / "wide-out"))
    assert {tensor.tensor_type.name for tensor in found.values()} == {"MXFP4"}
    for name, tensor in found.items():
        values = gguf.quants.dequantize(tensor.data, gguf.GGMLQuantizationType.MXFP4)
        np.testing.assert_array_equal(values.ravel(), expected[name].data.ravel(), name)


def test_packed_model_computes_what_transformers_does(
    packed: tuple[Path, Path], tmp_path: Path
) -> None:
    """Logits are those of the same weights in 16 bits."""
    folder, wide = packed
    ids, expected = reference(wide, MIXED_SCRIPT)
    assert compared(convert(folder, "F32", tmp_path / "out"), ids, expected) < NEAR_PACKED


def test_halves_of_a_byte_in_another_order_are_caught(
    packed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: values that change places give other logits."""
    folder, wide = packed
    ids, expected = reference(wide, MIXED_SCRIPT)
    plain = mxfp4._PackedRows.read_rows

    def swapped(self: Any, tensor: Any, start: int, stop: int) -> Any:
        rows = plain(self, tensor, start, stop).reshape(stop - start, -1, 17)
        rows[:, :, 1:] = rows[:, :, 1:] >> 4 | rows[:, :, 1:] << 4
        return rows.reshape(stop - start, -1)

    monkeypatch.setattr(mxfp4._PackedRows, "read_rows", swapped)
    assert compared(convert(folder, "F32", tmp_path / "out"), ids, expected) > 3 * NEAR_PACKED


def test_gate_that_is_up_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the halves of the fused tensor exchanged give other logits."""
    monkeypatch.setattr(mxfp4, "_HALVES", (("gate_proj", 1), ("up_proj", 0)))
    make_tiny_family(tmp_path / "tiny", "gpt_oss")
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") > 10 * NEAR


@pytest.mark.parametrize("key", ["attention.sliding_window", "rope.scaling.factor"])
def test_wrong_key_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Negative control: each number of the family's own, doubled, fails the comparison."""
    plain = gpt_oss._entries

    def doubled(*arguments: Any) -> Iterator[Entry]:
        for entry in plain(*arguments):
            assert isinstance(entry.value, int | float | str)
            yield replace(entry, value=entry.value * 2) if entry.key.endswith(key) else entry

    monkeypatch.setattr(gpt_oss, "_entries", doubled)
    make_tiny_family(tmp_path / "tiny", "gpt_oss")
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") > 5 * NEAR


def test_small_slices_give_the_same_file(
    packed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the rows are cut, turned and alternate ones come to their places."""
    for folder in packed:
        expected = convert(folder, "F16", tmp_path / "a").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr("modelvault_converters.gguf.stream.SLICE", 128 * 7)
            assert convert(folder, "F16", tmp_path / "b").read_bytes() == expected
        for path in (tmp_path / "a", tmp_path / "b"):
            for file in path.iterdir():
                file.unlink()


def test_quantised_gpt_oss_loads(tmp_path: Path) -> None:
    """A mix of types, made of experts in 16 bits, loads and computes in the runtime."""
    sizes: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 256}
    make_tiny_family(tmp_path / "tiny", "gpt_oss", **sizes)
    with Model.load(convert(tmp_path / "tiny", "Q4_K_M", tmp_path / "out")) as model:
        assert model.logits(model.tokenize("금고 vault")).std() > 0


def test_blocks_without_scales_are_refused(packed: tuple[Path, Path]) -> None:
    """What is missing is named."""
    folder, _ = packed
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.experts.down_proj_scales"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceIncomplete, match="down_proj_scales"):
        plan(folder)


def test_blocks_that_do_not_fit_their_scales_are_refused(packed: tuple[Path, Path]) -> None:
    """Shapes that contradict each other are named before anything is written."""
    folder, _ = packed
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.experts.gate_up_proj_scales"
    tensors[name] = tensors[name][:, :, :-1].contiguous()
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UnsupportedSource, match="does not fit its scales"):
        plan(folder)


def test_scale_that_is_no_number_is_refused(packed: tuple[Path, Path], tmp_path: Path) -> None:
    """A block of NaN is found while it is read, and leaves no file."""
    folder, _ = packed
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.experts.down_proj_scales"][0, 0, 0] = 255
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(MalformedWeights, match="holds NaN"):
        run(make_request(folder, ["F16"], tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_rounded_bands_of_yarn_are_told(tmp_path: Path) -> None:
    """The published models say ``truncate: false``; the runtime rounds, and that is said."""
    make_tiny_family(tmp_path / "tiny", "gpt_oss")
    edit_json(
        tmp_path / "tiny/config.json",
        lambda config: config["rope_parameters"].update(truncate=False),
    )
    assert any("'truncate' is false" in text for text in warnings(plan(tmp_path / "tiny")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"swiglu_limit": 9.0}, "swiglu_limit"),
        ({"attention_bias": False}, "biases of attention"),
        ({"tie_word_embeddings": True}, "output of its own"),
        ({"num_local_experts": 1}, "experts"),
        ({"quantization_config": {"quant_method": "gptq"}}, "already quantised"),
    ],
)
def test_gpt_oss_that_cannot_be_expressed_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """What the runtime would compute otherwise is refused by name."""
    make_tiny_family(tmp_path / "tiny", "gpt_oss")
    edit_json(tmp_path / "tiny/config.json", lambda config: config.update(changes))
    with pytest.raises(UnsupportedSource) as caught:
        plan(tmp_path / "tiny")
    assert message in str([caught.value, *caught.value.issues])


def test_mxfp4_of_another_model_is_refused(tmp_path: Path) -> None:
    """Other families have no such experts: their blocks would be read wrongly."""
    make_tiny_family(tmp_path / "tiny", "qwen3_moe")
    config = json.loads((tmp_path / "tiny/config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (tmp_path / "tiny/config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedSource, match="already quantised"):
        plan(tmp_path / "tiny")
