"""Tiny models that have learnt something, so that a worse weight shows in their answers.

Random weights give flat logits: a wrong nibble order hardly moves them. These models are
trained on a small multilingual text until they predict it, in seconds, and always to the
same weights on one machine. As large models do by themselves, they get a few channels
with large activations (the function stays the same), which plain rounding serves badly.

Example:
    >>> train_model(Path("/tmp/trained"), family="llama")
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from tests.support.tinymodel import make_tiny_llama, training_text

Family = Literal[
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
]
FAMILIES: tuple[Family, ...] = get_args(Family)
EXPERTS = 4
"""Experts a layer of the families that have any; two see each token."""

HIDDEN = 128
_SIDE_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
_OUTLIER = 24.0
_OUTLIERS = (3, 40, 77, 101)
"""Channels whose activations become large."""


def train_model(
    folder: Path,
    *,
    family: Family = "llama",
    steps: int = 120,
    tied: bool = False,
    intermediate: int = 256,
    **shape: Any,
) -> None:
    """Write a complete trained checkpoint in bf16, deterministic for its arguments.

    Args:
        folder: Created when missing.
        family: Kind of model, as transformers names it.
        steps: Of training; each sees 8 sequences of 64 tokens.
        tied: Let the output share the embedding's weights.
        intermediate: Width of the feed-forward layer.
        shape: Other entries of the configuration.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, logging

    logging.disable_progress_bar()
    make_tiny_llama(folder, hidden=64, layers=1)
    for path in folder.iterdir():
        if path.name not in (*_SIDE_FILES, "README.md", "LICENSE"):
            path.unlink()
    tokens = encode(folder, "\n".join(training_text()))
    torch.set_num_threads(1)  # matrices this small gain nothing from more
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = AutoConfig.for_model(family, **(_shape(tied, intermediate, family) | shape))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        _train(model, tokens, steps)
    raise_outliers(model, _OUTLIERS)
    model.to(torch.bfloat16).save_pretrained(folder)
    name_experts(folder / "config.json", family)


def encode(folder: Path, text: str) -> torch.Tensor:
    """Return the tokens of a text, ``[length]``."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids)


def logits(folder: Path, tokens: torch.Tensor, state: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return f32 logits ``[batch, length, vocabulary]`` of a folder's model with other weights.

    Args:
        folder: Whose ``config.json`` describes the model.
        tokens: ``[batch, length]``.
        state: All weights; a tied output may be missing.
    """
    with torch.no_grad():
        answer: torch.Tensor = build(folder, state)(tokens).logits
        return answer


def build(folder: Path, state: dict[str, torch.Tensor]) -> Any:
    """Return a folder's model with other weights, in f32.

    Args:
        folder: Whose ``config.json`` describes the model.
        state: All weights; a tied output may be missing.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    values = json.loads((folder / "config.json").read_text())
    values.pop("quantization_config", None)
    config = AutoConfig.for_model(**values)
    kind = type(AutoModelForCausalLM.from_config(config))
    model, loaded = kind.from_pretrained(
        None,
        config=config,
        state_dict={name: value.float() for name, value in state.items()},
        dtype=torch.float32,
        attn_implementation="eager",  # the only one that caps Gemma 2's scores
        output_loading_info=True,
    )
    faults = [key for key in ("unexpected_keys", "mismatched_keys", "error_msgs") if loaded[key]]
    assert not faults, loaded
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    assert set(loaded["missing_keys"]) <= tied, loaded
    return model.eval()


def load(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a checkpoint folder."""
    from safetensors.torch import load_file

    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.exists():
        names = set(json.loads(index.read_text())["weight_map"].values())
    return {key: value for name in sorted(names) for key, value in load_file(folder / name).items()}


def divergence(source: torch.Tensor, other: torch.Tensor) -> float:
    """Return the mean KL divergence of two sets of logits, in nats a token."""
    left, right = source.log_softmax(-1), other.log_softmax(-1)
    return float((left.exp() * (left - right)).sum(-1).mean())


def _shape(tied: bool, intermediate: int, family: Family) -> dict[str, Any]:
    shape = {
        "vocab_size": 1024,
        "hidden_size": HIDDEN,
        "intermediate_size": intermediate,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return shape | _OF_FAMILY.get(family, {})


_QWEN_EXPERTS = {
    "num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "norm_topk_prob": True,
}
_OF_FAMILY: dict[Family, dict[str, Any]] = {
    "gemma2": {"query_pre_attn_scalar": 32, "sliding_window": 64},
    "gemma3_text": {
        "query_pre_attn_scalar": 32,
        "sliding_window": 64,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "mixtral": {"num_local_experts": EXPERTS, "num_experts_per_tok": 2},
    "qwen2_moe": {**_QWEN_EXPERTS, "shared_expert_intermediate_size": 256},
    "qwen3_moe": _QWEN_EXPERTS,
}


def name_experts(path: Path, family: Family) -> None:
    """Spell the number of experts as the Hub's configurations of Qwen do."""
    if family in ("qwen2_moe", "qwen3_moe"):
        values = json.loads(path.read_text())
        values["num_experts"] = values.pop("num_local_experts", EXPERTS)
        path.write_text(json.dumps(values, indent=2, sort_keys=True))


def _train(model: torch.nn.Module, tokens: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(steps):
        starts = torch.randint(len(tokens) - 65, (8,))
        batch = torch.stack([tokens[start : start + 64] for start in starts])
        loss = model(batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


@torch.no_grad()
def raise_outliers(model: Any, outliers: Sequence[int]) -> None:
    """Give channels large activations; the function stays the same.

    Args:
        model: A causal language model of one of the families.
        outliers: The channels that are read from the norms before the linears.
    """
    channels = list(outliers)
    offset = 1.0 if model.config.model_type.startswith("gemma") else 0.0
    for layer in model.model.layers:
        feed = getattr(layer, "pre_feedforward_layernorm", layer.post_attention_layernorm)
        for norm, block in ((layer.input_layernorm, layer.self_attn), (feed, layer.mlp)):
            norm.weight[channels] = (norm.weight[channels] + offset) * _OUTLIER - offset
            for weight in _readers(block):
                weight[..., channels] /= _OUTLIER


def _readers(block: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yield the weights of a block that multiply its input, ``[…, hidden]``."""
    for name, weight in block.named_parameters():
        written = {"o_proj", "down_proj", "q_norm", "k_norm"}.intersection(name.split("."))
        if not written and not name.endswith(".bias"):
            yield weight
