"""Model families: which linears a decoder layer has, and where their scales fold.

A family is listed when its tensor names, its norms and its attention are what this file
says; another one is refused, for a wrong fold loads without a word. Names are those of the
Hub's checkpoints, relative to ``model.layers.N``.

Example:
    >>> family = find_family("Qwen2ForCausalLM", "AWQ")
    >>> [group.name for group in family.groups({}, 0)]
    ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.gate_proj', 'mlp.down_proj']
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import Any, Literal

from modelvault.errors import UnsupportedArchitecture, UnsupportedSource

_MOST_EXPERTS = 1024

Config = Mapping[str, Any]
"""What ``config.json`` holds."""


class Fold(Enum):
    """How what comes before a group takes the inverse of its scales."""

    NORM = "a norm multiplies with its weight"
    OFFSET_NORM = "a norm multiplies with one more than its weight"
    ROWS = "a linear's rows are the group's inputs"
    VALUES = "a linear's rows are value heads; several query heads may share one"
    FUSED_VALUES = "the last rows of a fused q, k and v are value heads"
    FUSED_UP = "the second half of a fused gate and up is the group's input"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Linears whose input channels are scaled together, as one norm or linear feeds them all."""

    streams: tuple[tuple[str, ...], ...]
    """Linears by what they see: all of a stream see the same tokens. Each expert is a stream."""
    before: str
    """Norm or linear that takes the inverse of the scales."""
    fold: Fold
    riders: tuple[str, ...] = ()
    """Modules that read the same input and stay in 16 bits, as routers do."""

    @property
    def expert(self) -> bool:
        """Whether it belongs to one expert alone, which calibration may not reach."""
        return len(self.streams) == 1 and is_expert(self.name)

    @property
    def name(self) -> str:
        """Name of the group: its first linear."""
        return self.streams[0][0]

    @property
    def linears(self) -> tuple[str, ...]:
        """Every linear of the group."""
        return tuple(chain.from_iterable(self.streams))


def is_expert(name: str) -> bool:
    """Return whether a linear is of an expert that sees only some of the tokens."""
    return ".experts." in name


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """How a family's mixtures of experts are laid out."""

    block: str = "mlp"
    """Module that holds router and experts."""
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    shared: bool = False
    """Whether one more expert sees every token, behind a gate of its own."""
    sparse_step: bool = True
    """Whether the configuration can make some layers dense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the architectures of one kind have in common."""

    model_type: str
    """Name of the family in transformers."""
    fused: bool = False
    """Whether q, k and v are one linear, and gate and up another."""
    gemma: bool = False
    """Whether norms multiply with one more than their weight, stand on both sides of a
    block, and embeddings are multiplied with the root of the model's width."""
    experts: Experts | None = None

    @property
    def tied(self) -> bool:
        """Whether the embedding is the output head where the configuration does not tell."""
        return self.gemma

    @property
    def dtype(self) -> Literal["float16", "bfloat16"]:
        """Type that servers compute in; Gemma's activations are beyond f16."""
        return "bfloat16" if self.gemma else "float16"

    @property
    def norm_offset(self) -> float:
        """What is added to the weight of every norm, the last one included."""
        return 1.0 if self.gemma else 0.0

    def embedding_scale(self, hidden: int) -> float:
        """Return the factor on embeddings of a model of width ``hidden``."""
        return float(hidden**0.5) if self.gemma else 1.0

    def logit_cap(self, config: Config) -> float | None:
        """Return the bound that logits are squeezed into, if there is one.

        Raises:
            UnsupportedSource: The configuration has no number for it.
        """
        cap = config.get("final_logit_softcapping", 30.0 if self.model_type == "gemma2" else None)
        if not self.gemma or cap is None:
            return None
        if isinstance(cap, bool) or not isinstance(cap, (int, float)) or not cap > 0:
            raise _unusable("final_logit_softcapping", cap)
        return float(cap)

    def groups(self, config: Config, layer: int) -> tuple[Group, ...]:
        """Return the groups of a layer, in the order in which they compute.

        Raises:
            UnsupportedSource: The configuration of the experts is unusable.
        """
        return (*self._attention(), *self._feed_forward(config, layer))

    def linears(self, config: Config, layer: int) -> Iterator[str]:
        """Yield the linears of a layer."""
        for group in self.groups(config, layer):
            yield from group.linears

    def riders(self, config: Config, layer: int) -> Iterator[str]:
        """Yield the matrices of a layer that stay in 16 bits, such as routers."""
        for group in self.groups(config, layer):
            yield from group.riders

    def module(self, name: str) -> str:
        """Return the name in transformers of what the Hub calls ``name``."""
        if self.experts and name.startswith(f"{self.experts.block}."):
            return "mlp" + name.removeprefix(self.experts.block)
        return name

    def _attention(self) -> tuple[Group, ...]:
        norm = Fold.OFFSET_NORM if self.gemma else Fold.NORM
        first: tuple[str, ...] = tuple(f"self_attn.{name}_proj" for name in "qkv")
        if self.fused:
            first = ("self_attn.qkv_proj",)
        return (
            Group(streams=(first,), before="input_layernorm", fold=norm),
            Group(
                streams=(("self_attn.o_proj",),),
                before=first[-1],
                fold=Fold.FUSED_VALUES if self.fused else Fold.VALUES,
            ),
        )

    def _feed_forward(self, config: Config, layer: int) -> tuple[Group, ...]:
        if self.experts and _is_sparse(self.experts, config, layer):
            return _mixture(self.experts, _count_experts(config))
        norm = Fold.OFFSET_NORM if self.gemma else Fold.NORM
        up = "mlp.gate_up_proj" if self.fused else "mlp.up_proj"
        return (
            Group(
                streams=((up,) if self.fused else ("mlp.gate_proj", up),),
                before="pre_feedforward_layernorm" if self.gemma else "post_attention_layernorm",
                fold=norm,
            ),
            Group(
                streams=(("mlp.down_proj",),),
                before=up,
                fold=Fold.FUSED_UP if self.fused else Fold.ROWS,
            ),
        )


