"""A model of 70 billion weights that takes no disk: sparse safetensors files of zeros."""

import json
import struct
from math import prod
from pathlib import Path

from tests.support.tinymodel import make_tiny_llama

LAYERS, HIDDEN, WIDE, KEYS, ROWS = 80, 8192, 28672, 1024, 128256
PARAMETERS = 70_553_706_496
"""Of Llama 3.1 70B, without the 64 factors of its rotary embedding."""
SHARDS = 30


def make_seventy(folder: Path) -> None:
    """Write a checkpoint shaped like Llama 3.1 70B around a tiny tokenizer."""
    make_tiny_llama(folder)
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": ROWS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    names = list(_tensors().items())
    places: dict[str, str] = {}
    for number in range(SHARDS):
        file = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        start, stop = (len(names) * edge // SHARDS for edge in (number, number + 1))
        _write_sparse(folder / file, dict(names[start:stop]))
        places |= dict.fromkeys((name for name, _ in names[start:stop]), file)
    index = {"metadata": {"total_size": 2 * PARAMETERS}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _tensors() -> dict[str, tuple[int, ...]]:
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (ROWS, HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        tensors |= {
            at + "input_layernorm.weight": (HIDDEN,),
            at + "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            at + "self_attn.k_proj.weight": (KEYS, HIDDEN),
            at + "self_attn.v_proj.weight": (KEYS, HIDDEN),
            at + "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            at + "post_attention_layernorm.weight": (HIDDEN,),
            at + "mlp.gate_proj.weight": (WIDE, HIDDEN),
            at + "mlp.up_proj.weight": (WIDE, HIDDEN),
            at + "mlp.down_proj.weight": (HIDDEN, WIDE),
        }
    tensors |= {"model.norm.weight": (HIDDEN,), "lm_head.weight": (ROWS, HIDDEN)}
    return tensors


def _write_sparse(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header = {}
    end = 0
    for name, shape in tensors.items():
        start, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
