"""The ``quantization_config`` of compressed-tensors, which vLLM and transformers read.

Source: https://github.com/vllm-project/compressed-tensors
"""

from collections.abc import Iterable
from typing import Any

from converters.awq.model import Model

DYNAMIC: dict[str, Any] = {"strategy": "token", "symmetric": True, "dynamic": True}
"""Activations that the server scales while it runs, a scale a token."""


def describe(
    model: Model,
    *,
    format: str,  # noqa: A002 (the format's own word)
    weights: dict[str, Any],
    activations: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the ``quantization_config`` of a checkpoint.

    Args:
        model: Its source; matrices of its layers that are not quantised are named.
        format: ``float-quantized``, ``int-quantized`` or ``pack-quantized``.
        weights: Type, bits and strategy of the linears' weights.
        activations: The same of their inputs, or None where those stay as they are.
    """
    return {
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "ignore": ["lm_head", *_kept(model)],
        "kv_cache_scheme": None,
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {**weights, "symmetric": True, "dynamic": False},
                "input_activations": activations,
                "output_activations": None,
            }
        },
    }


def _kept(model: Model) -> Iterable[str]:
    """Yield the modules of layers that are linear and stay: routers and gates of experts."""
    linears = set(model.linears())
    for stored in model.tensors():
        in_layer = stored.name.startswith("model.layers.") and stored.name.endswith(".weight")
        if in_layer and len(stored.shape) == 2 and stored.name not in linears:
            yield stored.name.removesuffix(".weight")
