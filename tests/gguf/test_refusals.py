"""What cannot be converted is refused while planning, with all findings and a way out."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelvault.core.ggml import GgmlType
from modelvault.errors import (
    BadOption,
    MalformedRecord,
    MalformedWeights,
    SourceIncomplete,
    UnsupportedArchitecture,
    UnsupportedSource,
    UnsupportedTarget,
)
from modelvault_converters.gguf.families import FAMILIES
from tests.gguf.running import convert, edit_json, plan, sizes, warnings
from tests.gguf.test_hostile import edit_header
from tests.support.tinymodel import make_tiny_llama


def edit_config(model: Path, **values: Any) -> None:
    """Set keys of ``config.json``."""
    edit_json(model / "config.json", lambda config: config.update(values))


def test_misspelt_architecture_is_named_with_what_is_meant(model: Path) -> None:
    """The refusal lists what is known and hints at what was probably meant."""
    edit_config(model, architectures=["LlamaForCasualLM"])
    with pytest.raises(UnsupportedArchitecture, match="MistralForCausalLM") as caught:
        plan(model)
    assert caught.value.hint == "LlamaForCausalLM may be meant"


@pytest.mark.parametrize("name", ["GptOssForHumans", "Olmo9ForCausalLM", "BrandNewForCausalLM"])
def test_unknown_architecture_is_likened_to_no_other(model: Path, name: str) -> None:
    """Names that look alike say nothing of models: the hint is what can be done instead."""
    edit_config(model, architectures=[name])
    with pytest.raises(UnsupportedArchitecture) as caught:
        plan(model)
    assert "its publisher's" in caught.value.hint
    assert not any(known in caught.value.hint for known in FAMILIES)


@pytest.mark.parametrize("names", [None, [], [3], "LlamaForCausalLM"], ids=str)
def test_configuration_without_an_architecture_is_refused(model: Path, names: Any) -> None:
    """No guess is made where the class is not said."""
    edit_config(model, architectures=names)
    with pytest.raises(UnsupportedArchitecture, match="architectures"):
        plan(model)


def test_first_of_several_architectures_counts(model: Path, tmp_path: Path) -> None:
    """As in llama.cpp: what else a configuration names is how others load the same weights."""
    expected = convert(model, "F16", tmp_path / "a").read_bytes()
    edit_config(model, architectures=["LlamaForCausalLM", "LlamaForSequenceClassification"])
    assert convert(model, "F16", tmp_path / "b").read_bytes() == expected


@pytest.mark.parametrize("missing", ["tokenizer.json", "model.safetensors.index.json"])
def test_missing_file_is_no_reason_to_pull_again_by_itself(model: Path, missing: str) -> None:
    """What a pull left out comes with another pull; what the publisher lacks does not."""
    for path in model.glob("model*" if missing.startswith("model") else "tokenizer*"):
        path.unlink()
    with pytest.raises(SourceIncomplete) as caught:
        plan(model)
    assert caught.value.hint.startswith("if a pattern of the pull left")
    assert "otherwise" in caught.value.hint


@pytest.mark.parametrize("method", ["gptq", "awq", "fbgemm_fp8", "bitsandbytes"])
def test_quantized_source_is_refused_by_its_method(model: Path, method: str) -> None:
    """A checkpoint that is already quantised is refused before its weights are looked at."""
    edit_config(model, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(UnsupportedSource, match=f"already quantised \\({method}\\)") as caught:
        plan(model)
    assert "16-bit" in caught.value.hint


def test_quantized_tensors_without_a_word_are_refused(model: Path) -> None:
    """Packed integers under an innocent configuration are recognised by name and type."""

    def pack(header: dict[str, Any]) -> None:
        name = "model.layers.1.mlp.down_proj.weight"
        packed = header.pop(name)
        rows = packed["shape"][0] * packed["shape"][1] // 2
        header[name.replace("weight", "qweight")] = packed | {"dtype": "I32", "shape": [rows]}

    (model / "model.safetensors.index.json").unlink()
    edit_header(model / "model-00003-of-00003.safetensors", pack)
    with pytest.raises(SourceIncomplete, match="and 1 more") as caught:
        plan(model)
    assert caught.value.issues == (
        "tensor 'model.layers.1.mlp.down_proj.weight' is missing",
        "tensor 'model.layers.1.mlp.down_proj.qweight' has no place in this architecture",
    )
    assert "quantised" in caught.value.hint


def test_unmapped_tensors_are_all_listed(model: Path) -> None:
    """Tensors the architecture has no place for are never dropped in silence."""

    def rename(header: dict[str, Any]) -> None:
        header["model.vision_tower.weight"] = header.pop("model.norm.weight")

    (model / "model.safetensors.index.json").unlink()
    edit_header(model / "model-00003-of-00003.safetensors", rename)
    with pytest.raises(SourceIncomplete) as caught:
        plan(model)
    assert caught.value.issues == (
        "tensor 'model.norm.weight' is missing",
        "tensor 'model.vision_tower.weight' has no place in this architecture",
    )


def test_rows_that_do_not_fit_the_vocabulary_are_told(model: Path) -> None:
    """After tokens were added, configuration and embedding must agree."""
    edit_config(model, vocab_size=1100)
    with pytest.raises(
        UnsupportedSource, match=r"shape \[1024, 256\], not \[1100, 256\]"
    ) as caught:
        plan(model)
    assert len(caught.value.issues) == 2
    assert "fine-tuning" in caught.value.hint


def test_eight_bit_floats_are_refused_by_type(model: Path) -> None:
    """A type that is not read is named, not misread."""

    def shrink(header: dict[str, Any]) -> None:
        header["model.norm.weight"].update(dtype="F8_E4M3", shape=[512])

    edit_header(model / "model-00003-of-00003.safetensors", shrink)
    with pytest.raises(UnsupportedSource, match="of type F8_E4M3, not BF16, F16, F32"):
        plan(model)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": "256"}, "'hidden_size' is '256', not an integer"),
        ({"hidden_size": None}, "'hidden_size' is missing"),
        ({"num_hidden_layers": 10**9}, "out of 1"),
        ({"num_hidden_layers": 5000}, "more than any model has"),
        ({"vocab_size": 0}, "'vocab_size' is 0"),
        ({"vocab_size": True}, "not an integer"),
        ({"num_key_value_heads": 3}, "cannot share 3 key heads"),
        ({"head_dim": 63}, "4 heads of 63"),
        ({"head_dim": None, "num_attention_heads": 3}, "do not divide into 3 heads"),
        ({"rms_norm_eps": "tiny"}, "'rms_norm_eps'"),
        ({"rms_norm_eps": 10**400}, "'rms_norm_eps'"),
        ({"rms_norm_eps": 1e39}, "'rms_norm_eps' is 1e+39"),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"tie_word_embeddings": 1}, "not true or false"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "'longrope' is not known"),
        ({"rope_parameters": {"rope_type": "linear"}}, "'factor' is missing"),
        ({"rope_parameters": []}, "'rope_parameters' is not an object"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "'low_freq_factor'"),
        (
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 4.0,
                    "high_freq_factor": 1.0,
                }
            },
            "frequency factors",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 16}},
            "'attention_factor' is not 1.1386",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_unusable_configuration_is_refused_by_key(
    model: Path, values: dict[str, Any], message: str
) -> None:
    """Every value is checked for type and bounds before it is used."""
    edit_config(model, **values)
    with pytest.raises(UnsupportedSource) as caught:
        plan(model)
    assert message in "\n".join([caught.value.message, *caught.value.issues])


def test_all_faults_of_a_configuration_are_listed(model: Path) -> None:
    """One run names them all."""
    edit_config(model, hidden_size="x", vocab_size=-1, num_attention_heads=0)
    with pytest.raises(UnsupportedSource) as caught:
        plan(model)
    assert len(caught.value.issues) >= 3


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "[" * 100_000], ids=["empty", "cut", "list", "deep"]
)
def test_configuration_that_is_no_object_is_refused(model: Path, text: str) -> None:
    """Truncated, foreign and endlessly nested JSON is one error."""
    (model / "config.json").write_text(text)
    with pytest.raises(MalformedRecord, match=r"config\.json"):
        plan(model)


def test_giant_configuration_attack_is_refused(model: Path) -> None:
    """A file larger than any real one is refused by its length."""
    with open(model / "config.json", "ab") as file:
        file.truncate(1 << 30)
    with pytest.raises(UnsupportedSource, match="1073741824 bytes"):
        plan(model)


def test_sliding_window_is_told(model: Path) -> None:
    """What the architecture cannot say is not dropped in silence."""
    edit_config(model, architectures=["MistralForCausalLM"], sliding_window=4096)
    assert any("sliding window" in text for text in warnings(plan(model)))


def test_unknown_type_is_refused_with_the_nearest(model: Path) -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(UnsupportedTarget, match="'Q4KM'") as caught:
        plan(model, "Q4KM")
    assert caught.value.hint == "the nearest is Q4_K_M"


def test_name_that_llama_quantize_takes_is_explained(model: Path) -> None:
    """Q5_K means Q5_K_M there; here a name means one thing."""
    with pytest.raises(UnsupportedTarget) as caught:
        plan(model, "Q5_K")
    assert caught.value.hint == "the nearest is Q5_K_M"


def test_same_type_twice_is_refused(model: Path) -> None:
    """Two targets would write one file."""
    with pytest.raises(UnsupportedTarget):
        plan(model, "F16", "F16")


def test_unknown_option_is_refused(model: Path) -> None:
    """An option that would have no effect is not accepted in silence."""
    with pytest.raises(BadOption, match="no option 'calibration'"):
        plan(model, calibration="/data/text")


def test_weights_in_pickles_are_refused(model: Path) -> None:
    """A model without safetensors is refused, naming what it has."""
    for path in model.glob("model*"):
        path.unlink()
    (model / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(UnsupportedSource, match=r"pytorch_model\.bin"):
        plan(model)


@pytest.mark.parametrize(
    ("file", "hint"),
    [
        ("consolidated.safetensors", "files for transformers"),
        ("adapter_model.safetensors", "into its base model"),
    ],
)
def test_weights_under_another_name_are_refused(model: Path, file: str, hint: str) -> None:
    """Safetensors that are not a whole model of transformers are named, with what to do."""
    for path in model.glob("model*"):
        path.unlink()
    (model / file).write_bytes(b"")
    (model / "training_args.bin").write_bytes(b"\x80")
    with pytest.raises(UnsupportedSource, match=file) as caught:
        plan(model)
    assert hint in caught.value.hint


def test_adapter_alone_is_refused(model: Path) -> None:
    """An adapter has no configuration of a model; what to do is not to pull it again."""
    for path in [*model.glob("model*"), model / "config.json"]:
        path.unlink()
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(UnsupportedSource, match="is an adapter") as caught:
        plan(model)
    assert "into its base model" in caught.value.hint


def test_model_that_is_gguf_already_is_refused(model: Path) -> None:
    """A publisher's GGUF, or a variant of this vault, is no source."""
    for path in [*model.glob("model*"), model / "config.json"]:
        path.unlink()
    (model / "tiny-Q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(UnsupportedSource, match=r"GGUF already \(tiny-Q8_0\.gguf\)"):
        plan(model)


@pytest.mark.parametrize(
    ("dtype", "name", "hint"),
    [
        ("U8", "model.norm.weight.absmax", "quantised"),
        ("I8", "model.norm.SCB", "quantised"),
        ("F32", "model.norm.weight_packed", "quantised"),
        ("F64", "model.norm.scale", "BF16, F16 or F32"),
    ],
)
def test_way_out_of_odd_weights_depends_on_what_they_are(
    model: Path, dtype: str, name: str, hint: str
) -> None:
    """Weights of bitsandbytes and compressed tensors are told without a configuration."""

    def add(header: dict[str, Any]) -> None:
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key[0] != "_"]
        header[name] = {"dtype": dtype, "shape": [0], "data_offsets": [max(ends)] * 2}

    edit_header(model / "model-00003-of-00003.safetensors", add)
    with pytest.raises(UnsupportedSource, match="has no place") as caught:
        plan(model)
    assert hint in caught.value.hint


