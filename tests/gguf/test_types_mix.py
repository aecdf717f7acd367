"""The mixes beyond the vectors: rules with and without an importance matrix, and sizes."""

import pytest

from modelvault_converters.gguf.container import tensor_bytes
from modelvault_converters.gguf.families import find_family
from modelvault_converters.gguf.mix import choose_types
from modelvault_converters.gguf.tensors import Blueprint, Tensor
from modelvault_converters.gguf.types import TARGETS

PUBLISHED = {
    "Q8_0": 8.54,
    "Q6_K": 6.60,
    "Q5_K_M": 5.73,
    "Q5_K_S": 5.60,
    "Q4_K_M": 4.92,
    "Q4_K_S": 4.69,
    "IQ4_NL": 4.68,
    "Q4_0": 4.66,
    "IQ4_XS": 4.45,
    "Q3_K_L": 4.32,
    "Q3_K_M": 4.02,
    "Q3_K_S": 3.66,
    "Q2_K": 3.18,
}
"""Target → size in GB of Llama 3.1 8B as published, by llama.cpp with an importance matrix."""


def eight_billion() -> Blueprint:
    """Return Llama 3.1 8B."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    }
    return find_family(config)(config, {})


def types_of(model: Blueprint, target: str, *, weighted: bool = False) -> dict[str, str]:
    """Return tensor name → type name."""
    types = choose_types(TARGETS[target], model, model.tensors, weighted=weighted)
    return {tensor.name: type_.name for tensor, type_ in zip(model.tensors, types)}


def of_role(types: dict[str, str], role: str) -> list[str]:
    """Return the types of one role, by layer."""
    return [types[f"blk.{layer}.{role}.weight"] for layer in range(32)]


@pytest.mark.parametrize("target", PUBLISHED)
def test_size_of_a_known_model_is_the_published_one(target: str) -> None:
    """The mix weighs what everybody's file of this type weighs, to half a percent."""
    model = eight_billion()
    types = choose_types(TARGETS[target], model, model.tensors, weighted=True)
    size = sum(tensor_bytes(tensor, type_) for tensor, type_ in zip(model.tensors, types))
    assert size / 1e9 == pytest.approx(PUBLISHED[target], rel=0.005)


def test_largest_three_bit_mix_raises_three_roles() -> None:
    """Q3_K_L: values, attention's output and the way down have five bits."""
    types = types_of(eight_billion(), "Q3_K_L")
    for role in ("attn_v", "attn_output", "ffn_down"):
        assert of_role(types, role) == ["Q5_K"] * 32
    assert of_role(types, "attn_q") == ["Q3_K"] * 32


def test_smallest_three_bit_mix_raises_only_the_output() -> None:
    """Q3_K_S: one type but for the output."""
    types = types_of(eight_billion(), "Q3_K_S")
    assert types.pop("output.weight") == "Q6_K"
    assert set(types.values()) == {"Q3_K", "F32"}


@pytest.mark.parametrize("target", ["IQ4_XS", "IQ4_NL"])
def test_nonlinear_mix_depends_on_the_importance_matrix(target: str) -> None:
    """Without a matrix the first eighth of the way down has five bits; values always have."""
    plain, weighted = (types_of(eight_billion(), target, weighted=it) for it in (False, True))
    assert of_role(plain, "ffn_down") == ["Q5_K"] * 4 + [target] * 28
    assert of_role(weighted, "ffn_down") == [target] * 32
    assert of_role(plain, "attn_v") == of_role(weighted, "attn_v") == ["Q5_K"] * 32


@pytest.mark.parametrize(("target", "guard"), [("Q4_0", "Q4_1"), ("Q5_0", "Q5_1")])
def test_legacy_mix_guards_its_first_layers_when_weighted(target: str, guard: str) -> None:
    """With a matrix the first eighth of the way down gets the type with an offset."""
    types = types_of(eight_billion(), target, weighted=True)
    assert of_role(types, "ffn_down") == [guard] * 4 + [target] * 28
    assert of_role(types_of(eight_billion(), target), "ffn_down") == [target] * 32


def test_two_bit_mix_of_the_matrix_keeps_early_layers() -> None:
    """Q2_K_S: values and the first eighth of the way down have four bits."""
    types = types_of(eight_billion(), "Q2_K_S", weighted=True)
    assert of_role(types, "attn_v") == ["Q4_K"] * 32
    assert of_role(types, "ffn_down") == ["Q4_K"] * 4 + ["Q2_K"] * 28
    assert of_role(types, "attn_output") == ["Q2_K"] * 32


def model_of(*tensors: Tensor) -> Blueprint:
    """Return a model of one layer with these tensors."""
    return Blueprint(
        architecture="test",
        entries=(),
        tensors=tensors,
        vocabulary=8,
        layers=1,
        heads=1,
        kv_heads=1,
    )


@pytest.mark.parametrize(
    ("target", "columns", "expected"),
    [
        ("IQ4_XS", 96, "IQ4_NL"),
        ("Q3_K_L", 96, "Q4_0"),
        ("Q3_K_S", 96, "Q4_0"),
        ("Q5_K_S", 96, "Q5_1"),
        ("Q4_K_S", 96, "Q5_0"),
        ("Q6_K", 96, "Q8_0"),
        ("IQ4_XS", 40, "F16"),
        ("IQ4_NL", 40, "F16"),
    ],
)
def test_awkward_row_gets_the_type_that_stands_in(target: str, columns: int, expected: str) -> None:
    """Rows that are no whole blocks fall back as llama.cpp's do."""
    model = model_of(Tensor(name="blk.0.ffn_up.weight", shape=(8, columns)))
    assert types_of(model, target)["blk.0.ffn_up.weight"] == expected


def test_fused_projection_counts_as_values() -> None:
    """The fused projection of Phi-3 follows the rule of the values it holds."""
    fused = [Tensor(name=f"blk.{layer}.attn_qkv.weight", shape=(8, 256)) for layer in range(2)]
    assert list(types_of(model_of(*fused), "Q4_K_M").values()) == ["Q4_K", "Q6_K"]
    assert list(types_of(model_of(*fused), "Q3_K_M").values()) == ["Q5_K", "Q5_K"]


@pytest.mark.parametrize("name", ["position_embd", "token_types", "blk.0.ffn_gate_inp"])
def test_small_matrix_stays_in_full(name: str) -> None:
    """Positions, token types and the choice of experts are never shrunk."""
    model = model_of(Tensor(name=f"{name}.weight", shape=(512, 256)))
    assert types_of(model, "Q4_K_M") == {f"{name}.weight": "F32"}
