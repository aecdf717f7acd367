"""The two kinds of checkpoints with four bits a weight, both made by the same search.

AWQ has zero points and packs along the outputs; W4A16, of compressed-tensors, is symmetric and
packs along the inputs. Scales and everything that is not quantised are of a 16-bit type.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch

from modelvault.errors import UnsupportedSource
from modelvault_converters.awq.formats import packing
from modelvault_converters.awq.formats.compressed import describe
from modelvault_converters.awq.formats.outputs import OutputTensor
from modelvault_converters.awq.formats.packing import Quantized
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.options import GROUPS

_NAMES = {torch.float16: "F16", torch.bfloat16: "BF16"}


class FourBit(ABC):
    """A checkpoint of four bits, of one model."""

    target: str
    dtype: torch.dtype
    """Of the scales and of all that is not quantised."""
    _packed_outputs = 1
    """Outputs that share an int32: they divide every linear's."""

    def __init__(self, model: Model, wanted: int | None) -> None:
        """Choose the group size.

        Args:
            model: The source.
            wanted: Group size asked for; None for the largest that fits.

        Raises:
            UnsupportedSource: The shapes of the linears do not fit.
        """
        self.model = model
        self.group = self._choose_group(wanted)

    @abstractmethod
    def round(self, weight: torch.Tensor, shrink: torch.Tensor | None = None) -> Quantized:
        """Return a weight f32 ``[out, in]`` rounded, with factors on the groups' ranges."""

    @abstractmethod
    def encode(self, quantized: Quantized) -> dict[str, torch.Tensor]:
        """Return a linear's tensors by the ends of their names."""

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """Return the ``quantization_config``."""

    @abstractmethod
    def _parts(self, name: str, out: int, width: int) -> Iterator[OutputTensor]:
        """Yield a linear's tensors."""

    def outputs(self) -> Iterator[OutputTensor]:
        """Yield every tensor of the checkpoint."""
        linears = set(self.model.linears())
        for stored in self.model.tensors():
            if stored.name in linears:
                yield from self._parts(stored.name.removesuffix(".weight"), *stored.shape)
            else:
                yield OutputTensor(name=stored.name, dtype=_NAMES[self.dtype], shape=stored.shape)

    def changes(self) -> dict[str, Any]:
        """Return what changes in ``config.json``."""
        name = str(self.dtype).removeprefix("torch.")
        old = {"torch_dtype": name} if "torch_dtype" in self.model.config else {}
        return {"dtype": name, **old, "quantization_config": self.configuration()}

    def _choose_group(self, wanted: int | None) -> int:
        tensors = self.model.weights.tensors
        shapes = {name: tensors[name].shape for name in self.model.linears()}
        cut = self._packed_outputs
        odd = [f"{name}: {shape[0]} outputs" for name, shape in shapes.items() if shape[0] % cut]
        if odd:
            raise UnsupportedSource(
                f"{odd[0]} are no multiple of {cut}",
                hint="--to w4a16 or --to fp8 takes it",
                issues=odd[:100],
            )
        allowed = (wanted,) if wanted else GROUPS
        for group in allowed:
            if all(shape[1] % group == 0 for shape in shapes.values()):
                return group
        least = allowed[-1]
        odd = [f"{name}: {shape[1]} inputs" for name, shape in shapes.items() if shape[1] % least]
        raise UnsupportedSource(
            f"{odd[0]} are no multiple of {least}", hint="--to fp8 takes it", issues=odd[:100]
        )


class Awq(FourBit):
    """``quant_method: awq``, version gemm."""

    target = "AWQ"
    _packed_outputs = packing.PACKED

    def __init__(self, model: Model, wanted: int | None) -> None:
        """Choose group size and type: f16, but where a family's activations exceed it.

        Args:
            model: The source.
            wanted: Group size asked for; None for the largest that fits.

        Raises:
            UnsupportedSource: The shapes of the linears do not fit.
        """
        super().__init__(model, wanted)
        self.dtype = getattr(torch, model.family.dtype)

    def round(self, weight: torch.Tensor, shrink: torch.Tensor | None = None) -> Quantized:
        """Return a weight rounded with zero points."""
        return packing.quantize(weight, self.group, shrink, self.dtype)

    def encode(self, quantized: Quantized) -> dict[str, torch.Tensor]:
        """Return a linear's tensors by the ends of their names."""
        return packing.encode(quantized)

    def configuration(self) -> dict[str, Any]:
        """Return the ``quantization_config``."""
        return {
            "quant_method": "awq",
            "bits": 4,
            "group_size": self.group,
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": list(self.model.riders()) or None,
        }

    def _parts(self, name: str, out: int, width: int) -> Iterator[OutputTensor]:
        packed, groups = out // packing.PACKED, width // self.group
        yield OutputTensor(name=f"{name}.qweight", dtype="I32", shape=(width, packed))
        yield OutputTensor(name=f"{name}.qzeros", dtype="I32", shape=(groups, packed))
        yield OutputTensor(name=f"{name}.scales", dtype=_NAMES[self.dtype], shape=(groups, out))


class W4A16(FourBit):
    """compressed-tensors ``pack-quantized``, symmetric."""

    target = "W4A16"

    def __init__(self, model: Model, wanted: int | None) -> None:
        """Choose group size and type: the source's, so that nothing is out of bounds.

        Args:
            model: The source.
            wanted: Group size asked for; None for the largest that fits.

        Raises:
            UnsupportedSource: The shapes of the linears do not fit.
        """
        super().__init__(model, wanted)
        types = {stored.dtype for stored in model.tensors()}
        self.dtype = torch.float16 if types == {"F16"} else torch.bfloat16

    def round(self, weight: torch.Tensor, shrink: torch.Tensor | None = None) -> Quantized:
        """Return a weight rounded symmetrically."""
        return packing.quantize_symmetric(weight, self.group, shrink, self.dtype)

    def encode(self, quantized: Quantized) -> dict[str, torch.Tensor]:
        """Return a linear's tensors by the ends of their names."""
        return packing.encode_symmetric(quantized)

    def configuration(self) -> dict[str, Any]:
        """Return the ``quantization_config``."""
        weights = {"type": "int", "num_bits": 4, "strategy": "group", "group_size": self.group}
        return describe(self.model, format="pack-quantized", weights=weights, activations=None)

    def _parts(self, name: str, out: int, width: int) -> Iterator[OutputTensor]:
        yield OutputTensor(
            name=f"{name}.weight_packed", dtype="I32", shape=(out, width // packing.PACKED)
        )
        yield OutputTensor(
            name=f"{name}.weight_scale", dtype=_NAMES[self.dtype], shape=(out, width // self.group)
        )
        yield OutputTensor(name=f"{name}.weight_shape", dtype="I64", shape=(2,))
