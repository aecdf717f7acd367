"""What of a model decides how much memory it needs: one value, whatever file it was read off.

``config.json`` and the keys of a GGUF both become a ``ModelShape``; caches, graphs and verdicts
are computed from it alone.

Example:
    >>> layer = Layer(attention=Attention(heads=32, kv_heads=8, key_width=128, value_width=128),
    ...               feed_forward=14336)
    >>> layer.attention.cached_values
    2048
"""

from dataclasses import dataclass
from enum import StrEnum

MOST_LAYERS = 4096
"""Layers above which a configuration is not believed."""
LARGEST_WIDTH = 1 << 24
"""Widths, heads, experts and rows above which a configuration is not believed."""
LARGEST_CONTEXT = 1 << 32
"""Tokens above which a context is not believed."""


class Trait(StrEnum):
    """What a model's layers do besides, as far as it costs memory while they are computed."""

    FUSED_QKV = "fused-qkv"
    """Queries, keys and values come from one matrix."""
    QK_NORM = "qk-norm"
    POST_NORMS = "post-norms"
    """What attention and feed-forward bring is normed before it is added."""
    PARALLEL = "parallel"
    """Attention and feed-forward read the same norm."""
    NO_GATE = "no-gate"
    """The feed-forward has two matrices instead of three."""
    FUSED_GATE = "fused-gate"
    """The feed-forward's gate and its other half come from one matrix."""
    NORMS_AFTER = "norms-after"
    """Nothing is normed before attention and feed-forward."""
    SUMS_NORMED = "sums-normed"
    """What attention and feed-forward bring is added, and the sum normed, as in BERT."""
    LAYER_NORMS = "layer-norms"
    """Norms subtract the mean, and need a place of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """What one layer's attention caches for each token."""

    heads: int
    kv_heads: int
    key_width: int
    """Values of a key, per head."""
    value_width: int
    window: int | None = None
    """Tokens it looks back at most; None for all."""
    latent: int = 0
    """Values that stand for key and value of all heads together, the rotated ones included
    (multi-head latent attention); 0 where keys and values are cached by themselves."""
    rotated: int = 0
    """Of ``latent`` those that are rotated."""
    index_width: int = 0
    """Values of the key by which a sparse attention chooses tokens; 0 without one."""
    shares_cache: bool = False
    """Whether it reads the cache of an earlier layer and has none."""

    @property
    def cached_values(self) -> int:
        """Values that are cached for a token, without those of ``index_width``."""
        if self.shares_cache:
            return 0
        return self.latent or self.kv_heads * (self.key_width + self.value_width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """What one layer keeps of each sequence, however long it is."""

    convolution: int
    """Values of the inputs that its convolution looks back at."""
    state: int
    """Values of its state."""
    inner: int = 0
    """Width that it computes in; 0 where that is the model's own."""
    groups: int = 1
    state_width: int = 0
    heads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A feed-forward of which each token uses a part."""

    count: int
    used: int
    width: int
    shared_width: int = 0
    """Of the expert that every token uses; 0 without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One block of a model."""

    attention: Attention | None = None
    recurrent: Recurrent | None = None
    feed_forward: int = 0
    """Width of the dense feed-forward; 0 without one."""
    experts: Experts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What a model's memory is computed from."""

    architecture: str
    """As its file names it: ``LlamaForCausalLM`` or ``llama``."""
    layers: tuple[Layer, ...]
    hidden: int
    vocabulary: int
    context: int
    """Tokens it was trained for; 0 where nothing says."""
    causal: bool = True
    """Whether it writes text, so that a cache is kept; False for embedders and rerankers."""
    given: int = 1
    """Embeddings that a token has when it comes from an image: one for the model, and one for each
    layer that is given its own."""
    traits: frozenset[Trait] = frozenset()
    assumptions: tuple[str, ...] = ()
    """What nothing said and was assumed, one sentence each."""

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """The attention of each layer that has one."""
        return tuple(layer.attention for layer in self.layers if layer.attention)

    @property
    def recurrents(self) -> tuple[Recurrent, ...]:
        """The recurrent part of each layer that has one."""
        return tuple(layer.recurrent for layer in self.layers if layer.recurrent)

    @property
    def widest_heads(self) -> int:
        """The largest number of query heads of a layer; 0 without attention."""
        return max((found.heads for found in self.attentions), default=0)
