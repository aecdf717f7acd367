"""How much memory a model takes in a runtime, GPU by GPU, part by part.

Example:
    >>> from modelvault.fit.shape import Attention, Layer
    >>> layer = Layer(attention=Attention(heads=4, kv_heads=2, key_width=64, value_width=64),
    ...               feed_forward=512)
    >>> shape = ModelShape(architecture="llama", layers=(layer,) * 2, hidden=256,
    ...                    vocabulary=2048, context=4096)
    >>> model = Model(shape=shape, weights=4_500_000)
    >>> found = estimate(model, find_runtime("llamacpp"), Load(context=4096))
    >>> found.cache, found.buffers > found.weights
    (4194304, True)
"""

import functools
from dataclasses import dataclass

from modelvault.fit.cache import (
    LLAMACPP_BATCH,
    Load,
    llamacpp_cache,
    llamacpp_cells,
    paged_cache,
)
from modelvault.fit.graph.llamacpp import Batch, compute_bytes
from modelvault.fit.runtimes import (
    Runtime,
    activation_bytes,
    check_division,
    find_runtime,
    graph_bytes,
    link_bytes,
)
from modelvault.fit.shape import ModelShape

__all__ = ["Estimate", "Load", "Model", "ModelShape", "estimate", "find_runtime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is to be loaded."""

    shape: ModelShape
    weights: int
    """Bytes of its tensors."""
    projector: int = 0
    """Bytes of the tensors that take images or sound in, where these are a file of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one GPU of a number of equal ones needs; sizes in bytes."""

    weights: int
    cache: int
    """Keys and values of all sequences."""
    states: int
    """What recurrent layers keep of all sequences."""
    compute: int
    """What is needed while a step is computed."""
    graphs: int
    overhead: int
    """The driver's context, the libraries, the exchange between GPUs."""

    @property
    def buffers(self) -> int:
        """What the runtime itself counts: all but the overhead."""
        return self.total - self.overhead

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.states + self.compute + self.graphs + self.overhead


def estimate(model: Model, runtime: Runtime, load: Load, *, gpus: int = 1) -> Estimate:
    """Return what the fullest of some equal GPUs needs.

    Args:
        model: What is loaded.
        runtime: By what.
        load: What is served at once.
        gpus: Over how many it is divided.

    Raises:
        BadOption: The runtime has no such cache, or the heads cannot be divided.
    """
    runtime.check_cache(load.cache)
    if runtime.splits_tensors:
        return _paged(model, runtime, load, gpus)
    return _layered(model, runtime, load, gpus)


def _paged(model: Model, runtime: Runtime, load: Load, gpus: int) -> Estimate:
    check_division(model.shape, gpus)
    cache = paged_cache(model.shape, load, gpus=gpus)
    return Estimate(
        weights=-(-(model.weights + model.projector) // gpus),
        cache=cache.tokens,
        states=cache.states,
        compute=activation_bytes(model.shape, gpus, load.context),
        graphs=graph_bytes(model.shape),
        overhead=runtime.context_bytes + link_bytes(gpus),
    )


def _layered(model: Model, runtime: Runtime, load: Load, gpus: int) -> Estimate:
    shape = model.shape
    cache = llamacpp_cache(shape, load)
    layers = len(shape.layers) + 1  # the output counts as one
    part = -(-layers // gpus) / layers
    return Estimate(
        weights=_share(model.weights, part) + model.projector,
        cache=_share(cache.tokens, part),
        states=_share(cache.states, part),
        compute=llamacpp_compute(shape, load),
        graphs=0,
        overhead=runtime.context_bytes,
    )


@functools.lru_cache(maxsize=512)
def llamacpp_compute(shape: ModelShape, load: Load) -> int:
    """Return llama.cpp's compute buffer, and the one that it answers from."""
    cells = llamacpp_cells(load, None)
    windows = [found.window for found in shape.attentions if found.window]
    rotates = (
        shape.causal
        and load.cache.is_quantized
        and not any(found.latent for found in shape.attentions)
    )
    tokens = min(LLAMACPP_BATCH, cells * load.sequences)
    batch = Batch(
        tokens=tokens + -tokens % load.sequences,
        sequences=load.sequences,
        full_cells=cells,
        window_cells=llamacpp_cells(load, windows[0]) if windows else cells,
        rotated_keys=rotates and all(not found.key_width % 64 for found in shape.attentions),
        rotated_values=rotates and all(not found.value_width % 64 for found in shape.attentions),
    )
    answers = load.sequences * (shape.vocabulary if shape.causal else shape.hidden) * 4
    return compute_bytes(shape, batch) + answers


def _share(size: int, part: float) -> int:
    return size if part == 1 else int(size * part)
