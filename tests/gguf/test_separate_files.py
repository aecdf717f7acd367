"""``vocab.json`` and ``merges.txt``: what tokenizers were before ``tokenizer.json``."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from tokenizers import models, pre_tokenizers, trainers

from modelvault.core.protocol import Produced
from modelvault.errors import MalformedRecord, UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer import expressions
from tests.gguf.running import convert, edit_json, make_request, plan, run
from tests.gguf.test_golden import read_metadata
from tests.gguf.test_pretokenizer import TEXTS, split
from tests.support.llamacpp import Model
from tests.support.tinymodel import VOCABULARY, training_text

CLASSES = {"GPT2Tokenizer": "gpt-2", "Qwen2Tokenizer": "qwen2", "RobertaTokenizer": "gpt-2"}
"""Class of the tokenizer → the name of its cut in a Llama."""


def take_apart(folder: Path, kind: str) -> None:
    """Give a model a tokenizer of a class, in separate files."""
    rule: pre_tokenizers.PreTokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=True
    )
    if kind == "Qwen2Tokenizer":
        rule = split(expressions.QWEN2)
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = rule
    special = ["<s>", "<pad>", "</s>", "<unk>", "<|endoftext|>", "<|im_end|>"]
    tokenizer.train_from_iterator(
        training_text(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - 8,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=special if kind == "RobertaTokenizer" else special[4:5],
            show_progress=False,
        ),
    )
    for path in folder.glob("tokenizer*"):
        path.unlink()
    tokenizer.model.save(str(folder))
    (folder / "added_tokens.json").write_text(json.dumps({"<|im_end|>": VOCABULARY - 8}))
    names: dict[str, Any] = {"tokenizer_class": kind, "eos_token": "<|im_end|>"}
    if kind == "RobertaTokenizer":
        names |= {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


@pytest.mark.parametrize("kind", CLASSES)
def test_separate_files_give_the_ids_of_their_class(model: Path, tmp_path: Path, kind: str) -> None:
    """The runtime gives the ids that transformers' class gives, special tokens too."""
    take_apart(model, kind)
    reference = getattr(transformers, kind).from_pretrained(model)
    path = convert(model, "F16", tmp_path / "out")
    assert read_metadata(path)["tokenizer.ggml.pre"] == CLASSES[kind]
    with Model.load(path) as runtime:
        for text in (*TEXTS, "열쇠<|im_end|>금고"):
            plain = text if kind != "Qwen2Tokenizer" else text.replace("\u2003", " ")
            expected = reference(plain, add_special_tokens=False).input_ids
            assert runtime.tokenize(plain, add_special=False) == expected, text


def test_comparison_covers_separate_files(model: Path, tmp_path: Path) -> None:
    """The record says with what library's ids the runtime's were compared."""
    take_apart(model, "GPT2Tokenizer")
    events = run(make_request(model, ["F16"], tmp_path / "out"))
    (produced,) = [event for event in events if isinstance(event, Produced)]
    assert produced.parameters["token_ids_equal"].startswith("tokenizers ")


def test_class_that_is_not_known_is_refused_with_the_way(model: Path) -> None:
    """How a text is cut stands in no file: a guess would give a model that answers badly."""
    take_apart(model, "GPT2Tokenizer")
    edit_json(
        model / "tokenizer_config.json", lambda value: value.update(tokenizer_class="OddTokenizer")
    )
    with pytest.raises(UnsupportedTokenizer, match="'OddTokenizer'") as caught:
        plan(model)
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("merges.txt", "#version: 0.2\na b c\n", "not a merge"),
        ("vocab.json", '{"a": -1}', "ids"),
        ("vocab.json", "[]", "no JSON object"),
        ("added_tokens.json", '{"<x>": "7"}', "not a number"),
    ],
)
def test_damaged_separate_file_is_refused(model: Path, name: str, text: str, message: str) -> None:
    """What does not parse is named by its file."""
    take_apart(model, "GPT2Tokenizer")
    (model / name).write_text(text)
    with pytest.raises(MalformedRecord, match=message):
        plan(model)
