"""Byte-pair merging itself, for what has to be known of a vocabulary before a runtime has it."""

from itertools import pairwise
from typing import Any

from modelvault_converters.gguf.tokenizer import tokenizer_json


def merges_suffice(file: dict[str, Any]) -> bool:
    """Return whether the merges of ``tokenizer.json`` make every token of its vocabulary.

    Then it is all one whether a word that is a token is looked up (``ignore_merges``) or merged.

    Args:
        file: The parsed file.

    Raises:
        MalformedRecord: The file breaks its own rules.
    """
    ranks: dict[tuple[str, str], int] = {}
    for rank, merge in enumerate(tokenizer_json.read_merges(file)):
        left, _, right = merge.partition(" ")
        ranks.setdefault((left, right), rank)
    apart = {text for text, _, _ in tokenizer_json.read_added(file)}
    return all(
        text in apart or len(_merge(text, ranks)) == 1
        for text in tokenizer_json.read_ids(file)
        if len(text) > 1
    )


def _merge(text: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Return the parts of a text that no merge joins: the lowest rank, the leftmost pair first."""
    parts = list(text)
    worst = len(ranks)
    while len(parts) > 1:
        rank, at = min(
            (ranks.get((left, right), worst), at)
            for at, (left, right) in enumerate(pairwise(parts))
        )
        if rank == worst:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
