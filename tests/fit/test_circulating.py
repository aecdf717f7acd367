"""The figures in circulation for Llama 3.1, which people decide by."""

import pytest

from modelvault.core.ggml import GgmlType
from modelvault.fit.cache import Load
from modelvault.fit.config_shape import shape_of_config
from modelvault.fit.estimate import Model, estimate
from modelvault.fit.quantizations import MIXES, folder_size, gguf_size
from modelvault.fit.runtimes import find_runtime
from modelvault.fit.shape import ModelShape
from modelvault.fit.weights import Tensor, WeightTable

SHAPES = {"8B": (32, 4096, 14336, 32), "70B": (80, 8192, 28672, 64)}
ROWS, KEYS = 128256, 1024
FIGURES = (
    ("8B", "F16", 16, 17), ("8B", "Q8_0", 8.5, 10), ("8B", "Q5_K_M", 5.7, 7),
    ("8B", "Q4_K_M", 4.9, 6), ("70B", "F16", 140, 140), ("70B", "Q8_0", 70, 74),
    ("70B", "Q6_K", 54, 58), ("70B", "Q5_K_M", 48, 52), ("70B", "Q4_K_M", 40, 44),
    ("70B", "Q4_K_S", 38, 42), ("70B", "Q3_K_M", 30, 34), ("70B", "Q2_K", 24, 28),
)  # fmt: skip
"""Model, quantisation, file and memory in GB, as field guides have them."""
GUIDES_CONTEXT = 4096
"""Tokens for which the guides' allowance of about 4 GB for 70B, and 1 for 8B, is meant."""
PUBLISHED = {
    ("8B", "Q8_0"): 8_540_771_328, ("8B", "Q6_K"): 6_596_006_912, ("8B", "Q5_K_M"): 5_732_987_904,
    ("8B", "Q4_K_M"): 4_920_734_720, ("8B", "Q3_K_M"): 4_018_918_400,
    ("8B", "Q2_K"): 3_179_131_904, ("70B", "Q4_K_M"): 42_520_395_008,
    ("70B", "Q2_K"): 26_375_110_656, ("70B", "Q8_0"): 74_975_054_848,
}  # fmt: skip
"""Bytes of the files that are published in these quantisations, headers of 8 MB included."""


def llama(name: str) -> tuple[ModelShape, WeightTable]:
    """Return the shape and the tensors of Llama 3.1."""
    layers, hidden, inner, heads = SHAPES[name]
    shape = shape_of_config(
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 8,
            "vocab_size": ROWS,
            "intermediate_size": inner,
            "max_position_embeddings": 131072,
        }
    )
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (ROWS, hidden),
        "lm_head.weight": (ROWS, hidden),
    }
    shapes["model.norm.weight"] = (hidden,)
    for number in range(layers):
        at = f"model.layers.{number}."
        shapes |= {
            at + "input_layernorm.weight": (hidden,),
            at + "post_attention_layernorm.weight": (hidden,),
            at + "self_attn.q_proj.weight": (hidden, hidden),
            at + "self_attn.k_proj.weight": (KEYS, hidden),
            at + "self_attn.v_proj.weight": (KEYS, hidden),
            at + "self_attn.o_proj.weight": (hidden, hidden),
            at + "mlp.gate_proj.weight": (inner, hidden),
            at + "mlp.up_proj.weight": (inner, hidden),
            at + "mlp.down_proj.weight": (hidden, inner),
        }
    tensors = []
    for key, wide in shapes.items():
        tensor = Tensor(name=key, shape=wide, size=0, type="BF16")
        tensors.append(Tensor(name=key, shape=wide, size=2 * tensor.count, type="BF16"))
    return shape, WeightTable.of(tensors)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure[0]}-{figure[1]}")
def test_memory_is_what_field_guides_say(figure: tuple[str, str, float, float]) -> None:
    """Within a tenth of the memory that is told for each quantisation."""
    name, label, _, memory = figure
    shape, table = llama(name)
    model = Model(shape=shape, weights=gguf_size(table, label, len(shape.layers)))
    needs = estimate(model, find_runtime("llamacpp"), Load(context=GUIDES_CONTEXT))
    assert abs(needs.total / 1e9 / memory - 1) < 0.10, needs.total / 1e9


@pytest.mark.parametrize("key", PUBLISHED, ids="-".join)
def test_computed_size_is_the_published_files(key: tuple[str, str]) -> None:
    """A quantisation that is not made yet is computed to within 2 % of its file."""
    name, label = key
    shape, table = llama(name)
    assert abs(gguf_size(table, label, len(shape.layers)) / PUBLISHED[key] - 1) < 0.02


def test_exact_bytes_are_those_of_the_tensors() -> None:
    """Weights in 16 bits are two bytes each, nothing is rounded."""
    _, table = llama("70B")
    assert table.size == 2 * 70_553_706_496
    assert table.embedding == table.output == 2 * ROWS * 8192


def test_formats_of_vllm_keep_embeddings_whole() -> None:
    """Half and a quarter of the linears, and all of the embeddings and the output."""
    _, table = llama("70B")
    wide = table.embedding + table.output
    linears = table.size - wide
    assert abs((folder_size(table, "FP8") - wide) / (linears / 2) - 1) < 0.01
    assert abs((folder_size(table, "W4A16") - wide) / (linears / 4) - 1) < 0.05


def test_best_quantisation_comes_first() -> None:
    """The table goes from the largest to the smallest."""
    shape, table = llama("8B")
    sizes = [gguf_size(table, label, len(shape.layers)) for label in MIXES]
    assert sizes == sorted(sizes, reverse=True)


def test_rows_that_do_not_divide_fall_back() -> None:
    """A row that is no multiple of 256 takes the next type with blocks of 32, as it is made."""
    odd = WeightTable.of([Tensor(name="a.weight", shape=(64, 576), size=0, type="BF16")])
    assert gguf_size(odd, "Q4_K_M", 1) == 64 * GgmlType.Q5_0.row_bytes(576)
    narrow = WeightTable.of([Tensor(name="a.weight", shape=(64, 40), size=0, type="BF16")])
    assert gguf_size(narrow, "Q4_K_M", 1) == 64 * 40 * 2
