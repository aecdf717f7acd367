"""The tensors of the usual decoder: embedding, attention, feed-forward, norms, output.

Each function yields what one part of a block takes from the source. What a family has beyond
them it takes with ``Decoder.take``.
"""

from collections.abc import Iterator

from modelvault_converters.gguf.families.decoder import Decoder, same
from modelvault_converters.gguf.families.names import tensor_name
from modelvault_converters.gguf.tensors import Part, Shapes, Tensor

PRE_NORMS = ("input_layernorm", "post_attention_layernorm")
"""The norms before attention and feed-forward of most families."""


def frame(
    decoder: Decoder, *, norm: float = 0.0, bias: bool = False, trimmed: Shapes | None = None
) -> Iterator[Tensor]:
    """Yield what belongs to no block: embedding, last norm and, unless shared, output.

    Args:
        decoder: The dimensions.
        norm: What is added to the last norm.
        bias: Whether the last norm has one.
        trimmed: Shapes of the stored tensors where rows beyond the vocabulary are to be left
            out; otherwise such rows are a fault.
    """
    table = f"{decoder.prefix}embed_tokens.weight"
    yield _table(decoder, decoder.name("embed_tokens.weight"), table, trimmed)
    yield decoder.take("norm.weight", decoder.hidden, add=norm)
    if bias:
        yield decoder.take("norm.bias", decoder.hidden)
    if not decoder.tied:
        output = "lm_head.weight"
        yield _table(decoder, tensor_name(decoder.architecture, output), output, trimmed)


def _table(decoder: Decoder, name: str, source: str, trimmed: Shapes | None) -> Tensor:
    """Return a matrix with one row a token."""
    rows, columns = decoder.vocabulary, decoder.hidden
    stored = (trimmed or {}).get(source, (rows, columns))
    if len(stored) != 2 or stored[0] <= rows or stored[1] != columns:
        return same(name, source, rows, columns)
    part = Part(name=source, shape=stored, count=rows, drops_rest=True)
    return Tensor(name=name, shape=(rows, columns), parts=(part,))


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
    hidden, queries, keys = decoder.hidden, decoder.queries, decoder.keys
    for letter, rows, columns in (
        ("q", queries, hidden),
        ("k", keys, hidden),
        ("v", keys, hidden),
        ("o", hidden, queries),
    ):
        at, turned = f"self_attn.{letter}_proj.", order if letter in "qk" else ()
        yield decoder.take(f"{at}weight", rows, columns, layer=layer, order=turned)
        if letter in bias:
            yield decoder.take(f"{at}bias", rows, layer=layer, order=turned)


def feed_forward(
    decoder: Decoder,
    layer: int,
    *,
    bias: bool = False,
    width: int = 0,
    source: str = "mlp.",
) -> Iterator[Tensor]:
    """Yield a gated feed-forward layer.

    Args:
        decoder: The dimensions.
        layer: Number of the block.
        bias: Whether the three have biases.
        width: Of the layer where it is not ``decoder.intermediate``.
        source: What follows the block's number in the Hub's names.
    """
    wide, narrow = width or decoder.intermediate, decoder.hidden
    for role, rows, columns in (
        ("gate", wide, narrow),
        ("up", wide, narrow),
        ("down", narrow, wide),
    ):
        yield decoder.take(f"{source}{role}_proj.weight", rows, columns, layer=layer)
        if bias:
            yield decoder.take(f"{source}{role}_proj.bias", rows, layer=layer)


def norms(
    decoder: Decoder, layer: int, *sources: str, bias: bool = False, add: float = 0.0
) -> Iterator[Tensor]:
    """Yield norms as wide as the model.

    Args:
        decoder: The dimensions.
        layer: Number of the block.
        *sources: Hub names inside the block, without ``.weight``.
        bias: Whether they have biases.
        add: What is added to each weight.
    """
    for source in sources:
        yield decoder.take(f"{source}.weight", decoder.hidden, layer=layer, add=add)
        if bias:
            yield decoder.take(f"{source}.bias", decoder.hidden, layer=layer)


def head_norms(
    decoder: Decoder,
    layer: int,
    *,
    queries: tuple[int, ...] = (),
    keys: tuple[int, ...] = (),
    add: float = 0.0,
) -> Iterator[Tensor]:
    """Yield the norms of queries and keys, as wide as one head where no shape is said.

    Args:
        decoder: The dimensions.
        layer: Number of the block.
        queries: Shape of the norm of queries.
        keys: Shape of the norm of keys.
        add: What is added to each weight.
    """
    for letter, shape in (("q", queries), ("k", keys)):
        source = f"self_attn.{letter}_norm.weight"
        yield decoder.take(source, *(shape or (decoder.head,)), layer=layer, add=add)


def pairs(head: int) -> tuple[int, ...]:
    """Return the order of a head's rows that llama.cpp's ``llama`` wants.

    The Hub keeps the two halves of a rotary pair ``head/2`` apart, llama.cpp side by side: rows
    0, head/2, 1, head/2 + 1 and so on.
    """
    half = head // 2
    return tuple(index // 2 + (index % 2) * half for index in range(head))
