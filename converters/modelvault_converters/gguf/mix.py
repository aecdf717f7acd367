"""Which tensor of a model gets which type: the mixes of llama.cpp's quantiser.

A mix spends bits where they matter: the output, the value projections and some of the
feed-forward layers. The rules below give, for every tensor of the same model, the type that
``llama-quantize`` gives; ``tests/gguf`` compares the bytes.

Source:
    llama.cpp ``src/llama-quant.cpp``, commit 0c1e57098.
"""

from dataclasses import dataclass

from modelvault.core.ggml import GgmlType
from modelvault_converters.gguf.tensors import Blueprint, Tensor
from modelvault_converters.gguf.types import CONVERTED, Target

_FALLBACK = {
    GgmlType.Q2_K: GgmlType.Q4_0,
    GgmlType.Q3_K: GgmlType.Q4_0,
    GgmlType.Q4_K: GgmlType.Q5_0,
    GgmlType.Q5_K: GgmlType.Q5_1,
    GgmlType.Q6_K: GgmlType.Q8_0,
    GgmlType.IQ4_XS: GgmlType.IQ4_NL,
}
"""Block of 256 → the type taken where a row is no multiple of it."""

_VALUE_ROLES = ("attn_v", "attn_qkv", "attn_kv_b")
"""Projections that hold the values, alone or fused with others; the rules count them."""

_EIGHT_EXPERTS = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS")
"""Targets that raise the attention's output in models of eight experts; Q3_K_L does not."""

_WHOLE = ("ffn_gate_inp", "position_embd", "token_types")
"""Small matrices that every file keeps in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rank:
    """A tensor's rank among those of its role."""

    index: int
    total: int

    @property
    def deserves_more(self) -> bool:
        """Whether the mixes spend more bits here: both ends, and every third between."""
        eighth = self.total // 8
        return (
            self.index < eighth
            or self.index >= 7 * self.total // 8
            or (self.index - eighth) % 3 == 2
        )


def choose_types(
    target: Target, blueprint: Blueprint, tensors: tuple[Tensor, ...], *, weighted: bool = False
) -> tuple[GgmlType, ...]:
    """Return the type of each tensor.

    Args:
        target: The file type.
        blueprint: The model.
        tensors: Its tensors in file order: the rules count the value projections.
        weighted: Whether an importance matrix guides the quantisation.
    """
    mix = _Mix(target=target, blueprint=blueprint, weighted=weighted)
    values = [tensor.name for tensor in tensors if _role(tensor.name) in _VALUE_ROLES]
    ranks = {name: _Rank(index=index, total=len(values)) for index, name in enumerate(values)}
    types = []
    for tensor in tensors:
        if tensor.carried is not None:
            types.append(tensor.carried)
            continue
        if not _may_shrink(tensor, target):
            types.append(GgmlType.F32)
            continue
        wanted = target.base
        if wanted.is_quantized:
            wanted = mix.choose(tensor, ranks.get(tensor.name))
        types.append(_fitting(wanted, tensor.columns))
    return tuple(types)


def _may_shrink(tensor: Tensor, target: Target) -> bool:
    name = tensor.name
    if tensor.weights == tensor.columns and target.name not in CONVERTED:
        return False  # a matrix of one row: llama.cpp's quantiser takes it for a vector
    return (
        len(tensor.shape) >= 2
        and name.endswith(".weight")
        and not name.endswith("_norm.weight")
        and _role(name) not in _WHOLE
    )


