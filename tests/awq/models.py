"""Random models of every family, small, with everything that a fold could get wrong."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from modelvault_converters.awq.models.model import Model
from modelvault_converters.checkpoint import Checkpoint
from tests.awq.running import make_request
from tests.support.trainedmodel import EXPERTS, Family

SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
_ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]

CASES: dict[str, tuple[Family, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-biased": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-all-heads": ("llama", {"num_key_value_heads": 4, "head_dim": 16}),
    "llama-one-value-head": ("llama", {"num_key_value_heads": 1}),
    "llama-3-rope": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ),
    "mistral": ("mistral", {"sliding_window": 8}),
    "qwen2": ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    "qwen3": ("qwen3", {}),
    "gemma2": ("gemma2", {"sliding_window": 8, "attn_logit_softcapping": 2.0}),
    "gemma3": ("gemma3_text", {"sliding_window": 8, "layer_types": _ALTERNATING}),
    "phi3": ("phi3", {"sliding_window": 8}),
    "phi3-partial-rope": (
        "phi3",
        {
            "head_dim": 16,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    "mixtral": ("mixtral", {"num_local_experts": EXPERTS, "num_experts_per_tok": 2}),
    "qwen2-moe": (
        "qwen2_moe",
        {**_EXPERTS, "num_experts": EXPERTS, "shared_expert_intermediate_size": 96},
    ),
    "qwen2-moe-dense-layers": (
        "qwen2_moe",
        {
            **_EXPERTS,
            "num_experts": EXPERTS,
            "shared_expert_intermediate_size": 96,
            "mlp_only_layers": [1],
        },
    ),
    "qwen3-moe": ("qwen3_moe", {**_EXPERTS, "num_experts": EXPERTS}),
    "qwen3-moe-every-second": (
        "qwen3_moe",
        {**_EXPERTS, "num_experts": EXPERTS, "decoder_sparse_step": 2, "norm_topk_prob": False},
    ),
}
"""Shapes of every family, by what is special."""

PUBLISHED: dict[str, dict[str, Any]] = {
    "llama": {"rope_theta": 5000000.0, "rope_scaling": None, "torch_dtype": "float32"},
    "llama-3-rope": {
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "mistral": {"rope_theta": 1000000.0, "sliding_window": 8},
    "qwen2": {
        "rope_theta": 1000000.0,
        "use_sliding_window": False,
        "sliding_window": 8,
        "max_window_layers": 1,
    },
    "qwen3": {"rope_theta": 1000000, "rope_scaling": None, "max_window_layers": 3},
    "gemma2": {"rope_theta": 10000.0, "hidden_activation": "gelu_pytorch_tanh"},
    "gemma3": {
        "rope_theta": 1000000,
        "rope_local_base_freq": 10000,
        "sliding_window_pattern": 2,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "cache_implementation": "hybrid",
    },
    "phi3": {
        "rope_theta": 10000.0,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0 + number / 16 for number in range(16)],
            "long_factor": [2.0 + number for number in range(16)],
        },
        "original_max_position_embeddings": 16,
    },
    "mixtral": {"rope_theta": 1000000.0, "output_router_logits": False},
    "qwen2-moe": {"rope_theta": 1000000.0, "use_sliding_window": False, "sliding_window": 8},
    "qwen3-moe": {"rope_theta": 1000000.0, "rope_scaling": None, "mlp_only_layers": []},
}
"""How the Hub's configurations spell what today's transformers spells otherwise."""

_SPELT_OTHERWISE = ("rope_parameters", "layer_types", "dtype", "num_local_experts")


def spell_as_published(folder: Path, case: str) -> None:
    """Rewrite a random model's ``config.json`` in the spelling of the Hub's files."""
    values = read_config(folder)
    experts = values.get("num_local_experts")
    kept = {key: value for key, value in values.items() if key not in _SPELT_OTHERWISE}
    if experts is not None:
        kept["num_local_experts" if case == "mixtral" else "num_experts"] = experts
    (folder / "config.json").write_text(json.dumps({**kept, **PUBLISHED[case]}))


def make_random(folder: Path, case: str, **changes: Any) -> Any:
    """Write a model with random weights in f32, norms and biases included.

    Args:
        folder: Created.
        case: Of ``CASES``.
        changes: Of the configuration.

    Returns:
        The model as transformers holds it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, logging

    logging.disable_progress_bar()
    family, special = CASES[case]
    config = AutoConfig.for_model(family, **{**SHAPE, **special, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.normal_(0, 0.3 if value.ndim < 2 else value.shape[-1] ** -0.5)
                if name.endswith("norm.weight") and not family.startswith("gemma"):
                    value.add_(1)
    model.save_pretrained(folder)
    return model


def open_model(folder: Path, stack: ExitStack, target: str = "AWQ") -> Model:
    """Return a folder's model as the converter sees it."""
    request = make_request(folder, target, folder.parent / "unused")
    return Model.open(Checkpoint(request.files), stack, target)


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's ``config.json``."""
    value: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return value
