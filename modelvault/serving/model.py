"""The model that is served: where it stands, what clients call it, and names made of it."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

LONGEST_SLUG = 48
"""Most characters of a unit's, service's or upstream's name; Kubernetes allows 63."""
_FOREIGN = re.compile(r"[^a-z0-9]+")
_KNOWN = re.compile(r"[A-Za-z0-9._:/-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One model, as a server finds it."""

    reference: str
    """What the vault calls it."""
    artifact: str
    """Its digest, ``sha256:…``."""
    name: str
    """What clients ask for."""
    path: PurePosixPath
    """Absolute: the folder or file that the server loads; for Ollama its store."""
    root: PurePosixPath
    """Absolute: all that it reads; ``path`` itself, or a folder with its shards and projector."""
    inside: PurePosixPath
    """The root, relative to the folder that models are installed in; ``.`` for that folder."""
    projector: PurePosixPath | None = None
    """Absolute, below the root: what turns pictures into tokens, for llama.cpp."""
    weights: int
    """Bytes of the model's files."""
    context: int | None
    """Longest context that it declares, in tokens."""


def slug(prefix: str, name: str) -> str:
    """Return a name for units, services and zones: lower-case letters, digits and ``-``.

    Two names give two slugs unless they differ only in case or punctuation.

    Args:
        prefix: Comes first; a slug itself.
        name: What clients call the model.

    Example:
        >>> slug("vllm", "Qwen/Qwen2.5-7B-AWQ")
        'vllm-qwen-qwen2-5-7b-awq'
    """
    text = f"{prefix}-{_FOREIGN.sub('-', name.lower())}".strip("-")
    if len(text) <= LONGEST_SLUG and _KNOWN.fullmatch(name):
        return text
    tail = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{text[: LONGEST_SLUG - 9].strip('-')}-{tail}"
