"""A GGUF's keys and tensors as a model's shape.

llama.cpp computes with what a file says and fills in what it does not: periods of windows and
the like are known by architecture. Where tensors are known, they say how wide a layer is.

Source: ``src/models`` of llama.cpp, October 2026.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelvault.fit.gguf_windows import window_of
from modelvault.fit.reading import Keys
from modelvault.fit.shape import (
    LARGEST_CONTEXT,
    MOST_LAYERS,
    Attention,
    Experts,
    Layer,
    ModelShape,
    Recurrent,
    Trait,
)

_ENCODERS = frozenset(
    {
        "bert",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "t5encoder",
    }
)
"""Architectures that keep no cache."""


_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_INTERVALS = frozenset({"qwen3next", "qwen35", "qwen35moe"})
"""Hybrids of which one layer of four attends to everything."""
_HYBRIDS = frozenset(
    {
        "granitehybrid",
        "jamba",
        "kimi-linear",
        "lfm2",
        "lfm2moe",
        "nemotron_h",
        "nemotron_h_moe",
        "plamo2",
    }
)
"""Hybrids whose layers without key heads are recurrent."""
_FUSED_GATES = frozenset({"phi3", "glm4", "chatglm"})
_NAME = re.compile(r"blk\.(\d+)\.(.+)")

Shape = Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufKeys:
    """What a GGUF's header says."""

    metadata: Mapping[str, object] = field(hash=False)
    """Scalars and texts by key."""
    lists: Mapping[str, tuple[int | float | bool, ...]] = field(hash=False)
    arrays: Mapping[str, int] = field(hash=False)
    """Key → length."""
    tensors: Mapping[str, Shape] = field(default_factory=dict, hash=False)
    """Name → shape, fastest dimension first; empty where the header was not read so far."""


def shape_of_gguf(keys: GgufKeys) -> ModelShape:
    """Return the shape of the model in a GGUF.

    Raises:
        ShapeUnknown: A key that memory depends on is missing, or cannot be true.
    """
    return _Reader(keys).read()


