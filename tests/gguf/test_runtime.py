"""What was converted runs in llama.cpp and computes what transformers computes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sentencepiece
import torch
import transformers

from modelvault_converters.gguf.families import blocks
from tests.gguf.running import convert, edit_json
from tests.support.llamacpp import Model, RuntimeRefused
from tests.support.tinymodel import MIXED_SCRIPT, Kind, make_tiny_llama

Floats = npt.NDArray[np.float32]

LIMITS = {"F32": 1e-4, "F16": 1e-2, "BF16": 8e-2, "Q8_0": 0.4}
"""Largest difference of a logit from transformers in float32, in deviations of the logits. The
runtime rounds activations to the type of the weights, which is what differs here."""


def reference(folder: Path, text: str) -> tuple[list[int], Floats]:
    """Return ids and float32 logits by transformers; ids of a sentencepiece model by its library.

    Without tokenizer.json transformers guesses by the family whether a space goes first.
    """
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if (folder / "tokenizer.model").exists():
        library = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        ids = [library.bos_id(), *library.encode(text)]
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        ids = [int(number) for number in tokenizer(text).input_ids]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].numpy()
    return ids, logits


def difference(folder: Path, target: str, output: Path) -> float:
    """Return how far a logit is from transformers' at most, in deviations of the logits."""
    ids, expected = reference(folder, MIXED_SCRIPT)
    return compared(convert(folder, target, output), ids, expected)


def compared(path: Path, ids: list[int], expected: Floats) -> float:
    """Return how far a logit of a file is from ``expected`` at most, in their deviations."""
    with Model.load(path) as model:
        assert model.tokenize(MIXED_SCRIPT) == ids
        return float(np.abs(model.logits(ids) - expected).max() / expected.std())


@pytest.mark.parametrize("kind", ["bpe", "spm"])
@pytest.mark.parametrize("target", LIMITS)
def test_converted_model_computes_what_transformers_does(
    tiny: Callable[[Kind], Path], tmp_path: Path, kind: Kind, target: str
) -> None:
    """Token ids of a mixed-script text are equal, logits after each of them are close."""
    assert difference(tiny(kind), target, tmp_path) < LIMITS[target]


