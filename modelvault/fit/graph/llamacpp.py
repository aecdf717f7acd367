"""The graph that llama.cpp reserves memory for: one batch of prompt tokens through a model.

Built from a model's shape, layer by layer, in the order in which llama.cpp builds it, since
that order decides which holes are reused. What a trait does not tell is taken as Llama has it.

Example:
    >>> from modelvault.fit.shape import Attention, Layer, ModelShape
    >>> layer = Layer(attention=Attention(heads=4, kv_heads=2, key_width=64, value_width=64),
    ...               feed_forward=512)
    >>> shape = ModelShape(architecture="llama", layers=(layer,) * 2, hidden=256,
    ...                    vocabulary=2048, context=4096)
    >>> batch = Batch(tokens=512, sequences=1, full_cells=4096, window_cells=4096)
    >>> compute_bytes(shape, batch)
    8932352

Source: ``llama-graph.cpp`` and the models of llama.cpp, October 2026.
"""

from dataclasses import dataclass

from modelvault.fit.graph.tensors import Graph, Tensor
from modelvault.fit.shape import Attention, Experts, Layer, ModelShape, Recurrent, Trait

_F32, _F16, _I32, _I64 = 4, 2, 4, 8
_ROTATION = 64
"""Width of the matrix that keys and values are rotated by before they are quantised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is computed at once."""

    tokens: int
    sequences: int
    full_cells: int
    """Cells of a cache that layers without a window see, of one stream."""
    window_cells: int
    """Cells that layers with a window see; the same where there is none."""
    flash: bool = True
    """Whether attention is computed without its matrix."""
    rotated_keys: bool = False
    """Whether keys are rotated, as they are before they are quantised."""
    rotated_values: bool = False


def compute_bytes(shape: ModelShape, batch: Batch) -> int:
    """Return the bytes of llama.cpp's compute buffer."""
    return _Builder(shape, batch).build().peak()


