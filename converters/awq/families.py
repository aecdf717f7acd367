"""Model families: which linears a decoder layer has, and where their scales fold.

A family is listed when its tensor names, its norms and its attention are what the code
assumes; another family is refused, for a wrong fold loads without a word.
"""

from dataclasses import dataclass

from modelvault.errors import UnsupportedArchitecture

_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the architectures of one kind have in common."""

    model_type: str
    """Name of the family in transformers."""
    linears: tuple[str, ...] = _ATTENTION + _MLP
    """Linears of a layer, relative to ``model.layers.N``."""
    folds: bool = False
    """Whether AWQ scales fold as in Llama: a plain RMS norm before each block, SwiGLU."""


_FAMILIES = {
    "LlamaForCausalLM": Family(model_type="llama", folds=True),
    "MistralForCausalLM": Family(model_type="mistral", folds=True),
    "Qwen2ForCausalLM": Family(model_type="qwen2", folds=True),
    "Qwen3ForCausalLM": Family(model_type="qwen3", folds=True),
    "Gemma2ForCausalLM": Family(model_type="gemma2"),
    "Gemma3ForCausalLM": Family(model_type="gemma3_text"),
    "Phi3ForCausalLM": Family(
        model_type="phi3",
        linears=("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
    ),
}


def find_family(architecture: str, target: str) -> Family:
    """Return the family of an architecture.

    Args:
        architecture: First entry of ``architectures`` in ``config.json``.
        target: ``AWQ``, ``FP8`` ….

    Raises:
        UnsupportedArchitecture: Not known, or not for this target.
    """
    fit = {name: family for name, family in _FAMILIES.items() if family.folds or target != "AWQ"}
    if architecture not in fit:
        raise UnsupportedArchitecture(
            f"{architecture!r:.100} cannot be converted to {target}",
            hint=f"supported: {', '.join(sorted(fit))}",
        )
    return fit[architecture]
