"""Stands in for kernels of quantised experts that vLLM lacks on a CPU.

vLLM 0.32 multiplies with experts of four and eight bits on Intel's AMX alone, and with FP8
experts that have a scale a channel on no CPU at all. What is tested without them: vLLM reads
the folder as ever, puts each expert's tensors where they belong, routes, and computes all
else with its own kernels; the experts' matrices are made from the tensors that vLLM loaded,
and multiplied by vLLM's kernel for experts that are not quantised.

Source: vLLM 0.32, ``model_executor/layers/fused_moe/experts/cpu_moe.py``
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from decoding import read_awq, read_packed, read_scaled

Reader = Callable[[Any, str], torch.Tensor]

_QUANTIZATION = "vllm.model_executor.layers.quantization"
_COMPRESSED = f"{_QUANTIZATION}.compressed_tensors.compressed_tensors_moe.compressed_tensors_moe"


def lend_kernels() -> None:
    """Let experts of every format that is tested be served."""
    _lend(f"{_QUANTIZATION}.auto_awq", "AutoAWQMoEMethod", "wna16", "WNA16", _awq)
    _lend(f"{_COMPRESSED}_wna16", "CompressedTensorsWNA16MoEMethod", "wna16", "WNA16", _packed)
    _lend(f"{_COMPRESSED}_w8a8_fp8", "CompressedTensorsW8A8Fp8MoEMethod", "fp8", "Fp8", _scaled)
    _lend(f"{_COMPRESSED}_w8a8_int8", "CompressedTensorsW8A8Int8MoEMethod", "int8", "Int8", _scaled)


def _awq(layer: Any, name: str) -> torch.Tensor:
    return read_awq(*(getattr(layer, f"{name}_{part}") for part in ("qweight", "qzeros", "scales")))


def _packed(layer: Any, name: str) -> torch.Tensor:
    return read_packed(
        getattr(layer, f"{name}_weight_packed"), getattr(layer, f"{name}_weight_scale")
    )


def _scaled(layer: Any, name: str) -> torch.Tensor:
    return read_scaled(getattr(layer, f"{name}_weight"), getattr(layer, f"{name}_weight_scale"))


def _lend(module_name: str, method_name: str, selector: str, prefix: str, read: Reader) -> None:
    from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUUnquantizedExperts
    from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import (
        UnquantizedFusedMoEMethod,
    )

    module = import_module(module_name)
    oracle = import_module(
        "vllm.model_executor.layers.fused_moe.oracle."
        + {"wna16": "int_wna16"}.get(selector, selector)
    )
    backend = getattr(
        oracle, f"{prefix}MoEBackend" if selector == "wna16" else f"{prefix}MoeBackend"
    )

    def select(*_: Any, **__: Any) -> tuple[Any, type]:
        return backend.CPU, CPUUnquantizedExperts

    def process(self: Any, layer: Any) -> None:
        dtype = self.moe.in_dtype
        matrices = {f"{name}_weight": read(layer, name).to(dtype) for name in ("w13", "w2")}
        for name in [name for name, _ in layer.named_parameters(recurse=False)]:
            delattr(layer, name)
        for name, matrix in matrices.items():
            setattr(layer, name, torch.nn.Parameter(matrix, requires_grad=False))
        method = UnquantizedFusedMoEMethod(self.moe)
        layer._replace_quant_method(method)
        method.process_weights_after_loading(layer)

    setattr(module, f"select_{selector}_moe_backend", select)
    getattr(module, method_name).process_weights_after_loading = process