class _Builder:
    """Builds one graph."""

    def __init__(self, shape: ModelShape, batch: Batch) -> None:
        self._shape = shape
        self._batch = batch
        self._tokens = batch.tokens
        self._graph = Graph()
        self._cache = self._graph.external()
        row = self._tokens * _F32
        # Inputs stand from the beginning, and are given back when the last layer has read them:
        # their order decides which holes that leaves. It is the one that llama.cpp is seen to have.
        kinds = list(dict.fromkeys(found.window is not None for found in shape.attentions))
        self._ids = self._graph.input(self._tokens * _I32)
        self._graph.input(row * shape.hidden * shape.given)
        self._positions = self._graph.input(self._tokens * _I32)
        self._masks = {kind: self._input_mask(narrow=kind) for kind in kinds[1:]}
        # A batch holds tokens, embeddings, or both; all three ways have their inputs.
        self._others = self._graph.input(self._tokens * _I32)
        self._embeddings = self._graph.input(row * shape.hidden * shape.given)
        self._slots = self._graph.input(self._tokens * _I64)
        self._outputs = self._graph.input(self._tokens * _I32)
        self._masks |= {kind: self._input_mask(narrow=kind) for kind in kinds[:1]}
        if batch.rotated_keys or batch.rotated_values:
            self._rotation = self._graph.input(_ROTATION * _ROTATION * _F32)

    def build(self) -> Graph:
        graph, shape = self._graph, self._shape
        tokens = graph.compute(self._wide(shape.hidden), self._ids)
        x = graph.compute(shape.given * tokens.size, tokens) if shape.given > 1 else tokens
        graph.expand(x)
        other = graph.compute(x.size, self._others)
        given = graph.compute(x.size, self._embeddings)
        graph.expand(graph.view(given, other, self._slots))
        self._given = x
        x = x if x is tokens else graph.view(x, size=tokens.size)
        for number, layer in enumerate(shape.layers):
            x = self._layer(layer, x, last=number == len(shape.layers) - 1)
            if number < shape.given - 1:
                x = graph.in_place(x, graph.view(self._given, size=x.size))
        if Trait.SUMS_NORMED not in shape.traits:
            x = self._norm(x)
        if shape.causal:
            x = graph.compute(self._wide(shape.vocabulary), x)
        graph.expand(x)
        return graph

    def _input_mask(self, *, narrow: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mask of layers with or without a window, and where keys and values go."""
        graph, batch = self._graph, self._batch
        cell = _F16 if batch.flash else _F32
        if not self._shape.causal:
            mask = graph.input(self._tokens * self._tokens * cell)
            return mask, mask, mask
        keys, values = (graph.input(self._tokens * _I64) for _ in range(2))
        cells = batch.window_cells if narrow else batch.full_cells
        return graph.input(self._tokens * cells * cell), keys, values

    def _wide(self, width: int) -> int:
        return self._tokens * width * _F32

    def _norm(self, x: Tensor) -> Tensor:
        """Return a norm and its weights."""
        if Trait.LAYER_NORMS in self._shape.traits:
            return self._graph.in_place(self._graph.compute(x.size, x))
        return self._graph.in_place(self._graph.in_place(x))

    def _layer(self, layer: Layer, x: Tensor, *, last: bool) -> Tensor:
        graph, traits = self._graph, self._shape.traits
        normed = x if Trait.NORMS_AFTER in traits else self._norm(x)
        mixed, before = self._mixed(layer, normed), x
        if mixed is None:
            return self._fed(layer, x)
        if last and self._shape.causal:
            mixed = graph.compute(mixed.size, mixed, self._outputs)
            before = graph.compute(before.size, before, self._outputs)
            if Trait.PARALLEL in traits:
                normed = graph.compute(normed.size, normed, self._outputs)
        if Trait.POST_NORMS in traits:
            mixed = self._norm(mixed)
        if Trait.PARALLEL in traits:
            fed = self._feed(layer, normed)
            return graph.in_place(graph.in_place(mixed, fed), before) if fed else mixed
        between = graph.in_place(mixed, before)
        return self._fed(layer, self._norm(between) if Trait.SUMS_NORMED in traits else between)

    def _mixed(self, layer: Layer, x: Tensor) -> Tensor | None:
        """Return what mixes tokens with each other; None for a layer that only feeds forward."""
        mixed = None if layer.recurrent is None else self._recurrent(layer.recurrent, x)
        if layer.attention is None:
            return mixed
        attended = self._attention(layer.attention, x)
        return attended if mixed is None else self._graph.in_place(attended, mixed)

    def _fed(self, layer: Layer, x: Tensor) -> Tensor:
        """Return a sum and what the feed-forward adds to it."""
        traits = self._shape.traits
        fed = self._feed(layer, x if Trait.NORMS_AFTER in traits else self._norm(x))
        if fed is None:
            return x
        if Trait.POST_NORMS in traits:
            fed = self._norm(fed)
        total = self._graph.in_place(fed, x)
        return self._norm(total) if Trait.SUMS_NORMED in traits else total

    # -- attention

    def _attention(self, found: Attention, x: Tensor) -> Tensor:
        if found.latent:
            return self._latent(found, x)
        graph = self._graph
        q, k, v = self._projections(found, x)
        if self._batch.rotated_keys:
            q, k = self._rotate(q), self._rotate(k)
        if self._batch.rotated_values:
            v = self._rotate(v)
        graph.expand(q)
        graph.expand(v)
        graph.expand(k)
        mask, k_cells, v_cells = self._masks[found.window is not None]
        if self._shape.causal:
            graph.expand(graph.view(self._cache, k, k_cells))
            graph.expand(graph.view(self._cache, v, v_cells))
            k, v = graph.view(self._cache), graph.view(self._cache)
        elif self._batch.flash:  # nothing is cached, and flash attention reads 16 bits
            k, v = (graph.compute(found.size // 2, graph.view(found)) for found in (k, v))
        attended = self._mix(found, q, k, v, mask)
        if self._batch.rotated_values:
            attended = self._rotate(attended)
        return graph.compute(self._wide(self._shape.hidden), attended)

    def _projections(self, found: Attention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        graph = self._graph
        widths = (
            found.heads * found.key_width,
            found.kv_heads * found.key_width,
            found.kv_heads * found.value_width,
        )
        if Trait.FUSED_QKV in self._shape.traits:
            fused = graph.compute(self._wide(sum(widths)), x)
            q, k, v = (graph.view(fused, size=self._wide(width)) for width in widths)
        else:
            q, k, v = (graph.view(graph.compute(self._wide(width), x)) for width in widths)
        if Trait.QK_NORM in self._shape.traits:
            q, k = self._norm(q), self._norm(k)
        return graph.in_place(q, self._positions), graph.in_place(k, self._positions), v

    def _rotate(self, x: Tensor) -> Tensor:
        return self._graph.view(self._graph.compute(x.size, x, self._rotation))

    def _mix(self, found: Attention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        graph = self._graph
        size = self._wide(found.heads * found.value_width)
        if self._batch.flash:
            mixed = graph.view(graph.compute(size, graph.view(q), k, v, mask))
        else:
            cells = mask.size // (self._tokens * _F32)
            scores = graph.compute(self._wide(found.heads * cells), k, graph.view(q))
            weights = graph.in_place(scores, mask)
            mixed = graph.compute(size, graph.view(graph.compute(size, v, weights)))
        graph.expand(mixed)
        return mixed

    def _latent(self, found: Attention, x: Tensor) -> Tensor:
        """Attention over a latent: queries are taken into its space, and back out of it."""
        graph = self._graph
        plain = found.latent - found.rotated
        query = self._wide(found.heads * found.key_width)
        q = graph.view(graph.compute(query, self._norm(graph.compute(x.size, x))))
        both = graph.compute(self._wide(found.latent), x)
        compressed = graph.view(both, size=self._wide(plain))
        rotated = graph.compute(
            self._wide(found.rotated), graph.view(both, size=self._wide(found.rotated))
        )
        compressed = self._norm(compressed)
        nope = graph.view(q, size=self._wide(found.heads * (found.key_width - found.rotated)))
        rope = graph.compute(
            self._wide(found.heads * found.rotated),
            graph.view(q, size=self._wide(found.heads * found.rotated)),
        )
        absorbed = graph.view(graph.compute(self._wide(found.heads * plain), graph.view(nope)))
        q = graph.compute(self._wide(found.heads * found.latent), absorbed, rope)
        compressed = graph.view(compressed)
        k = graph.compute(self._wide(found.latent), compressed, rotated)
        graph.expand(q)
        graph.expand(compressed)
        graph.expand(k)
        mask, cells, _ = self._masks[found.window is not None]
        graph.expand(graph.view(self._cache, k, cells))
        cached = graph.view(self._cache)
        mixed = graph.compute(self._wide(found.heads * plain), graph.view(q), cached, mask)
        out = graph.compute(self._wide(found.heads * found.value_width), graph.view(mixed))
        out = graph.view(graph.compute(out.size, graph.view(out)))
        graph.expand(out)
        return graph.compute(self._wide(self._shape.hidden), out)

    # -- feed-forward

    def _feed(self, layer: Layer, x: Tensor) -> Tensor | None:
        if layer.experts is None:
            return self._dense(layer.feed_forward, x) if layer.feed_forward else None
        mixed = self._experts(layer.experts, x)
        shared = layer.experts.shared_width or layer.feed_forward
        return self._graph.in_place(mixed, self._dense(shared, x)) if shared else mixed

    def _dense(self, width: int, x: Tensor) -> Tensor:
        graph, traits = self._graph, self._shape.traits
        if Trait.FUSED_GATE in traits:
            both = graph.compute(self._wide(2 * width), x)
            activated = graph.compute(self._wide(width), both)
            return graph.compute(self._wide(self._shape.hidden), activated)
        up = graph.compute(self._wide(width), x)
        if Trait.NO_GATE in traits:
            activated = graph.in_place(up)
        else:
            gate = graph.compute(self._wide(width), x)
            activated = graph.compute(self._wide(width), gate, up)
        return graph.compute(self._wide(self._shape.hidden), activated)

    def _experts(self, found: Experts, x: Tensor) -> Tensor:
        graph = self._graph
        used = self._wide(found.used * found.width)
        odds = graph.in_place(graph.compute(self._wide(found.count), x))
        chosen = graph.view(
            graph.compute(self._wide(found.count), odds), size=self._wide(found.used)
        )
        weights = graph.compute(self._wide(found.used), graph.view(odds), chosen)
        total = graph.in_place(graph.compute(self._wide(1), graph.view(weights)))
        weights = graph.view(graph.in_place(graph.view(weights), total))
        graph.expand(weights)
        x = graph.view(x)
        up = graph.compute(used, x, chosen)
        gate = graph.compute(used, x, chosen)
        activated = graph.compute(used, gate, up)
        hidden = self._wide(self._shape.hidden)
        down = graph.compute(found.used * hidden, activated, chosen)
        down = graph.in_place(down, weights)
        graph.expand(down)
        parts = [graph.view(down, size=hidden) for _ in range(found.used)]
        for part in parts:
            graph.expand(part)
        mixed = graph.compute(hidden, *parts[:2])
        graph.expand(mixed)
        for part in parts[2:]:
            mixed = graph.in_place(mixed, part)
            graph.expand(mixed)
        return mixed

    # -- recurrence

    def _recurrent(self, found: Recurrent, x: Tensor) -> Tensor:
        """A state space layer: a projection, a convolution, a scan, a gate."""
        graph, inner = self._graph, found.inner or self._shape.hidden
        width = self._wide(inner)
        mixed = inner + 2 * found.groups * found.state_width
        wide = 2 * inner + (mixed - inner + found.heads if found.groups else 0)
        projected = graph.compute(self._wide(wide), x)
        joined = graph.compute(self._wide(mixed), graph.view(projected, size=1))
        acted = graph.in_place(graph.in_place(graph.compute(joined.size, joined)))
        step, kept = self._steps(found, projected, acted)
        scan = width + self._batch.sequences * found.state * _F32
        scanned = graph.compute(scan, graph.view(acted, size=1), step, *kept)
        graph.expand(graph.view(self._cache, scanned))
        gate = graph.compute(width, graph.view(projected, size=1))
        if found.groups:
            skipped = graph.compute(width, graph.view(acted, size=1))
        else:
            skipped = graph.in_place(acted)
        summed = graph.in_place(graph.view(scanned, size=width), skipped)
        gated = graph.compute(width, gate, summed)
        return graph.compute(self._wide(self._shape.hidden), gated)

    def _steps(
        self, found: Recurrent, projected: Tensor, acted: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the steps of a scan, and what it reads besides."""
        graph = self._graph
        if found.groups or not found.state_width:
            step = graph.compute(self._wide(max(1, found.heads)), graph.view(projected, size=1))
            return step, ()
        chosen = graph.compute(self._wide(found.heads + 2 * found.state_width), acted)
        rank = graph.compute(self._wide(max(1, found.heads)), graph.view(chosen, size=1))
        inner = self._wide(found.inner)
        return graph.in_place(graph.compute(inner, rank)), (graph.view(chosen, size=1),)
