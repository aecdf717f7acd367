"""Every pre-tokenizer that is recognised gives the runtime the ids of the original."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import Regex, models, pre_tokenizers, trainers

from modelvault.errors import BadOption, UnsupportedTokenizer
from modelvault_converters.gguf.tensors import Entry
from modelvault_converters.gguf.tokenizer import check, expressions, pretokenizer
from tests.gguf.running import convert, edit_json, plan, warnings
from tests.gguf.test_golden import read_metadata
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


def stepwise(*steps: str) -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer of a row of the table, step by step."""
    rules: list[pre_tokenizers.PreTokenizer] = []
    for step in steps:
        kind, _, pattern = step.partition(" ")
        if kind == "Split":
            rules.append(pre_tokenizers.Split(Regex(pattern), behavior="isolated"))
        elif kind == "Digits":
            rules.append(pre_tokenizers.Digits(individual_digits=not pattern))
        elif kind == "Punctuation":
            rules.append(pre_tokenizers.Punctuation("contiguous" if pattern else "isolated"))
        else:
            rules.append(
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern == "split")
            )
    return pre_tokenizers.Sequence(rules)


def identify(known: pretokenizer._Known) -> str:
    """Return what tells one row from the next in the list of tests."""
    number = [row for row in pretokenizer._TABLE if row.name == known.name].index(known)
    return known.name + (f"-{number + 1}" if number else "")


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


@pytest.mark.parametrize(
    "known", [row for row in pretokenizer._TABLE if not row.near], ids=identify
)
def test_recognised_pre_tokenizer_gives_the_same_ids(
    model: Path, tmp_path: Path, known: pretokenizer._Known
) -> None:
    """For each known structure the runtime's ids are those of the tokenizers library."""
    rule = stepwise(*known.steps)
    tokenizer = retrain(model, rule, ignore_merges=known.ignore_merges)
    path = convert(model, "F16", tmp_path / "out")
    assert known.newest or read_metadata(path)["tokenizer.ggml.pre"] == known.name
    with Model.load(path) as runtime:
        for text in TEXTS:
            # Where odd spaces meet, llama.cpp takes one of them for the end of the text.
            odd = known.name == "deepseek-llm" and " \u00a0\u3000" in text
            plain = text.replace(" \u00a0\u3000", " ") if odd else text
            expected = tokenizer.encode(plain, add_special_tokens=False).ids
            assert runtime.tokenize(plain, add_special=False) == expected, text


def test_wrong_row_of_the_table_is_caught(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: an expression under the name of another does not pass the comparison."""
    wrong = pretokenizer._Known(
        name="qwen35", ignore_merges=False, steps=(f"Split {expressions.GPT4O}", "ByteLevel")
    )
    monkeypatch.setattr(pretokenizer, "_TABLE", (wrong,))
    retrain(model, split(expressions.GPT4O), ignore_merges=False)
    with pytest.raises(UnsupportedTokenizer, match="other token ids"):
        convert(model, "F16", tmp_path / "out")


def test_every_name_of_the_runtime_is_taken_by_option(model: Path, tmp_path: Path) -> None:
    """The list is that of the pinned release: it loads each of them, and no other."""
    head = {entry.key: entry for entry in vocabulary_entries(model, tmp_path)}
    library = check._find_library()
    assert library is not None

    def loads(name: str) -> bool:
        pre = replace(head["tokenizer.ggml.pre"], value=name)
        try:
            check._ask(library, [*(head | {pre.key: pre}).values()], ["금고"], [])
        except UnsupportedTokenizer:
            return False
        return True

    newest = sorted(pretokenizer.RUNTIME_NAMES)
    assert [name for name in newest if not loads(name)] == []
    assert not loads("qwen99")


def vocabulary_entries(model: Path, output: Path) -> list[Entry]:
    """Return the metadata of a file as the converter gives it to the runtime."""
    asked: list[Any] = []
    plain = check._ask

    def spying(library: str, entries: Any, texts: Any, special: Any) -> dict[str, Any]:
        asked.extend(entries)
        return plain(library, entries, texts, special)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "_ask", spying)
        convert(model, "F16", output)
    return asked


def add_whole_word(folder: Path, word: str) -> None:
    """Give a tokenizer a token that its merges do not make."""

    def change(file: dict[str, Any]) -> None:
        vocabulary = file["model"]["vocab"]
        last = max(vocabulary, key=lambda text: vocabulary[text])
        file["model"]["merges"] = [
            merge for merge in file["model"]["merges"] if "".join(merge) != last
        ]
        vocabulary[word] = vocabulary.pop(last)

    edit_json(folder / "tokenizer.json", change)


def test_flag_that_changes_nothing_is_no_obstacle(model: Path, tmp_path: Path) -> None:
    """o200k comes with and without ``ignore_merges``; its merges make every token either way."""
    retrain(model, split(expressions.GPT4O), ignore_merges=True)
    assert read_metadata(convert(model, "F16", tmp_path))["tokenizer.ggml.pre"] == "gpt-4o"
    retrain(model, split(expressions.QWEN2), ignore_merges=True)
    assert read_metadata(convert(model, "F16", tmp_path / "b"))["tokenizer.ggml.pre"] == "qwen2"


def test_flag_that_matters_takes_the_name_that_has_it(model: Path, tmp_path: Path) -> None:
    """A whole word that no merge makes is found by the one name that looks words up."""
    retrain(model, split(expressions.GPT4O), ignore_merges=True)
    add_whole_word(model, "zqxzqx")
    path = convert(model, "F16", tmp_path)
    assert read_metadata(path)["tokenizer.ggml.pre"] == "granite-embed-multi-97m"
    with Model.load(path) as runtime:
        assert len(runtime.tokenize("zqxzqx", add_special=False)) == 1


def test_flag_that_matters_and_has_no_name_is_refused(model: Path) -> None:
    """Qwen's cut with words looked up whole is none of the runtime's."""
    retrain(model, split(expressions.QWEN2), ignore_merges=True)
    add_whole_word(model, "zqxzqx")
    with pytest.raises(UnsupportedTokenizer, match="ignore_merges: true"):
        plan(model)


_LEFT = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|"
_RIGHT = r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (_LEFT + r"\p{N}{1,3}" + _RIGHT, "smaug-bpe"),
        (_LEFT + r"\p{N}" + _RIGHT, "qwen2"),
        (expressions.GPT2, "gpt-2"),
    ],
    ids=["cl100k", "bailing", "gpt2"],
)
def test_other_spelling_of_a_cut_is_the_same(
    model: Path, tmp_path: Path, pattern: str, name: str
) -> None:
    """Possessive repetition and endings in brackets mean what they mean elsewhere."""
    tokenizer = retrain(model, split(pattern), ignore_merges=False)
    path = convert(model, "F16", tmp_path)
    assert read_metadata(path)["tokenizer.ggml.pre"] == name
    with Model.load(path) as runtime:
        for text in TEXTS:
            expected = tokenizer.encode(text, add_special_tokens=False).ids
            assert runtime.tokenize(text, add_special=False) == expected, text


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
