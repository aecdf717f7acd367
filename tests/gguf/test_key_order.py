"""The order of keys: what a model is stands before its tokenizer, which is long.

Ollama's list of models reads a file's keys up to the first of the tokenizer. An embedder whose
pooling came later would be listed as a model that chats.
"""

from pathlib import Path

import pytest

from modelvault.core.gguf import read_header
from tests.gguf.running import convert
from tests.support.tinybert import make_tiny_bert, write_pooling
from tests.support.tinyfamilies import make_tiny_family


def encoder(folder: Path) -> None:
    """Make an embedder of the family BERT."""
    make_tiny_bert(folder)


def reranker(folder: Path) -> None:
    """Make a reranker of the family BERT, whose family says how it pools."""
    make_tiny_bert(folder, classifies=True)


def decoder(folder: Path) -> None:
    """Make an embedder of a family that otherwise chats."""
    make_tiny_family(folder, "qwen3")
    write_pooling(folder, "lasttoken")


def chat(folder: Path) -> None:
    """Make a model that chats."""
    make_tiny_family(folder, "qwen3")


@pytest.mark.parametrize("make", [encoder, reranker, decoder, chat])
def test_what_a_model_is_stands_before_its_tokenizer(tmp_path: Path, make: object) -> None:
    """Every key of the architecture, its pooling above all."""
    assert callable(make)
    make(tmp_path / "model")
    path = convert(tmp_path / "model", "F16", tmp_path / "out")
    with open(path, "rb") as file:
        header = read_header(file, path.stat().st_size)
    keys = sorted(header.spans, key=lambda key: header.spans[key])
    first = min(keys.index(key) for key in keys if key.startswith("tokenizer."))
    own = [key for key in keys if key.startswith(f"{header.architecture}.")]
    assert (f"{header.architecture}.pooling_type" in own) is (make is not chat)
    assert max(map(keys.index, own)) < first
    assert all(key.startswith("tokenizer.") for key in keys[first:])
