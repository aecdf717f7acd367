"""Tiny random checkpoints of any family, made by transformers itself.

The tokenizers are those of ``tinymodel``. Norms and biases are random too: a converter that lost
one, or forgot to add one to it, would be noticed.

Example:
    >>> make_tiny_family(Path("/tmp/tiny"), "qwen3")
"""

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.support.tinymodel import VOCABULARY, Kind, make_tiny_llama

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
_GEMMA = {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 48}
_HALF = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 16.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
_EXPERTS = {
    "moe_intermediate_size": 64,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "routed_scaling_factor": 1.7,
}
_LONG = [1.0 + 0.25 * number for number in range(16)]

FAMILIES: dict[str, tuple[Kind, dict[str, Any]]] = {
    "mixtral": ("spm", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 32}),
    "qwen2": ("bpe", {}),
    "qwen3": ("bpe", {"head_dim": 64}),
    "qwen2_moe": (
        "bpe",
        {
            "moe_intermediate_size": 64,
            "shared_expert_intermediate_size": 96,
            "num_experts": 8,
            "num_experts_per_tok": 2,
        },
    ),
    "qwen3_moe": (
        "bpe",
        {
            "head_dim": 64,
            "moe_intermediate_size": 64,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
        },
    ),
    "gemma2": ("spm", _GEMMA),
    "gemma3_text": (
        "spm",
        _GEMMA
        | {
            "num_hidden_layers": 7,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
    ),
    "phi3": (
        "spm",
        {
            "sliding_window": None,
            "original_max_position_embeddings": 128,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "long_factor": _LONG,
                "short_factor": [1.0] * 16,
                "original_max_position_embeddings": 128,
            },
        },
    ),
    "granite": (
        "bpe",
        {
            "attention_multiplier": 0.11,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.6,
            "logits_scaling": 2.5,
            "attention_bias": True,
        },
    ),
    "olmo2": ("bpe", {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}),
    "olmo3": (
        "bpe",
        {
            "num_hidden_layers": 5,
            "sliding_window": 48,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 500000.0,
                    "factor": 8.0,
                    "original_max_position_embeddings": 256,
                    "attention_factor": 1.2079441541679836,
                    "beta_fast": 32.0,
                    "beta_slow": 1.0,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0},
            },
        },
    ),
    "cohere": ("bpe", {"logit_scale": 0.3}),
    "cohere2": ("bpe", {"logit_scale": 0.3, "num_hidden_layers": 5, "sliding_window": 48}),
    "stablelm": ("bpe", {"use_qkv_bias": True}),
    "smollm3": ("bpe", {"num_hidden_layers": 5}),
    "exaone4": (
        "bpe",
        {
            "sliding_window": None,
            "rope_parameters": _LLAMA3,
            "layer_types": ["full_attention"] * 2,
        },
    ),
    "exaone_moe": (
        "bpe",
        _EXPERTS
        | {
            "num_experts": 8,
            "num_hidden_layers": 5,
            "sliding_window": 48,
            "head_dim": 64,
            "num_shared_experts": 2,
        },
    ),
    "glm4": ("bpe", {"head_dim": 64, "pad_token_id": 0, "rope_parameters": _HALF}),
    "glm4_moe": (
        "bpe",
        _EXPERTS
        | {
            "n_routed_experts": 8,
            "head_dim": 64,
            "use_qk_norm": True,
            "attention_bias": True,
            "num_hidden_layers": 3,
            "rope_parameters": _HALF,
        },
    ),
    "gpt_oss": (
        "bpe",
        {
            "head_dim": 64,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "sliding_window": 48,
            "layer_types": ["sliding_attention", "full_attention"],
            "attention_bias": True,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 150000.0,
                "factor": 8.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 256,
            },
        },
    ),
    "solar_open": (
        "bpe",
        _EXPERTS | {"n_routed_experts": 8, "head_dim": 64, "n_shared_experts": 2},
    ),
}
"""Model type of transformers → kind of tokenizer, and what differs from a common shape."""


def make_tiny_family(
    folder: Path, family: str, *, fused: bool = False, **changes: object
) -> dict[str, Any]:
    """Write a tiny checkpoint of a family; return its ``config.json``.

    Args:
        folder: Created when missing.
        family: Key of ``FAMILIES``.
        fused: Keep experts in the tensors that transformers 5 computes with, instead of one by
            one as publishers store them.
        **changes: Values of the configuration.
    """
    kind, values = FAMILIES[family]
    make_tiny_llama(folder, kind=kind, hidden=64, layers=1, intermediate=64)
    config = transformers.AutoConfig.for_model(family, **_COMMON | values | changes)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _fill(name, parameter)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(torch.randn(buffer.shape) / 4)
    model.save_pretrained(folder, save_original_format=not fused)
    text: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return text


def _fill(name: str, parameter: torch.nn.Parameter) -> None:
    """Give a parameter random values that keep attention and logits far from uniform."""
    if parameter.dim() == 1:
        center = parameter.float().mean().round()  # 1, or 0 where a model adds the one itself
        parameter.copy_(center + torch.randn(parameter.shape) / 8)
    elif "embed_tokens" in name:
        parameter.copy_(torch.randn(parameter.shape) / 4)
    else:
        parameter.copy_(torch.randn(parameter.shape) / parameter.shape[-1] ** 0.5)