def _mixture(experts: Experts, count: int) -> tuple[Group, ...]:
    """Return the groups of a mixture; one norm feeds router, experts and shared expert."""
    names = [f"{experts.block}.experts.{number}" for number in range(count)]
    riders = [f"{experts.block}.gate"]
    if experts.shared:
        names.insert(0, f"{experts.block}.shared_expert")
        riders.append(f"{experts.block}.shared_expert_gate")
    first = Group(
        streams=tuple((f"{name}.{experts.gate}", f"{name}.{experts.up}") for name in names),
        before="post_attention_layernorm",
        fold=Fold.NORM,
        riders=tuple(riders),
    )
    return (
        first,
        *(
            Group(
                streams=((f"{name}.{experts.down}",),),
                before=f"{name}.{experts.up}",
                fold=Fold.ROWS,
            )
            for name in names
        ),
    )


def _is_sparse(experts: Experts, config: Config, layer: int) -> bool:
    if not experts.sparse_step:
        return True
    step, dense = config.get("decoder_sparse_step", 1), config.get("mlp_only_layers")
    if isinstance(step, bool) or not isinstance(step, int) or step < 1:
        raise _unusable("decoder_sparse_step", step)
    if not isinstance(dense or [], list):
        raise _unusable("mlp_only_layers", dense)
    return layer not in (dense or []) and (layer + 1) % step == 0


def _count_experts(config: Config) -> int:
    """Return the number of experts; both spellings occur."""
    key = "num_local_experts" if "num_local_experts" in config else "num_experts"
    count = config.get(key)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= _MOST_EXPERTS:
        raise _unusable(key, count)
    return count


def _unusable(key: str, value: object) -> UnsupportedSource:
    return UnsupportedSource(
        f"config.json: '{key}' is {value!r:.40}, which no such model has",
        hint="compare the file with the one on the Hub",
    )


_FAMILIES = {
    "LlamaForCausalLM": Family(model_type="llama"),
    "MistralForCausalLM": Family(model_type="mistral"),
    "Qwen2ForCausalLM": Family(model_type="qwen2"),
    "Qwen3ForCausalLM": Family(model_type="qwen3"),
    "Gemma2ForCausalLM": Family(model_type="gemma2", gemma=True),
    "Gemma3ForCausalLM": Family(model_type="gemma3_text", gemma=True),
    "Phi3ForCausalLM": Family(model_type="phi3", fused=True),
    "MixtralForCausalLM": Family(
        model_type="mixtral",
        experts=Experts(block="block_sparse_moe", gate="w1", up="w3", down="w2", sparse_step=False),
    ),
    "Qwen2MoeForCausalLM": Family(model_type="qwen2_moe", experts=Experts(shared=True)),
    "Qwen3MoeForCausalLM": Family(model_type="qwen3_moe", experts=Experts()),
}


def find_family(architecture: str, target: str) -> Family:
    """Return the family of an architecture.

    Args:
        architecture: First entry of ``architectures`` in ``config.json``.
        target: What is made of it, for the message: ``AWQ``, ``FP8`` ….

    Raises:
        UnsupportedArchitecture: Not known.
    """
    if architecture not in _FAMILIES:
        raise UnsupportedArchitecture(
            f"{architecture!r:.100} cannot be converted to {target}",
            hint=f"supported: {', '.join(sorted(_FAMILIES))}",
        )
    return _FAMILIES[architecture]
