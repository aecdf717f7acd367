"""One decoder layer at a time: the model's own code with that layer's weights, nothing more.

The layer is built without memory from the configuration, given its weights, run over the
calibration sequences, and dropped. What passes between layers: ``activations``.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from converters.awq.model import Model
from modelvault.errors import SourceIncomplete, UnsupportedSource

_NAMES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}

Watch = Callable[[torch.Tensor], None]
"""Sees a linear's input, f32 ``[length, in]``."""


class LayerRunner:
    """Runs decoder layers of one model, one after the other, in f32."""

    def __init__(self, model: Model) -> None:
        """Read the configuration; no weight is touched.

        Raises:
            UnsupportedSource: The configuration describes no such model.
        """
        from transformers import AutoConfig

        kind = model.family.model_type
        code = importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")
        values = {**model.config, "model_type": kind}
        try:
            self.config: Any = AutoConfig.for_model(**values)
            self.config._attn_implementation = "sdpa"  # noqa: SLF001 (set as the models do)
            self._rotary = getattr(code, f"{_NAMES[kind]}RotaryEmbedding")(self.config)
            self._layer = getattr(code, f"{_NAMES[kind]}DecoderLayer")
            self._build(0)
        except Exception as error:
            raise UnsupportedSource(
                f"config.json describes no {kind} model: {error}"[:500],
                hint="compare the file with the one on the Hub",
            ) from error

    @property
    def head(self) -> int:
        """Width of an attention head."""
        width = getattr(self.config, "head_dim", None)
        return int(width or self.config.hidden_size // self.config.num_attention_heads)

    @property
    def longest(self) -> int:
        """Tokens up to which every layer attends to all that came before."""
        window = getattr(self.config, "sliding_window", None)
        return min(int(self.config.max_position_embeddings), int(window or 1 << 30))

    def load(self, number: int, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """Return a layer with the given weights.

        Args:
            number: Of the layer, from 0.
            state: f32 tensors by their name within the layer; they are shared, not copied.

        Raises:
            SourceIncomplete: Tensors are missing, too many or of the wrong shape.
        """
        layer = self._build(number)
        try:
            layer.load_state_dict(dict(state), strict=True, assign=True)
        except RuntimeError as error:
            raise SourceIncomplete(
                f"layer {number} does not fit the configuration",
                hint="pull the model again: configuration and weights are of different revisions",
                issues=str(error).splitlines()[:20],
            ) from error
        return layer.eval().requires_grad_(requires_grad=False)

    def run(self, layer: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Return a layer's output for one sequence, f32 ``[length, hidden]`` both."""
        positions = torch.arange(hidden.shape[0]).unsqueeze(0)
        batch = hidden.unsqueeze(0)
        with torch.no_grad():
            result: torch.Tensor = layer(
                batch,
                attention_mask=None,  # causal by itself
                position_ids=positions,
                position_embeddings=self._rotary(batch, positions),
            )
        return result[0]

    def _build(self, number: int) -> torch.nn.Module:
        with torch.device("meta"):
            layer: torch.nn.Module = self._layer(self.config, number)
        return layer


@contextmanager
def watching(layer: torch.nn.Module, watches: Mapping[str, Watch]) -> Iterator[None]:
    """Tell watches what enters the linears they are named for, within the block."""
    handles = [
        layer.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, watch=watch: watch(inputs[0][0])
        )
        for name, watch in watches.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
