"""One module a model family; each turns a configuration into a ``Blueprint``.

A family names its architectures and describes, from the configuration and the names and shapes
of the stored tensors, the metadata and every tensor of the result. Nothing here reads a weight.
"""

from collections.abc import Callable, Mapping
from typing import Any

from modelvault.errors import UnsupportedArchitecture, UnsupportedSource
from modelvault_converters.gguf import mxfp4
from modelvault_converters.gguf.families import (
    bert,
    commandr,
    deepseek2,
    exaone,
    exaone_moe,
    gemma,
    glm4,
    glm4_moe,
    gpt_oss,
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
    exaone,
    exaone_moe,
    glm4,
    glm4_moe,
    gpt_oss,
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
    architecture = read_architecture(config)
    if architecture not in FAMILIES:
        raise UnsupportedArchitecture(
            f"'{architecture:.100}' cannot be converted to GGUF "
            f"(this converter knows {', '.join(sorted(FAMILIES))})",
            hint=_advice(architecture),
        )
    _check_unquantized(config)
    return FAMILIES[architecture]


def alternates(config: Mapping[str, Any]) -> bool:
    """Return whether a model's experts keep gate and up in turn, as ``mxfp4`` takes them apart."""
    return read_architecture(config) in gpt_oss.ARCHITECTURES


def read_architecture(config: Mapping[str, Any]) -> str:
    """Return the class that a configuration names; of several the first, as llama.cpp does.

    Raises:
        UnsupportedArchitecture: It names none.
    """
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    raise UnsupportedArchitecture(
        f"config.json names no architecture: 'architectures' is {names!r:.100}",
        hint="a model for transformers names its class there",
    )


def _advice(architecture: str) -> str:
    """Return what can be done about an unknown class; a misspelt one has the letters of another."""
    letters = sorted(architecture.lower())
    meant = [name for name in FAMILIES if sorted(name.lower()) == letters]
    if meant:
        return f"{meant[0]} may be meant"
    return (
        "a GGUF of its publisher's can be pulled and installed instead; whether vLLM runs the "
        "model as it is stands in the list of its supported models"
    )


def _check_unquantized(config: Mapping[str, Any]) -> None:
    quantization = config.get("quantization_config")
    if quantization is None or read_scaling(config):
        return
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if method == mxfp4.METHOD and alternates(config):
        return
    raise UnsupportedSource(
        f"the weights are already quantised ({method or 'unknown method'!s:.40}): "
        "converting them again would lose what is left of them",
        hint="pull the 16-bit model that this one was made from and convert that",
    )
