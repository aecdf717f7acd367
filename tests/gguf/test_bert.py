"""Encoders of embeddings: what was converted gives the vectors that its source gives."""

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from gguf import GGUFReader
from safetensors.torch import load_file, save_file

from modelvault.errors import (
    MalformedRecord,
    ModelVaultError,
    SourceIncomplete,
    UnsupportedSource,
    UnsupportedTokenizer,
)
from tests.gguf.running import convert, edit_json, plan, warnings
from tests.support.embeddings import embed, pooling, reference
from tests.support.llamacpp import Model
from tests.support.tinybert import VOCABULARY, make_tiny_bert
from tests.support.tinymodel import MIXED_SCRIPT

TEXTS = (
    "The old lighthouse keeper counted the ships before the storm came in.",
    "금고의 열쇠는 두 사람이 나누어 가지고 있습니다.",
    "El guardián del faro contó los barcos; naïve café!",
    "金庫は封印された。 保险库已密封。",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny encoder, read-only by agreement."""
    folder = tmp_path_factory.mktemp("bert") / "tiny-bert"
    make_tiny_bert(folder)
    return folder


@pytest.fixture
def encoder(made: Path, tmp_path: Path) -> Path:
    """Return a tiny encoder that the test may change."""
    return Path(shutil.copytree(made, tmp_path / "tiny-bert"))


def apart(text: str) -> str:
    """Return a text as the runtime needs it from tokenizers that strip accents."""
    return unicodedata.normalize("NFD", text)


def agreement(folder: Path, target: str, output: Path) -> float:
    """Return the smallest cosine between the runtime's and transformers' embeddings."""
    expected = reference(folder, TEXTS)
    with Model.load(convert(folder, target, output)) as model:
        computed = embed(model, [apart(text) for text in TEXTS])
    return float((expected * computed).sum(axis=1).min())


def metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a file."""
    return {key: field.contents() for key, field in GGUFReader(path).fields.items()}


@pytest.mark.parametrize(("target", "least"), [("F32", 0.999999), ("F16", 0.9999), ("Q8_0", 0.999)])
def test_encoder_gives_the_embeddings_of_transformers(
    made: Path, tmp_path: Path, target: str, least: float
) -> None:
    """Texts of several scripts, Korean too, get the same vectors in the runtime."""
    assert agreement(made, target, tmp_path) > least


def test_first_token_pooling_is_carried_over(tmp_path: Path) -> None:
    """A model that pools by its first token, as BGE does, pools so in the runtime."""
    make_tiny_bert(tmp_path / "cls", pooling="cls_token")
    assert agreement(tmp_path / "cls", "F32", tmp_path / "out") > 0.999999
    with Model.load(convert(tmp_path / "cls", "F16", tmp_path / "again")) as model:
        assert pooling(model) == 2


def test_wrong_pooling_is_caught(encoder: Path, tmp_path: Path) -> None:
    """Negative control: another way of pooling gives other vectors."""
    expected = reference(encoder, TEXTS)
    edit_json(
        encoder / "1_Pooling/config.json",
        lambda value: value.update(pooling_mode_mean_tokens=False, pooling_mode_cls_token=True),
    )
    with Model.load(convert(encoder, "F32", tmp_path / "out")) as model:
        computed = embed(model, [apart(text) for text in TEXTS])
    assert (expected * computed).sum(axis=1).max() < 0.99


def test_encoder_metadata_says_what_the_runtime_asks(made: Path, tmp_path: Path) -> None:
    """Keys of the architecture, pooling and tokenizer are there; no text model's keys are."""
    keys = metadata(convert(made, "F16", tmp_path))
    expected = {
        "general.architecture": "bert",
        "bert.block_count": 3,
        "bert.context_length": 256,
        "bert.embedding_length": 64,
        "bert.feed_forward_length": 128,
        "bert.attention.head_count": 4,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 3,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.normalizer.lowercase": True,
    }
    assert {key: keys.get(key) for key in expected} == expected
    assert len(keys["tokenizer.ggml.tokens"]) == VOCABULARY
    assert "tokenizer.ggml.normalizer.strip_accents" not in keys


def test_tables_of_positions_and_types_stay_whole(made: Path, tmp_path: Path) -> None:
    """The runtime adds both tables as float32, so no target shortens them."""
    types = {
        item.name: item.tensor_type.name
        for item in GGUFReader(convert(made, "Q8_0", tmp_path)).tensors
    }
    assert {types["position_embd.weight"], types["token_types.weight"]} == {"F32"}
    assert types["blk.0.ffn_up.weight"] == "Q8_0"


def test_ids_of_mixed_scripts_are_the_librarys(made: Path, tmp_path: Path) -> None:
    """Normalised to NFD, a text of every script gets the ids of the tokenizers library."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(made)
    with Model.load(convert(made, "F16", tmp_path)) as model:
        assert model.tokenize(apart(MIXED_SCRIPT)) == tokenizer(MIXED_SCRIPT).input_ids


def test_case_is_kept_where_the_tokenizer_keeps_it(tmp_path: Path) -> None:
    """A cased tokenizer says so in the file, and Korean needs no preparation then."""
    make_tiny_bert(tmp_path / "cased", lowercase=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "cased")
    path = convert(tmp_path / "cased", "F16", tmp_path / "out")
    assert metadata(path)["tokenizer.ggml.normalizer.lowercase"] is False
    with Model.load(path) as model:
        assert model.tokenize(MIXED_SCRIPT) == tokenizer(MIXED_SCRIPT).input_ids
    assert not any("Korean" in text for text in warnings(plan(tmp_path / "cased")))


def test_korean_under_an_accent_stripping_tokenizer_is_warned_of(made: Path) -> None:
    """The runtime loses vowels of Hangul there: the user is told, and told what helps."""
    assert any("NFD" in text for text in warnings(plan(made)))


def test_plain_vocabulary_file_gives_the_same_tokens(encoder: Path, tmp_path: Path) -> None:
    """Older repositories hold ``vocab.txt`` alone: tokens, types and ends are the same."""
    whole = metadata(convert(encoder, "F16", tmp_path / "json"))
    tokens = json.loads((encoder / "tokenizer.json").read_text())["model"]["vocab"]
    (encoder / "tokenizer.json").unlink()
    lines = sorted(tokens, key=lambda token: int(tokens[token]))
    (encoder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plain = metadata(convert(encoder, "F16", tmp_path / "text"))
    said = {"GGUF.kv_count", "tokenizer.ggml.normalizer.lowercase"}  # true is the default, too
    assert {key: value for key, value in plain.items() if key not in said} == {
        key: value for key, value in whole.items() if key not in said
    }


def test_older_spelling_of_the_checkpoint_converts_alike(encoder: Path, tmp_path: Path) -> None:
    """A prefix, ``gamma`` and ``beta``, and heads of training change nothing in the result."""
    expected = convert(encoder, "F16", tmp_path / "new").read_bytes()
    tensors = load_file(encoder / "model.safetensors")
    older = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in tensors.items()
    }
    older["cls.predictions.bias"] = torch.zeros(VOCABULARY)
    older["bert.embeddings.position_ids"] = torch.arange(256)
    save_file(older, encoder / "model.safetensors")
    edit_json(
        encoder / "config.json", lambda value: value.update(architectures=["BertForMaskedLM"])
    )
    assert convert(encoder, "F16", tmp_path / "old").read_bytes() == expected


def _add_module(kind: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        modules = json.loads((folder / "modules.json").read_text())
        modules.append({"idx": 3, "path": "3", "type": f"sentence_transformers.models.{kind}"})
        (folder / "modules.json").write_text(json.dumps(modules))

    return change


def _edit(name: str, **values: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / name, lambda value: value.update(values))


def _edit_tokenizer(key: str, **values: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(
        folder / "tokenizer.json", lambda value: value[key].update(values)
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_add_module("Dense"), UnsupportedSource, "Dense"),
        (_add_module("Pooling"), UnsupportedSource, "more than one pooling"),
        (lambda folder: (folder / "modules.json").write_text("{}"), MalformedRecord, "list"),
        (lambda folder: (folder / "modules.json").write_text("[1]"), MalformedRecord, "list"),
        (lambda folder: (folder / "modules.json").write_text("[" * 9999), MalformedRecord, "JSON"),
        (lambda folder: (folder / "1_Pooling/config.json").unlink(), SourceIncomplete, "1_Pooling"),
        (
            _edit("1_Pooling/config.json", pooling_mode_max_tokens=True),
            UnsupportedSource,
            "pools by one of",
        ),
        (_edit("config.json", hidden_act="relu"), UnsupportedSource, "gelu"),
        (
            _edit("config.json", position_embedding_type="relative_key"),
            UnsupportedSource,
            "absolute",
        ),
        (_edit("config.json", is_decoder=True), UnsupportedSource, "encoder only"),
        (_edit("config.json", num_attention_heads=7), UnsupportedSource, "7 heads"),
        (
            _edit_tokenizer("model", continuing_subword_prefix="@@"),
            UnsupportedTokenizer,
            "continue with",
        ),
        (_edit_tokenizer("pre_tokenizer", type="Whitespace"), UnsupportedTokenizer, "pre-token"),
        (_edit_tokenizer("normalizer", type="NFKC"), UnsupportedTokenizer, "normalizer"),
    ],
)
def test_encoder_that_cannot_be_expressed_is_refused(
    encoder: Path, change: Callable[[Path], None], error: type[ModelVaultError], message: str
) -> None:
    """What would change the vectors silently is refused by name, before a byte is written."""
    change(encoder)
    with pytest.raises(error, match=message):
        plan(encoder)


def test_tokenizer_without_ends_is_refused(encoder: Path) -> None:
    """A vocabulary without [CLS] cannot frame a text."""
    (encoder / "tokenizer.json").unlink()
    (encoder / "vocab.txt").write_text("[PAD]\n[UNK]\n[SEP]\na\n")
    with pytest.raises(UnsupportedTokenizer, match="CLS"):
        plan(encoder)
