"""What a file is by its name: one table, so that no two rooms disagree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.model_files import (
    MOST_SHARDS,
    WeightFormat,
    has_tokenizer,
    indexed_name,
    is_adapter,
    is_code,
    is_license,
    is_model_card,
    is_projector,
    is_training_state,
    parse_shard,
    quantization_label,
    shard_names,
    weight_format,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.safetensors", WeightFormat.SAFETENSORS),
        ("Model-Q4_K_M.GGUF", WeightFormat.GGUF),
        ("a/b/pytorch_model.BIN", WeightFormat.PICKLE),
        ("original/consolidated.00.pth", WeightFormat.PICKLE),
        ("onnx/model.onnx_data", WeightFormat.ONNX),
        ("tf_model.h5", WeightFormat.TENSORFLOW),
        ("flax_model.msgpack", WeightFormat.FLAX),
        ("rust_model.ot", WeightFormat.RUST),
        ("Model.mlmodel", WeightFormat.COREML),
        ("voices.npz", WeightFormat.NUMPY),
        ("config.json", None),
        ("bin", None),
        ("model.safetensors.index.json", None),
        ("a.bin/readme", None),
    ],
)
def test_weights_are_told_by_their_suffix_in_any_case(
    path: str, expected: WeightFormat | None
) -> None:
    """Repositories spell suffixes both ways; an index holds no weights."""
    assert weight_format(path) is expected


def test_index_speaks_of_its_weights() -> None:
    """Of whatever variant."""
    assert indexed_name("a/model.safetensors.index.json") == "a/model.safetensors"
    assert indexed_name("model.safetensors.index.fp16.json") == "model.safetensors"
    assert indexed_name("pytorch_model.bin.index.json") == "pytorch_model.bin"
    assert indexed_name("index.json") == "index.json"


@pytest.mark.parametrize(
    "path",
    ["LICENSE", "license.txt", "LICENCE.md", "LICENSE-APACHE", "Notice", "COPYING.LESSER",
     "USE_POLICY.md", "use-policy.txt", "sub/LICENSE", "MODEL_LICENSE", "LICENSES.md",
     "THIRD_PARTY_NOTICES.txt", "LICENSE AGREEMENT.pdf"],
)  # fmt: skip
def test_licence_texts_and_policies_are_recognised(path: str) -> None:
    """As publishers name them; what the licence asks to be handed on is not lost."""
    assert is_license(path)


@pytest.mark.parametrize(
    "path",
    ["licensed.txt", "license_plates.safetensors", "LICENSE/config.json", "notice.py", "x.md",
     "noticeboard.md", "copyingmachine", "my license.txt"],
)  # fmt: skip
def test_other_names_are_no_licences(path: str) -> None:
    """A word in passing, weights and programs are something else."""
    assert not is_license(path)


def test_projector_is_no_model_of_its_own() -> None:
    """``mmproj`` may stand anywhere in a GGUF's name, as a word."""
    names = ("mmproj-model-f16.gguf", "X-mmproj-f16.gguf", "a/X.MMPROJ.GGUF", "mmproj.gguf")
    assert all(is_projector(name) for name in names)
    assert all(quantization_label(name) is None for name in names)
    assert not is_projector("mmproject-Q8_0.gguf")
    assert not is_projector("mmproj.safetensors")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("m-Q4_K_M.gguf", "Q4_K_M"),
        ("m.q8_0.gguf", "q8_0"),
        ("m-Q4_K_M-00001-of-00002.gguf", "Q4_K_M"),
        ("m-UD-Q3_K_XL.gguf", "Q3_K_XL"),
        ("m-IQ2_XXS.gguf", "IQ2_XXS"),
        ("m-IQ4_NL.GGUF", "IQ4_NL"),
        ("m-Q4_K_M_imat.gguf", "Q4_K_M"),
        ("F16/m-BF16.gguf", "BF16"),
        ("m-MXFP4.gguf", "MXFP4"),
        ("m-TQ1_0.gguf", "TQ1_0"),
        ("m-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("m-Q4_0_8_8.gguf", "Q4_0_8_8"),
        ("Q8_0/m.gguf", None),
        ("m-fp16.gguf", None),
        ("m-Q4_K_M.safetensors", None),
    ],
)
def test_quantisation_is_read_off_a_ggufs_name(path: str, label: str | None) -> None:
    """The whole label: one that llama.cpp has dropped is not the one it begins with."""
    assert quantization_label(path) == label


def test_shards_of_a_set_name_each_other() -> None:
    """The name of one gives the names of all, as it spells them."""
    shard = parse_shard("a/m-00002-of-00003.GGUF")
    assert shard is not None
    assert (shard.stem, shard.number, shard.count) == ("a/m", 2, 3)
    assert shard.names()[2] == "a/m-00003-of-00003.GGUF"
    assert parse_shard("m-00001-of-00002.bin") is None
    assert parse_shard("m.gguf") is None


def test_attack_with_a_huge_set_is_one_file() -> None:
    """A name cannot ask for more names than a set ever has."""
    assert parse_shard("a-00001-of-00000.gguf") is None
    assert shard_names("a-00001-of-99999.gguf") == ["a-00001-of-99999.gguf"]
    assert len(shard_names(f"a-00001-of-{MOST_SHARDS:05}.gguf")) == MOST_SHARDS


def test_small_files_are_what_their_names_say() -> None:
    """Card, code, adapter, state of a training, tokenizer."""
    assert is_model_card("ReadMe.md")
    assert not is_model_card("docs/README.md")
    assert is_code("modeling_x.PY")
    assert is_adapter("a/adapter_model.safetensors")
    assert is_training_state("checkpoint/optimizer.pt")
    assert not is_training_state("model.pt")
    assert has_tokenizer(["tokenizer.json"])
    assert has_tokenizer(["vocab.json", "merges.txt"])
    assert has_tokenizer(["qwen.tiktoken"])
    assert not has_tokenizer(["vocab.json", "sub/tokenizer.json"])


@given(st.text(max_size=40))
def test_any_name_is_answered(path: str) -> None:
    """No name makes a rule fail; no file is weights and a licence at once."""
    assert not (weight_format(path) and is_license(path))
    quantization_label(path)
    is_projector(path)
    assert shard_names(path)
