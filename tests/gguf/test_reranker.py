"""Qwen3-Reranker: a language model that answers yes or no becomes a reranker, or is asked about."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFReader
from safetensors.torch import load_file

from modelvault.core.protocol import Produced
from modelvault.errors import BadOption, UnsupportedSource, UnsupportedTokenizer
from tests.gguf.running import convert, edit_json, make_request, plan, run
from tests.gguf.test_golden import read_metadata
from tests.support.embeddings import classify, label, pooling
from tests.support.llamacpp import Model
from tests.support.tinyfamilies import make_tiny_family

NAME = "Qwen/Qwen3-Reranker-0.6B"
RANK = 4
PAIR = "<Query>: 금고의 열쇠는 누가? <Document>: Two people keep the key."
PROMPT = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)


def make(folder: Path, **changes: Any) -> Path:
    """Write a tiny Qwen 3 model whose vocabulary has both answers."""
    make_tiny_family(folder, "qwen3", **changes)
    edit_json(folder / "tokenizer.json", add_answers)
    return folder


def add_answers(file: dict[str, Any]) -> None:
    """Give a vocabulary both answers, in the places of words that nothing is merged from."""
    model = file["model"]
    parts = {part for merge in model["merges"] for part in merge}
    spare = [text for text in model["vocab"] if len(text) > 3 and text not in parts]
    for old, new in zip(spare, ("yes", "no")):
        model["merges"] = [merge for merge in model["merges"] if "".join(merge) != old]
        model["vocab"][new] = model["vocab"].pop(old)
    model["ignore_merges"] = True


@pytest.fixture(params=[False, True], ids=["own output", "shared output"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a model with an output of its own, and one without."""
    return make(tmp_path / "tiny", tie_word_embeddings=request.param)


def ranked(folder: Path, target: str, output: Path, **settings: Any) -> Path:
    """Return the file of a model of the reranker's name."""
    events = run(make_request(folder, [target], output, model=NAME, **settings))
    (produced,) = [event for event in events if isinstance(event, Produced)]
    assert produced.parameters["task"] == "rank"
    return output / produced.files[0]


def answers(folder: Path) -> list[int]:
    """Return the ids of yes and no."""
    vocabulary = transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    return [vocabulary["yes"], vocabulary["no"]]


def test_reranker_scores_as_the_answers_of_transformers(folder: Path, tmp_path: Path) -> None:
    """The runtime's score is the share of yes among both answers after the last token."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with Model.load(ranked(folder, "F32", tmp_path / "out")) as runtime:
        assert pooling(runtime) == RANK
        assert [label(runtime, number) for number in (0, 1)] == ["yes", "no"]
        ids = runtime.tokenize(PAIR)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1, answers(folder)]
        np.testing.assert_allclose(classify(runtime, ids), logits.softmax(-1).numpy(), atol=1e-4)


def test_head_is_the_rows_of_both_answers(folder: Path, tmp_path: Path) -> None:
    """Byte for byte, and no other output is written: as llama.cpp's converter does."""
    weights = load_file(folder / "model.safetensors")
    table = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    path = ranked(folder, "BF16", tmp_path / "out")
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    assert "output.weight" not in tensors
    head = tensors["cls.output.weight"]
    assert list(head.shape) == [128, 2]
    assert head.data.tobytes() == table[answers(folder)].view(torch.uint8).numpy().tobytes()


def test_prompt_stands_beside_the_template(folder: Path, tmp_path: Path) -> None:
    """A server takes the template named ``rerank``; the model's own stays."""
    metadata = read_metadata(ranked(folder, "F16", tmp_path / "out"))
    assert metadata["tokenizer.chat_templates"] == ["rerank"]
    template = metadata["tokenizer.chat_template.rerank"]
    assert PROMPT in template
    assert template.count("{query}") == template.count("{document}") == 1
    assert "tokenizer.chat_template" in metadata


