"""What is known of a model before its first weight is read, checked."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from modelvault.core.protocol import SourceFile
from modelvault.core.safetensors_header import TensorEntry
from modelvault.errors import MalformedWeights, SourceIncomplete, UnsupportedSource
from modelvault_converters.awq.models.configuration import read_configuration
from modelvault_converters.awq.models.families import Family, Group, find_family
from modelvault_converters.awq.models.weights import Weights
from modelvault_converters.checkpoint import Checkpoint

_MOST_LAYERS = 1024
_WIDEST = 1 << 20
_FUSED = (".experts.gate_up_proj", ".experts.down_proj")
EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"
HEAD = "lm_head.weight"
"""Missing where it is the embedding."""
_LAYER = re.compile(r"model\.layers\.(\d{1,9})\.")
_DROPPED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")

_SIDE_FILES = re.compile(
    r"tokenizer[\w.-]*\.(json|model)|vocab\.(json|txt)|merges\.txt|special_tokens_map\.json"
    r"|added_tokens\.json|generation_config\.json|chat_template\.(json|jinja)|tekken\.json"
    r"|spiece\.model|[\w.-]+\.tiktoken|additional_chat_templates/[\w.-]+\.jinja"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A checkpoint with its configuration."""

    source: Checkpoint
    weights: Weights
    config: dict[str, Any]
    family: Family
    layers: int
    hidden: int
    """Width of the model."""

    @classmethod
    def open(cls, source: Checkpoint, stack: ExitStack, target: str) -> "Model":
        """Return the model, checked for a target; its weights are open until the stack is closed.

        Args:
            source: Its files.
            stack: Takes what is opened.
            target: ``AWQ``, ``FP8`` ….

        Raises:
            UnsupportedArchitecture: No known family, or not for this target.
            UnsupportedSource: Already quantised, or an unusable configuration.
            SourceIncomplete: Files or tensors are missing.
            SizeMismatch: A file's length is not what the manifest promises.
            MalformedRecord: ``config.json`` is no JSON object.
            MalformedWeights: A file is malformed, or a linear is no matrix.
        """
        config = read_configuration(source)  # first: it says most clearly what is wrong
        weights = Weights(source, stack)
        names = config.get("architectures")
        architecture = names[0] if isinstance(names, list) and names else ""
        model = cls(
            source=source,
            weights=weights,
            config=config,
            family=find_family(str(architecture), target),
            layers=_dimension(config, "num_hidden_layers", _MOST_LAYERS),
            hidden=_dimension(config, "hidden_size", _WIDEST),
        )
        model._check_layers()
        model._check_linears()
        model._check_ends()
        return model

    def linears(self) -> Iterator[str]:
        """Yield the names of the weights to quantise, layer by layer."""
        for layer in range(self.layers):
            for linear in self.family.linears(self.config, layer):
                yield f"model.layers.{layer}.{linear}.weight"

    def riders(self) -> Iterator[str]:
        """Yield the full names of the modules that a server must not take for quantised.

        They are matrices that read what quantised linears read: routers, and the gates of
        shared experts. Servers compare substrings, so that a shorter name would hit more.
        """
        for layer in range(self.layers):
            for name in self.family.riders(self.config, layer):
                yield f"model.layers.{layer}.{name}"

    def groups(self, layer: int) -> tuple[Group, ...]:
        """Return the groups of a layer, whose scales fold into what comes before."""
        return self.family.groups(self.config, layer)

    @property
    def heads(self) -> int:
        """Query heads of the attention."""
        return _dimension(self.config, "num_attention_heads", _WIDEST)

    @property
    def tied(self) -> bool:
        """Whether the output head may be missing, as the embedding takes its place."""
        return self.config.get("tie_word_embeddings", self.family.tied) is True

    def tensors(self) -> Iterator[TensorEntry]:
        """Yield the tensors that a checkpoint of this model holds, sorted by name."""
        for name, stored in sorted(self.weights.tensors.items()):
            if not _DROPPED.fullmatch(name):
                yield stored

    def side_files(self) -> Iterator[SourceFile]:
        """Yield what a server needs beside weights and ``config.json``, sorted by path."""
        return (file for file in self.source if _SIDE_FILES.fullmatch(file.path))

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(stored.count for stored in self.tensors())

    def _check_ends(self) -> None:
        """Check what comes before the first layer and after the last."""
        held = self.weights.tensors
        needed = (EMBEDDING, NORM) if self.tied else (EMBEDDING, NORM, HEAD)
        missing = [name for name in needed if name not in held]
        if missing:
            raise SourceIncomplete(
                f"{missing[0]} is missing",
                hint="pull the whole model again, and compare config.json with the one on the Hub",
                issues=missing,
            )
        for name in (EMBEDDING, NORM, HEAD):
            shape = held[name].shape if name in held else (1, self.hidden)
            wanted = 1 if name == NORM else 2
            if len(shape) != wanted or shape[-1] != self.hidden or not shape[0]:
                raise MalformedWeights(f"{name}: {shape} is not for a width of {self.hidden}")
        rows = self.config.get("vocab_size", held[EMBEDDING].shape[0])
        for name in (EMBEDDING, HEAD):
            if name in held and held[name].shape[0] != rows:
                raise MalformedWeights(
                    f"{name}: {held[name].shape} is not for a vocab_size of {rows!s:.40}",
                    hint="compare config.json with the one on the Hub",
                )

    def _check_layers(self) -> None:
        surplus = [
            stored.name for stored in self.tensors() if (layer_of(stored.name) or 0) >= self.layers
        ]
        if surplus:
            raise UnsupportedSource(
                f"{len(surplus)} tensors are of layers beyond num_hidden_layers, {self.layers}: "
                f"{surplus[0]:.200} …",
                hint="compare config.json with the one on the Hub; extra layers are not converted",
                issues=surplus[:100],
            )

    def _check_linears(self) -> None:
        held = self.weights.tensors
        wanted = [*self.linears(), *(f"{name}.weight" for name in self.riders())]
        missing = [name for name in wanted if name not in held]
        if missing:
            hint = "pull the whole model again, and compare config.json with the one on the Hub"
            if any(name.endswith(_FUSED) for name in held):
                hint = "experts fused into one tensor are not supported, only one matrix each"
            raise SourceIncomplete(
                f"{len(missing)} weights are missing: {missing[0]} …",
                hint=hint,
                issues=missing[:100],
            )
        for name in self.linears():
            if len(held[name].shape) != 2 or not held[name].count:
                raise MalformedWeights(f"{name}: a matrix is expected, not {held[name].shape}")


def layer_of(name: str) -> int | None:
    """Return the number of the layer that a tensor belongs to; None for the rest of a model."""
    found = _LAYER.match(name)
    return int(found[1]) if found else None


def _dimension(config: dict[str, Any], key: str, most: int) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise UnsupportedSource(
            f"config.json: '{key}' is {value!r:.40}, not a number from 1 to {most}",
            hint="compare the file with the one on the Hub",
        )
    return value
