"""BERT as an encoder: embedders (MiniLM, BGE, E5, GTE and their likes), rerankers, classifiers.

Every token sees every other, positions are rows of a table, and normalisation comes after each
half of a block. The heads of training (pooler, masked words, next sentence) are left out:
runtimes pool by the rule of ``<architecture>.pooling_type``.

Rerankers and classifiers keep their head: two layers over the first token, with tanh between
them. In BERT's own the first of them is the pooler.

Source:
    transformers ``BertModel``, ``BertPooler``, ``XLMRobertaClassificationHead``; llama.cpp
    ``LLM_ARCH_BERT``, ``build_pooling``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gguf import PoolingType

from modelvault_converters.gguf.config import Config, is_classifier
from modelvault_converters.gguf.families.names import tensor_name
from modelvault_converters.gguf.tensors import Blueprint, Entry, Part, Shapes, Tensor

ARCHITECTURES = (
    "BertModel",
    "BertForMaskedLM",
    "BertForSequenceClassification",
    "XLMRobertaModel",
    "XLMRobertaForSequenceClassification",
)
ARCHITECTURE = "bert"

_ROBERTA = "XLMRoberta"
_PREFIXES = ("", "bert.", "roberta.")
_HEADS = ("pooler.", "cls.", "lm_head.")
_POSITIONS = "embeddings.position_ids"
_ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")

_UNNAMED = ("LABEL_0", "LABEL_1")
"""What transformers calls the outputs of a classifier whose configuration names none."""

_BLOCK = {
    "attention.self.query": "square",
    "attention.self.key": "square",
    "attention.self.value": "square",
    "attention.output.dense": "square",
    "attention.output.LayerNorm": "norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm",
}
"""Name in transformers → kind of shape: each with a weight and a bias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """How this checkpoint spells names: with a prefix or not, norms the old way or the new."""

    stored: Shapes

    def take(self, source: str, *shape: int, name: str = "") -> Tensor:
        """Return a tensor that is one of the source.

        Args:
            source: Name in transformers, without a prefix.
            *shape: Of both, rows first.
            name: GGUF's, where the gguf package knows none for ``source``.
        """
        part = Part(name=self.find(source), shape=shape)
        return Tensor(name=name or tensor_name(ARCHITECTURE, source), shape=shape, parts=(part,))

    def find(self, name: str) -> str:
        """Return the stored tensor that ``name`` means."""
        older = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        older = older.replace("LayerNorm.bias", "LayerNorm.beta")
        for prefix in _PREFIXES:
            for candidate in (prefix + name, prefix + older):
                if candidate in self.stored:
                    return candidate
        return name


def describe(config: Mapping[str, Any], stored: Shapes) -> Blueprint:
    """Return the blueprint of a BERT encoder.

    Raises:
        UnsupportedSource: The configuration cannot be used; all faults are listed.
    """
    values = Config(config)
    layers, hidden = values.integer("num_hidden_layers"), values.integer("hidden_size")
    heads, vocabulary = values.integer("num_attention_heads"), values.integer("vocab_size")
    _check_features(values, layers=layers, hidden=hidden, heads=heads)
    is_roberta, classifies = config["architectures"][0].startswith(_ROBERTA), is_classifier(config)
    skipped = _skipped_rows(values) if is_roberta else 0
    entries = [*_entries(values, skipped)]
    names = _Names(stored=stored)
    head: tuple[Tensor, ...] = ()
    labels = _labels(values.section("id2label"))
    if classifies:
        labels = labels or _UNNAMED
        entries.append(
            Entry(key=f"{ARCHITECTURE}.pooling_type", kind="u32", value=PoolingType.RANK)
        )
        head = tuple(_head(names, hidden, len(labels), is_roberta=is_roberta))
    if labels:
        key = f"{ARCHITECTURE}.classifier.output_labels"
        entries.append(Entry(key=key, kind="strings", value=labels))
    values.check()
    kept = {part.name for tensor in head for part in tensor.parts}
    return Blueprint(
        architecture=ARCHITECTURE,
        entries=tuple(entries),
        tensors=(*_embeddings(values, names, skipped), *_blocks(values, names), *head),
        vocabulary=vocabulary,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        ignored=frozenset(name for name in stored if _is_ignored(name) and name not in kept),
        tied=True,  # there is no output: the mixes treat the embedding as one
        warnings=_pair_warnings(values) if classifies else (),
    )


