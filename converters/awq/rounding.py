"""Round one layer: plainly, for comparison, and the AWQ way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from converters.awq.observe import GROUPS
from converters.awq.packing import Quantized, quantize
from converters.awq.search import Inputs, output_error, search_ranges, search_scales

State = Mapping[str, torch.Tensor]

_BEFORE = {
    "self_attn.q_proj": "input_layernorm",
    "self_attn.o_proj": "self_attn.v_proj",
    "mlp.gate_proj": "post_attention_layernorm",
    "mlp.down_proj": "mlp.up_proj",
}
"""Norm or linear that a group's scales are folded into."""

# Errors of queries and keys multiply in their product: clipping them costs more than it saves.
_NOT_CLIPPED = ("self_attn.q_proj", "self_attn.k_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """A layer after AWQ."""

    state: dict[str, torch.Tensor]
    """What a server computes with, f32: linears dequantised, the rest as f16 holds it."""
    linears: dict[str, Quantized]
    """By the linear's name within the layer."""
    plain_error: float
    """Squared error of the linears' outputs under plain rounding, relative to the outputs."""
    error: float
    """The same of this result."""


def round_plainly(state: State, group: int) -> dict[str, torch.Tensor]:
    """Return a layer's state with its linears rounded to the nearest, f32."""
    linears = {f"{name}.weight" for names in GROUPS.values() for name in names}
    return {
        name: quantize(value, group).dequantize() if name in linears else value
        for name, value in state.items()
    }


def round_awq(state: State, inputs: Mapping[str, Inputs], group: int, head: int) -> Rounded:
    """Return a layer with scales searched and folded, ranges searched, and linears rounded.

    Args:
        state: f32 tensors by their name within the layer; left as they are.
        inputs: By the first linear of each group.
        group: Channels a quantisation group.
        head: Width of an attention head.
    """
    changed = dict(state)
    factors: dict[str, torch.Tensor] = {}
    for first, names in GROUPS.items():
        before = _BEFORE[first]
        weights = [changed[f"{name}.weight"] for name in names]
        width, kept = weights[0].shape[1], changed[f"{before}.weight"].shape[0]
        share = _sharing(width, kept, head)
        scales = search_scales(weights, inputs[first], group, share)
        for name, weight in zip(names, weights):
            changed[f"{name}.weight"] = weight * scales
        _fold(changed, before, _narrow(scales, kept, head))
        factors[first] = scales
    linears: dict[str, Quantized] = {}
    errors = [0.0, 0.0, 0.0]
    for first, names in GROUPS.items():
        seen = inputs[first].scaled(factors[first])
        for name in names:
            weight = changed[f"{name}.weight"]
            shrink = None if name in _NOT_CLIPPED else search_ranges(weight, seen)
            linears[name] = quantize(weight, group, shrink)
            changed[f"{name}.weight"] = linears[name].dequantize()
            _measure(errors, inputs[first].rows, state[f"{name}.weight"], group)
            errors[2] += _error(seen.rows, weight, changed[f"{name}.weight"])
    return Rounded(
        state={
            name: value if name.removesuffix(".weight") in linears else value.half().float()
            for name, value in changed.items()
        },
        linears=linears,
        plain_error=errors[1] / errors[0],
        error=errors[2] / errors[0],
    )


def _measure(errors: list[float], rows: torch.Tensor, weight: torch.Tensor, group: int) -> None:
    """Add one for a linear, and its error under plain rounding."""
    errors[0] += 1
    errors[1] += _error(rows, weight, quantize(weight, group).dequantize())


def _error(rows: torch.Tensor, weight: torch.Tensor, other: torch.Tensor) -> float:
    """Return the error of a linear's output relative to the output."""
    size = float((rows @ weight.T).square().sum())
    return output_error(rows, weight, other) / max(size, 1e-30)


def _fold(state: dict[str, torch.Tensor], before: str, scales: torch.Tensor) -> None:
    """Divide the outputs of a norm or linear by ``scales``."""
    weight = state[f"{before}.weight"]
    state[f"{before}.weight"] = weight / (scales if weight.ndim == 1 else scales.unsqueeze(1))
    bias = state.get(f"{before}.bias")
    if bias is not None:
        state[f"{before}.bias"] = bias / scales


def _sharing(width: int, kept: int, head: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return how channels share factors where one value head serves several query heads."""
    if width == kept:
        return lambda values: values
    repeats = width // kept

    def share(values: torch.Tensor) -> torch.Tensor:
        heads = values.view(-1, repeats, head)
        return heads.mean(1, keepdim=True).expand_as(heads).reshape(-1)

    return share


def _narrow(scales: torch.Tensor, kept: int, head: int) -> torch.Tensor:
    """Return one factor for each channel of the value heads."""
    return (
        scales.view(-1, len(scales) // kept, head)[:, 0].reshape(-1)
        if (len(scales) != kept)
        else scales
    )
