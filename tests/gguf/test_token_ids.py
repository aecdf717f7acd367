"""The converter compares token ids with the runtime's before it writes anything."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers
from gguf import TokenType

from modelvault.core.protocol import Produced
from modelvault.errors import MalformedRecord, UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer import check, expressions, pretokenizer
from modelvault_converters.gguf.tokenizer.check import TEXTS
from modelvault_converters.gguf.tokenizer.vocabulary import Vocabulary
from tests.gguf.running import convert, edit_json, make_request, plan, run, warnings
from tests.gguf.test_pretokenizer import retrain, split
from tests.support.llamacpp import Model
from tests.support.tinymodel import BPE_SPECIALS, Kind, make_tiny_llama


def said(events: list[Any]) -> str:
    """Return what the record will say of the comparison."""
    (produced,) = [event for event in events if isinstance(event, Produced)]
    return str(produced.parameters.get("token_ids_equal", ""))


def test_equal_ids_are_recorded_with_the_library(
    model: Path, spm_model: Path, tmp_path: Path
) -> None:
    """The record names the library whose ids the runtime gave."""
    assert said(run(make_request(model, ["F16"], tmp_path / "a"))).startswith("tokenizers ")
    assert said(run(make_request(spm_model, ["F16"], tmp_path / "b"))).startswith("sentencepiece ")


def test_runtime_in_its_own_process_gives_the_ids_of_the_file(model: Path, tmp_path: Path) -> None:
    """What is compared is what the finished file will do."""
    with Model.load(convert(model, "F16", tmp_path)) as runtime:
        ids = [runtime.tokenize(text, add_special=False) for text in TEXTS]
    library = check._find_library()
    assert library is not None
    assert check._by_tokenizers((model / "tokenizer.json").read_text(), TEXTS)[1] == ids


def test_wrong_pre_tokenizer_is_refused_before_a_byte_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a table with a wrong row would not get past the comparison."""
    retrain(model, split(expressions.QWEN2), ignore_merges=False)
    wrong = pretokenizer.Found(name="gpt-2")
    monkeypatch.setattr(
        "modelvault_converters.gguf.tokenizer.bpe.find_pre_tokenizer", lambda *_, **__: wrong
    )
    with pytest.raises(UnsupportedTokenizer, match="other token ids than tokenizers"):
        run(make_request(model, ["F16"], tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_name_by_option_is_told(model: Path) -> None:
    """Who names a pre-tokenizer by hand hears that ids differ, and may go on."""
    retrain(model, split(expressions.QWEN2), ignore_merges=False)
    told = warnings(plan(model, pre_tokenizer="gpt-2"))
    assert any("other token ids than tokenizers" in text for text in told)


def test_scores_of_another_model_are_refused(spm_model: Path, tmp_path: Path) -> None:
    """An added token that takes the place of a common one changes ids: that is noticed."""
    run(make_request(spm_model, ["F16"], tmp_path / "whole"))
    (spm_model / "added_tokens.json").write_text(json.dumps({"<|gone|>": 300}))
    with pytest.raises(UnsupportedTokenizer, match="other token ids than sentencepiece"):
        plan(spm_model)


def test_gemma_without_its_model_file_gives_the_same_ids(spm_model: Path) -> None:
    """Gemma's tokenizer.json marks spaces in its normalizer and puts none before the text."""
    transformers.AutoTokenizer.from_pretrained(spm_model).save_pretrained(spm_model)
    (spm_model / "tokenizer.model").unlink()
    mark = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    cut = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    edit_json(
        spm_model / "tokenizer.json", lambda file: file.update(normalizer=mark, pre_tokenizer=cut)
    )
    edit_json(
        spm_model / "tokenizer_config.json",
        lambda settings: settings.update(tokenizer_class="GemmaTokenizer"),
    )
    assert not any("token ids" in text for text in warnings(plan(spm_model)))


def test_merge_of_unknown_tokens_is_refused(model: Path) -> None:
    """A tokenizer.json that its own library does not read is named."""
    edit_json(
        model / "tokenizer.json", lambda value: value["model"]["merges"].append(["zzz", "qqq"])
    )
    with pytest.raises(UnsupportedTokenizer, match=r"does not read tokenizer\.json"):
        plan(model)


def test_json_in_another_encoding_is_refused(model: Path) -> None:
    """What one reader accepts and another does not is named before either is asked twice."""
    path = model / "tokenizer.json"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    with pytest.raises(MalformedRecord, match="not UTF-8"):
        plan(model)


def test_special_tokens_are_compared_within_a_korean_text(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of the runtime holds the model's own special tokens, and Hangul around them."""
    asked: list[tuple[Any, Any]] = []
    plain = check._ask

    def spying(library: str, entries: Any, texts: Any, special: Any) -> dict[str, Any]:
        asked.append((texts, special))
        return plain(library, entries, texts, special)

    monkeypatch.setattr(check, "_ask", spying)
    plan(model)
    ((texts, special),) = asked
    assert set(special) == set(BPE_SPECIALS)
    assert all(text in texts[-1] for text in BPE_SPECIALS)
    assert "열쇠" in texts[-1]


@pytest.mark.parametrize("kind", ["bpe", "spm"])
def test_special_token_that_became_padding_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """Negative control: a vocabulary without a token that the files add is caught by its id."""
    folder = tmp_path / "tiny"
    make_tiny_llama(folder, kind=kind, vocabulary_rows=1088)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<|turn|>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    number = tokenizer.get_vocab()["<|turn|>"]
    run(make_request(folder, ["F16"], tmp_path / "whole"))
    plain = Vocabulary.padded

    def forgetful(self: Vocabulary, rows: int) -> Vocabulary:
        whole = plain(self, rows)
        tokens, types = list(whole.tokens), list(whole.types)
        tokens[number], types[number] = f"[PAD{number}]", TokenType.UNUSED
        return replace(whole, tokens=tuple(tokens), types=tuple(types))

    monkeypatch.setattr(Vocabulary, "padded", forgetful)
    with pytest.raises(UnsupportedTokenizer, match=r"'<\|turn\|>' by its id"):
        run(make_request(folder, ["F16"], tmp_path / "out"))


def test_symbol_of_a_sentencepiece_model_is_found_as_a_whole(tmp_path: Path) -> None:
    """A symbol that the trainer of a model defined is a token, not pieces that merge."""
    folder = tmp_path / "tiny"
    make_tiny_llama(folder, kind="spm")
    model = sentencepiece_model(folder / "tokenizer.model")
    piece = model.pieces[600]
    piece.piece, piece.type, piece.score = "[INST]", 4, 0.0
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    settings = folder / "tokenizer_config.json"
    edit_json(
        settings,
        lambda value: value["added_tokens_decoder"].update(
            {"600": {"content": "[INST]", "special": False}}
        ),
    )
    with Model.load(convert(folder, "F16", tmp_path / "out")) as runtime:
        assert runtime.tokenize("[INST]", add_special=False) == [600]


def sentencepiece_model(path: Path) -> Any:
    """Return a SentencePiece model as its library's message."""
    from sentencepiece import sentencepiece_model_pb2

    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(path.read_bytes())
    return model


def answering(program: Path, text: str) -> Path:
    """Write a program that stands in for the runtime."""
    program.write_text(f"import sys\nsys.stdin.read()\n{text}\n")
    return program


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sys.stderr.write('GGML_ASSERT(x) failed\\n'); import os; os.abort()", "GGML_ASSERT"),
        ('print(\'{"refused": "no"}\')', "does not accept the vocabulary: no"),
        ("sys.exit(3)", "status 3"),
        ("print('hello')", "not one"),
    ],
    ids=["crash", "refusal", "silent end", "chatter"],
)
def test_runtime_that_fails_on_a_vocabulary_refuses_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    """A vocabulary that stops llama.cpp would stop it on the closed side too."""
    monkeypatch.setattr(check, "_PROGRAM", answering(tmp_path / "runtime.py", text))
    with pytest.raises(UnsupportedTokenizer, match=message):
        plan(model)


def test_unknown_release_of_the_runtime_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the runtime cannot be asked the conversion goes on and says so."""
    program = answering(tmp_path / "runtime.py", 'print(\'{"unfit": "laid out differently"}\')')
    monkeypatch.setattr(check, "_PROGRAM", program)
    assert any("were not compared" in text for text in warnings(plan(model)))


@pytest.mark.parametrize("missing", ["tokenizers", "xllamacpp"])
def test_missing_library_is_told(
    model: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Neither library is needed to convert; without them nothing is claimed."""
    if missing == "xllamacpp":
        monkeypatch.setattr(check, "_find_library", lambda: None)
    else:
        monkeypatch.setitem(sys.modules, missing, None)
    assert any("were not compared" in text for text in warnings(plan(model)))
