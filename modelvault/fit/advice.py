"""What an operator should know of a model in a runtime, beyond whether it fits; with its source.

Example:
    >>> [item.source for item in advise(
    ...     runtime="ollama", sequences=8, architecture="LlamaForCausalLM", license_id="")]
    ['field guides of on-premise operators']
"""

import re
from dataclasses import dataclass

_GUIDES = "field guides of on-premise operators"
_VLLM_ONLY = re.compile(r"HyperCLOVAX|AXK1|SolarPro", re.IGNORECASE)
_FORBIDDING = {
    "cc-by-nc": "forbids commercial use",
    "mrl": "allows research only",
    "mnpl": "forbids production use",
    "exaone": "allows research only, unless LG AI Research has agreed to more",
    "nvidia-non-commercial": "forbids commercial use",
    "research": "allows research only",
}
"""Parts of a licence's name → what it rules out."""
_USERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing to know."""

    text: str
    source: str
    """Who says so."""


def advise(
    *, runtime: str, sequences: int, architecture: str, license_id: str
) -> tuple[Advice, ...]:
    """Return what to know before a model is served.

    Args:
        runtime: By what it is to be served.
        sequences: How many users at once.
        architecture: As the model's configuration names it.
        license_id: As the model's card names its licence; empty where it names none.
    """
    found = []
    ggml = runtime in ("ollama", "llamacpp")
    if runtime == "ollama" and sequences > _USERS:
        text = "Ollama answers users one behind the other from about five on: vLLM serves them"
        found.append(Advice(text=f"{text} together", source=_GUIDES))
    if ggml and _VLLM_ONLY.search(architecture):
        text = f"llama.cpp, and with it Ollama, does not know {architecture}: vLLM does"
        found.append(Advice(text=text, source="the architectures of llama.cpp, October 2026"))
    named = license_id.lower()
    for part, ruled in _FORBIDDING.items():
        if part in named:
            found.append(Advice(text=f"its licence {license_id} {ruled}", source="its model card"))
            break
    return tuple(found)
