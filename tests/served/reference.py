"""What a quantised folder stands for, computed by transformers in f32.

Weights are read from the folder by the formats' own definitions, not by the converter's code,
and put into the model as plain matrices. Where the server quantises activations, so do the
same linears here: then only the order of sums is left to differ.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.served.child.decoding import read_awq, read_packed, read_scaled
from tests.support.trainedmodel import build, load

Tensors = dict[str, torch.Tensor]


class Reference:
    """A folder's model, its linears as matrices."""

    def __init__(self, folder: Path) -> None:
        """Read the folder, quantised or not."""
        config = json.loads((folder / "config.json").read_text())
        state = load(folder)
        names = dequantize(state)
        self._model = build(folder, state)
        rounded = _activations(config.get("quantization_config", {}))
        if rounded is not None:
            for name, module in self._model.named_modules():
                if name in names:
                    module.register_forward_pre_hook(lambda _, given: (rounded(given[0]),))

    def logprobs(self, tokens: Sequence[int]) -> torch.Tensor:
        """Return what may follow each token and those before it, f32 ``[length, vocabulary]``."""
        with torch.no_grad():
            answer: torch.Tensor = self._model(torch.tensor([list(tokens)])).logits
            return answer[0].log_softmax(-1)


def dequantize(tensors: Tensors) -> set[str]:
    """Put matrices in place of quantised linears; return the names of these linears."""
    names = {key.rpartition(".")[0] for key in tensors if key.endswith((".qweight", "_scale"))}
    for name in names:

        def take(*parts: str, name: str = name) -> list[torch.Tensor]:
            return [tensors.pop(f"{name}.{part}") for part in parts]

        if f"{name}.qweight" in tensors:
            weight = read_awq(*take("qweight", "qzeros", "scales"))
        elif f"{name}.weight_packed" in tensors:
            shape = take("weight_shape")[0].tolist()
            weight = read_packed(*take("weight_packed", "weight_scale"))
            assert list(weight.shape) == shape
        else:
            weight = read_scaled(*take("weight", "weight_scale"))
        tensors[f"{name}.weight"] = weight
    return names


def _activations(
    quantization: dict[str, Any],
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return how a server rounds what enters a linear, token by token."""
    return {"float-quantized": _round_fp8, "int-quantized": _round_int8}.get(
        quantization.get("format", "")
    )


def _round_fp8(values: torch.Tensor) -> torch.Tensor:
    largest = 448.0
    scale = (values.abs().amax(-1, keepdim=True) / largest).clamp(min=1 / (largest * 512))
    scaled = (values * scale.reciprocal()).clamp(-largest, largest)
    return scaled.to(torch.float8_e4m3fn).float() * scale


def _round_int8(values: torch.Tensor) -> torch.Tensor:
    scale = values.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return (values / scale).round() * scale
