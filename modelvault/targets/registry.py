"""The runtimes by name."""

import contextlib
from collections.abc import Callable, Mapping

from modelvault.core.artifact import Artifact
from modelvault.core.manifest import Manifest
from modelvault.errors import BadOption, UnknownTarget, UnsuitableArtifact
from modelvault.store.blobs import Store
from modelvault.targets import llamacpp, vllm
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


def usual_contents(artifact: Artifact, manifest: Manifest, store: Store) -> tuple[Manifest, ...]:
    """Return what runtimes will have of an artefact, where a signature can be about it.

    It is what an install under the usual name puts beside its ``model.sig``.

    Args:
        artifact: Any artefact.
        manifest: Its files.
        store: Where their bytes are.

    Raises:
        BlobMissing: The store lacks a file of the artefact.
    """
    found = []
    with contextlib.suppress(UnsuitableArtifact, BadOption):
        found.append(vllm.usual_contents(artifact, manifest, store))
    with contextlib.suppress(UnsuitableArtifact, BadOption):
        found.append(llamacpp.usual_contents(artifact, manifest))
    return tuple(found)