def by_name(folder: Path) -> dict[str, Any]:
    """Tell a reranker by the model's name."""
    return {"model": "someone/qwen3-reranker-4B-ko"}


def by_card(folder: Path) -> dict[str, Any]:
    """Tell a reranker by the heading of its card."""
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Qwen3-Reranker-8B\n")
    return {}


def by_template(folder: Path) -> dict[str, Any]:
    """Tell a reranker by the sentence that it is asked with."""
    (folder / "chat_template.jinja").write_text(f"<|im_start|>system\n{PROMPT}<|im_end|>\n")
    return {}


def by_option(folder: Path) -> dict[str, Any]:
    """Tell a reranker by hand."""
    return {"options": {"task": "rank"}}


@pytest.mark.parametrize("tell", [by_name, by_card, by_template, by_option])
def test_reranker_is_recognised(tmp_path: Path, tell: Any) -> None:
    """By its name, its card, its template, or what the user says."""
    folder = make(tmp_path / "tiny")
    settings = tell(folder)
    run(make_request(folder, ["F16"], tmp_path / "out", **settings))
    (path,) = (tmp_path / "out").glob("*.gguf")
    assert read_metadata(path)["qwen3.pooling_type"] == RANK


def test_model_that_generates_stays_one(tmp_path: Path) -> None:
    """Nothing speaks of ranking, or the user says what it is to be."""
    folder = make(tmp_path / "tiny")
    plain = read_metadata(convert(folder, "F16", tmp_path / "a"))
    assert "qwen3.pooling_type" not in plain
    run(make_request(folder, ["F16"], tmp_path / "b", model=NAME, options={"task": "generate"}))
    (path,) = (tmp_path / "b").glob("*.gguf")
    assert "qwen3.pooling_type" not in read_metadata(path)


@pytest.mark.parametrize("family", ["qwen3", "qwen2", "gemma2"])
@pytest.mark.parametrize("where", ["name", "card"])
def test_model_that_may_be_a_reranker_is_asked_about(
    tmp_path: Path, family: str, where: str
) -> None:
    """Neither a chat model nor a reranker is made of it in silence."""
    make_tiny_family(tmp_path / "tiny", family)
    name = "org/ko-reranker-2b" if where == "name" else "org/model"
    if where == "card":
        (tmp_path / "tiny/README.md").write_text("---\npipeline_tag: text-ranking\n---\n")
    with pytest.raises(UnsupportedSource, match="may be a reranker") as caught:
        run(make_request(tmp_path / "tiny", ["F16"], tmp_path / "out", model=name))
    assert "--task generate" in caught.value.hint
    assert ("--task rank" in caught.value.hint) is (family == "qwen3")


def test_architecture_that_cannot_rank_so_is_refused(tmp_path: Path) -> None:
    """The runtime makes scores of two answers for Qwen 3 alone."""
    make_tiny_family(tmp_path / "tiny", "qwen2")
    with pytest.raises(BadOption, match="'qwen2'"):
        plan(tmp_path / "tiny", task="rank")
    with pytest.raises(BadOption, match="not one of rank, generate"):
        plan(tmp_path / "tiny", task="judge")


def test_reranker_without_its_answers_is_refused(tmp_path: Path) -> None:
    """A vocabulary that has no token for yes cannot be that of such a model."""
    make_tiny_family(tmp_path / "tiny", "qwen3")
    with pytest.raises(UnsupportedTokenizer, match="no token 'yes'"):
        plan(tmp_path / "tiny", task="rank")


@pytest.mark.parametrize("target", ["Q8_0", "Q4_K_M", "IQ4_XS"])
def test_quantised_reranker_loads(tmp_path: Path, target: str) -> None:
    """Every type has its head in a form that the runtime reads."""
    folder = make(tmp_path / "tiny", hidden_size=256, intermediate_size=256)
    with Model.load(ranked(folder, target, tmp_path / "out")) as runtime:
        assert classify(runtime, runtime.tokenize(PAIR)).sum() == pytest.approx(1.0, abs=1e-3)
