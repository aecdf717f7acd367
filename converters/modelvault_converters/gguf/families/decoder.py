"""What decoder families share: dimensions, the keys that hold them, and how a tensor is taken.

A family says what is its own, in the Hub's names; ``names`` knows what GGUF calls them. Shapes
are rows first, ``[out, in]``. The tensors of the usual block are in ``blocks``.

Source:
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (keys and tensor names).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families.names import tensor_name
from modelvault_converters.gguf.tensors import Blueprint, Entry, Part, Tensor

_MOST_LAYERS = 1024
MOST_EXPERTS = 1024
_EPSILONS = {
    "rms": ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    "layer": ("layer_norm_eps", "attention.layer_norm_epsilon"),
}
"""Kind of norm → names of what it adds to the variance, in ``config.json`` and in GGUF."""


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

    def flag(self, key: str, *, value: bool) -> Entry:
        """Return a key of the architecture that is yes or no."""
        return Entry(key=f"{self.architecture}.{key}", kind="bool", value=value)

    def source(self, layer: int) -> str:
        """Return what the names of a block's source tensors begin with."""
        return f"{self.prefix}layers.{layer}."

    def name(self, source: str, layer: int | None = None) -> str:
        """Return GGUF's name of a tensor.

        Args:
            source: Hub name without what stands before it in all names: ``norm.weight``, of a
                block ``self_attn.q_proj.weight``.
            layer: Number of the block; None for what belongs to none.
        """
        at = "" if layer is None else f"layers.{layer}."
        return tensor_name(self.architecture, f"model.{at}{source}")

    def take(
        self,
        source: str,
        *shape: int,
        layer: int | None = None,
        name: str = "",
        order: tuple[int, ...] = (),
        add: float = 0.0,
    ) -> Tensor:
        """Return a tensor that is one of the source.

        Args:
            source: Hub name, as for ``name``.
            *shape: Of both, rows first.
            layer: Number of the block; None for what belongs to none.
            name: GGUF's whole name, where the gguf package knows none for ``source``.
            order: Order of the rows within each group of ``len(order)``.
            add: What is added to every value.
        """
        at = self.prefix if layer is None else self.source(layer)
        name = name or self.name(source, layer)
        return same(name, f"{at}{source}", *shape, order=order, add=add)

    def blueprint(
        self,
        values: Config,
        entries: Iterable[Entry],
        tensors: Iterable[Tensor],
        *,
        experts: int = 0,
        ignored: Iterable[str] = (),
        special: Mapping[str, str | int] | None = None,
        warnings: Iterable[str] = (),
    ) -> Blueprint:
        """Return the blueprint of a model of these dimensions.

        Args:
            values: The configuration; what entries and warnings note in it is raised here.
            entries: Keys of the architecture.
            tensors: What the file holds.
            experts: Of a block; 0 where every weight takes part in every token.
            ignored: Source tensors that hold nothing a runtime needs.
            special: Special tokens that the family knows: see ``Blueprint.special``.
            warnings: What the user should know.

        Raises:
            UnsupportedSource: The configuration cannot be used; all faults are listed.
        """
        entries, warnings = tuple(entries), tuple(warnings)
        values.check()
        leftovers = (f"{self.source(layer)}self_attn.rotary_emb.inv_freq"
                     for layer in range(self.layers))  # fmt: skip
        return Blueprint(
            architecture=self.architecture,
            entries=entries,
            tensors=tuple(tensors),
            vocabulary=self.vocabulary,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads,
            experts=experts,
            ignored=frozenset((*ignored, *leftovers)),
            tied=self.tied,
            special=special or {},
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


def refuse_biases(values: Config, *keys: str) -> None:
    """Note biases that a configuration asks for and the runtime does not know."""
    for key in keys:
        if values.flag(key, default=False):
            values.fault(f"'{key}' is true: llama.cpp knows no biases for this architecture")


def dimension_entries(
    values: Config,
    decoder: Decoder,
    *,
    norm: str = "rms",
    epsilon: float = 1e-6,
    context: tuple[str, ...] = ("max_position_embeddings",),
) -> Iterator[Entry]:
    """Yield the keys that every decoder has.

    Args:
        values: The configuration.
        decoder: Its dimensions.
        norm: ``rms``, or ``layer`` where norms also subtract the mean.
        epsilon: What norms add to the variance where it is not said.
        context: Names of the context's length in tokens, of which the first that is there counts.
    """
    stated, key = _EPSILONS[norm]
    yield decoder.number("block_count", decoder.layers)
    yield decoder.number("context_length", values.integer(*context))
    yield decoder.number("embedding_length", decoder.hidden)
    yield decoder.number("feed_forward_length", decoder.intermediate)
    yield decoder.number("attention.head_count", decoder.heads)
    yield decoder.number("attention.head_count_kv", decoder.kv_heads)
    yield decoder.real(key, values.number(stated, default=epsilon))
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
