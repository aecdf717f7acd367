"""A ``config.json`` as a model's shape.

Families spell the same thing in several ways; each is read by the names it may have. An
architecture that is not known is taken as a decoder of the usual kind, and that is said.

Source: ``configuration_*.py`` of transformers 5; ``vllm/model_executor/models`` of vLLM 0.32.
"""

from collections.abc import Mapping
from typing import Any

from modelvault.errors import ShapeUnknown
from modelvault.fit.attention_config import attention_of, is_attending
from modelvault.fit.reading import Keys
from modelvault.fit.recurrent_config import recurrent_of
from modelvault.fit.shape import (
    LARGEST_CONTEXT,
    MOST_LAYERS,
    Experts,
    Layer,
    ModelShape,
    Trait,
)

_TEXT = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where models of several senses keep what concerns text."""
_ENCODERS = ("Bert", "Roberta", "Deberta", "Electra", "MPNet", "DistilBert", "ModernBert")
_WITHOUT_CACHE = ("ForSequenceClassification", "ForTokenClassification", "Gemma3TextModel")
_QK_NORM = ("qwen3", "gemma3", "olmo", "exaone4", "glm4_moe", "cohere")
_POST_NORMS = ("gemma2", "gemma3", "olmo2", "olmo3", "exaone4", "glm4")
_NORMS_AFTER = ("olmo2", "olmo3", "exaone4")
_FUSED = ("phi3", "phimoe")
_PARALLEL = ("cohere", "phi", "gpt_neox", "falcon")
_KNOWN = (
    "llama", "mistral", "ministral", "mixtral", "qwen", "gemma", "phi", "deepseek", "kimi", "glm",
    "exaone", "solar", "gpt_oss", "granite", "olmo", "cohere", "stablelm", "smollm", "yi", "ernie",
    "hunyuan", "minimax", "seed_oss", "starcoder", "apertus", "internlm", "nemotron", "deci",
    "mamba", "falcon", "jamba", "lfm2", "bert", "roberta", "xlm-roberta",
    "modernbert", "bamba", "hyperclovax", "axk1",
    "longcat", "dots", "baichuan", "xverse", "mpt", "gpt2", "gpt_neox", "opt", "bloom",
)  # fmt: skip
"""Beginnings of the model types whose configuration is read by its own names."""


def shape_of_config(values: Mapping[str, Any]) -> ModelShape:
    """Return the shape of the model that a ``config.json`` describes.

    Raises:
        ShapeUnknown: What memory depends on is missing, or cannot be true.
    """
    top = Keys(values, "config.json")
    keys = next((found for name in _TEXT if (found := top.inner(name))), top)
    architectures = values.get("architectures")
    named = architectures[0] if isinstance(architectures, list) and architectures else ""
    kind = keys.text("model_type") or top.text("model_type")
    architecture = named if isinstance(named, str) and named else kind
    if not architecture:
        raise ShapeUnknown(
            "config.json names neither 'architectures' nor 'model_type'",
            hint="it describes no model of the usual kind; fit reads transformers' configurations",
        )
    hidden = _first(keys, "hidden_size", "n_embd", "d_model")
    count = _first(keys, "num_hidden_layers", "n_layer", "num_layers", "n_layers", most=MOST_LAYERS)
    layers = tuple(_layer(keys, kind, hidden, count, number) for number in range(count))
    encodes = any(word in architecture for word in _ENCODERS)
    return ModelShape(
        architecture=architecture,
        layers=layers,
        hidden=hidden,
        vocabulary=keys.amount("vocab_size") or top.amount("vocab_size"),
        context=_context(keys, top),
        causal=not encodes and not any(word in architecture for word in _WITHOUT_CACHE),
        traits=_traits(kind),
        assumptions=_assumptions(kind, architecture),
    )


def _first(keys: Keys, *names: str, **limits: int) -> int:
    """Return the number under the first name that there is."""
    found = next((name for name in names if keys.has(name)), names[0])
    return keys.count(found, **limits)


def _context(keys: Keys, top: Keys) -> int:
    names = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length",
             "max_seq_len", "model_max_length")  # fmt: skip
    for source in (keys, top):
        for name in names:
            if source.has(name):
                return source.amount(name, most=LARGEST_CONTEXT)
    return 0


def _traits(kind: str) -> frozenset[Trait]:
    table = {
        Trait.QK_NORM: _QK_NORM,
        Trait.POST_NORMS: _POST_NORMS,
        Trait.NORMS_AFTER: _NORMS_AFTER,
        Trait.FUSED_QKV: _FUSED,
        Trait.FUSED_GATE: _FUSED,
    }
    found = {trait for trait, kinds in table.items() if kind.startswith(kinds)}
    if kind.startswith(_PARALLEL) and not kind.startswith(_FUSED):
        found.add(Trait.PARALLEL)
    return frozenset(found)


def _assumptions(kind: str, architecture: str) -> tuple[str, ...]:
    if kind.startswith(_KNOWN):
        return ()
    unknown = f"{architecture} is not known to this release: computed as a decoder"
    return (f"{unknown} whose layers all cache keys and values",)


# -- one layer


def _layer(keys: Keys, kind: str, hidden: int, count: int, number: int) -> Layer:
    pattern = keys.text("hybrid_override_pattern")
    mixes = not pattern or pattern[number : number + 1] in ("M", "*")
    attends = mixes and is_attending(keys, kind, number)
    recurs = mixes and (not attends or kind == "falcon_h1")
    feeds = not pattern or pattern[number : number + 1] in ("-", "E", "O")
    experts = _experts(keys, kind, hidden, number) if feeds else None
    return Layer(
        attention=attention_of(keys, kind, hidden, count, number) if attends else None,
        recurrent=recurrent_of(keys, kind, hidden) if recurs else None,
        feed_forward=_width(keys, hidden) if feeds and experts is None else 0,
        experts=experts,
    )


def _width(keys: Keys, hidden: int) -> int:
    for name in ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"):
        value = keys.values.get(name)
        if isinstance(value, list) and value:
            return max(Keys({name: item}, keys.where).amount(name) for item in value)
        if value is not None:
            return keys.amount(name)
    return 4 * hidden


def _experts(keys: Keys, kind: str, hidden: int, number: int) -> Experts | None:
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    total = next((keys.amount(name) for name in names if keys.amount(name)), 0)
    if total < 2 or not _is_sparse(keys, number):
        return None
    used_names = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k")
    used = next((keys.amount(name) for name in used_names if keys.amount(name)), 1)
    if used > total:
        raise keys.refused("num_experts_per_tok", used)
    width = (
        keys.amount("moe_intermediate_size")
        or keys.amount("moe_ffn_hidden_size")
        or _width(keys, hidden)
    )
    shared = keys.amount("shared_expert_intermediate_size")
    shared = shared or width * keys.amount("n_shared_experts")
    if kind.startswith("llama4"):
        shared = width
    return Experts(count=total, used=used, width=width, shared_width=shared)


def _is_sparse(keys: Keys, number: int) -> bool:
    """Return whether a layer of a mixture has experts."""
    if number < keys.amount("first_k_dense_replace", most=MOST_LAYERS):
        return False
    listed = keys.values.get("mlp_only_layers")
    if isinstance(listed, list) and number in listed:
        return False
    for name in ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq"):
        step = keys.values.get(name)
        if isinstance(step, int) and not isinstance(step, bool) and step > 1:
            return (number + 1) % step == 0
        if isinstance(step, list) and number < len(step):
            return bool(step[number])
    return True
