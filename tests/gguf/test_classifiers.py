"""Rerankers and classifiers: what llama.cpp says of a text is what transformers says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFReader

from modelvault.core.protocol import Warned
from modelvault.errors import SourceIncomplete, UnsupportedSource
from tests.gguf.running import convert, edit_json, plan
from tests.support.embeddings import Floats, classify, label, pooling
from tests.support.llamacpp import Model
from tests.support.tinybert import make_tiny_bert
from tests.support.tinyxlmr import make_tiny_xlmr

QUERY = "Who keeps the key of the safe?"
DOCUMENTS = (
    "금고의 열쇠는 두 사람이 나누어 가지고 있습니다.",
    "The old lighthouse keeper counted the ships before the storm came in.",
    "毎朝、手紙を書いて郵便局へ行きます。",
)
RANK = 4
CLOSE = 2e-3
"""The runtime computes GELU with a table of half-precision numbers."""


def logits(folder: Path, ids: list[int]) -> Floats:
    """Return transformers' outputs for some tokens of the first type, float32 ``[labels]``."""
    kind = transformers.AutoModelForSequenceClassification
    model = kind.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        result: Floats = model(input_ids=torch.tensor([ids])).logits[0].numpy()
    return result


def test_reranker_scores_pairs_as_transformers_does(tmp_path: Path) -> None:
    """As in BGE's rerankers: two texts with their ends between them, one number for the pair."""
    make_tiny_xlmr(tmp_path / "tiny", labels=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "tiny")
    with Model.load(convert(tmp_path / "tiny", "F32", tmp_path)) as model:
        assert pooling(model) == RANK
        assert label(model, 0) == "LABEL_0"
        for document in DOCUMENTS:
            ids = tokenizer(QUERY, document).input_ids
            found, expected = classify(model, ids), logits(tmp_path / "tiny", ids)
            assert found.shape == (1,)
            np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_pair_is_framed_as_the_tokenizer_frames_it(tmp_path: Path) -> None:
    """A server puts two texts together by the keys of the file."""
    make_tiny_xlmr(tmp_path / "xlmr", labels=1)
    make_tiny_bert(tmp_path / "bert", classifies=True, num_labels=1)
    for folder in (tmp_path / "xlmr", tmp_path / "bert"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        path = convert(folder, "F16", tmp_path)
        keys = {name: field.contents() for name, field in GGUFReader(path).fields.items()}
        ends = {
            name: [keys[f"tokenizer.ggml.{key}_token_id"]]
            if keys[f"tokenizer.ggml.add_{name}_token"]
            else []
            for name, key in (("bos", "bos"), ("eos", "eos"), ("sep", "seperator"))
        }
        with Model.load(path) as model:
            query, document = (model.tokenize(text)[1:-1] for text in (QUERY, DOCUMENTS[1]))
        pair = [*ends["bos"], *query, *ends["eos"], *ends["sep"], *document, *ends["eos"]]
        assert pair == tokenizer(QUERY, DOCUMENTS[1]).input_ids


def test_classifier_keeps_its_pooler_and_the_names_of_its_outputs(tmp_path: Path) -> None:
    """BERT's first layer of two is the pooler, which an embedder does without."""
    make_tiny_bert(tmp_path / "tiny", classifies=True, num_labels=3)
    names = {"0": "bad", "1": "fair", "2": "good"}
    edit_json(tmp_path / "tiny" / "config.json", lambda config: config.update(id2label=names))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "tiny")
    with Model.load(convert(tmp_path / "tiny", "F32", tmp_path)) as model:
        assert [label(model, number) for number in range(3)] == ["bad", "fair", "good"]
        for text in (QUERY, DOCUMENTS[1]):
            ids = tokenizer(text).input_ids
            assert model.tokenize(text) == ids
            np.testing.assert_allclose(
                classify(model, ids), logits(tmp_path / "tiny", ids), atol=CLOSE
            )


def test_outputs_without_names_are_all_there(tmp_path: Path) -> None:
    """The runtime counts outputs by their names: two of transformers' stand-ins are two."""
    make_tiny_xlmr(tmp_path / "tiny", labels=2)
    edit_json(tmp_path / "tiny" / "config.json", lambda config: config.pop("id2label", None))
    with Model.load(convert(tmp_path / "tiny", "F16", tmp_path)) as model:
        assert [label(model, number) for number in range(2)] == ["LABEL_0", "LABEL_1"]


def test_quantised_reranker_keeps_the_order(tmp_path: Path) -> None:
    """Small types cost a little of the score."""
    make_tiny_xlmr(tmp_path / "tiny", labels=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "tiny")
    pairs = [tokenizer(QUERY, document).input_ids for document in DOCUMENTS]
    expected = np.array([logits(tmp_path / "tiny", ids)[0] for ids in pairs])
    with Model.load(convert(tmp_path / "tiny", "Q8_0", tmp_path)) as model:
        found = np.array([classify(model, ids)[0] for ids in pairs])
    assert list(np.argsort(found)) == list(np.argsort(expected))


@pytest.mark.parametrize(("labels", "expected"), [(1, "F32"), (3, "Q4_K")])
def test_last_layer_has_the_type_that_the_runtimes_own_tool_gives_it(
    tmp_path: Path, labels: int, expected: str
) -> None:
    """It is no output of a vocabulary, and one row of it is a vector."""
    sizes: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
    make_tiny_bert(tmp_path / "tiny", classifies=True, num_labels=labels, **sizes)
    reader = GGUFReader(convert(tmp_path / "tiny", "Q4_K_M", tmp_path))
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["cls.output.weight"] == expected
    assert types["cls.weight"] == "Q4_K"


def test_pairs_that_are_told_apart_by_token_types_are_warned_of(tmp_path: Path) -> None:
    """The runtime gives every token the first type."""
    make_tiny_bert(tmp_path / "two", classifies=True, num_labels=1)
    make_tiny_bert(tmp_path / "one", classifies=True, num_labels=1, type_vocab_size=1)
    said = {name: _warnings(tmp_path / name) for name in ("one", "two")}
    assert "token types" in said["two"]
    assert "token types" not in said["one"]


def _warnings(folder: Path) -> str:
    return " ".join(event.message for event in plan(folder) if isinstance(event, Warned))


def test_head_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A classifier of another number of outputs, or one without its head, is refused."""
    make_tiny_xlmr(tmp_path / "tiny", labels=2)
    config = tmp_path / "tiny" / "config.json"
    edit_json(config, lambda values: values.update(id2label={"0": "a", "1": "b", "2": "c"}))
    with pytest.raises(UnsupportedSource, match=r"classifier\.out_proj"):
        plan(tmp_path / "tiny")
    make_tiny_xlmr(tmp_path / "embedder")
    kind = ["XLMRobertaForSequenceClassification"]
    edit_json(tmp_path / "embedder" / "config.json", lambda c: c.update(architectures=kind))
    with pytest.raises(SourceIncomplete, match=r"classifier\.dense"):
        plan(tmp_path / "embedder")
