"""What decoder families share: dimensions, and the tensors of the usual block.

A family says what is its own; everything here is a plain mapping of Hub names to GGUF names.
Shapes are rows first, ``[out, in]``.

Source:
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (keys and tensor names).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.tensors import Blueprint, Entry, Part, Shapes, Tensor

_MOST_LAYERS = 1024
MOST_EXPERTS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """The numbers that give every tensor its shape."""

    architecture: str
    """``general.architecture``, which is also the prefix of its keys."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head: int
    """Width of one head."""
    head_is_stated: bool
    """Whether the width is a number of its own, not ``hidden / heads``."""
    vocabulary: int
    tied: bool
    """Whether the output shares the embedding's weights."""
    prefix: str = "model."
    """What stands before ``layers.0`` in the names of the source."""

    @property
    def queries(self) -> int:
        """Rows of the query projection."""
        return self.heads * self.head

    @property
    def keys(self) -> int:
        """Rows of the key and of the value projection."""
        return self.kv_heads * self.head

    def number(self, key: str, value: int) -> Entry:
        """Return an integer key of the architecture."""
        return Entry(key=f"{self.architecture}.{key}", kind="u32", value=value)

    def real(self, key: str, value: float) -> Entry:
        """Return a float key of the architecture."""
        return Entry(key=f"{self.architecture}.{key}", kind="f32", value=value)

    def text(self, key: str, value: str) -> Entry:
        """Return a text key of the architecture."""
        return Entry(key=f"{self.architecture}.{key}", kind="string", value=value)

    def source(self, layer: int) -> str:
        """Return what the names of a block's source tensors begin with."""
        return f"{self.prefix}layers.{layer}."

    def blueprint(
        self,
        entries: Iterator[Entry],
        tensors: Iterator[Tensor],
        *,
        experts: int = 0,
        ignored: frozenset[str] = frozenset(),
        warnings: tuple[str, ...] = (),
    ) -> Blueprint:
        """Return the blueprint of a model of these dimensions."""
        leftovers = (f"{self.source(layer)}self_attn.rotary_emb.inv_freq"
                     for layer in range(self.layers))  # fmt: skip
        return Blueprint(
            architecture=self.architecture,
            entries=tuple(entries),
            tensors=tuple(tensors),
            vocabulary=self.vocabulary,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            experts=experts,
            ignored=ignored | frozenset(leftovers),
            tied=self.tied,
            warnings=warnings,
        )


