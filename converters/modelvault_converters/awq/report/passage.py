"""Sets of token sequences on their way through the layers, each as one model computes it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from modelvault.errors import UnsupportedTokenizer
from modelvault_converters.awq.models.layers import LayerRunner
from modelvault_converters.awq.models.model import EMBEDDING, Model
from modelvault_converters.awq.report.activations import Activations
from modelvault_converters.awq.text.calibration import Sequences

BEFORE = -1
"""Layer that sequences are in before they are embedded."""


class Passage:
    """Sets of sequences that pass through the same number of layers."""

    def __init__(
        self,
        model: Model,
        runner: LayerRunner,
        sets: Mapping[str, Sequences],
        folder: Path,
        stack: ExitStack,
        *,
        layer: int = BEFORE,
    ) -> None:
        """Open the sets.

        Args:
            model: Whose layers are passed.
            runner: Runs them.
            sets: By name; every one holds a sequence at least.
            folder: Where activations lie.
            stack: Closes them.
            layer: That the sets enter next, where an earlier run brought them so far.
        """
        self._model = model
        self._runner = runner
        self._folder = folder
        self._tokens = dict(sets)
        self.sets = {
            name: Activations(folder, name, shape_of(model, sequences), stack, layer=layer)
            for name, sequences in sets.items()
        }

    def embed(self) -> None:
        """Let every set enter the first layer."""
        for name, sequences in self._tokens.items():
            for number, hidden in enumerate(_embed(self._model, sequences)):
                self.sets[name].write(number, hidden)

    def run(self, layer: torch.nn.Module, name: str) -> Iterator[str]:
        """Take a set through a layer; yield how far it is after each sequence."""
        held = self.sets[name]
        for number in range(held.count):
            held.write(number, self._runner.run(layer, held.read(number)))
            yield f"sequence {number + 1} of {held.count}, {name}"

    def flush(self) -> None:
        """Bring what left the layer to the disk."""
        for held in self.sets.values():
            held.flush()

    def remove(self) -> None:
        """Remove the files; nothing passes any more."""
        for name in self.sets:
            for file in Activations.names(name):
                (self._folder / file).unlink()

    def turn(self) -> None:
        """Go on to the next layer."""
        for held in self.sets.values():
            held.turn()


def shape_of(model: Model, sequences: Sequences) -> tuple[int, int, int]:
    """Return the shape of the activations of sequences."""
    return (len(sequences), len(sequences[0]), model.hidden)


def _embed(model: Model, sequences: Sequences) -> Iterator[torch.Tensor]:
    """Yield the embeddings of sequences, f32 ``[length, hidden]``."""
    rows, width = model.weights.tensors[EMBEDDING].shape
    last = max(int(sequence.max()) for sequence in sequences)
    if last >= rows:
        raise UnsupportedTokenizer(
            f"token {last} has no row in {EMBEDDING}, which is {rows} x {width}",
            hint="tokenizer and weights are of different models",
        )
    factor = model.family.embedding_scale(width)
    for sequence in sequences:
        tokens, inverse = torch.unique(sequence, return_inverse=True)
        yield model.weights.rows(EMBEDDING, tokens).float()[inverse] * factor
