"""Every kind of rotary scaling, in every family, is right in the runtime or refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelvault.errors import UnsupportedSource
from modelvault_converters.gguf.families import FAMILIES as KNOWN
from modelvault_converters.gguf.families import bert
from tests.gguf.running import edit_json, plan, warnings
from tests.gguf.test_deepseek import YARN, make_tiny_deepseek
from tests.gguf.test_family_runtime import NEAR
from tests.gguf.test_runtime import difference
from tests.support.tinyfamilies import FAMILIES, make_tiny_family
from tests.support.tinymodel import make_tiny_llama

Rope = dict[str, Any]

_BASE = {"rope_theta": 10000.0, "factor": 4.0}
KINDS: dict[str, Rope] = {
    "default": {"rope_theta": 10000.0},
    "linear": _BASE,
    "dynamic": _BASE,
    "yarn": _BASE | {"original_max_position_embeddings": 128},
    "llama3": _BASE
    | {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128},
    "longrope": _BASE
    | {
        "long_factor": [1.0 + 0.25 * number for number in range(16)],
        "short_factor": [1.0] * 16,
        "original_max_position_embeddings": 128,
    },
    "su": _BASE,
    "mrope": {"rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
    "proportional": {"rope_theta": 10000.0, "partial_rotary_factor": 0.25},
    "ntk-by-parts": _BASE,
}
"""Kind of rotary scaling → what a configuration says of it."""

USUAL = {"default", "linear", "dynamic", "yarn"}
HELD: dict[str, set[str]] = {
    "llama": USUAL | {"llama3"},
    "mixtral": USUAL | {"llama3"},
    "phi3": {"default", "longrope", "su"},
    "cohere": {"default"},
    "cohere2": {"default"},
    "exaone4": USUAL | {"llama3"},
    "exaone_moe": {"default", "llama3"},
    "gpt_oss": {"default", "yarn"},
    "deepseek_v2": {"default", "yarn"},
    "deepseek_v3": {"default", "yarn"},
}
"""Family → the scalings that a file holds, where they are not the usual ones."""

NAMES = ("llama", *FAMILIES, "deepseek_v2", "deepseek_v3")
LAYERED = ("gemma3_text", "olmo3")


def make(folder: Path, family: str) -> None:
    """Write a tiny model of a family."""
    if family == "llama":
        make_tiny_llama(folder)
    elif family.startswith("deepseek"):
        make_tiny_deepseek(folder, newer=family.endswith("v3"))
    else:
        make_tiny_family(folder, family)


@pytest.fixture(scope="module")
def models() -> dict[str, Path]:
    """Tiny models by family, made once; a test puts its own configuration beside the weights."""
    return {}


@pytest.fixture
def tiny(
    models: dict[str, Path], family: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny model of the test's family, whose configuration the test may change."""
    if family not in models:
        models[family] = tmp_path_factory.mktemp("rope") / family
        make(models[family], family)
    folder = tmp_path / "tiny"
    folder.mkdir()
    for path in models[family].iterdir():
        if path.name == "config.json":
            (folder / path.name).write_bytes(path.read_bytes())
        else:
            (folder / path.name).symlink_to(path)
    return folder


def say(folder: Path, family: str, kind: str, spelling: str) -> None:
    """Write a scaling into a configuration, in one of the spellings that publishers use."""
    rope = dict(KINDS[kind])
    if family.startswith("deepseek") and kind == "yarn":
        rope = dict(YARN)
    if family == "phi3" and kind == "su":
        rope = dict(KINDS["longrope"])  # the older name of the same

    def change(config: dict[str, Any]) -> None:
        config.pop("rope_parameters", None)
        config["max_position_embeddings"] = 512
        if spelling == "rope_parameters":
            said: Rope = {"rope_type": kind} | rope
            if family in LAYERED:
                local = {"rope_type": "default", "rope_theta": 10000.0}
                said = {"full_attention": said, "sliding_attention": local}
            config["rope_parameters"] = said
        else:
            config["rope_theta"] = rope.pop("rope_theta")
            config["rope_scaling"] = None if kind == "default" else {spelling: kind} | rope

    edit_json(folder / "config.json", change)