def _check_features(values: Config, *, layers: int, hidden: int, heads: int) -> None:
    if hidden % heads or layers > 1024:
        values.fault(f"{layers} layers of {hidden} columns in {heads} heads cannot be")
    activation = values.text("hidden_act", default="gelu")
    if activation not in _ACTIVATIONS:
        values.fault(f"activation '{activation:.40}': llama.cpp computes gelu for BERT")
    positions = values.text("position_embedding_type", default="absolute")
    if positions != "absolute":
        values.fault(f"positions of type '{positions:.40}': llama.cpp knows absolute ones for BERT")
    if values.flag("is_decoder", default=False):
        values.fault("'is_decoder' is true: llama.cpp runs BERT as an encoder only")


def _skipped_rows(values: Config) -> int:
    """Return the rows of the table of positions that RoBERTa never uses: up to its padding's."""
    skipped = values.integer("pad_token_id", default=1, least=0) + 1
    if skipped >= values.integer("max_position_embeddings"):
        values.fault("'pad_token_id' leaves no position")
    values.check()
    return skipped


def _entries(values: Config, skipped: int) -> Iterator[Entry]:
    for key, names in (
        ("block_count", ("num_hidden_layers",)),
        ("context_length", ("max_position_embeddings",)),
        ("embedding_length", ("hidden_size",)),
        ("feed_forward_length", ("intermediate_size",)),
        ("attention.head_count", ("num_attention_heads",)),
    ):
        size = values.integer(*names) - (skipped if key == "context_length" else 0)
        yield Entry(key=f"{ARCHITECTURE}.{key}", kind="u32", value=size)
    yield Entry(
        key=f"{ARCHITECTURE}.attention.layer_norm_epsilon",
        kind="f32",
        value=values.number("layer_norm_eps", default=1e-12),
    )
    yield Entry(key=f"{ARCHITECTURE}.attention.causal", kind="bool", value=False)
    types = values.integer("type_vocab_size", default=2)
    yield Entry(key="tokenizer.ggml.token_type_count", kind="u32", value=types)


def _labels(section: Config) -> tuple[str, ...]:
    """Return the names of a classifier's outputs, which llama.cpp's converter carries along.

    Two that begin with ``LABEL_0`` are transformers' stand-ins for none.
    """
    numbers = sorted((len(name), name) for name in section.names() if name.isdecimal())
    labels = tuple(section.text(number) for _, number in numbers)
    return () if len(labels) == 2 and labels[0] == "LABEL_0" else labels


def _embeddings(values: Config, names: _Names, skipped: int) -> Iterator[Tensor]:
    hidden, positions = values.integer("hidden_size"), values.integer("max_position_embeddings")
    source = "embeddings.position_embeddings.weight"
    part = Part(
        name=names.find(source), shape=(positions, hidden), first=skipped, drops_rest=skipped > 0
    )
    name = tensor_name(ARCHITECTURE, source)
    yield Tensor(name=name, shape=(positions - skipped, hidden), parts=(part,))
    for source, rows in (
        ("word_embeddings", values.integer("vocab_size")),
        ("token_type_embeddings", values.integer("type_vocab_size", default=2)),
    ):
        yield names.take(f"embeddings.{source}.weight", rows, hidden)
    for half in ("weight", "bias"):
        yield names.take(f"embeddings.LayerNorm.{half}", hidden)


def _blocks(values: Config, names: _Names) -> Iterator[Tensor]:
    hidden, wide = values.integer("hidden_size"), values.integer("intermediate_size")
    shapes = {
        "square": (hidden, hidden),
        "norm": (hidden,),
        "up": (wide, hidden),
        "down": (hidden, wide),
    }
    for layer in range(values.integer("num_hidden_layers")):
        for source, kind in _BLOCK.items():
            at, shape = f"encoder.layer.{layer}.{source}", shapes[kind]
            yield names.take(f"{at}.weight", *shape)
            yield names.take(f"{at}.bias", shape[0])


def _head(names: _Names, hidden: int, labels: int, *, is_roberta: bool) -> Iterator[Tensor]:
    """Yield the two layers of a classifier, under names that the package has for one spelling."""
    first, second = "pooler.dense", "classifier"
    if is_roberta:
        first, second = "classifier.dense", "classifier.out_proj"
    for name, source, rows in (("cls", first, hidden), ("cls.output", second, labels)):
        yield names.take(f"{source}.weight", rows, hidden, name=f"{name}.weight")
        yield names.take(f"{source}.bias", rows, name=f"{name}.bias")


def _pair_warnings(values: Config) -> tuple[str, ...]:
    """Return a warning where the model tells the texts of a pair by their token types."""
    if values.integer("type_vocab_size", default=2) < 2:
        return ()
    warning = (
        "the model may tell a query from a document by token types, but llama.cpp gives every "
        "token the first: scores of pairs can differ (rerankers made from XLM-RoBERTa keep theirs)"
    )
    return (warning,)


def _is_ignored(name: str) -> bool:
    bare = name.removeprefix("bert.").removeprefix("roberta.")
    return bare == _POSITIONS or bare.startswith(_HEADS)
