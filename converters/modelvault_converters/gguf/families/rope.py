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
_YARN_NEAR = (("gpt-oss", "truncate"),)
"""Of them what an architecture's published models say and its runtime computes nearly so."""
_ROUNDED = (
    "config.json: 'truncate' is false, but llama.cpp rounds where YaRN's two bands of frequencies "
    "end: answers differ a little"
)

FULL, LOCAL = "full_attention", "sliding_attention"
"""Kinds of layer that see all, and that see a window."""

_USUAL = ("default", "linear", "dynamic", "yarn")
_SCALINGS: dict[str, tuple[str, ...]] = {
    "llama": (*_USUAL, "llama3"),
    "gpt-oss": ("default", "yarn"),
    "exaone": (*_USUAL, "llama3"),
    "exaone4": (*_USUAL, "llama3"),
    "exaone-moe": ("default", "llama3"),
    "phi3": ("default", "longrope", "su"),
    "deepseek2": ("default", "yarn"),
    "command-r": ("default",),
    "cohere2": ("default",),
}
"""Architecture → the scalings that its runtime computes as transformers does, where they are not
the usual ones; ``llama3`` where the runtime reads ``rope_freqs.weight``. SmolLM3's does not load a
file that has it, Granite's name it nowhere, and the others would leave the factors out."""

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
        if self.kind == "yarn" and self.section.has("truncate"):
            return () if self.section.flag("truncate", default=True) else (_ROUNDED,)
        if self.kind != "dynamic":
            return ()
        warning = (
            f"dynamic rotary scaling is left out: beyond {self.context} tokens llama.cpp "
            "computes something else than transformers"
        )
        return (warning,)


def read_rope(
    values: Config,
    decoder: Decoder,
    *,
    theta: float = 10000.0,
    base: str = "rope_theta",
    layers: str = "",
) -> Rope:
    """Return the rotary encoding that a configuration gives; note one that the file cannot hold.

    Args:
        values: The configuration.
        decoder: The model, whose architecture says which scalings the runtime computes.
        theta: Base where none is said.
        base: Name of the base beside the section.
        layers: Kind of layer, such as ``full_attention``, where each kind has its own section.
    """
    section, own = _read_section(values, layers)
    if layers == LOCAL and not own:  # what is said for all is a scaling of the other layers
        section = section.section(LOCAL)
    original = values.integer("original_max_position_embeddings", default=8192)
    rope = Rope(
        kind=_kind(section),
        theta=section.number("rope_theta", default=values.number(base, default=theta)),
        section=section,
        context=values.integer("max_position_embeddings", default=original),
        original_context=section.integer("original_max_position_embeddings", default=original),
    )
    known = _SCALINGS.get(decoder.architecture, _USUAL) if layers != LOCAL else ("default",)
    if rope.kind not in known:
        section.fault(
            f"rotary scaling of type '{rope.kind:.40}' is not known for this architecture "
            f"('{decoder.architecture}')" + (f" in layers of '{LOCAL}'" if layers == LOCAL else "")
        )
    return rope


def _read_section(values: Config, layers: str) -> tuple[Config, bool]:
    """Return where the numbers stand, and whether they are those of ``layers`` alone.

    Noted is all that would be lost: two sections that differ, and sections of layers that the
    family does not tell apart.
    """
    modern = values.has("rope_parameters")
    key = "rope_parameters" if modern else "rope_scaling"
    section = whole = values.section(key)
    nested = whole.sections()
    if nested:
        section = whole.section(layers or nested[0])
        kinds = f"'{key}' has a section for each kind of layer ({', '.join(nested):.80})"
        if not layers:
            values.fault(f"{kinds}: this architecture knows one encoding for all")
        elif not {*nested} <= {FULL, LOCAL}:
            values.fault(f"{kinds}, of which this architecture knows '{FULL}' and '{LOCAL}'")
        if _kind(whole) not in ("default", _kind(section)):
            values.fault(f"'{key}' has a scaling beside the sections of its layers")
    if modern and layers != LOCAL:
        _compare_older(values, section)
    return section, bool(nested)


def _compare_older(values: Config, section: Config) -> None:
    """Note a ``rope_scaling`` that says what ``section`` of ``rope_parameters`` does not."""
    older = values.section("rope_scaling")
    known = section.items()
    lost = [item for item in older.items()
            if item not in known and item[0] not in ("type", "rope_type")]  # fmt: skip
    if older.names() and (lost or _kind(older) != _kind(section)):
        values.fault("'rope_scaling' and 'rope_parameters' say different things")


def _kind(section: Config) -> str:
    return section.text("rope_type" if section.has("rope_type") else "type", default="default")


def rope_entries(decoder: Decoder, rope: Rope, *, base: str = "rope.freq_base") -> Iterator[Entry]:
    """Yield the keys of a rotary encoding.

    Args:
        decoder: The model.
        rope: Its encoding.
        base: Key of the base.
    """
    yield decoder.real(base, rope.theta)
    if rope.kind not in ("linear", "yarn"):
        return  # llama3 has a tensor; what the architecture does not know was noted when read
    yield decoder.text("rope.scaling.type", rope.kind)
    yield decoder.real("rope.scaling.factor", rope.section.number("factor"))
    if rope.kind == "yarn":
        yield from _yarn_entries(decoder, rope)


def _yarn_entries(decoder: Decoder, rope: Rope) -> Iterator[Entry]:
    for key in _YARN_UNKNOWN:
        if rope.section.has(key) and (decoder.architecture, key) not in _YARN_NEAR:
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


def rope_tensors(decoder: Decoder, rope: Rope) -> Iterator[Tensor]:
    """Yield the factors by which ``llama3`` divides each frequency; nothing for other kinds."""
    if rope.kind == "llama3":
        factors = _llama3_factors(rope, decoder.head)
        yield Tensor(name="rope_freqs.weight", shape=factors.shape, constant=factors)


def _llama3_factors(rope: Rope, head: int) -> Floats:
    """Return by how much each rotary frequency is divided, float32 ``[head / 2]``.

    Source:
        transformers ``_compute_llama3_parameters``; computed in float32 as there. The power alone
        is rounded from float64: numpy's own differs in the last bit from one release to the next.
    """
    factor = rope.section.number("factor")
    low, high = rope.section.number("low_freq_factor"), rope.section.number("high_freq_factor")
    rope.section.check()
    if not 0 < low < high:
        raise UnsupportedSource(f"config.json: rotary frequency factors {low} and {high}")
    exponents = np.arange(0, head, 2, dtype=np.float32) / np.float32(head)
    powers = np.power(np.float64(np.float32(rope.theta)), exponents.astype(np.float64))
    frequencies = np.float32(1) / powers.astype(np.float32)
    # PyTorch divides a number by a tensor as the number times the reciprocals.
    wavelengths = np.float32(1) / frequencies * np.float32(2 * math.pi)
    ratios = np.float32(1) / wavelengths * np.float32(rope.original_context)
    smooth = (ratios - low) / (high - low)
    with np.errstate(divide="ignore"):  # outside the band the value is not taken
        between = 1 / ((1 - smooth) / factor + smooth)
    long = wavelengths > rope.original_context / low
    short = wavelengths < rope.original_context / high
    return np.where(short, 1.0, np.where(long, factor, between)).astype(np.float32)
