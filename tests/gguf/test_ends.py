"""A chat ends where its publisher says: the tokens at which llama.cpp stops."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import transformers

from modelvault.errors import UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer import ends
from tests.gguf.running import convert, edit_json, plan, warnings
from tests.gguf.test_golden import read_metadata
from tests.support.llamacpp import Model
from tests.support.tinyfamilies import FAMILIES, make_tiny_family
from tests.support.tinymodel import make_tiny_llama

TURNS = ("<|user|>", "<|observation|>", "<|spare|>")
"""Tokens that end a turn in some models, and that no runtime knows by their text."""


def add_tokens(folder: Path, texts: Iterable[str], *, special: bool = True) -> dict[str, int]:
    """Add tokens to a model's tokenizer, in the padding of its embedding; return their ids."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(texts), special_tokens=special)
    tokenizer.save_pretrained(folder)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return {text: vocabulary[text] for text in texts}


def list_ends(folder: Path, name: str, numbers: object) -> None:
    """Say in one of the two configurations where generation ends."""
    edit_json(folder / name, lambda value: value.update(eos_token_id=numbers))


def stops(folder: Path, output: Path) -> set[str]:
    """Return the texts at which the runtime stops."""
    with Model.load(convert(folder, "F16", output)) as model:
        return {model.text([number]) for number in model.ends()}


@pytest.fixture
def padded(tmp_path: Path) -> Path:
    """Return a model whose embedding has rows for more tokens."""
    make_tiny_llama(tmp_path / "tiny", vocabulary_rows=1088)
    return tmp_path / "tiny"


KNOWN = {"<|end_of_text|>", "<|eot_id|>"}
"""Ends of the tiny model that every runtime knows by their texts."""


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_listed_ends_stop_the_runtime(padded: Path, tmp_path: Path, file: str) -> None:
    """A chat stops at every token that the publisher lists, as in transformers."""
    ids = add_tokens(padded, TURNS)
    first = read_metadata(convert(padded, "F16", tmp_path / "a"))["tokenizer.ggml.eos_token_id"]
    list_ends(padded, file, [first, ids["<|user|>"], ids["<|observation|>"]])
    assert stops(padded, tmp_path / "out") == KNOWN | {"<|user|>", "<|observation|>"}


def test_end_that_the_runtime_knows_by_its_text_takes_no_place(
    padded: Path, tmp_path: Path
) -> None:
    """What stops the runtime anyway leaves the two places to others, and the file as it was."""
    ids = add_tokens(padded, ["<|im_end|>", *TURNS])
    before = read_metadata(convert(padded, "F16", tmp_path / "a"))
    list_ends(padded, "generation_config.json", [ids["<|im_end|>"], 1020])
    assert read_metadata(convert(padded, "F16", tmp_path / "b")) == before
    list_ends(padded, "generation_config.json", [ids[text] for text in ("<|im_end|>", *TURNS[:2])])
    assert stops(padded, tmp_path / "out") == KNOWN | {"<|im_end|>", *TURNS[:2]}


def test_more_ends_than_places_are_told(padded: Path) -> None:
    """A file names three ends at most; which one is lost is said."""
    ids = add_tokens(padded, TURNS)
    list_ends(padded, "config.json", [1023, *ids.values()])
    assert any("goes on after '<|spare|>'" in text for text in warnings(plan(padded)))


def test_numbers_of_transformers_classes_are_no_ends(model: Path, tmp_path: Path) -> None:
    """A generation_config.json that nobody wrote says 2, which is a letter here."""
    before = read_metadata(convert(model, "F16", tmp_path / "a"))

    def derive(value: dict[str, Any]) -> None:
        value.update(_from_model_config=True, bos_token_id=1, eos_token_id=2)

    edit_json(model / "generation_config.json", derive)
    assert read_metadata(convert(model, "F16", tmp_path / "b")) == before
    assert not any("eos_token_id" in text for text in warnings(plan(model)))


@pytest.mark.parametrize(
    ("number", "why"), [(2, "is a piece of text"), (1060, "is padding"), (5000, "does not exist")]
)
def test_listed_end_that_is_none_is_left_out_and_told(padded: Path, number: int, why: str) -> None:
    """Ordinary text must not end an answer, and what is not there cannot."""
    list_ends(padded, "generation_config.json", [1023, number])
    (told,) = [text for text in warnings(plan(padded)) if "eos_token_id" in text]
    assert why in told


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize(("number", "why"), [(1060, "is padding"), (5000, "does not exist")])
def test_end_that_stands_for_no_token_is_refused(
    padded: Path, file: str, number: int, why: str
) -> None:
    """The only end of a text is a number, and the tokenizer has nothing there."""
    edit_json(padded / "tokenizer_config.json", lambda value: value.pop("eos_token"))
    for name in ("config.json", "generation_config.json"):
        list_ends(padded, name, number if name == file else None)
    with pytest.raises(UnsupportedTokenizer, match=why) as caught:
        plan(padded)
    assert "tokenizer_config.json" in caught.value.hint


def test_named_end_counts_before_a_number_that_is_padding(tmp_path: Path) -> None:
    """A SentencePiece model keeps the end that its settings name by text."""
    make_tiny_llama(tmp_path / "tiny", kind="spm", vocabulary_rows=1088)
    list_ends(tmp_path / "tiny", "config.json", 1060)
    metadata = read_metadata(convert(tmp_path / "tiny", "F16", tmp_path / "out"))
    assert metadata["tokenizer.ggml.eos_token_id"] == 2


def test_end_of_the_generation_alone_is_taken(model: Path, tmp_path: Path) -> None:
    """Where neither tokenizer nor config.json names an end, the other configuration does."""
    edit_json(model / "tokenizer_config.json", lambda value: value.pop("eos_token"))
    list_ends(model, "config.json", None)
    list_ends(model, "generation_config.json", [1021, 1023])
    metadata = read_metadata(convert(model, "F16", tmp_path / "out"))
    assert metadata["tokenizer.ggml.eos_token_id"] == 1021


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_stops_at_the_listed_ends(tmp_path: Path, family: str) -> None:
    """What a list says reaches the runtime, whatever the architecture."""
    make_tiny_family(tmp_path / "tiny", family, vocab_size=1088)
    ids = add_tokens(tmp_path / "tiny", TURNS[:2])
    list_ends(tmp_path / "tiny", "generation_config.json", list(ids.values()))
    assert stops(tmp_path / "tiny", tmp_path / "out") >= {*TURNS[:2]}


def test_table_of_known_ends_is_that_of_the_runtime(padded: Path, tmp_path: Path) -> None:
    """Each text of the table stops the runtime by itself, beside one that does not."""
    texts = ends.KNOWN - {"<|tool_response>"}  # beside it the runtime takes "</s>" for text
    add_tokens(padded, [*sorted(texts), "<|none|>"])
    found = stops(padded, tmp_path / "out")
    # One token at most is taken for each of these roles, whichever comes first; and "<|end|>"
    # ends nothing beside the tokens of gpt-oss.
    alike = {text for text in texts if "pad" in text.lower() or "rep" in text.lower()}
    assert found & texts >= texts - alike - {"<|end|>"}
    assert found & alike
    assert "<|none|>" not in found


def test_end_beside_which_another_is_text_is_known(padded: Path, tmp_path: Path) -> None:
    """Gemma 4 has a token beside which the runtime takes "</s>" for ordinary text."""
    add_tokens(padded, ["<|tool_response>", "</s>"])
    assert stops(padded, tmp_path / "out") == KNOWN | {"<|tool_response>"}
