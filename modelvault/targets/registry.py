"""The runtimes by name."""

from collections.abc import Callable, Mapping

from modelvault.errors import UnknownTarget
from modelvault.targets.llamacpp import LlamaCppRuntime
from modelvault.targets.ollama import OllamaRuntime
from modelvault.targets.runtime import Runtime
from modelvault.targets.vllm import VllmRuntime

_RUNTIMES: Mapping[str, Callable[[], Runtime]] = {
    "llamacpp": LlamaCppRuntime,
    "ollama": OllamaRuntime,
    "vllm": VllmRuntime,
}

NAMES = tuple(_RUNTIMES)
"""What ``--to`` accepts."""


def runtime(name: str) -> Runtime:
    """Return the runtime called ``name``.

    Raises:
        UnknownTarget: There is none; the message lists those there are.
    """
    make = _RUNTIMES.get(name)
    if make is None:
        raise UnknownTarget(
            f"no runtime is called {name!r}", hint=f"choose one of: {', '.join(NAMES)}"
        )
    return make()
