"""The environment that keeps a model's server from calling out, in one place."""

from collections.abc import Mapping

OFFLINE: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""For vLLM, and what builds on the Hub's client as it does.

Source: https://docs.vllm.ai/en/latest/usage (offline use, usage statistics), vLLM 0.32
"""