def test_index_of_shards_that_are_gone_is_left_over(tmp_path: Path) -> None:
    """A model saved anew in one file may keep the index of its shards; the file is the model."""
    make_tiny_llama(tmp_path / "model", shards=2)
    (index,) = (tmp_path / "model").glob("*.index.json")
    left = index.read_bytes()
    for path in (tmp_path / "model").glob("model*"):
        path.unlink()
    make_tiny_llama(tmp_path / "model")
    expected = sizes(plan(tmp_path / "model"))
    index.write_bytes(left)
    assert sizes(plan(tmp_path / "model")) == expected


def test_folder_without_weights_is_refused(model: Path) -> None:
    """A metadata-only pull is told apart from a foreign format."""
    for path in model.glob("model*"):
        path.unlink()
    with pytest.raises(SourceIncomplete, match="neither"):
        plan(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_missing_file_is_named(model: Path, name: str) -> None:
    """What the converter needs besides weights is named when it is not there."""
    (model / name).unlink()
    with pytest.raises(SourceIncomplete, match=name):
        plan(model)


def test_consolidated_copy_of_the_weights_is_ignored(model: Path) -> None:
    """Some publishers add the weights a second time under another name."""
    before = sizes(plan(model))
    shutil.copy(model / "model-00001-of-00003.safetensors", model / "consolidated.safetensors")
    assert sizes(plan(model)) == before


def test_tied_copy_of_the_embedding_is_left_out(tmp_path: Path) -> None:
    """An lm_head that repeats the embedding of a tied model costs nothing."""
    tied, copied = tmp_path / "tied", tmp_path / "copied"
    make_tiny_llama(tied, tied=True)
    make_tiny_llama(copied, tied=True)
    _append_head(copied, change=False)
    assert sizes(plan(copied)) == sizes(plan(tied))
    assert warnings(plan(copied)) == []


def test_tied_model_with_its_own_head_keeps_it(tmp_path: Path) -> None:
    """An lm_head that was trained apart is written, with a word about the contradiction."""
    make_tiny_llama(tmp_path / "model", tied=True)
    before = sizes(plan(tmp_path / "model"))["F16"]
    _append_head(tmp_path / "model", change=True)
    events = plan(tmp_path / "model")
    assert sizes(events)["F16"] - before > 1024 * 256 * 2
    assert any("lm_head.weight: it is used" in text for text in warnings(events))


def _append_head(folder: Path, *, change: bool) -> None:
    """Add a copy of the embedding as ``lm_head.weight``."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    embedding = header["model.embed_tokens.weight"]
    start, end = embedding["data_offsets"]
    body = data[8 + size :]
    copy = bytearray(body[start:end])
    copy[-2:] = copy[-2:] if not change else b"\0\0"
    header["lm_head.weight"] = embedding | {"data_offsets": [len(body), len(body) + len(copy)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body + copy)


def _set_last_weight(model: Path, bits: int) -> None:
    path = model / "model-00003-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-2] + struct.pack("<H", bits))


def test_weight_beyond_half_precision_is_refused_for_f16(model: Path, tmp_path: Path) -> None:
    """What F16 would turn into infinity is refused there and kept in BF16."""
    _set_last_weight(model, 0x47C3)  # 99840 in bfloat16
    with pytest.raises(UnsupportedTarget, match="holds 99840; F16 ends at 65504") as caught:
        convert(model, "F16", tmp_path / "half")
    assert "BF16" in caught.value.hint
    assert convert(model, "BF16", tmp_path / "brain").stat().st_size > 0


@pytest.mark.parametrize("target", ["Q8_0", "Q4_0"])
def test_weight_beyond_a_scale_is_refused_for_blocks(
    model: Path, tmp_path: Path, target: str
) -> None:
    """A block whose scale overflows half precision is refused, as llama.cpp's validation does."""
    _set_last_weight(model, 0x7F00)  # 1.7e38
    with pytest.raises(MalformedWeights, match="too large for the scales"):
        convert(model, target, tmp_path / "out")


@pytest.mark.parametrize("dtype", ["F16", "F32"])
def test_other_float_types_of_the_source_give_the_same_blocks(
    model: Path, tmp_path: Path, dtype: str
) -> None:
    """Values that fit both types quantise to the same bytes, whatever type they came in."""
    expected = convert(model, "Q8_0", tmp_path / "expected").read_bytes()
    for path in model.glob("model-*.safetensors"):
        _widen(path, dtype)
    made = convert(model, "Q8_0", tmp_path / "made").read_bytes()
    assert len(made) == len(expected)
    if dtype == "F32":  # bfloat16 does not all fit half precision
        assert made == expected


def _widen(path: Path, dtype: str) -> None:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    values = np.frombuffer(data[8 + size :], dtype=np.uint16).astype(np.uint32) << 16
    floats = values.view(np.float32)
    body = floats.tobytes() if dtype == "F32" else floats.astype(np.float16).tobytes()
    factor = 2 if dtype == "F32" else 1
    for name, entry in header.items():
        if name != "__metadata__":
            entry["dtype"] = dtype
            entry["data_offsets"] = [factor * offset for offset in entry["data_offsets"]]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def test_every_type_has_the_block_it_claims() -> None:
    """Bits a weight, from the table, are those the format documents."""
    bits = {item.name: 8 * item.block_bytes / item.weights for item in GgmlType}
    assert bits["Q4_K"] == 4.5
    assert bits["Q6_K"] == 6.5625
    assert bits["Q8_0"] == 8.5
    assert bits["Q2_K"] == 2.625
