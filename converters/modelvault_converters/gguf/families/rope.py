"""Rotary position encoding, from ``rope_parameters`` or the older ``rope_scaling``.

Source:
    transformers ``modeling_rope_utils``; keys as in
    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from modelvault.errors import UnsupportedSource
from modelvault_converters.gguf.config import Config
from modelvault_converters.gguf.families.decoder import Decoder
from modelvault_converters.gguf.tensors import Entry, Floats, Tensor

_YARN_KEYS = {
    "extrapolation_factor": "yarn_ext_factor",
    "attention_factor": "yarn_attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}
_YARN_UNKNOWN = ("mscale", "mscale_all_dim", "truncate")

_NEAR = 1e-4
"""Largest share by which a written ``attention_factor`` may miss its formula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """How positions turn queries and keys."""

    kind: str
    """``default``, ``linear``, ``dynamic``, ``yarn``, ``llama3`` or ``longrope``."""
    theta: float
    section: Config
    """Where the other numbers of ``kind`` stand."""
    context: int
    """Tokens the model was made for."""
    original_context: int
    """Tokens it was trained on before its context was stretched."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know."""
        if self.kind != "dynamic":
            return ()
        warning = (
            f"dynamic rotary scaling is left out: beyond {self.context} tokens llama.cpp "
            "computes something else than transformers"
        )
        return (warning,)


def read_rope(values: Config, *, theta: float = 10000.0, layers: str = "") -> Rope:
    """Return the rotary encoding that a configuration gives.

    Args:
        values: The configuration.
        theta: Base where none is said.
        layers: Kind of layer, such as ``full_attention``, where each kind has its own section.
    """
    modern = values.has("rope_parameters")
    section = values.section("rope_parameters" if modern else "rope_scaling")
    if layers and section.has(layers):
        section = section.section(layers)
    base = values.number("rope_theta", default=theta)
    original = values.integer("original_max_position_embeddings", default=8192)
    return Rope(
        kind=section.text("rope_type" if section.has("rope_type") else "type", default="default"),
        theta=section.number("rope_theta", default=base),
        section=section,
        context=values.integer("max_position_embeddings", default=original),
        original_context=section.integer("original_max_position_embeddings", default=original),
    )


def rope_entries(decoder: Decoder, rope: Rope, *, base: str = "rope.freq_base") -> Iterator[Entry]:
    """Yield the keys of a rotary encoding; note one that has none.

    Args:
        decoder: The model.
        rope: Its encoding.
        base: Key of the base.
    """
    yield decoder.real(base, rope.theta)
    if rope.kind in ("default", "llama3", "dynamic"):
        return  # llama3 needs no keys: its factors are a tensor
    if rope.kind not in ("linear", "yarn"):
        rope.section.fault(
            f"rotary scaling of type '{rope.kind:.40}' is not known for this architecture"
        )
        return
    yield decoder.text("rope.scaling.type", rope.kind)
    yield decoder.real("rope.scaling.factor", rope.section.number("factor"))
    if rope.kind == "yarn":
        yield from _yarn_entries(decoder, rope)


def _yarn_entries(decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    for key in _YARN_UNKNOWN:
        if rope.section.has(key):
            rope.section.fault(f"'{key}' is not known for this architecture")
    usual = 0.1 * math.log(max(rope.section.number("factor"), 1.0)) + 1.0
    if abs(rope.section.number("attention_factor", default=usual) - usual) > _NEAR * usual:
        rope.section.fault(
            f"'attention_factor' is not {usual:.4f}, which llama.cpp computes from 'factor'"
        )
    context = rope.section.integer("original_max_position_embeddings", default=rope.context)
    yield decoder.number("rope.scaling.original_context_length", context)
    for key, name in _YARN_KEYS.items():
        if rope.section.has(key):
            yield decoder.real(f"rope.scaling.{name}", rope.section.number(key))


def rotary_columns(
    values: Config,
    rope: Rope,
    width: int,
    *,
    keys: tuple[str, ...] = ("partial_rotary_factor",),
    share: float = 1.0,
) -> int:
    """Return how many columns of a head positions turn; note a share that cannot be.

    Args:
        values: The configuration.
        rope: Its rotary encoding, whose section may say the share, too, and then counts.
        width: Columns of a head.
        keys: Names of the share, of which the last that is there counts.
        share: What it is where nothing says it.
    """
    for key in keys:
        share = values.number(key, default=share)
    share = rope.section.number("partial_rotary_factor", default=share)
    columns = int(share * width) if 0 < share <= 1 else 0
    if columns <= 0 or columns % 2:
        values.fault(f"'{keys[-1]}' is {share}, which does not part {width} columns of a head")
    return max(columns, 2)


def refuse_scaling(rope: Rope, *kinds: str) -> None:
    """Note a rotary scaling that the runtime does not know; every one where none is named.

    Args:
        rope: The encoding.
        *kinds: Those that it does not know.
    """
    if rope.kind in kinds or (not kinds and rope.kind != "default"):
        rope.section.fault(
            f"rotary scaling of type '{rope.kind:.40}' is not known for this architecture"
        )


def rope_tensors(decoder: Decoder, rope: Rope) -> Iterator[Tensor]:
    """Yield the factors by which ``llama3`` divides each frequency; nothing for other kinds."""
    if rope.kind == "llama3":
        factors = _llama3_factors(rope, decoder.head)
        yield Tensor(name="rope_freqs.weight", shape=factors.shape, constant=factors)


def _llama3_factors(rope: Rope, head: int) -> Floats:
    """Return by how much each rotary frequency is divided, float32 ``[head / 2]``.

    Source:
        transformers ``_compute_llama3_parameters``; computed in float32 as there.
    """
    factor = rope.section.number("factor")
    low, high = rope.section.number("low_freq_factor"), rope.section.number("high_freq_factor")
    rope.section.check()
    if not 0 < low < high:
        raise UnsupportedSource(f"config.json: rotary frequency factors {low} and {high}")
    exponents = np.arange(0, head, 2, dtype=np.float32) / np.float32(head)
    frequencies = np.float32(1) / np.power(np.float32(rope.theta), exponents)
    wavelengths = np.float32(2 * math.pi) / frequencies
    smooth = (np.float32(rope.original_context) / wavelengths - low) / (high - low)
    with np.errstate(divide="ignore"):  # outside the band the value is not taken
        between = 1 / ((1 - smooth) / factor + smooth)
    long = wavelengths > rope.original_context / low
    short = wavelengths < rope.original_context / high
    return np.where(short, 1.0, np.where(long, factor, between)).astype(np.float32)
