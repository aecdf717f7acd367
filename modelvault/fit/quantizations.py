"""How large a model is in each quantisation, before it is made.

A mix gives some tensors more bits: the output, attention's values, the last matrix of a
feed-forward in some layers. The rules are llama.cpp's, rounded to whole tensors; what it comes to
is within a percent or two of the file.

Example:
    >>> find_mix("Q4_K_M").base
    <GgmlType.Q4_K: (12, 256, 144)>

Source: ``src/llama-quant.cpp`` of llama.cpp; docs/formats/quantisation.md and awq.md here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelvault.core.ggml import GgmlType
from modelvault.fit.weights import Role, Tensor, WeightTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A quantisation of GGUF: which tensors get which type."""

    base: GgmlType
    output: GgmlType
    more: Mapping[Role, GgmlType] = field(default_factory=dict, hash=False)
    """Types of roles that get another one in all layers."""
    some: Mapping[Role, GgmlType] = field(default_factory=dict, hash=False)
    """Types of roles that get another one in half of the layers."""


_V, _D, _O = Role.VALUE, Role.DOWN, Role.ATTENTION_OUTPUT
_T = GgmlType

MIXES: Mapping[str, Mix] = {
    "F16": Mix(base=_T.F16, output=_T.F16),
    "Q8_0": Mix(base=_T.Q8_0, output=_T.Q8_0),
    "Q6_K": Mix(base=_T.Q6_K, output=_T.Q6_K),
    "Q5_K_M": Mix(base=_T.Q5_K, output=_T.Q6_K, some={_V: _T.Q6_K, _D: _T.Q6_K}),
    "Q5_K_S": Mix(base=_T.Q5_K, output=_T.Q6_K),
    "Q4_K_M": Mix(base=_T.Q4_K, output=_T.Q6_K, some={_V: _T.Q6_K, _D: _T.Q6_K}),
    "Q4_K_S": Mix(base=_T.Q4_K, output=_T.Q6_K),
    "Q3_K_M": Mix(base=_T.Q3_K, output=_T.Q6_K, more={_V: _T.Q4_K, _D: _T.Q4_K, _O: _T.Q4_K}),
    "Q2_K": Mix(base=_T.Q2_K, output=_T.Q6_K, more={_V: _T.Q4_K, _D: _T.Q3_K, _O: _T.Q3_K}),
}
"""GGUF's usual quantisations, the best first."""

BITS: Mapping[str, float] = {
    "BF16": 16.0,
    "FP8": 8.03,
    "INT8": 8.03,
    "W4A16": 4.16,
    "AWQ": 4.16,
}
"""Bits a weight takes in the formats of vLLM, the scales of channels or groups included; the
embeddings and the output stay as they are."""

_BLOCK = 256


def find_mix(label: str) -> Mix:
    """Return the mix of a label.

    Raises:
        KeyError: There is none.
    """
    return MIXES[label]


def gguf_size(table: WeightTable, label: str, layers: int) -> int:
    """Return the bytes of a model's tensors in a quantisation of GGUF.

    Args:
        table: Of the model, in any type.
        label: Key of ``MIXES``.
        layers: Number of its layers.
    """
    mix = MIXES[label]
    return sum(_gguf_bytes(tensor, mix, layers) for tensor in table.tensors)


def folder_size(table: WeightTable, label: str) -> int:
    """Return the bytes of a model's tensors in a format of vLLM."""
    size = 0.0
    for tensor in table.tensors:
        wide = tensor.role in (Role.EMBEDDING, Role.OUTPUT, Role.SMALL)
        size += tensor.count * (16 if wide else BITS[label]) / 8
    return int(size)


def _gguf_bytes(tensor: Tensor, mix: Mix, layers: int) -> int:
    role = tensor.role
    if role is Role.SMALL:
        return 4 * tensor.count
    kind = mix.output if role is Role.OUTPUT else mix.more.get(role, mix.base)
    layer = tensor.layer
    if role in mix.some and layer is not None and _gets_more(layer, layers):
        kind = mix.some[role]
    columns = tensor.shape[-1]
    if kind.weights == _BLOCK and columns % _BLOCK:
        kind = GgmlType.Q8_0 if kind is GgmlType.Q6_K else GgmlType.Q5_0
    if columns % kind.weights:
        return 2 * tensor.count
    return kind.row_bytes(columns) * (tensor.count // max(1, columns))


def _gets_more(layer: int, layers: int) -> bool:
    """Return whether a layer is among those that a mix is generous to."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
