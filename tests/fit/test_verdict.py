"""Verdicts: what fits, how far one could go, and what a GPU is."""

import dataclasses

import pytest

from modelvault.errors import BadOption
from modelvault.fit.advice import advise
from modelvault.fit.cache import CacheType, Load
from modelvault.fit.config_shape import shape_of_config
from modelvault.fit.estimate import Model, estimate
from modelvault.fit.gpus import Gpu, find_gpu, gpu_names
from modelvault.fit.runtimes import RUNTIMES, find_runtime
from modelvault.fit.verdict import Place, Verdict, judge

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
}
MODEL = Model(shape=shape_of_config(CONFIG), weights=4_920_000_000)
GIB = 1024**3


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_limits_are_where_it_stops_fitting(runtime: str) -> None:
    """The largest context fits and the next step does not; so with sequences."""
    place = Place(gpu=find_gpu("16GB"))
    found = judge(MODEL, find_runtime(runtime), Load(context=4096, sequences=2), place)
    budget = place.budget(find_runtime(runtime))

    def total(context: int, sequences: int) -> int:
        load = Load(context=context, sequences=sequences)
        return estimate(MODEL, find_runtime(runtime), load).total

    assert total(found.largest_context, 2) <= budget < total(found.largest_context + 256, 2)
    assert total(4096, found.most_sequences) <= budget < total(4096, found.most_sequences + 1)


def test_context_ends_where_the_model_was_trained() -> None:
    """More memory than the trained context takes gives no longer one."""
    found = judge(MODEL, find_runtime("llamacpp"), Load(context=4096), Place(gpu=find_gpu("h200")))
    assert found.largest_context == 131072


@pytest.mark.parametrize(
    ("memory", "verdict"), [("24GB", "fits"), ("6.5GB", "tight"), ("6GB", "no"), ("4GB", "no")]
)
def test_verdict_follows_the_memory(memory: str, verdict: str) -> None:
    """Room to spare, hardly any, none."""
    load = Load(context=8192)
    found = judge(MODEL, find_runtime("llamacpp"), load, Place(gpu=find_gpu(memory)))
    assert found.verdict == verdict


def test_sequences_that_queue_are_tight_in_vllm() -> None:
    """One of sixteen loads and starts; the others wait for its blocks."""
    load = Load(context=8192, sequences=16)
    found = judge(MODEL, find_runtime("vllm"), load, Place(gpu=find_gpu("16GB")))
    assert found.verdict is Verdict.TIGHT
    assert 0 < found.most_sequences < 16


def test_what_others_hold_is_not_there() -> None:
    """A GPU of which most is taken by another program has only the rest."""
    taken = Gpu(name="busy", memory=24 * GIB, used=20 * GIB)
    found = judge(MODEL, find_runtime("llamacpp"), Load(context=4096), Place(gpu=taken))
    assert found.budget == 4 * GIB
    assert found.verdict is Verdict.NO


def test_gpus_share_what_is_divided() -> None:
    """Two GPUs take half of the weights and of the cache each, and the exchange besides."""
    one, two = (estimate(MODEL, find_runtime("vllm"), Load(context=8192), gpus=n) for n in (1, 2))
    assert two.weights * 2 == one.weights
    assert two.cache * 2 == one.cache
    assert two.overhead > one.overhead


@pytest.mark.parametrize("gpus", [3, 5, 64])
def test_heads_that_cannot_be_divided_are_refused(gpus: int) -> None:
    """The hint names the numbers that go."""
    with pytest.raises(BadOption) as caught:
        estimate(MODEL, find_runtime("vllm"), Load(context=4096), gpus=gpus)
    assert "--gpus 1, 2, 4, 8, 16 can" in caught.value.hint


def test_llamacpp_spreads_layers_over_any_number() -> None:
    """Three GPUs are as good as two: each has layers of its own."""
    three = estimate(MODEL, find_runtime("llamacpp"), Load(context=4096), gpus=3)
    one = estimate(MODEL, find_runtime("llamacpp"), Load(context=4096))
    assert one.weights / 3 <= three.weights < one.weights / 2
    assert three.compute == one.compute


def test_cache_that_a_runtime_lacks_is_refused() -> None:
    """VLLM has none of q8_0, llama.cpp none of fp8; each says what it has."""
    for runtime, kind in (("vllm", "q8_0"), ("llamacpp", "fp8"), ("ollama", "q5_1")):
        load = Load(context=4096, cache=CacheType.parse(kind))
        with pytest.raises(BadOption, match=f"{runtime} has no cache of {kind}"):
            estimate(MODEL, find_runtime(runtime), load)


def test_projector_is_loaded_beside_the_model() -> None:
    """What takes images in counts in full, on every GPU that llama.cpp uses."""
    seeing = dataclasses.replace(MODEL, projector=800_000_000)
    plain, more = (
        estimate(model, find_runtime("llamacpp"), Load(context=4096)) for model in (MODEL, seeing)
    )
    assert more.weights - plain.weights == 800_000_000


@pytest.mark.parametrize(
    ("text", "mib"),
    [("24GB", 24576), ("24 GiB", 24576), ("80g", 81920), ("rtx4090", 24564), ("RTX 4090", 24564),
     ("NVIDIA GeForce RTX 4090", 24564), ("4090", 24564), ("A100-80", 81920), ("a100-80gb", 81920),
     ("H100", 81559), ("NVIDIA L40S", 46068), ("Tesla T4", 15360), ("1.5GB", 1536)],
)  # fmt: skip
def test_gpu_is_found_however_it_is_spelled(text: str, mib: int) -> None:
    """Names as people, vendors and nvidia-smi write them; sizes as vendors count."""
    assert find_gpu(text).memory == mib * 1024**2


@pytest.mark.parametrize("text", ["", "0GB", "rtx9999", "24", "-8GB", "99999GB", "24GBB", "é"])
def test_gpu_that_is_none_is_refused(text: str) -> None:
    """A hint says how to write one."""
    with pytest.raises(BadOption) as caught:
        find_gpu(text)
    assert "24GB" in caught.value.hint


def test_every_named_gpu_is_found_by_its_name() -> None:
    """The table's spelling is one of those that are read."""
    assert all(find_gpu(name).name == name for name in gpu_names())


def test_advice_is_said_once_and_with_its_source() -> None:
    """Ollama beyond five users, what llama.cpp does not know, a licence that rules out use."""
    found = advise(
        runtime="ollama",
        sequences=8,
        architecture="HyperCLOVAXForCausalLM",
        license_id="cc-by-nc-4.0",
    )
    texts = [item.text for item in found]
    assert len(texts) == len(set(texts)) == 3
    assert all(item.source for item in found)
    assert not advise(
        runtime="vllm", sequences=8, architecture="LlamaForCausalLM", license_id="mit"
    )
