"""GGUF files of models as large as anyone's that take no disk: real headers before a hole.

llama.cpp reads their headers and computes every buffer; it must be told to allocate none.
"""

import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from modelvault.core.ggml import GgmlType
from tests.support import tinygguf

Tensors = dict[str, tuple[tuple[int, ...], str]]
"""Name → shape, fastest dimension first, and the name of its type."""


def write_sparse(path: Path, keys: Mapping[str, Any], tensors: Tensors) -> None:
    """Write a GGUF whose data is a hole."""
    described, end = [], 0
    for name, (shape, kind) in tensors.items():
        type_ = GgmlType[kind]
        described.append(tinygguf.tensor(name, shape, type_.number, end))
        size = type_.row_bytes(prod(shape))
        end += size + -size % 32
    head = tinygguf.gguf([_pair(key, value) for key, value in keys.items()], described)
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + end)


def make_decoder(
    path: Path,
    *,
    arch: str = "llama",
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    inner: int,
    rows: int,
    width: int = 128,
    kind: str = "Q4_K",
    biased: bool = False,
    normed: bool = False,
    experts: int = 0,
    used: int = 0,
    **more: Any,
) -> None:
    """Write a decoder of the usual kind.

    Args:
        path: Where.
        arch: As llama.cpp calls it.
        layers: How many.
        hidden: Width of the model.
        heads: Of queries.
        kv_heads: Of keys and values.
        inner: Width of the feed-forward, or of one expert.
        rows: Tokens of the vocabulary.
        width: Of a head.
        kind: Type of the matrices.
        biased: Whether queries, keys and values have biases.
        normed: Whether queries and keys are normed.
        experts: How many; 0 for a dense model.
        used: How many of them a token uses.
        **more: Further keys of the architecture, ``__`` for a dot.
    """
    own: dict[str, Any] = {
        "context_length": 131072,
        "embedding_length": hidden,
        "block_count": layers,
        "feed_forward_length": inner,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": width,
        "attention.value_length": width,
        "rope.dimension_count": width,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "vocab_size": rows,
    }
    if experts:
        own |= {"expert_count": experts, "expert_used_count": used}
        own |= {"expert_feed_forward_length": inner}
    own |= {key.replace("__", "."): value for key, value in more.items()}
    keys = {"general.architecture": arch, "tokenizer.ggml.model": "no_vocab"}
    keys |= {f"{arch}.{key}": value for key, value in own.items()}
    tensors: Tensors = {
        "token_embd.weight": ((hidden, rows), kind),
        "output_norm.weight": ((hidden,), "F32"),
        "output.weight": ((hidden, rows), "Q6_K"),
    }
    for number in range(layers):
        at = f"blk.{number}."
        widths = {"q": heads * width, "k": kv_heads * width, "v": kv_heads * width}
        for name, size in widths.items():
            tensors[f"{at}attn_{name}.weight"] = ((hidden, size), kind)
            if biased:
                tensors[f"{at}attn_{name}.bias"] = ((size,), "F32")
            if normed and name != "v":
                tensors[f"{at}attn_{name}_norm.weight"] = ((width,), "F32")
        tensors[at + "attn_output.weight"] = ((heads * width, hidden), kind)
        tensors[at + "attn_norm.weight"] = ((hidden,), "F32")
        tensors[at + "ffn_norm.weight"] = ((hidden,), "F32")
        if experts:
            tensors[at + "ffn_gate_inp.weight"] = ((hidden, experts), "F32")
            tensors[at + "ffn_gate_exps.weight"] = ((hidden, inner, experts), kind)
            tensors[at + "ffn_up_exps.weight"] = ((hidden, inner, experts), kind)
            tensors[at + "ffn_down_exps.weight"] = ((inner, hidden, experts), kind)
        else:
            tensors[at + "ffn_gate.weight"] = ((hidden, inner), kind)
            tensors[at + "ffn_up.weight"] = ((hidden, inner), kind)
            tensors[at + "ffn_down.weight"] = ((inner, hidden), kind)
        if arch == "gemma2":
            tensors[at + "post_attention_norm.weight"] = ((hidden,), "F32")
            tensors[at + "post_ffw_norm.weight"] = ((hidden,), "F32")
    if arch == "gemma2":
        del tensors["output.weight"]
    write_sparse(path, keys, tensors)


def _pair(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        return tinygguf.string_pair(key, value)
    if isinstance(value, float):
        return tinygguf.pair(key, tinygguf.F32, struct.pack("<f", value))
    if isinstance(value, Sequence):
        body = struct.pack(f"<IQ{len(value)}i", tinygguf.I32, len(value), *value)
        return tinygguf.pair(key, tinygguf.ARRAY, body)
    return tinygguf.u32_pair(key, int(value))
