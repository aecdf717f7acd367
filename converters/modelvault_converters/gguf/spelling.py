"""Names of tensors in the one spelling that families speak of: ``model.layers.0.…``, ``lm_head.…``.

The same model is stored with a prefix (``LlamaForCausalLM``), without one (``LlamaModel``, as
embedders and models that were trained by hand are), or as the text part of one that sees.
"""

from collections.abc import Mapping

from modelvault_converters.gguf.rows import Stored

HEAD = "lm_head.weight"
_WHOLE = "model."
_PARTS = (
    ("model.language_model.", _WHOLE),
    ("language_model.model.", _WHOLE),
    ("language_model.lm_head.", "lm_head."),
    ("model.lm_head.", "lm_head."),
)
"""What a text part's names begin with, and what they are called here."""
_BARE = ("embed_tokens.", "layers.", "norm.")
"""What names without a prefix begin with."""


def is_bare(stored: Mapping[str, Stored]) -> bool:
    """Return whether a decoder's tensors have no prefix."""
    return "embed_tokens.weight" in stored


def spelled(stored: Mapping[str, Stored]) -> Mapping[str, Stored]:
    """Return the stored tensors by the names that families use.

    A name that two tensors would have is left to both as it is, and found to have no place.
    """
    bare = is_bare(stored)
    found: dict[str, Stored] = {}
    for name, tensor in stored.items():
        plain = _spell(name, bare=bare)
        found[name if plain in stored and plain != name else plain] = tensor
    return found


def _spell(name: str, *, bare: bool) -> str:
    if bare and name.startswith(_BARE):
        return _WHOLE + name
    for part, whole in _PARTS:
        if name.startswith(part):
            return whole + name.removeprefix(part)
    return name
