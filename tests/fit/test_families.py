"""The shapes of the families that people run, read off their configurations."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelvault.fit.cache import CacheType, Load, llamacpp_cache, paged_cache
from modelvault.fit.config_shape import shape_of_config

VECTORS = Path(__file__).parents[1] / "vectors" / "fit" / "families.json"
FAMILIES: list[dict[str, Any]] = json.loads(VECTORS.read_text())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: str(family["name"]))
def test_family_caches_what_its_publisher_says(family: dict[str, Any]) -> None:
    """Bytes a token, layers with a window, and states: what the published numbers come to."""
    shape = shape_of_config(family["config"])
    values = sum(found.cached_values + found.index_width for found in shape.attentions)
    assert 2 * values == family["token_bytes"]
    windows = [found.window for found in shape.attentions if found.window]
    assert len(windows) == family["windowed_layers"]
    assert set(windows) == ({family["window"]} if family["window"] else set())
    states = sum(found.convolution + found.state for found in shape.recurrents)
    assert states == family["state_values"]
    assert shape.assumptions == ()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: str(family["name"]))
def test_cache_grows_with_context_and_sequences(family: dict[str, Any]) -> None:
    """Twice the sequences take twice as much; a longer context never less."""
    shape = shape_of_config(family["config"])
    for count in (llamacpp_cache, paged_cache):
        one = count(shape, Load(context=4096))
        assert count(shape, Load(context=4096, sequences=2)).total == 2 * one.total
        assert count(shape, Load(context=8192)).total >= one.total


def test_window_stops_the_cache_from_growing() -> None:
    """Beyond its window a layer of Gemma 3 holds no more, whatever the context."""
    (config,) = (item["config"] for item in FAMILIES if item["name"] == "Gemma 3 27B")
    shape = shape_of_config(config)
    near, far = (paged_cache(shape, Load(context=tokens)).total for tokens in (8192, 16384))
    assert far - near == 8192 * 10 * 16 * 128 * 2 * 2


def test_latent_is_held_whole_by_every_gpu_and_heads_are_divided() -> None:
    """Eight GPUs take an eighth of a cache of heads each, and all of a latent."""
    named = {item["name"]: shape_of_config(item["config"]) for item in FAMILIES}
    latent, heads = named["DeepSeek V3"], named["Llama 3.1 70B"]
    load = Load(context=8192)
    assert paged_cache(latent, load, gpus=8) == paged_cache(latent, load)
    assert paged_cache(heads, load, gpus=8).total * 8 == paged_cache(heads, load).total
    assert paged_cache(heads, load, gpus=16) == paged_cache(heads, load, gpus=8)


@pytest.mark.parametrize(("kind", "bits"), [("f16", 16), ("fp8", 8), ("q8_0", 8.5), ("q4_0", 4.5)])
def test_quantised_cache_takes_its_scales_along(kind: str, bits: float) -> None:
    """A block of 32 values has a scale of 16 bits."""
    named = {item["name"]: shape_of_config(item["config"]) for item in FAMILIES}
    cache = llamacpp_cache(named["Llama 3.1 8B"], Load(context=1024, cache=CacheType.parse(kind)))
    assert cache.tokens == 131072 * 1024 * bits / 16


def test_embedder_keeps_no_cache() -> None:
    """What writes no text has nothing to remember."""
    named = {item["name"]: shape_of_config(item["config"]) for item in FAMILIES}
    assert not named["bge-m3"].causal
    assert llamacpp_cache(named["bge-m3"], Load(context=8192)).total == 0