class _Reader:
    def __init__(self, keys: GgufKeys) -> None:
        values = {**keys.lists, **keys.metadata}
        where = "the GGUF's header"
        self.architecture = Keys(values, where).text("general.architecture")
        if not self.architecture:
            raise Keys(values, where).refused("general.architecture", None)
        self.keys = Keys(values, where, f"{self.architecture}.")
        self.hidden = self.keys.count("embedding_length")
        blocks = self.keys.count("block_count", most=MOST_LAYERS)
        # Layers that draft the next tokens are loaded, and not computed with.
        self.count = max(1, blocks - self.keys.amount("nextn_predict_layers", most=blocks))
        rows = keys.tensors.get("token_embd.weight", ())
        self.vocabulary = (
            rows[1] if len(rows) == 2 else keys.arrays.get("tokenizer.ggml.tokens", 0)
        ) or self.keys.amount("vocab_size")
        self.widths: dict[tuple[int, str], Shape] = {}
        for name, shape in keys.tensors.items():
            if found := _NAME.fullmatch(name):
                self.widths[int(found[1]), found[2]] = shape
        self.names = {name for _, name in self.widths}

    def read(self) -> ModelShape:
        layers = tuple(self._layer(number) for number in range(self.count))
        return ModelShape(
            architecture=self.architecture,
            layers=layers,
            hidden=self.hidden,
            vocabulary=self.vocabulary,
            context=self.keys.amount("context_length", most=LARGEST_CONTEXT),
            causal=self.architecture not in _ENCODERS
            and self.keys.true("attention.causal", default=True),
            given=1 + self.keys.amount("n_deepstack_layers", most=MOST_LAYERS),
            traits=frozenset(self._traits()),
            assumptions=(),
        )

    def _layer(self, number: int) -> Layer:
        recurrent = self._recurs(number)
        attends = not recurrent or self.architecture == "falcon-h1"
        attention = self._attention(number) if attends else None
        return Layer(
            attention=attention,
            recurrent=self._recurrent() if recurrent else None,
            feed_forward=self._dense(number),
            experts=self._experts(number),
        )

    # -- attention

    def _attention(self, number: int) -> Attention | None:
        keys, layers = self.keys, self.count
        heads = keys.each("attention.head_count", layers)[number]
        kv_heads = keys.each("attention.head_count_kv", layers, default=heads)[number]
        for name, found in (("attention.head_count", heads), ("attention.head_count_kv", kv_heads)):
            if not found and not isinstance(keys.values.get(keys.prefix + name), tuple | list):
                raise keys.refused(name, found)
        if not heads or not kv_heads:
            return None  # a layer of its own kind among others
        window = window_of(keys, self.architecture, layers, number)
        narrow = "_swa" if window and keys.has("attention.key_length_swa") else ""
        width = keys.count(f"attention.key_length{narrow}", max(1, self.hidden // heads))
        value_width = keys.count(f"attention.value_length{narrow}", width)
        common = {
            "heads": heads,
            "kv_heads": kv_heads,
            "window": window,
            "shares_cache": self._shares(number),
            "index_width": keys.amount("attention.indexer.key_length"),
        }
        if keys.has("attention.key_length_mla"):
            return Attention(
                key_width=keys.count("attention.key_length_mla"),
                value_width=keys.count("attention.value_length_mla"),
                latent=width * kv_heads,
                rotated=keys.amount("rope.dimension_count"),
                **common,  # type: ignore[arg-type] # each by its own name
            )
        return Attention(key_width=width, value_width=value_width, **common)  # type: ignore[arg-type]

    def _shares(self, number: int) -> bool:
        if self.architecture == "gemma3n":
            return number >= 20
        shared = self.keys.amount("attention.shared_kv_layers", most=self.count)
        return number >= self.count - shared

    # -- recurrence

    def _recurs(self, number: int) -> bool:
        keys, architecture = self.keys, self.architecture
        if architecture in _RECURRENT or architecture == "falcon-h1":
            return True
        listed = keys.values.get(keys.prefix + "attention.recurrent_layers")
        if isinstance(listed, tuple | list) and len(listed) > number:
            return bool(listed[number])
        if architecture in _INTERVALS:
            return bool((number + 1) % keys.count("full_attention_interval", 4))
        if architecture not in _HYBRIDS:
            return False
        heads = keys.each("attention.head_count_kv", self.count, default=1)[number]
        wide = keys.each("feed_forward_length", self.count, default=0)[number]
        feeds = wide and architecture.startswith("nemotron")
        expert = (number, "ffn_gate_inp.weight") in self.widths
        return not heads and not feeds and not (expert and architecture.startswith("nemotron"))

    def _recurrent(self) -> Recurrent:
        keys = self.keys
        if keys.has("wkv.head_size"):
            shifts = keys.count("token_shift_count", 2)
            return Recurrent(
                convolution=shifts * self.hidden, state=self.hidden * keys.count("wkv.head_size")
            )
        if keys.has("shortconv.l_cache"):
            length = keys.count("shortconv.l_cache")
            return Recurrent(convolution=self.hidden * (length - 1), state=0)
        looked_back = max(0, keys.amount("ssm.conv_kernel") - 1)
        if keys.has("kda.head_dim"):
            width = keys.count("kda.head_dim")
            heads = keys.each("attention.head_count", self.count)[0]
            return Recurrent(
                convolution=3 * looked_back * heads * width,
                state=width * width * heads,
                inner=heads * width,
                heads=heads,
            )
        inner, state = keys.count("ssm.inner_size"), keys.count("ssm.state_size")
        groups = keys.amount("ssm.group_count")
        return Recurrent(
            convolution=looked_back * (inner + 2 * groups * state),
            state=state * inner,
            inner=inner,
            groups=groups,
            state_width=state,
            heads=keys.amount("ssm.time_step_rank"),
        )

    # -- feed-forward

    def _dense(self, number: int) -> int:
        for name in ("ffn_up.weight", "ffn_gate.weight"):
            if (number, name) in self.widths:
                width = self.widths[number, name][1]
                return width // 2 if self._fused_gate() else width
        if self.widths or self._has_experts(number):
            return 0
        return self.keys.each("feed_forward_length", self.count, default=0)[number]

    def _fused_gate(self) -> bool:
        """Return whether gate and up are one matrix, as Phi-3 has them."""
        return self.architecture in _FUSED_GATES and "ffn_gate.weight" not in self.names

    def _has_experts(self, number: int) -> bool:
        if self.widths:
            return (number, "ffn_gate_inp.weight") in self.widths
        if not self.keys.amount("expert_count"):
            return False
        step = self.keys.count("interleave_moe_layer_step", 1)
        lead = self.keys.amount("leading_dense_block_count", most=MOST_LAYERS)
        return number >= lead and (number + 1) % step == 0

    def _experts(self, number: int) -> Experts | None:
        if not self._has_experts(number):
            return None
        keys = self.keys
        wide = keys.each("feed_forward_length", self.count, default=0)[number]
        width = keys.each("expert_feed_forward_length", self.count, default=wide)[number]
        shared = keys.amount("expert_shared_feed_forward_length") or width * keys.amount(
            "expert_shared_count"
        )
        up = self.widths.get((number, "ffn_up_exps.weight"))
        if up is not None and len(up) == 3:
            width = up[1]
        if self.widths:
            given = self.widths.get((number, "ffn_up_shexp.weight"))
            shared = given[1] if given else 0
        return Experts(
            count=keys.count("expert_count"),
            used=keys.each("expert_used_count", self.count)[number],
            width=width,
            shared_width=shared,
        )

    def _traits(self) -> list[Trait]:
        names, found = self.names, []
        if "attn_qkv.weight" in names:
            found.append(Trait.FUSED_QKV)
        if "attn_q_norm.weight" in names:
            found.append(Trait.QK_NORM)
        if "post_attention_norm.weight" in names and "ffn_norm.weight" in names:
            found.append(Trait.POST_NORMS)
        if "post_ffw_norm.weight" in names and "attn_norm.weight" not in names:
            found += [Trait.POST_NORMS, Trait.NORMS_AFTER]
        if "layer_output_norm.weight" in names:
            found += [Trait.SUMS_NORMED, Trait.NORMS_AFTER]
        elif names and not names & {"ffn_norm.weight", "post_attention_norm.weight"}:
            found.append(Trait.PARALLEL)
        if self.keys.has("attention.layer_norm_epsilon"):
            found.append(Trait.LAYER_NORMS)
        if names and "ffn_gate.weight" not in names and "ffn_up.weight" in names:
            found.append(Trait.FUSED_GATE if self._fused_gate() else Trait.NO_GATE)
        return found
