"""Tiny models that have learnt something, so that a worse weight shows in their answers.

Random weights give flat logits: a wrong nibble order hardly moves them. These models are
trained on a small multilingual text until they predict it, in seconds, and always to the
same weights on one machine. As large models do by themselves, they get a few channels
with large activations (the function stays the same), which plain rounding serves badly.

Example:
    >>> train_model(Path("/tmp/trained"), family="llama")
"""

import json
from pathlib import Path
from typing import Any, Literal

import torch

from tests.support.tinymodel import make_tiny_llama, training_text

Family = Literal["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3"]

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
) -> None:
    """Write a complete trained checkpoint in bf16, deterministic for its arguments.

    Args:
        folder: Created when missing.
        family: Kind of model, as transformers names it.
        steps: Of training; each sees 8 sequences of 64 tokens.
        tied: Let the output share the embedding's weights.
        intermediate: Width of the feed-forward layer.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    make_tiny_llama(folder, hidden=64, layers=1)
    for path in folder.iterdir():
        if path.name not in (*_SIDE_FILES, "README.md", "LICENSE"):
            path.unlink()
    tokens = encode(folder, "\n".join(training_text()))
    torch.set_num_threads(1)  # matrices this small gain nothing from more
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = AutoConfig.for_model(family, **_shape(tied, intermediate))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        _train(model, tokens, steps)
    if family in ("llama", "mistral", "qwen2", "qwen3"):
        _raise_outliers(model)
    model.to(torch.bfloat16).save_pretrained(folder)


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
    from transformers import AutoConfig, AutoModelForCausalLM

    values = json.loads((folder / "config.json").read_text())
    values.pop("quantization_config", None)
    config = AutoConfig.for_model(**values)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    lost, unknown = model.load_state_dict(
        {name: value.float() for name, value in state.items()}, strict=False
    )
    assert not unknown
    assert set(lost) <= ({"lm_head.weight"} if config.tie_word_embeddings else set())
    model.tie_weights()
    with torch.no_grad():
        return model(tokens).logits


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


def _shape(tied: bool, intermediate: int) -> dict[str, Any]:
    return {
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
def _raise_outliers(model: Any) -> None:
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for norm, linears in (
            (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
            (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
        ):
            norm.weight[list(_OUTLIERS)] *= _OUTLIER
            for linear in linears:
                linear.weight[:, list(_OUTLIERS)] /= _OUTLIER
