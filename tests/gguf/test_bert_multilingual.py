"""Multilingual embedders (XLM-RoBERTa): Unigram tokens, and Korean as it is written."""

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers
from gguf import GGUFReader

from modelvault.errors import MalformedRecord, ModelVaultError, UnsupportedTokenizer
from tests.gguf.running import convert, edit_json, plan
from tests.support.embeddings import embed, pooling, reference
from tests.support.llamacpp import Model
from tests.support.tinymodel import MIXED_SCRIPT
from tests.support.tinyxlmr import make_tiny_xlmr

TEXTS = (
    "The old lighthouse keeper counted the ships before the storm came in.",
    "금고의 열쇠는 두 사람이 나누어 가지고 있습니다.",
    "Каждый файл нужно проверить дважды. 毎朝、手紙を書いて郵便局へ行きます。",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny encoder, read-only by agreement."""
    folder = tmp_path_factory.mktemp("xlmr") / "tiny-xlmr"
    make_tiny_xlmr(folder)
    return folder


@pytest.fixture
def encoder(made: Path, tmp_path: Path) -> Path:
    """Return a tiny encoder that the test may change."""
    return Path(shutil.copytree(made, tmp_path / "tiny-xlmr"))


@pytest.mark.parametrize(("target", "least"), [("F32", 0.999999), ("F16", 0.9999)])
def test_multilingual_encoder_gives_the_embeddings_of_transformers(
    made: Path, tmp_path: Path, target: str, least: float
) -> None:
    """Korean needs no preparation here, and the skipped positions are the right ones."""
    expected = reference(made, TEXTS)
    with Model.load(convert(made, target, tmp_path)) as model:
        assert pooling(model) == 2
        assert (expected * embed(model, TEXTS)).sum(axis=1).min() > least


def test_ids_of_unigram_are_the_librarys(made: Path, tmp_path: Path) -> None:
    """A text of every script gets the ids of the tokenizers library, ends included."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(made)
    with Model.load(convert(made, "F16", tmp_path)) as model:
        for text in (*TEXTS, MIXED_SCRIPT):
            assert model.tokenize(text) == tokenizer(text).input_ids


def test_model_file_alone_gives_the_same_vocabulary(encoder: Path, tmp_path: Path) -> None:
    """Without tokenizer.json, transformers' shift of ids is made here: texts get the same ids."""
    whole = convert(encoder, "F16", tmp_path / "json")
    (encoder / "tokenizer.json").unlink()
    path = convert(encoder, "F16", tmp_path / "model")
    keys, expected = GGUFReader(path).fields, GGUFReader(whole).fields
    for name in ("tokens", "token_type", "precompiled_charsmap", "add_bos_token", "add_eos_token"):
        key = f"tokenizer.ggml.{name}"
        assert keys[key].contents() == expected[key].contents(), name
    with Model.load(whole) as one, Model.load(path) as other:
        for text in (*TEXTS, MIXED_SCRIPT):
            assert one.tokenize(text) == other.tokenize(text)


@pytest.mark.parametrize("data", [b"", b"\x0a\xff", b"\x12\x02\x18\x02"], ids=repr)
def test_false_model_file_attack_is_refused(encoder: Path, data: bytes) -> None:
    """Nothing, a cut message, and a model without a token are named by their file."""
    (encoder / "tokenizer.json").unlink()
    (encoder / "sentencepiece.bpe.model").write_bytes(data)
    with pytest.raises(MalformedRecord, match=r"sentencepiece\.bpe\.model"):
        plan(encoder)


def test_table_of_characters_is_carried_over(made: Path, tmp_path: Path) -> None:
    """The bytes of SentencePiece's table are those in the file."""
    keys = GGUFReader(convert(made, "F16", tmp_path)).fields
    table = bytes(keys["tokenizer.ggml.precompiled_charsmap"].contents())
    assert base64.b64encode(table).decode() in (made / "tokenizer.json").read_text()
    assert keys["bert.context_length"].contents() == 256


@pytest.mark.parametrize(
    ("section", "values", "error", "message"),
    [
        ("normalizer", {"precompiled_charsmap": "%%"}, MalformedRecord, "table of characters"),
        ("normalizer", {"type": "NFKC"}, UnsupportedTokenizer, "NFKC"),
        ("model", {"vocab": [["a", "b"]]}, MalformedRecord, "not a piece"),
        ("model", {"vocab": [["a", -1.0], ["a", -2.0]]}, MalformedRecord, "twice"),
        ("model", {"vocab": {}}, MalformedRecord, "list of pieces"),
        ("model", {"byte_fallback": True}, UnsupportedTokenizer, "not known"),
    ],
)
def test_unigram_that_cannot_be_expressed_is_refused(
    encoder: Path, section: str, values: dict[str, Any], error: type[ModelVaultError], message: str
) -> None:
    """Damaged or unknown parts of the tokenizer are named."""
    edit_json(encoder / "tokenizer.json", lambda file: file[section].update(values))
    with pytest.raises(error, match=message):
        plan(encoder)


def test_unigram_without_its_unknown_token_is_refused(encoder: Path) -> None:
    """The library cannot cut a text with it: that is an error of the files, not of the program."""
    edit_json(encoder / "tokenizer.json", lambda file: file["model"].update(unk_id=None))
    with pytest.raises(UnsupportedTokenizer, match="unk_id") as caught:
        plan(encoder)
    assert "compare them with its publisher's" in caught.value.hint
