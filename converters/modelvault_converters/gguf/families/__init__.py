"""One module a model family; each turns a configuration into a ``Blueprint``.

A family names its architectures and describes, from the configuration and the names and shapes
of the stored tensors, the metadata and every tensor of the result. Nothing here reads a weight.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from modelvault.errors import UnsupportedArchitecture, UnsupportedSource
from modelvault_converters.gguf.families import (
    bert,
    commandr,
    deepseek2,
    gemma,
    granite,
    llama,
    olmo2,
    phi3,
    qwen,
    qwen_moe,
    smollm3,
    stablelm,
)
from modelvault_converters.gguf.scaling import read_scaling
from modelvault_converters.gguf.tensors import Blueprint, Shapes

Describe = Callable[[Mapping[str, Any], Shapes], Blueprint]

_MODULES = (
    llama,
    qwen,
    qwen_moe,
    gemma,
    phi3,
    bert,
    deepseek2,
    granite,
    olmo2,
    stablelm,
    commandr,
    smollm3,
)  # fmt: skip

FAMILIES: dict[str, Describe] = {
    architecture: module.describe for module in _MODULES for architecture in module.ARCHITECTURES
}
"""Hugging Face class → the function that describes its models."""


def find_family(config: Mapping[str, Any]) -> Describe:
    """Return the function that describes the model that ``config`` (``config.json``) configures.

    It takes the configuration and the shapes of the stored tensors by their names, and raises
    ``UnsupportedSource`` when the configuration cannot be used.

    Raises:
        UnsupportedArchitecture: No family knows the model's class.
        UnsupportedSource: Already quantised.
    """
    architecture = _architecture(config)
    if architecture not in FAMILIES:
        near = get_close_matches(architecture, FAMILIES, n=1, cutoff=0.0)[0]
        raise UnsupportedArchitecture(
            f"'{architecture:.100}' cannot be converted to GGUF "
            f"(this converter knows {', '.join(sorted(FAMILIES))})",
            hint=f"the nearest is {near}; a publisher's own GGUF can be pulled instead",
        )
    _check_unquantized(config)
    return FAMILIES[architecture]


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str):
        return names[0]
    raise UnsupportedArchitecture(
        f"config.json names no single architecture: 'architectures' is {names!r:.100}",
        hint="a model for transformers names its class there",
    )


def _check_unquantized(config: Mapping[str, Any]) -> None:
    quantization = config.get("quantization_config")
    if quantization is None or read_scaling(config):
        return
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    raise UnsupportedSource(
        f"the weights are already quantised ({method or 'unknown method'!s:.40}): "
        "converting them again would lose what is left of them",
        hint="pull the 16-bit model that this one was made from and convert that",
    )
