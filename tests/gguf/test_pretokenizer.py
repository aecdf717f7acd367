"""Every pre-tokenizer that is recognised gives the runtime the ids of the original."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import Regex, models, pre_tokenizers, trainers

from modelvault.errors import BadOption, UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer import deepseek, pretokenizer
from tests.gguf.running import convert, edit_json, plan, warnings
from tests.support.llamacpp import Model
from tests.support.tinymodel import BPE_SPECIALS, MIXED_SCRIPT, VOCABULARY, training_text

TEXTS = (
    MIXED_SCRIPT,
    "서울에서 부산까지 3시간, 8,500원! 안녕하세요… ㅋㅋㅋ 금고의 열쇠는 두 사람이",
    "He said: 'I'LL go', WE'RE late; don't, DON'T. camelCaseWord HTTPServer x86_64",
    "١٢٣ Ⅷ ½ 12345678901 3.14159e-10 0xDEADBEEF",
    "a\r\n\r\nb\n \n  c\t\t\td   \n",
    "tab\tnbsp\u00a0em\u2003ideographic\u3000zero\u200bwidth",
)


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer that cuts by ``pattern`` and works on bytes."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def digits() -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer of SmolLM: digits one by one, the rest as GPT-2."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def stepwise(*steps: str) -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer of a row of the table, step by step."""
    rules: list[pre_tokenizers.PreTokenizer] = []
    for step in steps:
        kind, _, pattern = step.partition(" ")
        if kind == "Split":
            rules.append(pre_tokenizers.Split(Regex(pattern), behavior="isolated"))
        elif kind == "Digits":
            rules.append(pre_tokenizers.Digits(individual_digits=True))
    rules.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(rules)


CASES: dict[str, tuple[pre_tokenizers.PreTokenizer, bool]] = {
    "llama-bpe": (split(pretokenizer.LLAMA3), True),
    "smaug-bpe": (split(pretokenizer.LLAMA3), False),
    "qwen2": (split(pretokenizer.QWEN2), False),
    "tekken": (split(pretokenizer.TEKKEN), True),
    "gpt-4o": (split(pretokenizer.GPT4O), False),
    "gpt-2": (pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True), False),
    "smollm": (digits(), False),
    "deepseek-llm": (stepwise(*deepseek.LLM), False),
    "deepseek-coder": (stepwise(*deepseek.CODER), False),
    "deepseek-v3": (stepwise(*deepseek.V3), False),
}


def retrain(folder: Path, rule: pre_tokenizers.PreTokenizer, *, ignore_merges: bool) -> Any:
    """Give the model in ``folder`` a new tokenizer; return it."""
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = rule
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(BPE_SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(), trainer)
    tokenizer.add_special_tokens(list(BPE_SPECIALS))
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def test_every_row_of_the_table_has_a_case() -> None:
    """A row without a comparison of ids is not believed."""
    assert set(CASES) == {known.name for known in pretokenizer._TABLE}


@pytest.mark.parametrize("name", CASES)
def test_recognised_pre_tokenizer_gives_the_same_ids(
    model: Path, tmp_path: Path, name: str
) -> None:
    """For each known structure the runtime's ids are those of the tokenizers library."""
    rule, ignore_merges = CASES[name]
    tokenizer = retrain(model, rule, ignore_merges=ignore_merges)
    with Model.load(convert(model, "F16", tmp_path / "out")) as runtime:
        for text in TEXTS:
            # Where odd spaces meet, llama.cpp takes one of them for the end of the text.
            odd = name == "deepseek-llm" and " \u00a0\u3000" in text
            plain = text.replace(" \u00a0\u3000", " ") if odd else text
            expected = tokenizer.encode(plain, add_special_tokens=False).ids
            assert runtime.tokenize(plain, add_special=False) == expected, text


def test_unknown_structure_is_refused_and_can_be_overridden(model: Path) -> None:
    """What is not in the table stops the conversion, unless a name is given by option."""
    retrain(model, split(r"\w+|\W+"), ignore_merges=False)
    with pytest.raises(UnsupportedTokenizer, match=r"Split \\w") as caught:
        plan(model)
    assert "--pre-tokenizer" in caught.value.hint
    events = plan(model, pre_tokenizer="qwen2")
    assert any("'qwen2' by option" in text for text in warnings(events))


def test_overriding_name_that_no_runtime_knows_is_refused(model: Path) -> None:
    """A typing error in the option is named before anything is written."""
    with pytest.raises(BadOption, match="lama-bpe") as caught:
        plan(model, pre_tokenizer="lama-bpe")
    assert caught.value.hint == "the nearest is llama-bpe"


def test_override_without_a_pre_tokenizer_is_refused(spm_model: Path) -> None:
    """A SentencePiece model has none: the option would do nothing, and that is said."""
    with pytest.raises(BadOption, match="only a byte-level"):
        plan(spm_model, pre_tokenizer="llama-bpe")


def test_normalizer_is_told(model: Path) -> None:
    """A tokenizer that normalises first converts, with a warning that names how."""
    edit_json(model / "tokenizer.json", lambda value: value.update(normalizer={"type": "NFC"}))
    assert any("normalises text first (NFC)" in text for text in warnings(plan(model)))


def test_split_that_keeps_what_matches_is_the_same_cut(model: Path) -> None:
    """``Removed`` with ``invert`` says what ``Isolated`` says."""
    path = model / "tokenizer.json"

    def invert(value: dict[str, Any]) -> None:
        rule = value["pre_tokenizer"]["pretokenizers"][0]
        rule.update(behavior="Removed", invert=True)

    edit_json(path, invert)
    found = pretokenizer.find_pre_tokenizer(json.loads(path.read_text()))
    assert found.name == "llama-bpe"