def _role(name: str) -> str:
    """Return the part of a name that the rules look at, such as ``attn_v`` or ``output``."""
    role = name.removesuffix(".weight").rpartition(".")[2]
    return role.removesuffix("_exps").removesuffix("_shexp")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mix:
    """The rules of one target for one model."""

    target: Target
    blueprint: Blueprint
    weighted: bool

    @property
    def shared(self) -> bool:
        """Whether at least four query heads share a key head: values cost little then."""
        return self.blueprint.heads // self.blueprint.kv_heads >= 4

    def choose(self, tensor: Tensor, value: _Rank | None) -> GgmlType:
        """Return the type of a tensor before rows are fitted; ``value`` counts values."""
        role = _role(tensor.name)
        if tensor.name == "output.weight" or (role == "token_embd" and self.blueprint.tied):
            return self._output(tensor)
        if value is not None:
            return self._value(value)
        if role == "attn_k" and self.blueprint.experts == 8:
            return GgmlType.Q8_0
        if role == "ffn_down":
            return self._down(_Rank(index=tensor.layer or 0, total=self.blueprint.layers))
        if role == "attn_output":
            return self._attention_output()
        return self.target.base

    def _output(self, tensor: Tensor) -> GgmlType:
        base = self.target.base
        if base is GgmlType.Q8_0 or tensor.columns % base.weights:
            return GgmlType.Q8_0
        return GgmlType.Q6_K

    def _value(self, rank: _Rank) -> GgmlType:
        if self.blueprint.experts == 8:
            return GgmlType.Q8_0
        chosen = self.target.base
        match self.target.name:
            case "Q2_K":
                chosen = GgmlType.Q4_K if self.shared else GgmlType.Q3_K
            case "Q2_K_S" if self.shared:
                chosen = GgmlType.Q4_K
            case "Q3_K_M":
                chosen = GgmlType.Q5_K if rank.index < 2 else GgmlType.Q4_K
            case "Q3_K_L":
                chosen = GgmlType.Q5_K
            case "IQ4_NL" | "IQ4_XS" if self.shared:
                chosen = GgmlType.Q5_K
            case "Q4_K_M" | "Q5_K_M" if rank.deserves_more:
                chosen = GgmlType.Q6_K
            case "Q4_K_S" if rank.index < 4:
                chosen = GgmlType.Q5_K
        # Models of 70 B share each key head between eight: more bits cost little there.
        seventy = self.blueprint.layers == 80 and self.blueprint.heads != self.blueprint.kv_heads
        if seventy and chosen in (GgmlType.Q3_K, GgmlType.Q4_K):
            return GgmlType.Q5_K
        return chosen

    def _down(self, rank: _Rank) -> GgmlType:
        early = rank.index < rank.total // 8
        chosen = self.target.base
        match self.target.name:
            case "Q2_K":
                chosen = GgmlType.Q3_K
            case "Q2_K_S" if early:
                chosen = GgmlType.Q4_K
            case "Q3_K_M":
                chosen = GgmlType.Q5_K if rank.index < rank.total // 16 else GgmlType.Q4_K
            case "Q4_K_M" | "Q5_K_M" if rank.deserves_more:
                chosen = GgmlType.Q6_K
            case "Q4_0" if early and self.weighted:
                chosen = GgmlType.Q4_1
            case "Q5_0" if early and self.weighted:
                chosen = GgmlType.Q5_1
            case "IQ4_NL" | "IQ4_XS" if early and not self.weighted:
                chosen = GgmlType.Q5_K
            case "Q4_K_S" if early:
                chosen = GgmlType.Q5_K
            case "Q3_K_L":
                chosen = GgmlType.Q5_K
        return chosen

    def _attention_output(self) -> GgmlType:
        if self.blueprint.experts == 8:
            return GgmlType.Q5_K if self.target.name in _EIGHT_EXPERTS else self.target.base
        match self.target.name:
            case "Q2_K":
                return GgmlType.Q3_K
            case "Q3_K_M":
                return GgmlType.Q4_K
            case "Q3_K_L":
                return GgmlType.Q5_K
        return self.target.base


def _fitting(wanted: GgmlType, columns: int) -> GgmlType:
    """Return ``wanted``, or what stands in for it where rows are no whole blocks."""
    for candidate in (wanted, _FALLBACK.get(wanted, wanted)):
        if columns % candidate.weights == 0:
            return candidate
    return GgmlType.F16