def read_decoder(
    values: Config,
    architecture: str,
    *,
    tied: bool = False,
    head: int = 0,
    prefix: str = "model.",
    states_head: bool = False,
) -> Decoder:
    """Return the dimensions that a configuration gives.

    Args:
        values: The configuration.
        architecture: ``general.architecture``.
        tied: What ``tie_word_embeddings`` means where it is not said.
        head: Width of a head where it is not said; 0 for ``hidden / heads``.
        prefix: What stands before ``layers.0`` in the names of the source.
        states_head: Whether the width of a head is a key of the file in any case.

    Raises:
        UnsupportedSource: A number is missing or cannot be; all faults are listed.
    """
    hidden = values.integer("hidden_size")
    heads = values.integer("num_attention_heads")
    stated = values.has("head_dim") or head > 0
    if not stated and hidden % heads:
        values.fault(f"{hidden} columns do not divide into {heads} heads")
    decoder = Decoder(
        architecture=architecture,
        layers=values.integer("num_hidden_layers"),
        hidden=hidden,
        intermediate=values.integer("intermediate_size"),
        heads=heads,
        kv_heads=values.integer("num_key_value_heads", default=heads),
        head=values.integer("head_dim", default=head or max(hidden // heads, 1)),
        head_is_stated=stated or states_head,
        vocabulary=values.integer("vocab_size"),
        tied=values.flag("tie_word_embeddings", default=tied),
        prefix=prefix,
    )
    if decoder.layers > _MOST_LAYERS:
        values.fault(f"{decoder.layers} layers are more than any model has")
    if decoder.head % 2 or heads % decoder.kv_heads:
        values.fault(f"{heads} heads of {decoder.head} cannot share {decoder.kv_heads} key heads")
    values.check()  # what follows counts with these numbers
    return decoder


def check_activation(values: Config, *known: str, key: str = "hidden_act") -> None:
    """Note an activation that the runtime does not compute; ``known[0]`` where none is named."""
    name = values.text(key, default=known[0])
    if name not in known:
        values.fault(
            f"activation '{name:.40}': llama.cpp computes {known[0]} for this architecture"
        )


def dimension_entries(
    values: Config, decoder: Decoder, *, epsilon: float = 1e-6
) -> Iterator[Entry]:
    """Yield the keys that every decoder has.

    Args:
        values: The configuration.
        decoder: Its dimensions.
        epsilon: What ``rms_norm_eps`` is where it is not said.
    """
    yield decoder.number("block_count", decoder.layers)
    yield decoder.number("context_length", values.integer("max_position_embeddings"))
    yield decoder.number("embedding_length", decoder.hidden)
    yield decoder.number("feed_forward_length", decoder.intermediate)
    yield decoder.number("attention.head_count", decoder.heads)
    yield decoder.number("attention.head_count_kv", decoder.kv_heads)
    yield decoder.real(
        "attention.layer_norm_rms_epsilon", values.number("rms_norm_eps", default=epsilon)
    )
    if decoder.head_is_stated:
        yield decoder.number("attention.key_length", decoder.head)
        yield decoder.number("attention.value_length", decoder.head)


def same(
    name: str, source: str, *shape: int, order: tuple[int, ...] = (), add: float = 0.0
) -> Tensor:
    """Return a tensor that is one of the source.

    Args:
        name: GGUF name.
        source: Hub name.
        *shape: Of both, rows first.
        order: Order of the rows within each group of ``len(order)``.
        add: What is added to every value.
    """
    part = Part(name=source, shape=shape, permutation=order, add=add)
    return Tensor(name=name, shape=shape, parts=(part,))


def frame(
    decoder: Decoder, *, norm: float = 0.0, trimmed: Shapes | None = None
) -> Iterator[Tensor]:
    """Yield what belongs to no block: embedding, last norm and, unless shared, output.

    Args:
        decoder: The dimensions.
        norm: What is added to the last norm.
        trimmed: Shapes of the stored tensors where rows beyond the vocabulary are to be left
            out; otherwise such rows are a fault.
    """
    at = decoder.prefix
    yield _table(decoder, "token_embd.weight", f"{at}embed_tokens.weight", trimmed)
    yield same("output_norm.weight", f"{at}norm.weight", decoder.hidden, add=norm)
    if not decoder.tied:
        yield _table(decoder, "output.weight", "lm_head.weight", trimmed)


def _table(decoder: Decoder, name: str, source: str, trimmed: Shapes | None) -> Tensor:
    """Return a matrix with one row a token."""
    rows, columns = decoder.vocabulary, decoder.hidden
    stored = (trimmed or {}).get(source, (rows, columns))
    if len(stored) != 2 or stored[0] <= rows or stored[1] != columns:
        return same(name, source, rows, columns)
    return Tensor(
        name=name, shape=(rows, columns), parts=(Part(name=source, shape=stored, count=rows),)
    )


def attention(
    decoder: Decoder,
    layer: int,
    *,
    bias: str = "",
    order: tuple[int, ...] = (),
) -> Iterator[Tensor]:
    """Yield the four projections of a block's attention, each a matrix of its own.

    Args:
        decoder: The dimensions.
        layer: Number of the block.
        bias: Which of them have a bias: letters of ``qkvo``.
        order: Order of rows within a head of queries and keys.
    """
    to, at = f"blk.{layer}.attn_", f"{decoder.source(layer)}self_attn."
    hidden, queries, keys = decoder.hidden, decoder.queries, decoder.keys
    for letter, role, rows, columns in (
        ("q", "q", queries, hidden),
        ("k", "k", keys, hidden),
        ("v", "v", keys, hidden),
        ("o", "output", hidden, queries),
    ):
        turned = order if letter in "qk" else ()
        yield same(f"{to}{role}.weight", f"{at}{letter}_proj.weight", rows, columns, order=turned)
        if letter in bias:
            yield same(f"{to}{role}.bias", f"{at}{letter}_proj.bias", rows, order=turned)


def feed_forward(
    decoder: Decoder,
    layer: int,
    *,
    bias: bool = False,
    width: int = 0,
    kind: str = "",
    source: str = "mlp.",
) -> Iterator[Tensor]:
    """Yield a gated feed-forward layer.

    Args:
        decoder: The dimensions.
        layer: Number of the block.
        bias: Whether the three have biases.
        width: Of the layer where it is not ``decoder.intermediate``.
        kind: Suffix of the GGUF names, such as ``_shexp``.
        source: What follows the block's number in the Hub's names.
    """
    at = f"{decoder.source(layer)}{source}"
    wide, narrow = width or decoder.intermediate, decoder.hidden
    for role, rows, columns in (
        ("gate", wide, narrow),
        ("up", wide, narrow),
        ("down", narrow, wide),
    ):
        name = f"blk.{layer}.ffn_{role}{kind}"
        yield same(f"{name}.weight", f"{at}{role}_proj.weight", rows, columns)
        if bias:
            yield same(f"{name}.bias", f"{at}{role}_proj.bias", rows)


def norms(
    decoder: Decoder, layer: int, names: Mapping[str, str], *, add: float = 0.0
) -> Iterator[Tensor]:
    """Yield norms as wide as the model: GGUF role → Hub name inside the block."""
    for role, source in names.items():
        at = f"{decoder.source(layer)}{source}.weight"
        yield same(f"blk.{layer}.{role}.weight", at, decoder.hidden, add=add)


def head_norms(decoder: Decoder, layer: int, *, add: float = 0.0) -> Iterator[Tensor]:
    """Yield the norms of queries and keys that are as wide as one head."""
    for letter in "qk":
        source = f"{decoder.source(layer)}self_attn.{letter}_norm.weight"
        yield same(f"blk.{layer}.attn_{letter}_norm.weight", source, decoder.head, add=add)


PRE_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
"""The norms before attention and feed-forward of most families."""


def pairs(head: int) -> tuple[int, ...]:
    """Return the order of a head's rows that llama.cpp's ``llama`` wants.

    The Hub keeps the two halves of a rotary pair ``head/2`` apart, llama.cpp side by side: rows
    0, head/2, 1, head/2 + 1 and so on.
    """
    half = head // 2
    return tuple(index // 2 + (index % 2) * half for index in range(head))
