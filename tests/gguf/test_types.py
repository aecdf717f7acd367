"""The type rules for models larger than the vectors, and the encoders against a second one."""

import ctypes

import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType
from gguf.quants import dequantize
from gguf.quants import quantize as reference_quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelvault.core.ggml import GgmlType
from modelvault.errors import ConverterMissing
from modelvault_converters.gguf import quantize
from modelvault_converters.gguf.families import find_family
from modelvault_converters.gguf.metadata import size_label, title
from modelvault_converters.gguf.mix import choose_types
from modelvault_converters.gguf.tensors import Blueprint, Floats
from modelvault_converters.gguf.types import TARGETS


def blueprint(layers: int, *, heads: int = 32, kv_heads: int = 8, tied: bool = False) -> Blueprint:
    """Return a Llama of so many layers."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 128 * heads,
        "intermediate_size": 14336,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": layers,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": tied,
    }
    return find_family(config)(config, {})


def types_of(model: Blueprint, target: str) -> dict[str, str]:
    """Return tensor name → type name."""
    types = choose_types(TARGETS[target], model, model.tensors)
    return {tensor.name: type_.name for tensor, type_ in zip(model.tensors, types)}


def layers_with(types: dict[str, str], role: str, type_: str) -> list[int]:
    """Return the blocks whose ``role`` has this type."""
    return [
        int(name.split(".")[1])
        for name, chosen in types.items()
        if name.endswith(f".{role}.weight") and chosen == type_
    ]


def test_eight_billion_model_gets_the_known_mix() -> None:
    """32 layers: the blocks of more bits are those of every published Q4_K_M."""
    types = types_of(blueprint(32), "Q4_K_M")
    more = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    assert layers_with(types, "attn_v", "Q6_K") == more
    assert layers_with(types, "ffn_down", "Q6_K") == more
    assert types["output.weight"] == "Q6_K"
    assert types["token_embd.weight"] == "Q4_K"
    assert types["blk.0.attn_norm.weight"] == "F32"


def test_seventy_billion_model_keeps_value_projections_higher() -> None:
    """80 layers with shared key heads: no value projection below Q5_K."""
    types = types_of(blueprint(80, heads=64), "Q4_K_M")
    assert layers_with(types, "attn_v", "Q4_K") == []
    assert len(layers_with(types, "attn_v", "Q5_K")) == 40
    assert len(layers_with(types_of(blueprint(80, heads=8), "Q4_K_M"), "attn_v", "Q5_K")) == 0


def test_small_mixes_follow_their_layers() -> None:
    """Q4_K_S raises the first value projections, Q3_K_M the first sixteenth of the layers."""
    small, three = types_of(blueprint(32), "Q4_K_S"), types_of(blueprint(32), "Q3_K_M")
    assert layers_with(small, "attn_v", "Q5_K") == [0, 1, 2, 3]
    assert layers_with(small, "ffn_down", "Q5_K") == [0, 1, 2, 3]
    assert layers_with(three, "attn_v", "Q5_K") == [0, 1]
    assert layers_with(three, "ffn_down", "Q5_K") == [0, 1]
    assert len(layers_with(three, "attn_output", "Q4_K")) == 32


def test_two_bit_mix_depends_on_shared_heads() -> None:
    """With four query heads a key head the value projections get one bit more."""
    assert types_of(blueprint(4), "Q2_K")["blk.0.attn_v.weight"] == "Q4_K"
    assert types_of(blueprint(4, kv_heads=16), "Q2_K")["blk.0.attn_v.weight"] == "Q3_K"


def test_tied_embedding_is_treated_as_the_output() -> None:
    """The embedding of a tied model is the output too, and gets the output's type."""
    assert types_of(blueprint(4, tied=True), "Q4_K_M")["token_embd.weight"] == "Q6_K"


def test_tables_agree_with_the_reference_package() -> None:
    """Numbers, block sizes and file types are those of the gguf package."""
    for item in GgmlType:
        reference = GGMLQuantizationType[item.name]
        assert item.number == reference
        assert GGML_QUANT_SIZES[reference] == (item.weights, item.block_bytes)
    names = {"F32": "ALL_F32", "Q6_K": "MOSTLY_Q6_K"}
    for name, target in TARGETS.items():
        assert target.file_type == LlamaFileType[names.get(name, f"MOSTLY_{name}")]


SECOND_ENCODER = ["F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_0"]


@pytest.mark.parametrize("name", SECOND_ENCODER)
@settings(max_examples=60, deadline=None)
@given(
    rows=arrays.arrays(
        np.float32,
        (3, 64),
        elements=st.integers(-(2**24), 2**24).map(lambda number: number / 4096)
        | st.integers(-(2**10), 2**10).map(lambda number: number / 2**20),
    )
)
def test_bytes_equal_those_of_a_second_encoder(name: str, rows: Floats) -> None:
    """The gguf package encodes these types in numpy: bytes are equal for arbitrary values."""
    made = quantize.encode(rows, GgmlType[name], "test")
    expected = reference_quantize(rows, GGMLQuantizationType[name])
    assert made.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_blocks_decode_to_what_went_in(name: str, scale: float) -> None:
    """Read back by the gguf package, the error of random rows is what the bits allow."""
    rows = np.random.default_rng(0).standard_normal((8, 512), dtype=np.float32) * np.float32(scale)
    made = quantize.encode(rows, GgmlType[name], "test").reshape(8, -1)
    error = dequantize(made, GGMLQuantizationType[name]) - rows
    limit = {"Q2_K": 0.4, "Q3_K": 0.25, "Q4_K": 0.12, "Q5_K": 0.06, "Q6_K": 0.03}[name]
    assert np.sqrt((error**2).mean()) < limit * scale


def test_missing_quantizer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the refusal names it, and leaves the remedy to the vault."""
    monkeypatch.setattr(quantize, "PACKAGE", "no_such_package")
    with pytest.raises(
        ConverterMissing, match="no_such_package, which quantises, is not installed"
    ) as caught:
        quantize.Quantizer()
    assert caught.value.hint == ""


def test_quantizer_without_its_exports_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that hides the symbols is refused at once, by the symbol's name."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _path: object())
    with pytest.raises(ConverterMissing, match="ggml_quantize_chunk"):
        quantize.Quantizer()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Llama-3.1-8B-Instruct", "Llama 3.1 8B Instruct"),
        ("tiny-bpe", "Tiny Bpe"),
        ("phi3-7b-v1.2", "Phi3 7b v1.2"),
    ],
)
def test_name_becomes_words(name: str, words: str) -> None:
    """Names are written as llama.cpp writes them."""
    assert title(name) == words


@pytest.mark.parametrize(
    ("weights", "label"),
    [(8_030_261_248, "8.0B"), (70_553_706_560, "71B"), (2_229_536, "2.2M"), (512_000, "512K")],
)
def test_size_label_has_two_digits(weights: int, label: str) -> None:
    """Labels are those of the naming convention."""
    assert size_label(weights) == label
