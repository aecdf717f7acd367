"""The ``quantization_config`` of compressed-tensors, which vLLM and transformers read.

Source: https://github.com/vllm-project/compressed-tensors
"""

from typing import Any

from modelvault_converters.awq.models.model import Model

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
        model: Its source; the matrices of its layers that stay, such as routers, are named.
        format: ``float-quantized``, ``int-quantized`` or ``pack-quantized``.
        weights: Type, bits and strategy of the linears' weights.
        activations: The same of their inputs, or None where those stay as they are.
    """
    return {
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "ignore": ["lm_head", *model.riders()],
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
