"""Experts of a mixture as linears of their own, so that each one's inputs can be watched.

transformers keeps all experts of a layer in two tensors of three dimensions. The Hub's
checkpoints, and servers, know one matrix an expert and a projection.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from modelvault.errors import ConverterMissing
from modelvault_converters.awq.models.families import Experts


def separate_experts(layer: torch.nn.Module, experts: Experts) -> None:
    """Replace the experts of a decoder layer, if it has any.

    Args:
        layer: Of transformers, on ``meta``.
        experts: How the family names them.

    Raises:
        ConverterMissing: This version of transformers lays them out in another way.
    """
    block: Any = layer.get_submodule("mlp")
    fused = getattr(block, "experts", None)
    if fused is None:
        return
    try:
        count, double, width = fused.gate_up_proj.shape
        activation = fused.act_fn
    except (AttributeError, ValueError) as error:
        raise ConverterMissing(
            f"this version of transformers lays experts out differently: {type(fused).__name__}"
        ) from error
    block.experts = _Experts(experts, count, (width, double // 2), activation)


class _Expert(nn.Module):
    """One feed-forward network, its projections named as in the checkpoint."""

    def __init__(
        self,
        names: Experts,
        widths: tuple[int, int],
        activation: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        super().__init__()
        hidden, inner = widths
        self._names = names
        self._activation = activation
        for name in (names.gate, names.up):
            self.add_module(name, nn.Linear(hidden, inner, bias=False))
        self.add_module(names.down, nn.Linear(inner, hidden, bias=False))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the output for some tokens, ``[tokens, hidden]`` both."""
        gate = self._activation(self.get_submodule(self._names.gate)(hidden))
        up = self.get_submodule(self._names.up)(hidden)
        result: torch.Tensor = self.get_submodule(self._names.down)(gate * up)
        return result


class _Experts(nn.ModuleDict):
    """Stands in for the experts of transformers' mixtures."""

    def __init__(
        self,
        names: Experts,
        count: int,
        widths: tuple[int, int],
        activation: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        super().__init__(
            {str(number): _Expert(names, widths, activation) for number in range(count)}
        )

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted sum of the experts' outputs.

        Args:
            hidden_states: ``[tokens, hidden]``.
            top_k_index: Experts of each token, ``[tokens, k]``.
            top_k_weights: Their weights, likewise.
        """
        result = torch.zeros_like(hidden_states)
        for number, expert in self.items():
            tokens, slots = torch.where(top_k_index == int(number))
            if len(tokens):
                part = expert(hidden_states[tokens])
                result.index_add_(0, tokens, part * top_k_weights[tokens, slots].unsqueeze(1))
        return result
