"""What each runtime takes of a GPU besides weights and cache, and how it divides a model.

Only llama.cpp's buffers are computed as it computes them. What vLLM and SGLang measure when they
start depends on their kernels; the figures here are of their size, and said to be so.

Source: docs/adr/0073, which says where each constant is from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.errors import BadOption
from modelvault.fit.cache import CacheType
from modelvault.fit.shape import Experts, ModelShape

MIB = 1024 * 1024
GIB = 1024 * MIB

_WEB_TYPES = (CacheType.F16, CacheType.BF16, CacheType.FP8)
_GGML_TYPES = tuple(kind for kind in CacheType if kind is not CacheType.FP8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How one runtime spends memory."""

    name: str
    share: float
    """Of a GPU's memory that it may use."""
    share_note: str
    """Where the share is from."""
    context_bytes: int
    """Of the driver's context and the libraries', on each GPU."""
    caches: tuple[CacheType, ...]
    """Types that its cache may have."""
    formats: tuple[str, ...]
    """Formats of weights that it loads."""
    splits_tensors: bool
    """Whether several GPUs share each layer; else each has layers of its own."""

    def check_cache(self, cache: CacheType) -> None:
        """Refuse a cache of a type that the runtime does not have.

        Raises:
            BadOption: As said.
        """
        if cache not in self.caches:
            known = ", ".join(kind.label for kind in self.caches)
            raise BadOption(f"{self.name} has no cache of {cache.label}", hint=f"it has: {known}")


_LLAMACPP_CONTEXT = 450 * MIB
_VLLM_SHARE = 0.90

RUNTIMES: Mapping[str, Runtime] = {
    "vllm": Runtime(
        name="vllm",
        share=_VLLM_SHARE,
        share_note="gpu-memory-utilization 0.90, between the safe 0.88 and 0.92",
        context_bytes=600 * MIB,
        caches=_WEB_TYPES,
        formats=("safetensors",),
        splits_tensors=True,
    ),
    "sglang": Runtime(
        name="sglang",
        share=_VLLM_SHARE,
        share_note="nine tenths of the GPU, as mem-fraction-static and its reserve come to",
        context_bytes=600 * MIB,
        caches=_WEB_TYPES,
        formats=("safetensors",),
        splits_tensors=True,
    ),
    "llamacpp": Runtime(
        name="llamacpp",
        share=1.0,
        share_note="all of the GPU",
        context_bytes=_LLAMACPP_CONTEXT,
        caches=_GGML_TYPES,
        formats=("gguf",),
        splits_tensors=False,
    ),
    "ollama": Runtime(
        name="ollama",
        share=1.0,
        share_note="all of the GPU",
        context_bytes=_LLAMACPP_CONTEXT,
        caches=(CacheType.F16, CacheType.Q8_0, CacheType.Q4_0),
        formats=("gguf",),
        splits_tensors=False,
    ),
}
"""The runtimes that are computed, by the name of their target."""

_PREFILL = 8192
"""Tokens that vLLM computes at once (``max-num-batched-tokens``)."""
_SAMPLED = 256
"""Sequences whose next tokens vLLM prepares to choose at once (``max-num-seqs``)."""
_LINK = 512 * MIB
"""Of the library that several GPUs exchange by."""
_GRAPH_LAYER = 16 * MIB
"""Of the graphs that vLLM captures, a layer."""


def find_runtime(name: str) -> Runtime:
    """Return a runtime by its name.

    Raises:
        BadOption: There is none of this name.
    """
    found = RUNTIMES.get(name)
    if found is None:
        raise BadOption(f"--runtime {name!r} is not computed", hint=f"one of {', '.join(RUNTIMES)}")
    return found


def activation_bytes(shape: ModelShape, gpus: int, context: int) -> int:
    """Return what vLLM's largest step needs while it is computed, on each GPU.

    The step is a prompt of ``_PREFILL`` tokens in 16 bits through the widest layer, and the
    choice of a token for ``_SAMPLED`` sequences in 32.

    Args:
        shape: Of the model.
        gpus: Over how many each layer is divided.
        context: Tokens of a sequence; a shorter one makes the step shorter.
    """
    tokens = max(256, min(_PREFILL, context * _SAMPLED))
    inner = max((_inner(layer.feed_forward, layer.experts) for layer in shape.layers), default=0)
    step = tokens * (4 * shape.hidden + 3 * -(-inner // gpus)) * 2
    chosen = _SAMPLED * shape.vocabulary * 4 * 3
    return step + chosen


def graph_bytes(shape: ModelShape) -> int:
    """Return what the captured graphs take on each GPU."""
    return len(shape.layers) * _GRAPH_LAYER if shape.causal else 0


def link_bytes(gpus: int) -> int:
    """Return what exchange with other GPUs takes on each."""
    return _LINK if gpus > 1 else 0


def check_division(shape: ModelShape, gpus: int) -> None:
    """Refuse a number of GPUs over which a model's heads cannot be divided.

    Raises:
        BadOption: As said; the hint names numbers that go.
    """
    heads = {found.heads for found in shape.attentions}
    keys = {found.kv_heads for found in shape.attentions if not found.latent}
    if _divides(heads, keys, gpus):
        return
    possible = [number for number in range(1, 17) if _divides(heads, keys, number)]
    raise BadOption(
        f"{gpus} GPUs cannot share {shape.architecture}: {_words(heads)} query heads and"
        f" {_words(keys)} key heads do not divide by that",
        hint=f"--gpus {', '.join(map(str, possible))} can",
    )


def _divides(heads: set[int], keys: set[int], gpus: int) -> bool:
    return all(number % gpus == 0 for number in heads) and all(
        number % gpus == 0 or gpus % number == 0 for number in keys
    )


def _words(numbers: set[int]) -> str:
    return " or ".join(map(str, sorted(numbers))) or "no"


def _inner(dense: int, experts: Experts | None) -> int:
    return dense if experts is None else experts.used * experts.width + experts.shared_width
