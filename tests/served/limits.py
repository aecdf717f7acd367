"""How near predictions must be: what was measured, with room for another machine's sums.

Linears of four bits compute in 16, whose rounding alone shifts log-probabilities: in f16 by
0.0015 on average, in bf16, which Gemma needs, by 0.015. Linears of eight bits compute in f32,
too, and there the reference follows the server's rounding of activations: what is left is a
value now and then on the border between two of eight bits that goes the other way. A mixture
may send a token to another expert where two were rated alike.
"""

from math import inf

from tests.served.agreement import Agreement
from tests.support.trainedmodel import Family

TARGETS = ("AWQ", "W4A16", "FP8", "INT8")

MIXTURES: tuple[Family, ...] = ("mixtral", "qwen2_moe", "qwen3_moe")

NEAR = {
    "AWQ": Agreement(divergence=0.15, difference=0.4, lead=inf, followed=inf),
    "W4A16": Agreement(divergence=0.2, difference=0.5, lead=inf, followed=inf),
    "FP8": Agreement(divergence=0.04, difference=0.2, lead=inf, followed=inf),
    "INT8": Agreement(divergence=0.15, difference=0.4, lead=inf, followed=inf),
}
"""How far vLLM may be from the source in transformers."""


def choose_dtype(family: Family, target: str) -> str:
    """Return what the server computes in; ``auto`` is what ``config.json`` says."""
    if target in ("FP8", "INT8"):
        return "float32"
    if target == "AWQ" or family.startswith("gemma"):
        return "auto"
    return "float16"


def choose_limit(family: Family, target: str) -> Agreement:
    """Return how far vLLM may be from the dequantised weights in transformers."""
    if target in ("FP8", "INT8"):
        return Agreement(divergence=5e-4, difference=0.02, lead=0.1, followed=0.1)
    if family.startswith("gemma"):
        return Agreement(divergence=0.002, difference=0.04, lead=0.1, followed=0.1)
    if family in MIXTURES:
        return Agreement(divergence=0.01, difference=0.02, lead=0.1, followed=0.1)
    return Agreement(divergence=1e-4, difference=0.004, lead=0.02, followed=0.02)