@pytest.mark.parametrize("target", ["Q6_K", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_K_M", "Q4_0", "Q2_K"])
def test_quantized_model_stays_near_the_original(
    tiny: Callable[[Kind], Path], tmp_path: Path, target: str
) -> None:
    """Every type loads in the runtime; what its rounding costs stays within its bits."""
    ids, expected = reference(tiny("bpe"), MIXED_SCRIPT)
    with Model.load(convert(tiny("bpe"), target, tmp_path)) as model:
        computed = model.logits(ids)
    limit = {"Q2_K": 1.0, "Q4_0": 0.2, "Q6_K": 0.01}.get(target, 0.1)
    assert divergence(expected, computed) < limit


def divergence(expected: Floats, computed: Floats) -> float:
    """Return the mean Kullback-Leibler divergence, in nats."""
    one, other = log_softmax(expected), log_softmax(computed)
    return float((np.exp(one) * (one - other)).sum(axis=-1).mean())


def log_softmax(logits: Floats) -> Floats:
    """Return the logarithms of the probabilities."""
    top = logits - logits.max(axis=-1, keepdims=True)
    result: Floats = top - np.log(np.exp(top).sum(axis=-1, keepdims=True))
    return result


def test_unpermuted_projections_are_caught(
    tiny: Callable[[Kind], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: without the change of rows the comparison above fails by far."""
    monkeypatch.setattr(blocks, "pairs", lambda _head: ())
    assert difference(tiny("bpe"), "F32", tmp_path) > 0.5


def test_wrong_rope_factors_are_caught(model: Path, tmp_path: Path) -> None:
    """Negative control: a converter blind to llama3 scaling would fail the comparison."""
    ids, expected = reference(model, MIXED_SCRIPT)
    plain = {"rope_type": "default", "rope_theta": 500000.0}
    edit_json(model / "config.json", lambda config: config.update(rope_parameters=plain))
    with Model.load(convert(model, "F32", tmp_path / "out")) as runtime:
        assert np.abs(runtime.logits(ids) - expected).max() > 0.05


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
        {"rope_type": "default", "rope_theta": 1234567.0},
        {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 2048,
        },
    ],
    ids=lambda rope: str(rope["rope_type"]),
)
def test_rotary_scaling_is_carried_over(model: Path, tmp_path: Path, rope: dict[str, Any]) -> None:
    """Each kind of scaling computes what transformers computes with it."""
    edit_json(model / "config.json", lambda config: config.update(rope_parameters=rope))
    assert difference(model, "F32", tmp_path / "out") < 1e-3


def test_older_configuration_computes_the_same(model: Path, tmp_path: Path) -> None:
    """``rope_scaling`` and ``rope_theta`` of transformers 4 mean what ``rope_parameters`` does."""
    new = convert(model, "F16", tmp_path / "new").read_bytes()

    def to_older(config: dict[str, Any]) -> None:
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope

    edit_json(model / "config.json", to_older)
    assert convert(model, "F16", tmp_path / "old").read_bytes() == new


def test_tied_embeddings_need_no_output(tmp_path: Path) -> None:
    """A model whose output shares the embedding runs without an output tensor."""
    make_tiny_llama(tmp_path / "tied", tied=True)
    assert difference(tmp_path / "tied", "F32", tmp_path / "out") < LIMITS["F32"]


def test_biases_of_attention_and_mlp_are_carried_over(tmp_path: Path) -> None:
    """Biases, those of the permuted projections included, compute what transformers does."""
    torch.manual_seed(0)
    make_tiny_llama(tmp_path / "biased")
    config = transformers.LlamaConfig.from_pretrained(
        tmp_path / "biased", attention_bias=True, mlp_bias=True
    )
    biased = transformers.LlamaForCausalLM(config)
    for name, parameter in biased.named_parameters():
        torch.nn.init.normal_(parameter, std=0.5 if name.endswith("bias") else 0.06)
    biased.save_pretrained(tmp_path / "biased")
    assert difference(tmp_path / "biased", "F32", tmp_path / "out") < 1e-3


def test_padded_vocabulary_computes_the_same(tmp_path: Path) -> None:
    """Rows of the embedding beyond the tokenizer become unused tokens, and all rows count."""
    make_tiny_llama(tmp_path / "padded", vocabulary_rows=1088)
    assert difference(tmp_path / "padded", "F32", tmp_path / "out") < LIMITS["F32"]


def test_mistral_is_converted_like_llama(model: Path, tmp_path: Path) -> None:
    """``MistralForCausalLM`` with a null window computes what transformers computes."""
    plain = {"rope_type": "default", "rope_theta": 1000000.0}

    def to_mistral(config: dict[str, Any]) -> None:
        config.update(
            architectures=["MistralForCausalLM"],
            model_type="mistral",
            sliding_window=None,
            rope_parameters=plain,
        )

    edit_json(model / "config.json", to_mistral)
    assert difference(model, "F32", tmp_path / "out") < LIMITS["F32"]


def test_generation_stops_where_the_publisher_says(
    tiny: Callable[[Kind], Path], tmp_path: Path
) -> None:
    """The same prompt continues with the same tokens as in transformers, greedily."""
    folder = tiny("bpe")
    ids, _ = reference(folder, "The old lighthouse")
    source: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    output = source.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0].tolist()
    end = json.loads((folder / "config.json").read_text())["eos_token_id"]
    expected = output[len(ids) :]
    expected = expected[: expected.index(end)] if end in expected else expected
    with Model.load(convert(folder, "F32", tmp_path)) as model:
        assert model.generate(ids, 24) == expected


def test_truncated_file_is_refused_by_the_runtime(
    tiny: Callable[[Kind], Path], tmp_path: Path
) -> None:
    """Negative control of the runner: it reports what llama.cpp refuses."""
    path = convert(tiny("bpe"), "F16", tmp_path)
    path.write_bytes(path.read_bytes()[:-4096])
    with pytest.raises(RuntimeRefused, match="not within the file bounds"):
        Model.load(path)
