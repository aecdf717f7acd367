"""A family that describes a model wrongly is told so, apart from what is wrong with a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from modelvault.errors import FamilyDefect, UnsupportedSource
from modelvault_converters.gguf import families
from modelvault_converters.gguf.agreement import check_blueprint
from modelvault_converters.gguf.families.names import find_key_fault, tensor_name
from modelvault_converters.gguf.tensors import Blueprint, Entry, Part, Tensor
from tests.gguf.running import plan
from tests.support.tinyfamilies import make_tiny_family

WIDE = Part(name="model.layers.0.mlp.up_proj.weight", shape=(8, 4))
UP = Tensor(name="blk.0.ffn_up.weight", shape=(8, 4), parts=(WIDE,))
NORM = Tensor(
    name="blk.0.attn_norm.weight",
    shape=(4,),
    parts=(Part(name="model.layers.0.input_layernorm.weight", shape=(4,)),),
)
LAYERS = Entry(key="qwen2.block_count", kind="u32", value=1)


def blueprint(*tensors: Tensor, **changes: Any) -> Blueprint:
    """Return a model of one block."""
    plain = Blueprint(
        architecture="qwen2",
        entries=(LAYERS,),
        tensors=tensors,
        vocabulary=8,
        layers=1,
        heads=1,
        kv_heads=1,
    )
    return replace(plain, **changes)


def parted(*parts: Part) -> Tensor:
    """Return the matrix with other parts."""
    return replace(UP, parts=parts)


def test_sound_blueprints_pass() -> None:
    """Tensors that are whole, split, reordered, transposed, vectors or constants are accepted."""
    halves = replace(WIDE, count=4), replace(WIDE, first=4)
    turned = Part(name="other", shape=(4, 8), transposed=True)
    table = Tensor(name="rope_freqs.weight", shape=(2,), constant=np.ones(2, dtype=np.float32))
    for tensor in (UP, parted(*halves), parted(turned), parted(replace(WIDE, permutation=(1, 0)))):
        check_blueprint(blueprint(tensor, NORM, table))


@pytest.mark.parametrize(
    ("tensors", "changes", "message"),
    [
        ((UP, UP), {}, "tensor 'blk.0.ffn_up.weight' is there 2 times"),
        ((parted(replace(WIDE, count=4)),), {}, "rows 4 to 8 of source tensor"),
        ((parted(replace(WIDE, first=4)),), {}, "rows 0 to 4 of source tensor"),
        ((parted(WIDE, replace(WIDE, first=4)),), {}, "are taken twice"),
        ((UP, replace(UP, name="blk.0.ffn_gate.weight")), {}, "are taken twice"),
        ((replace(UP, shape=(4, 4)),), {}, "has shape [4, 4], its parts 8 rows of 4"),
        ((parted(replace(WIDE, transposed=True)),), {}, "has shape [8, 4], its parts 4 rows of 8"),
        ((parted(replace(WIDE, count=9)),), {}, "rows 0 to 9 of"),
        ((parted(replace(WIDE, permutation=(0, 0))),), {}, "an order that loses rows"),
        ((parted(replace(WIDE, permutation=(1, 2, 0))),), {}, "an order that loses rows"),
        ((parted(replace(WIDE, permutation=(0,), transposed=True)),), {}, "both reordered and"),
        ((UP, replace(NORM, parts=(replace(WIDE, shape=(4,)),))), {}, "has two shapes"),
        ((replace(UP, parts=()),), {}, "either taken from the source or constant"),
        ((replace(UP, constant=np.ones((8, 4), np.float32)),), {}, "either taken from the source"),
        ((replace(UP, parts=(), constant=np.ones(3, np.float32)),), {}, "its constant [3]"),
        ((UP,), {"ignored": frozenset({WIDE.name})}, "both taken and ignored"),
        ((UP,), {"entries": (LAYERS, LAYERS)}, "key 'qwen2.block_count' is there 2 times"),
        (
            (UP,),
            {"entries": (replace(LAYERS, key="qwen2.blok_count"),)},
            "no key 'qwen2.blok_count' (the nearest is 'qwen2.block_count')",
        ),
        ((replace(UP, name="blk.0.ffn_pu.weight"),), {}, "knows no tensor 'blk.0.ffn_pu.weight'"),
        ((replace(UP, name="blk.1.ffn_up.weight"),), {}, "beyond the 1 that there are"),
    ],
)  # fmt: skip
def test_blueprint_that_contradicts_itself_is_refused(
    tensors: tuple[Tensor, ...], changes: dict[str, Any], message: str
) -> None:
    """Each mistake is named, and called the program's."""
    with pytest.raises(FamilyDefect) as caught:
        check_blueprint(blueprint(*tensors, **changes))
    assert message in " ".join(caught.value.issues)
    assert "not of the model" in caught.value.hint


def test_rows_left_out_on_purpose_pass() -> None:
    """A family may leave out rows if it says so."""
    check_blueprint(blueprint(replace(UP, shape=(4, 4), parts=(
        replace(WIDE, count=4, drops_rest=True),))))  # fmt: skip


def test_defect_reaches_the_caller_before_a_byte_is_written(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversion with a family that says a tensor twice ends as a fault of the program."""
    plain = families.FAMILIES["LlamaForCausalLM"]

    def twice(*arguments: Any) -> Blueprint:
        made = plain(*arguments)
        return replace(made, tensors=(*made.tensors, made.tensors[0]))

    monkeypatch.setitem(families.FAMILIES, "LlamaForCausalLM", twice)
    with pytest.raises(FamilyDefect, match=r"token_embd\.weight' is there 2 times"):
        plan(model)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("model.layers.1.self_attn.q_proj.bias", "llama.cpp knows '{}' as 'blk.1.attn_q.bias'"),
        ("model.layers.1.self_attn.gadget.weight", "after fine-tuning, save the model again"),
    ],
)  # fmt: skip
def test_tensor_that_the_runtime_knows_is_told_from_one_that_it_does_not(
    tmp_path: Path, name: str, hint: str
) -> None:
    """Of a stored tensor without a place the hint says whether the family or the file is odd."""
    make_tiny_family(tmp_path / "tiny", "qwen3")
    weights = load_file(tmp_path / "tiny/model.safetensors")
    save_file(weights | {name: torch.ones(256)}, tmp_path / "tiny/model.safetensors")
    with pytest.raises(UnsupportedSource, match="has no place") as caught:
        plan(tmp_path / "tiny")
    assert hint.format(name) in caught.value.hint


def test_name_of_a_late_block_costs_no_table_of_all() -> None:
    """A block's number is carried over, however large; a name of no block stays."""
    assert tensor_name("qwen2", "model.layers.1023.mlp.up_proj.bias") == "blk.1023.ffn_up.bias"
    assert tensor_name("bert", "encoder.layer.7.output.LayerNorm.bias").startswith(
        "blk.7.layer_out"
    )
    assert tensor_name("qwen2", "model.norm.weight") == "output_norm.weight"


def test_names_that_gguf_does_not_know_are_defects() -> None:
    """A misspelt architecture, tensor or key is named with what comes nearest."""
    with pytest.raises(FamilyDefect, match="no architecture 'qwen22'") as caught:
        tensor_name("qwen22", "model.norm.weight")
    assert "the nearest is 'qwen2'" in caught.value.hint
    with pytest.raises(FamilyDefect, match=r"no tensor 'model\.layers\.0.* of 'qwen2'"):
        tensor_name("qwen2", "model.layers.0.mlp.pu.weight")
    assert find_key_fault("qwen2", "general.name") == find_key_fault("qwen2", LAYERS.key) == ""