@pytest.mark.parametrize("spelling", ["rope_parameters", "rope_type", "type"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", NAMES)
def test_scaling_is_taken_or_refused(tiny: Path, family: str, kind: str, spelling: str) -> None:
    """Whatever a family's file has no place for is refused by name, in every spelling."""
    say(tiny, family, kind, spelling)
    held = HELD.get(family, USUAL)
    if kind in held:
        said = "dynamic" in " ".join(warnings(plan(tiny)))
        assert said is (kind == "dynamic")
        return
    with pytest.raises(UnsupportedSource) as caught:
        plan(tiny)
    assert f"'{kind}'" in str(caught.value)


HELD_PAIRS = [
    (family, kind)
    for family in NAMES
    for kind in sorted(HELD.get(family, USUAL))
    if kind != "default"
]


@pytest.mark.parametrize(("family", "kind"), HELD_PAIRS)
def test_scaling_that_is_taken_computes_what_transformers_does(
    tiny: Path, tmp_path: Path, family: str, kind: str
) -> None:
    """Logits of a text are those of transformers, with every scaling that a file holds."""
    say(tiny, family, kind, "rope_parameters")
    assert difference(tiny, "F32", tmp_path / "out") < NEAR


@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma2", "olmo2"])
def test_sections_of_layers_are_refused_where_all_are_alike(tiny: Path, family: str) -> None:
    """A family that turns all layers alike does not lose a scaling said for some of them."""
    scaled = {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}
    edit_json(tiny / "config.json", lambda config: config.update(rope_parameters=scaled))
    with pytest.raises(UnsupportedSource, match="section for each kind of layer"):
        plan(tiny)


@pytest.mark.parametrize("family", LAYERED)
def test_scaling_of_windows_is_refused(tiny: Path, family: str) -> None:
    """The runtime scales no layer that sees a window, so such a scaling is refused."""
    scaled = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
    }
    edit_json(tiny / "config.json", lambda config: config.update(rope_parameters=scaled))
    with pytest.raises(UnsupportedSource, match=r"'linear' is not known .* 'sliding_attention'"):
        plan(tiny)


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3_text"])
def test_two_sections_that_differ_are_refused(tiny: Path, family: str) -> None:
    """``rope_scaling`` beside ``rope_parameters`` is not lost: they must agree."""
    scaled = {"rope_type": "linear", "factor": 16.0}
    edit_json(tiny / "config.json", lambda config: config.update(rope_scaling=scaled))
    with pytest.raises(UnsupportedSource, match="say different things"):
        plan(tiny)


def test_every_family_is_compared(models: dict[str, Path], tmp_path: Path) -> None:
    """No class that the converter knows is left out above, but for those without a rotary part."""
    compared = {"LlamaForCausalLM", "DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"}
    for family in FAMILIES:
        compared |= set(architectures(family, models, tmp_path))
    assert {name for name in KNOWN if name not in compared} == {
        "MistralForCausalLM",  # Llama's function
        "Qwen2Model", "Qwen3Model",  # Qwen's
        "Gemma3ForConditionalGeneration",  # Gemma's
        "StableLMEpochForCausalLM",  # StableLM's
        "ExaoneForCausalLM",  # unknown to transformers: test_korean_families.py
        "ExaoneMoEForCausalLM",  # the older spelling of EXAONE's mixture
        *bert.ARCHITECTURES,  # positions have a table
    }  # fmt: skip


def architectures(family: str, models: dict[str, Path], tmp_path: Path) -> list[str]:
    """Return the classes that a tiny model of a family names."""
    if family not in models:
        models[family] = tmp_path / family
        make(models[family], family)
    names: list[str] = json.loads((models[family] / "config.json").read_text())["architectures"]
    return names
