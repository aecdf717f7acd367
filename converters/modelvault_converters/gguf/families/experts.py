"""Mixtures of experts: many small feed-forward layers, stacked into one tensor a role.

The Hub knows two spellings. Either every expert has three matrices of its own, or, as
transformers 5 may save them, all experts share ``gate_up_proj`` ``[experts, 2 wide, narrow]``
(gate above up) and ``down_proj`` ``[experts, narrow, wide]``. llama.cpp wants
``[experts, rows, columns]`` for each of gate, up and down, so each matrix goes straight to its
place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gguf import ExpertGatingFuncType as GatingFunction

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families.decoder import MOST_EXPERTS, Decoder
from modelvault_converters.gguf.tensors import Entry, Part, Shapes, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """The experts of a model."""

    experts: int
    used: int
    """Experts that a token passes."""
    width: int
    """Of one expert's feed-forward layer."""

    def entries(self, decoder: Decoder) -> Iterator[Entry]:
        """Yield the keys that count experts."""
        yield decoder.number("expert_count", self.experts)
        yield decoder.number("expert_used_count", self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How a family names the tensors of its experts, within a block."""

    router: str
    """Chooses the experts of a token, ``[experts, hidden]``."""
    expert: str
    """What stands before an expert's number."""
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"


_GATES = {"softmax": GatingFunction.SOFTMAX, "sigmoid": GatingFunction.SIGMOID}
"""How scores of experts are made → ``expert_gating_func``."""

FUSED = Spelling(router="mlp.gate.weight", expert="mlp.experts.")
"""Names of the form that stores all experts in two tensors; those of Qwen's experts too."""


def read_mixture(values: Config, *count: str, width: str) -> Mixture:
    """Return the experts that a configuration gives.

    Args:
        values: The configuration.
        *count: Keys that hold the number of experts; the first that is there counts.
        width: Key of an expert's width.

    Raises:
        UnsupportedSource: A number is missing or cannot be.
    """
    mixture = Mixture(
        experts=values.integer(*count),
        used=values.integer("num_experts_per_tok"),
        width=values.integer(width),
    )
    if not mixture.used <= mixture.experts <= MOST_EXPERTS:
        values.fault(f"{mixture.used} of {mixture.experts} experts cannot be used")
    values.check()
    return mixture


def stacked(
    decoder: Decoder, mixture: Mixture, layer: int, shapes: Shapes, spelling: Spelling = FUSED
) -> Iterator[Tensor]:
    """Yield router and experts of a block, from whichever spelling is stored."""
    fused = f"{decoder.source(layer)}{FUSED.expert}gate_up_proj" in shapes
    chosen = FUSED if fused else spelling
    at = decoder.source(layer)
    wide, narrow = mixture.width, decoder.hidden
    yield decoder.take(chosen.router, mixture.experts, narrow, layer=layer)
    for role, rows, columns in (
        ("gate", wide, narrow),
        ("up", wide, narrow),
        ("down", narrow, wide),
    ):
        if fused:
            parts = _slices_of(f"{at}{FUSED.expert}", role, mixture, rows, columns)
        else:
            name = {"gate": chosen.gate, "up": chosen.up, "down": chosen.down}[role]
            parts = tuple(
                Part(name=f"{at}{chosen.expert}{expert}.{name}.weight", shape=(rows, columns))
                for expert in range(mixture.experts)
            )
        yield Tensor(
            name=f"blk.{layer}.ffn_{role}_exps.weight",
            shape=(mixture.experts, rows, columns),
            parts=parts,
        )


_SCORES = ("mlp.gate.e_score_correction_bias", "mlp.e_score_correction_bias",
           "mlp.router.e_score_correction_bias")  # fmt: skip
"""Where publishers keep what corrects the scores of experts before they are chosen."""


def correction(decoder: Decoder, mixture: Mixture, layer: int, shapes: Shapes) -> Iterator[Tensor]:
    """Yield what corrects the scores of a block's experts."""
    at = decoder.source(layer)
    source = next((name for name in _SCORES if f"{at}{name}" in shapes), _SCORES[0])
    name = f"blk.{layer}.exp_probs_b.bias"
    yield decoder.take(source, mixture.experts, layer=layer, name=name)


def choice_entries(
    values: Config, decoder: Decoder, *, gate: GatingFunction, scale: float, norm: bool
) -> Iterator[Entry]:
    """Yield how a token's experts are chosen and weighed, as DeepSeek V3 does.

    Args:
        values: The configuration.
        decoder: The model.
        gate: How scores are made where ``scoring_func`` does not say it.
        scale: ``routed_scaling_factor`` where it is not said.
        norm: ``norm_topk_prob`` where it is not said.
    """
    for key, name in (("n_group", "expert_group_count"), ("topk_group", "expert_group_used_count")):
        if values.has(key):
            yield decoder.number(name, values.integer(key))
    said = values.text("scoring_func", default=gate.name.lower())
    if said not in _GATES:
        values.fault(f"'scoring_func' is '{said:.40}'; llama.cpp knows {', '.join(_GATES)}")
    yield decoder.number("expert_gating_func", _GATES.get(said, gate))
    number = values.number("routed_scaling_factor", default=scale)
    yield decoder.real("expert_weights_scale", number)
    yield decoder.flag("expert_weights_norm", value=values.flag("norm_topk_prob", default=norm))


def _slices_of(
    prefix: str, role: str, mixture: Mixture, rows: int, columns: int
) -> tuple[Part, ...]:
    """Return where gate, up or down of each expert lies in the shared tensors."""
    if role == "down":
        shape = (mixture.experts, rows, columns)
        return (Part(name=f"{prefix}down_proj", shape=shape),)
    start = rows if role == "up" else 0
    return tuple(
        Part(
            name=f"{prefix}gate_up_proj",
            shape=(mixture.experts, 2 * rows, columns),
            first=expert * 2 * rows + start,
            count=rows,
        )
        for expert in range(mixture.experts)
    )
