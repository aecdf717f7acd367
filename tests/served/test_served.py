"""Real vLLM serves what we convert, and computes what the weights say."""

import pytest

from tests.served.bench import Bench
from tests.served.engine import Engine, RefusedError
from tests.served.journey import VARIANTS
from tests.served.limits import MIXTURES, NEAR, TARGETS, choose_dtype, choose_limit
from tests.support.trainedmodel import FAMILIES, Family

_NO_KERNEL = {
    "AWQ": "No WNA16 MoE backend supports the deployment configuration",
    "W4A16": "No WNA16 MoE backend supports the deployment configuration",
    "FP8": "Unsupported FP8 MoE backend: NONE",
    "INT8": "No Int8 MoE backend supports the deployment configuration",
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_installed_folder_is_served_as_its_weights_say(
    family: Family, target: str, bench: Bench
) -> None:
    """Predictions and greedy text are those of the dequantised weights, and near the source's."""
    folder = bench.journey.install(family, target)
    served = bench.serve(family, folder, choose_dtype(family, target))
    same = bench.compare(f"{family} {target}, its weights", family, served, folder)
    source = bench.journey.source(family)
    near = bench.compare(f"{family} {target}, its source", family, served, source)
    assert not same.exceeds(choose_limit(family, target)), same
    assert not near.exceeds(NEAR[target]), near


@pytest.mark.parametrize("target", ["AWQ", "FP8"])
@pytest.mark.parametrize("name", VARIANTS)
def test_unusual_shapes_are_served_as_well(name: str, target: str, bench: Bench) -> None:
    """Biases and tied outputs, a window shorter than the text, a dense layer in a mixture."""
    family, _ = VARIANTS[name]
    folder = bench.journey.install(name, target)
    served = bench.serve(name, folder, choose_dtype(family, target))
    same = bench.compare(f"{name} {target}, its weights", name, served, folder)
    source = bench.journey.source(name)
    near = bench.compare(f"{name} {target}, its source", name, served, source)
    assert not same.exceeds(choose_limit(family, target)), same
    assert not near.exceeds(NEAR[target]), near


@pytest.mark.parametrize(("target", "group"), [("AWQ", "32"), ("W4A16", "64")])
def test_smaller_groups_are_served_as_well(target: str, group: str, bench: Bench) -> None:
    """The size that ``config.json`` names is the one that vLLM computes with."""
    folder = bench.journey.install("qwen2", target, "--group-size", group)
    served = bench.serve("qwen2", folder, choose_dtype("qwen2", target))
    same = bench.compare(f"qwen2 {target} in {group}, its weights", "qwen2", served, folder)
    source = bench.journey.source("qwen2")
    near = bench.compare(f"qwen2 {target} in {group}, its source", "qwen2", served, source)
    assert not same.exceeds(choose_limit("qwen2", target)), same
    assert not near.exceeds(NEAR[target]), near


@pytest.mark.parametrize("target", ["W4A16", "FP8", "INT8"])
def test_folder_is_served_without_any_flag(target: str, bench: Bench) -> None:
    """In the source's own bf16, whose coarser rounding shows, it is near weights and source."""
    folder = bench.journey.install("llama", target)
    served = bench.serve("llama", folder, "auto")
    same = bench.compare(f"llama {target}, bf16, its weights", "llama", served, folder)
    source = bench.journey.source("llama")
    near = bench.compare(f"llama {target}, bf16, its source", "llama", served, source)
    assert same.divergence < 0.02
    assert not near.exceeds(NEAR[target]), near


@pytest.mark.parametrize("family", FAMILIES)
def test_source_is_served_as_transformers_computes_it(family: Family, bench: Bench) -> None:
    """In f32 the two agree on the model itself: what differs elsewhere is quantisation."""
    source = bench.journey.source(family)
    served = bench.serve(family, source, "float32")
    same = bench.compare(f"{family}, source", family, served, source)
    assert same.divergence < 1e-6
    assert same.difference < 1e-4
    assert same.lead < 1e-3
    assert same.followed < 1e-3


@pytest.mark.parametrize("target", TARGETS)
def test_experts_without_a_kernel_are_refused_in_vllms_words(
    target: str, bench: Bench, own_kernels: Engine
) -> None:
    """Without AMX; with it they may be served. When vLLM learns it, ``experts.py`` may go."""
    (family, *_) = MIXTURES
    folder = bench.journey.install(family, target)
    dtype = choose_dtype(family, target)
    try:
        served = own_kernels.ask(folder, bench.prompts(family), dtype=dtype)
    except RefusedError as refusal:
        assert _NO_KERNEL[target] in str(refusal)  # noqa: PT017 - on some CPUs it is none
    else:
        assert own_kernels.has_amx()
        source = bench.journey.source(family)
        near = bench.compare(f"{family} {target}, AMX, its source", family, served, source)
        assert not near.exceeds(NEAR[target]), near


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text"])
def test_gemma_in_f16_is_refused_and_needs_no_flag(family: Family, bench: Bench) -> None:
    """In f16 Gemma is not computed: the AWQ folder names bf16 by itself."""
    folder = bench.journey.install(family, "AWQ")
    with pytest.raises(RefusedError, match="does not support float16"):
        bench.serve(family, folder, "float16")
