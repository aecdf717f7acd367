"""A device apart, for machines without one: tensors that are elsewhere, computed by the CPU.

``far`` is a device to torch: tensors have to be made there or brought there, they do not mix
with those of the CPU, and nothing of theirs can be read before it was brought back. What an
accelerator refuses, this one refuses; what it computes, the CPU computes behind the scenes. It
counts what an accelerator's memory would hold, and the operations.

It is no accelerator: it does not prove that one rounds sums alike, nor how fast it is.

Source: ``torch.utils.backend_registration`` (a backend written in Python); torch.Tensor
    ``_make_wrapper_subclass`` and ``TorchDispatchMode`` of torch 2.13
"""

import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, Self

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_NAME = "far"
_BRINGS = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
_READS = (torch.ops.aten._local_scalar_dense.default,)


class FarDevice(TorchDispatchMode):
    """The device, as long as the block lasts."""

    def __init__(self) -> None:
        """Tell torch of it."""
        super().__init__()  # type: ignore[no-untyped-call]
        _register()
        self.device = torch.device(_NAME, 0)
        self.held = 0
        """Bytes of the tensors that are there."""
        self.peak = 0
        """Most of it so far."""
        self.launches = 0
        """Operations on what is there, views included: no more kernels than that are started."""
        self._storages: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute on the CPU what is asked of tensors that are all in the right place."""
        kwargs = kwargs or {}
        tensors = [item for item in tree_leaves((args, kwargs)) if isinstance(item, torch.Tensor)]
        far = [tensor for tensor in tensors if isinstance(tensor, _FarTensor)]
        if far and func not in _BRINGS:
            _require_one_place(func, tensors)
        wanted = torch.device(kwargs.get("device") or (_NAME if far else "cpu"))
        if wanted.type == _NAME and "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        self.launches += wanted.type == _NAME
        near_args, near_kwargs = tree_map(_near, (args, kwargs))
        result = func(*near_args, **near_kwargs)
        if func in _READS:
            return result
        known = {id(_near(tensor)): tensor for tensor in tensors}
        return tree_map(lambda item: self._place(item, wanted, known), result)

    def _place(self, item: Any, wanted: torch.device, known: dict[int, torch.Tensor]) -> Any:
        if not isinstance(item, torch.Tensor):
            return item
        if id(item) in known:  # computed in place
            return known[id(item)]
        return self._hold(item) if wanted.type == _NAME else item

    def _hold(self, near: torch.Tensor) -> torch.Tensor:
        storage = near.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if size and key not in self._storages:
            self._storages.add(key)
            self.held += size
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._drop, key, size)
        return _FarTensor(near)

    def _drop(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.held -= size


class _FarTensor(torch.Tensor):
    """A tensor that is on the device; ``near`` holds its numbers."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> Self:
        self: Self = torch.Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=torch.device(_NAME, 0),
        )
        self.near = near
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise RuntimeError(f"{func}: the device is gone")


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of the module that stands for a device."""

    def get_rng_state(self, device: object = None) -> torch.Tensor:
        """Nothing is drawn there."""
        return torch.empty(0)

    def set_rng_state(self, state: torch.Tensor, device: object = None) -> None:
        """Nothing is drawn there."""


@cache
def _register() -> None:
    register: Callable[..., None] = backend_registration._setup_privateuseone_for_python_backend
    register(_NAME, backend_module=_Module())


def _near(item: Any) -> Any:
    return item.near if isinstance(item, _FarTensor) else item


def _require_one_place(func: Any, tensors: list[torch.Tensor]) -> None:
    """Refuse tensors of two devices; single numbers may come from the CPU, as on any device."""
    places = {str(tensor.device) for tensor in tensors if tensor.dim() or _is_far(tensor)}
    if len(places) > 1:
        raise RuntimeError(f"{func}: tensors of two devices, {' and '.join(sorted(places))}")


def _is_far(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, _FarTensor)
