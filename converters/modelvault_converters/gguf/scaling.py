"""How a checkpoint of FP8 weights announces its factors in ``config.json``.

Three tools write such checkpoints for use with transformers and vLLM, each in its own words:
transformers itself (``fp8``, DeepSeek-V3 and Mistral too), llm-compressor
(``compressed-tensors``) and ModelOpt. What differs is the name of a weight's factors, and how many
weights share one.

Source:
    https://huggingface.co/docs/transformers/quantization/finegrained_fp8;
    https://github.com/vllm-project/compressed-tensors (``quant_args.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelvault.errors import UnsupportedSource

_LARGEST_BLOCK = 1 << 16
_COMPRESSED = ("float-quantized", "naive-quantized")
_STRATEGIES = ("tensor", "channel", "block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """How many rows and columns share one factor."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Where the factors of FP8 weights are."""

    suffix: str
    """What a weight's name gets to name its factors."""
    blocks: Blocks | None
    """None where a whole matrix, or each of its rows, has one: the factors' shape says it."""


def read_scaling(config: Mapping[str, Any]) -> Scaling | None:
    """Return the factors that ``quantization_config`` of ``config.json`` announces.

    Returns:
        None when the model is not quantised, or in another way.

    Raises:
        UnsupportedSource: It announces FP8 with blocks that cannot be.
    """
    said = config.get("quantization_config")
    if not isinstance(said, dict):
        return None
    match said.get("quant_method"):
        case "fp8":
            if said.get("fmt", "e4m3") != "e4m3":
                raise UnsupportedSource(
                    f"config.json: FP8 weights of format {said['fmt']!r:.40}, not e4m3",
                    hint="pull the 16-bit model that this one was made from and convert that",
                )
            return Scaling(suffix="_scale_inv", blocks=_read_blocks(said, "weight_block_size"))
        case "compressed-tensors":
            return _read_compressed(said)
        case "modelopt" if said.get("quant_algo") == "FP8":
            return Scaling(suffix="_scale", blocks=None)
    return None


def _read_compressed(said: dict[str, Any]) -> Scaling | None:
    groups = said.get("config_groups")
    if said.get("format") not in _COMPRESSED or not isinstance(groups, dict):
        return None
    found: set[Blocks | None] = set()
    for group in groups.values():
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(weights, dict) or weights.get("strategy") not in _STRATEGIES:
            return None
        if (weights.get("type"), weights.get("num_bits")) != ("float", 8):
            return None
        found.add(_read_blocks(weights, "block_structure"))
    return Scaling(suffix="_scale", blocks=found.pop()) if len(found) == 1 else None


def _read_blocks(section: Mapping[str, Any], key: str) -> Blocks | None:
    size = section.get(key)
    if size is None:
        return None
    if not (isinstance(size, list) and len(size) == 2 and all(_is_size(item) for item in size)):
        raise UnsupportedSource(
            f"config.json: '{key}' is {size!r:.60}, not two sizes",
            hint="compare the file with the one on the Hub",
        )
    return Blocks(rows=size[0], columns=size[1])


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_BLOCK
