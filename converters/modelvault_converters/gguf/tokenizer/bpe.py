"""Byte-level BPE from ``tokenizer.json``: the tokenizers of GPT-2, Llama 3, Mistral Nemo.

Source:
    https://github.com/huggingface/tokenizers (the file is its own serialisation).
"""

from typing import Any

from modelvault.errors import UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer.pretokenizer import find_pre_tokenizer, steps
from modelvault_converters.gguf.tokenizer.tokenizer_json import list_tokens, read_ids, read_merges
from modelvault_converters.gguf.tokenizer.vocabulary import Vocabulary

_TELLING_PREFIX = ("llama", "granite")
"""Architectures whose files carry ``add_prefix_space``; the runtime reads it when it decodes."""


def is_byte_level(file: dict[str, Any]) -> bool:
    """Return whether ``tokenizer.json`` describes a BPE over bytes."""
    model = file.get("model")
    is_bpe = isinstance(model, dict) and model.get("type", "BPE") == "BPE"
    return is_bpe and any(step.startswith("ByteLevel") for step in steps(file.get("pre_tokenizer")))


def read_vocabulary(
    file: dict[str, Any],
    settings: dict[str, Any],
    *,
    pre_tokenizer: str = "",
    architecture: str = "",
) -> Vocabulary:
    """Return the vocabulary that ``tokenizer.json`` describes.

    Args:
        file: The parsed file.
        settings: ``tokenizer_config.json``, or empty.
        pre_tokenizer: Name that overrides what the structure says; empty for none.
        architecture: ``general.architecture``.

    Raises:
        UnsupportedTokenizer: Unknown structure, or something GGUF cannot say.
        MalformedRecord: The file breaks its own rules.
        BadOption: No runtime knows the overriding name.
    """
    model = file["model"]
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(key):
            raise UnsupportedTokenizer(f"tokenizer.json: llama.cpp does not know BPE with '{key}'")
    found = find_pre_tokenizer(file, override=pre_tokenizer, architecture=architecture)
    prefix = settings.get("add_prefix_space") if architecture in _TELLING_PREFIX else None
    tokens, types = list_tokens(file, read_ids(file))
    return Vocabulary(
        model="gpt2",
        pre=found.name,
        tokens=tuple(tokens),
        types=tuple(types),
        merges=tuple(read_merges(file)),
        space_prefix=prefix if isinstance(prefix, bool) else None,
        warnings=found.warnings,
    )
