"""Rerankers that are language models: Qwen3-Reranker, which answers "yes" or "no".

Such a checkpoint is that of a model that chats; what it is for stands in its name, its card or its
template. As a chat model it is of no use, and as a reranker the runtime wants the two rows of the
output that make its answers (``cls.output.weight``), the kind of pooling, names for both and the
prompt. It then gives the probability of "yes" as the score.

Source:
    https://huggingface.co/Qwen/Qwen3-Reranker-0.6B (the prompt); llama.cpp
    ``src/llama-graph.cpp`` (``LLAMA_POOLING_TYPE_RANK``).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gguf import PoolingType

from modelvault.core.protocol import Request
from modelvault.errors import BadOption, UnsupportedSource, UnsupportedTokenizer
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf.tensors import Blueprint, Entry, Tensor
from modelvault_converters.gguf.tokenizer import Tokenizer

OPTION = "task"
RANK, GENERATE = "rank", "generate"

_ARCHITECTURE = "qwen3"
"""The only one of which the runtime makes scores of two answers."""
_NAME = re.compile(r"qwen3-(?:vl-)?reranker", re.IGNORECASE)
_HEADING = re.compile(r"^#+ *qwen3-(?:vl-)?reranker", re.IGNORECASE | re.MULTILINE)
_PROMPT = "Judge whether the Document meets the requirements based on the Query"
_PERHAPS = re.compile(r"re-?rank|cross-?encoder", re.IGNORECASE)
_TAG = re.compile(r"^pipeline_tag: *['\"]?text-ranking['\"]? *$", re.MULTILINE)
_CARD = "README.md"

_ANSWERS = ("yes", "no")
_TEMPLATE = "rerank"
_INSTRUCTION = (
    f'{_PROMPT} and the Instruct provided. Note that the answer can only be "yes" or "no".'
)
_TEXT = (
    f"<|im_start|>system\n{_INSTRUCTION}<|im_end|>\n"
    "<|im_start|>user\n"
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
    "<Query>: {query}\n<Document>: {document}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


def ranks(
    request: Request,
    source: Checkpoint,
    config: Mapping[str, Any],
    blueprint: Blueprint,
    templates: Mapping[str, str],
) -> bool:
    """Return whether a language model is to become a reranker.

    Args:
        request: Its name, and what the user says.
        source: Its files, for the card.
        config: ``config.json``.
        blueprint: What it consists of; an encoder says by itself what it is for.
        templates: Its chat templates.

    Raises:
        BadOption: The option's value is unknown, or the runtime has no such reranker.
        UnsupportedSource: It may be meant as one, and nothing says so for sure.
    """
    task = request.options.get(OPTION, "")
    if task not in ("", RANK, GENERATE):
        raise BadOption(f"--{OPTION} {task:.40}: not one of {RANK}, {GENERATE}")
    pools = any(entry.key.endswith(".pooling_type") for entry in blueprint.entries)
    answers = str(config["architectures"][0]).endswith("ForCausalLM")
    fits = blueprint.architecture == _ARCHITECTURE and answers
    if task == RANK and not fits:
        raise BadOption(
            f"--{OPTION} {RANK}: llama.cpp ranks by the answers of Qwen 3 models alone, and this "
            f"is '{blueprint.architecture}'"
        )
    if task or pools:
        return task == RANK
    card = source.read(_CARD).decode("utf-8", "replace") if source.has(_CARD) else ""
    names = (request.model, str(config.get("_name_or_path") or ""))
    if fits and (
        any(map(_NAME.search, names))
        or _HEADING.search(card)
        or any(_PROMPT in text for text in templates.values())
    ):
        return True
    if any(map(_PERHAPS.search, names)) or _TAG.search(card):
        raise UnsupportedSource(
            "the model may be a reranker: its name or its card says so, and its files are those "
            "of a model that generates text",
            hint=f"say which it is to be: --{OPTION} {GENERATE}"
            + (f", or --{OPTION} {RANK} where it answers yes or no" if fits else
               "; llama.cpp has no reranker of this architecture"),
        )  # fmt: skip
    return False


def rank(blueprint: Blueprint, tokenizer: Tokenizer) -> tuple[Blueprint, Tokenizer]:
    """Return a model of Qwen 3's as the reranker that llama.cpp makes of it.

    Args:
        blueprint: The model, its output settled.
        tokenizer: Its tokenizer.

    Raises:
        UnsupportedTokenizer: It has no token for an answer.
    """
    tensors = {tensor.name: tensor for tensor in blueprint.tensors}
    output = tensors.pop("output.weight", None)
    table = output or tensors["token_embd.weight"]
    answers = tuple(
        replace(table.parts[0], first=_find(tokenizer, text), count=1, copied=True, drops_rest=True)
        for text in _ANSWERS
    )
    head = Tensor(name="cls.output.weight", shape=(2, table.columns), parts=answers)
    arch = blueprint.architecture
    entries = (
        Entry(key=f"{arch}.pooling_type", kind="u32", value=PoolingType.RANK),
        Entry(key=f"{arch}.classifier.output_labels", kind="strings", value=_ANSWERS),
    )
    templates = {_TEMPLATE: _TEXT} | dict(tokenizer.special.templates)
    return (
        replace(
            blueprint,
            entries=(*blueprint.entries, *entries),
            tensors=(*tensors.values(), head),
            tied=True,  # nothing but the embedding is left that the mixes could treat as output
        ),
        replace(tokenizer, special=replace(tokenizer.special, templates=templates)),
    )


def _find(tokenizer: Tokenizer, text: str) -> int:
    if text not in tokenizer.vocabulary.tokens:
        raise UnsupportedTokenizer(
            f"the tokenizer has no token '{text}', by which a reranker of this kind answers",
            hint=f"where the model is no reranker, say --{OPTION} {GENERATE}",
        )
    return tokenizer.vocabulary.tokens.index(text)
