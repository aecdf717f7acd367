"""One decoder layer at a time: the model's own code with that layer's weights, nothing more.

A model of a single layer is built without memory from the configuration, so that masks,
windows and rotary encodings are transformers' own. Each layer takes its place in turn, is
given its weights, run over the sequences, and dropped.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from modelvault.core.safetensors_header import TensorEntry
from modelvault.errors import ModelVaultError, SourceIncomplete, UnsupportedSource
from modelvault_converters.awq.models.experts import separate_experts
from modelvault_converters.awq.models.model import Model, layer_of

_LEAST = 2
"""Tokens that a model must take at once, so that one can be predicted from another."""

State = dict[str, torch.Tensor]
"""Tensors of a layer, f32, by their name within it."""

Watch = Callable[[torch.Tensor], None]
"""Sees a linear's input, f32 ``[tokens, in]``."""


class LayerRunner:
    """Runs decoder layers of one model, one after the other, in f32."""

    def __init__(self, model: Model, device: torch.device | str = "cpu") -> None:
        """Read the configuration; no weight is touched.

        Args:
            model: Whose layers are run.
            device: That holds the layer, and what passes through it.

        Raises:
            UnsupportedSource: The configuration describes no such model.
        """
        from transformers import AutoConfig

        self.device = torch.device(device)
        self.model = model
        self._tensors = _part(model)
        self._trunks: dict[str, Any] = {}
        kind = model.family.model_type
        try:
            self.config: Any = AutoConfig.for_model(**{**model.config, "model_type": kind})
            # the one implementation that caps scores is the plain one
            capped = getattr(self.config, "attn_logit_softcapping", None)
            self._attention = "eager" if capped else "sdpa"
            self.config._attn_implementation = self._attention  # noqa: SLF001 (as the models do)
            self._layer = type(self._trunk(0).layers[0])
            self._build(0)
        except ModelVaultError:
            raise
        except Exception as error:
            raise UnsupportedSource(
                f"config.json describes no {kind} model: {error}"[:500],
                hint="compare the file with the one on the Hub",
            ) from error
        if self.longest < _LEAST:
            raise UnsupportedSource(
                f"config.json: 'max_position_embeddings' is {self.longest}",
                hint="compare the file with the one on the Hub",
            )

    @property
    def eager(self) -> bool:
        """Whether attention holds all its scores, for every head and pair of tokens."""
        return self._attention == "eager"

    @property
    def longest(self) -> int:
        """Tokens a sequence at most."""
        return int(self.config.max_position_embeddings)

    def check_shapes(self) -> None:
        """Compare the tensors of all layers with the configuration, by their headers alone.

        Raises:
            SourceIncomplete: Tensors are missing, too many or of the wrong shape.
        """
        rename, known = self.model.family.module, set()
        for number, tensors in enumerate(self._tensors):
            found = {rename(name): stored.shape for name, stored in tensors.items()}
            kind = (self.model.groups(number), frozenset(found.items()))
            if kind in known:
                continue
            wanted = {
                name: tuple(value.shape) for name, value in self._build(number).state_dict().items()
            }
            if issues := list(_differences(found, wanted)):
                raise SourceIncomplete(
                    f"layer {number} does not fit the configuration: "
                    f"model.layers.{number}.{issues[0]:.200}",
                    hint="pull the model again: configuration and weights are of different "
                    "revisions",
                    issues=issues[:20],
                )
            known.add(kind)

    def read(self, number: int) -> State:
        """Return a layer's tensors, copied, in f32.

        Raises:
            MalformedWeights: A tensor holds NaN or infinity.
        """
        return {
            name: self.model.weights.read(stored.name).to(self.device, torch.float32, copy=True)
            for name, stored in self._tensors[number].items()
        }

    def load(self, number: int, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """Return a layer with the given weights.

        Args:
            number: Of the layer, from 0.
            state: f32 tensors by their name within the layer, which ``check_shapes`` has
                accepted; they are shared, not copied.
        """
        layer = self._build(number)
        rename = self.model.family.module
        layer.load_state_dict(
            {rename(name): value for name, value in state.items()}, strict=True, assign=True
        )
        return layer.eval().requires_grad_(requires_grad=False)

    def run(self, layer: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Return a layer's output for one sequence.

        Args:
            layer: As ``load`` returned it.
            hidden: f32 ``[length, hidden]``, on any device.

        Returns:
            Likewise, on the same device.
        """
        attention: Any = layer.get_submodule("self_attn")
        trunk = self._trunk(int(attention.layer_idx))
        trunk.layers[0] = layer
        try:
            with torch.no_grad():
                batch = hidden.to(self.device).unsqueeze(0)
                result = trunk(inputs_embeds=batch, use_cache=False).last_hidden_state
        finally:
            trunk.layers[0] = torch.nn.Identity()  # what was run can be dropped
        output: torch.Tensor = result[0].to(hidden.device)
        return output

    def _trunk(self, number: int) -> Any:
        """Return the model of one layer, of the kind of attention that a layer has."""
        from transformers import AutoModel

        make: Any = AutoModel.from_config
        types = getattr(self.config, "layer_types", None)
        kind = str(types[number]) if types else ""
        if kind not in self._trunks:
            config = copy.deepcopy(self.config)
            config.num_hidden_layers = 1
            if types:
                config.layer_types = [kind]
            with torch.device("meta"):
                trunk = make(config, attn_implementation=self._attention)
            with self.device:
                trunk.rotary_emb = type(trunk.rotary_emb)(config)
            trunk.norm = torch.nn.Identity()
            self._trunks[kind] = trunk.eval()
        return self._trunks[kind]

    def _build(self, number: int) -> torch.nn.Module:
        with torch.device("meta"):
            layer: torch.nn.Module = self._layer(self.config, number)
            experts = self.model.family.experts
            if experts:
                separate_experts(layer, experts)
                # the checkpoint's name finds the block, too, and is no second home of its weights
                object.__setattr__(layer, experts.block, layer.get_submodule("mlp"))
        return layer


def _part(model: Model) -> list[dict[str, TensorEntry]]:
    """Return what the checkpoint holds of each layer, by its name within the layer."""
    layers: list[dict[str, TensorEntry]] = [{} for _ in range(model.layers)]
    for stored in model.tensors():
        number = layer_of(stored.name)
        if number is not None:
            layers[number][stored.name.removeprefix(f"model.layers.{number}.")] = stored
    return layers


def _differences(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> Iterator[str]:
    """Yield what is wrong with the shapes of a layer's tensors, by name."""
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            yield f"{name}: missing"
        elif name not in wanted:
            yield f"{name}: not of this configuration"
        elif found[name] != wanted[name]:
            yield f"{name}: {found[name]}, not {wanted[name]}"


@contextmanager
def watching(layer: torch.nn.Module, watches: Mapping[str, Watch]) -> Iterator[None]:
    """Tell watches what enters the linears they are named for, within the block."""
    handles = [
        layer.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, watch=watch: watch(inputs[0].flatten(0, -2))
        )
        for name, watch in watches.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
