"""Which tensor of a model gets which type: the mixes of llama.cpp's quantiser.

A mix spends bits where they matter: the output, the value projections and some of the
feed-forward layers. The rules below give, for every tensor of the same model, the type that
``llama-quantize`` gives; ``tests/gguf`` compares the bytes.

Source:
    llama.cpp ``src/llama-quant.cpp``, commit 0c1e57098.
"""

from dataclasses import dataclass

from converters.gguf.tensors import Blueprint, Tensor
from converters.gguf.types import GgmlType, Target

_FALLBACK = {
    GgmlType.Q2_K: GgmlType.Q4_0,
    GgmlType.Q3_K: GgmlType.Q4_0,
    GgmlType.Q4_K: GgmlType.Q5_0,
    GgmlType.Q5_K: GgmlType.Q5_1,
    GgmlType.Q6_K: GgmlType.Q8_0,
}
"""Block of 256 → the type taken where a row is no multiple of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A tensor's place among those of its role."""

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
    target: Target, blueprint: Blueprint, tensors: tuple[Tensor, ...]
) -> tuple[GgmlType, ...]:
    """Return the type of each tensor.

    Args:
        target: The file type.
        blueprint: The model.
        tensors: Its tensors in file order: the rules count the value projections.
    """
    values = [tensor.name for tensor in tensors if _role(tensor.name) == "attn_v"]
    types = []
    for tensor in tensors:
        if not _may_shrink(tensor):
            types.append(GgmlType.F32)
            continue
        wanted = target.base
        if wanted.is_quantized:
            wanted = _raised(target, blueprint, tensor, values)
        types.append(_fitting(wanted, tensor.columns))
    return tuple(types)


def _may_shrink(tensor: Tensor) -> bool:
    name = tensor.name
    return (
        len(tensor.shape) >= 2
        and name.endswith(".weight")
        and not name.endswith("_norm.weight")
        and "ffn_gate_inp" not in name
    )


def _role(name: str) -> str:
    """Return the part of a name that the rules look at, such as ``attn_v`` or ``output``."""
    role = name.removesuffix(".weight").rpartition(".")[2]
    return role.removesuffix("_exps")


def _raised(target: Target, blueprint: Blueprint, tensor: Tensor, values: list[str]) -> GgmlType:
    role = _role(tensor.name)
    if role == "output" or (role == "token_embd" and blueprint.tied):
        return _output_type(target, tensor)
    if role == "attn_v":
        place = _Place(index=values.index(tensor.name), total=len(values))
        return _value_type(target, blueprint, place)
    if role == "attn_k" and blueprint.experts == 8:
        return GgmlType.Q8_0
    if role == "ffn_down":
        return _down_type(target, _Place(index=tensor.layer or 0, total=blueprint.layers))
    if role == "attn_output":
        return _attention_output_type(target, blueprint)
    return target.base


def _output_type(target: Target, tensor: Tensor) -> GgmlType:
    if target.base is GgmlType.Q8_0 or tensor.columns % target.base.weights:
        return GgmlType.Q8_0
    return GgmlType.Q6_K


def _value_type(target: Target, blueprint: Blueprint, place: _Place) -> GgmlType:
    if blueprint.experts == 8:
        return GgmlType.Q8_0
    chosen = target.base
    match target.name:
        case "Q2_K":
            shared = blueprint.heads // blueprint.kv_heads >= 4
            chosen = GgmlType.Q4_K if shared else GgmlType.Q3_K
        case "Q3_K_M":
            chosen = GgmlType.Q5_K if place.index < 2 else GgmlType.Q4_K
        case "Q4_K_M" | "Q5_K_M" if place.deserves_more:
            chosen = GgmlType.Q6_K
        case "Q4_K_S" if place.index < 4:
            chosen = GgmlType.Q5_K
    # Llama 2 and 3 of 70 B share each key head between eight: more bits cost little there.
    seventy = blueprint.layers == 80 and blueprint.heads != blueprint.kv_heads
    if seventy and chosen in (GgmlType.Q3_K, GgmlType.Q4_K):
        return GgmlType.Q5_K
    return chosen


def _down_type(target: Target, place: _Place) -> GgmlType:
    match target.name:
        case "Q2_K":
            return GgmlType.Q3_K
        case "Q3_K_M":
            return GgmlType.Q5_K if place.index < place.total // 16 else GgmlType.Q4_K
        case "Q4_K_M" | "Q5_K_M" if place.deserves_more:
            return GgmlType.Q6_K
        case "Q4_K_S" if place.index < place.total // 8:
            return GgmlType.Q5_K
    return target.base


def _attention_output_type(target: Target, blueprint: Blueprint) -> GgmlType:
    if blueprint.experts == 8:
        few_bits = target.name in ("Q2_K", "Q3_K_M", "Q4_K_S", "Q4_K_M")
        return GgmlType.Q5_K if few_bits else target.base
    match target.name:
        case "Q2_K":
            return GgmlType.Q3_K
        case "Q3_K_M":
            return GgmlType.Q4_K
    return target.base


def _fitting(wanted: GgmlType, columns: int) -> GgmlType:
    """Return ``wanted``, or what stands in for it where rows are no whole blocks."""
    for candidate in (wanted, _FALLBACK.get(wanted, wanted)):
        if columns % candidate.weights == 0:
            return candidate
    return GgmlType.F16
