"""Every family computes in llama.cpp what it computes in transformers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelvault_converters.gguf.families import decoder, experts
from modelvault_converters.gguf.tensors import Part, Tensor
from tests.gguf.running import convert, edit_json
from tests.gguf.test_runtime import compared, difference, reference
from tests.support.tinyfamilies import FAMILIES, make_tiny_family
from tests.support.tinymodel import MIXED_SCRIPT

NEAR = 5e-3
"""Largest difference of a logit in float32, in deviations of the logits."""


@pytest.mark.parametrize("family", FAMILIES)
def test_family_computes_what_transformers_does(tmp_path: Path, family: str) -> None:
    """Token ids of a mixed-script text are equal, logits after each of them are close."""
    make_tiny_family(tmp_path / "tiny", family)
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") < NEAR


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "qwen3_moe"])
def test_fused_experts_give_the_same_file(tmp_path: Path, family: str) -> None:
    """Experts in one tensor, as transformers 5 may save them, are the same experts."""
    made = []
    for fused in (False, True):
        folder = tmp_path / str(fused) / "tiny"
        make_tiny_family(folder, family, fused=fused)
        made.append(convert(folder, "F16", tmp_path / str(fused) / "out").read_bytes())
    assert made[0] == made[1]


def without_addition(tensor: Tensor) -> Tensor:
    """Return the tensor as a converter that adds nothing would describe it."""
    return replace(tensor, parts=tuple(replace(part, add=0.0) for part in tensor.parts))


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text"])
def test_norm_without_its_one_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Negative control: Gemma's norms taken as stored fail the comparison by far."""
    plain = decoder.same

    def forgetful(*args: Any, **settings: Any) -> Tensor:
        return without_addition(plain(*args, **settings))

    monkeypatch.setattr(decoder, "same", forgetful)
    make_tiny_family(tmp_path / "tiny", family)
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") > 20 * NEAR


def test_experts_in_another_order_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: experts that do not match their router fail the comparison."""
    plain = experts.stacked

    def reversed_experts(*args: Any, **settings: Any) -> Iterator[Tensor]:
        for tensor in plain(*args, **settings):
            parts: tuple[Part, ...] = tensor.parts[::-1]
            yield replace(tensor, parts=parts)

    monkeypatch.setattr("modelvault_converters.gguf.families.qwen_moe.stacked", reversed_experts)
    make_tiny_family(tmp_path / "tiny", "qwen3_moe")
    assert difference(tmp_path / "tiny", "F32", tmp_path / "out") > 20 * NEAR


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gemma2", {"attn_logit_softcapping": 5.0}),
        ("gemma2", {"final_logit_softcapping": 1.0}),
        ("gemma3_text", {"sliding_window": 512}),
        ("phi3", {"max_position_embeddings": 4096}),
    ],
    ids=["attention cap", "last cap", "window", "attention factor"],
)
def test_metadata_that_is_wrong_is_caught(
    tmp_path: Path, family: str, changes: dict[str, Any]
) -> None:
    """Negative control: a value of another model in the file fails the comparison."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, family)
    ids, expected = reference(folder, MIXED_SCRIPT)
    edit_json(folder / "config.json", lambda config: config.update(changes))
    assert compared(convert(folder, "F32", tmp_path / "out"), ids, expected) > 5 * NEAR
