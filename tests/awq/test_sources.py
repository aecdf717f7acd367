"""What a source must be, told before any work begins; and what of it a server needs is carried."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from modelvault.core.protocol import SourceFile
from modelvault.errors import (
    CheckFailed,
    MalformedWeights,
    SourceIncomplete,
    UnsupportedSource,
)
from modelvault_converters.awq.formats.packing import quantize, quantize_symmetric
from modelvault_converters.awq.models.layers import LayerRunner
from modelvault_converters.checkpoint import Checkpoint
from tests.awq.models import CASES, make_random, open_model
from tests.awq.running import edit_config, make_request, produced, run
from tests.support.trainedmodel import Family, load

Trained = Callable[[Family], Path]
TARGETS = ("AWQ", "W4A16", "FP8", "INT8")
FEW: dict[str, Any] = {"samples": "2", "sequence_length": "32"}


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    """Return a copy of the Llama that a test may change."""
    return Path(shutil.copytree(trained("llama"), tmp_path / "model"))


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Replace tensors, named with ``__`` for a dot; None removes one."""
    held = load(folder)
    for key, value in tensors.items():
        name = key.replace("__", ".")
        held.pop(name, None)
        if value is not None:
            held[name] = value
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def plan(folder: Path, target: str, tmp_path: Path) -> None:
    """Ask for a plan: what is refused there costs nobody a minute."""
    run(make_request(folder, target, tmp_path / "out", plan_only=True))


def test_index_left_beside_a_single_file_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """A model saved again in one file is whole; transformers takes that file, too."""
    places = {"model.norm.weight": "model-00001-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    plan(folder, "FP8", tmp_path)


def test_shards_without_an_index_are_found_by_their_names(folder: Path, tmp_path: Path) -> None:
    """The names say how many there should be, too."""
    held = load(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(held)
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = folder / f"model-0000{number}-of-00002.safetensors"
        save_file({name: held[name] for name in part}, shard, metadata={"format": "pt"})
    plan(folder, "FP8", tmp_path)
    shard.unlink()
    with pytest.raises(SourceIncomplete, match="1 of 2 weight files"):
        plan(folder, "FP8", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"), [("tiny-Q4_K_M.gguf", "GGUF already"), ("adapter_config.json", "adapter")]
)
def test_what_is_no_checkpoint_is_called_by_its_name(
    folder: Path, tmp_path: Path, name: str, message: str
) -> None:
    """Without ``config.json`` the files say what was pulled instead."""
    (folder / "config.json").rename(folder / name)
    with pytest.raises(UnsupportedSource, match=message):
        plan(folder, "AWQ", tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_of_a_layer_is_known_by_name(case: str, tmp_path: Path) -> None:
    """What a layer must hold is what transformers writes, no less and no more."""
    make_random(tmp_path / "model", case)
    with ExitStack() as stack:
        model = open_model(tmp_path / "model", stack)
        LayerRunner(model).check_shapes()
        held = model.weights.tensors
        names = {name for name in held if name.startswith("model.layers.")}
        assert {*model.linears(), *(f"{name}.weight" for name in model.riders())} <= names
        for name in sorted(names):
            if name.startswith("model.layers.1."):
                taken = held.pop(name)
                with pytest.raises(SourceIncomplete, match=r"layer 1 .*: missing"):
                    LayerRunner(model).check_shapes()
                held[name] = taken
        other = "model.layers.1.mlp.other.weight"
        held[other] = replace(taken, name=other)
        with pytest.raises(SourceIncomplete, match=r"mlp\.other\.weight: not of this"):
            LayerRunner(model).check_shapes()


@pytest.mark.parametrize("target", TARGETS)
def test_shape_of_the_last_layer_is_refused_before_the_first(
    target: str, folder: Path, tmp_path: Path
) -> None:
    """A server would find it out on the far side, a search after hours."""
    held = load(folder)["model.layers.1.self_attn.k_proj.weight"]
    change(folder, model__layers__1__self_attn__k_proj__weight=held[:-32].clone())
    with pytest.raises(SourceIncomplete, match="layer 1 does not fit") as caught:
        plan(folder, target, tmp_path)
    shapes = (tuple(held[:-32].shape), tuple(held.shape))
    assert caught.value.issues == ("self_attn.k_proj.weight: {}, not {}".format(*shapes),)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("llama", "lm_head.weight"),
        ("llama", "model.layers.1.input_layernorm.weight"),
        ("qwen2", "model.layers.1.self_attn.q_proj.bias"),
        ("qwen3", "model.layers.0.self_attn.k_norm.weight"),
    ],
)
def test_missing_tensor_is_refused_whatever_the_target(
    family: Family, name: str, target: str, trained: Trained, tmp_path: Path
) -> None:
    """Servers do not look for missing tensors of quantised models: they compute with noise."""
    folder = Path(shutil.copytree(trained(family), tmp_path / "model"))
    change(folder, **{name.replace(".", "__"): None})
    with pytest.raises(SourceIncomplete, match=name):
        plan(folder, target, tmp_path)


def test_output_head_may_be_missing_where_it_is_the_embedding(folder: Path, tmp_path: Path) -> None:
    """The configuration decides."""
    change(folder, lm_head__weight=None)
    edit_config(folder, tie_word_embeddings=True)
    plan(folder, "AWQ", tmp_path)


def test_head_that_is_there_is_measured_whatever_is_said_of_ties(
    folder: Path, tmp_path: Path
) -> None:
    """Servers compute with it, too; the embedding predicts another text altogether."""
    check: dict[str, Any] = {"check_text": str(folder / "LICENSE")}
    expected = produced(run(make_request(folder, "FP8", tmp_path / "untied", **check)))
    edit_config(folder, tie_word_embeddings=True)
    found = produced(run(make_request(folder, "FP8", tmp_path / "tied", **check)))
    assert found.parameters == expected.parameters


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("end", ["self_attn.q_proj.bias", "self_attn.q_proj.lora_A.weight"])
def test_tensor_without_a_place_is_refused_before_work_begins(
    end: str, target: str, folder: Path, tmp_path: Path
) -> None:
    """A bias that the configuration does not know would be left out without a word."""
    name = f"model.layers.1.{end}"
    change(folder, **{name.replace(".", "__"): torch.ones(128, dtype=torch.bfloat16)})
    with pytest.raises(SourceIncomplete, match=name):
        plan(folder, target, tmp_path)


@pytest.mark.parametrize("target", ["AWQ", "FP8"])
@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight"])
def test_vocabulary_of_another_size_is_refused(
    name: str, target: str, folder: Path, tmp_path: Path
) -> None:
    """Not after the last layer, when predictions are compared."""
    short = torch.ones(500, 128, dtype=torch.bfloat16)
    change(folder, **{name.replace(".", "__"): short})
    with pytest.raises(MalformedWeights, match=rf"{name}: \(500, 128\) .* vocab_size of 1024"):
        plan(folder, target, tmp_path)


def test_quantised_source_is_named_by_its_method(folder: Path, tmp_path: Path) -> None:
    """The configuration speaks before the types of the weights do."""
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    change(folder, model__layers__0__mlp__up_proj__qweight=torch.ones(16, 256, dtype=torch.int32))
    with pytest.raises(UnsupportedSource, match=r"already quantised \(gptq\)"):
        plan(folder, "FP8", tmp_path)


def test_null_for_a_quantisation_is_none(folder: Path, tmp_path: Path) -> None:
    """Some configurations say that the model is not quantised."""
    edit_config(folder, quantization_config=None)
    run(make_request(folder, "FP8", tmp_path / "out"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"


def test_types_that_are_read_are_told_with_the_one_that_is_not(
    folder: Path, tmp_path: Path
) -> None:
    """A type of 64 bits is no sign of quantisation alone."""
    change(folder, model__norm__weight=torch.ones(128, dtype=torch.float64))
    with pytest.raises(UnsupportedSource, match="F64, not BF16, F16, F32"):
        plan(folder, "AWQ", tmp_path)


@pytest.mark.parametrize("longest", [1, 0, -5])
@pytest.mark.parametrize("target", ["AWQ", "FP8"])
def test_attack_model_without_room_for_a_text_is_refused(
    target: str, longest: int, folder: Path, tmp_path: Path
) -> None:
    """No division by zero, and no crash after the last layer."""
    edit_config(folder, max_position_embeddings=longest)
    with pytest.raises(UnsupportedSource, match="max_position_embeddings"):
        run(make_request(folder, target, tmp_path / "out", check_text=str(folder / "README.md")))


def test_attack_half_a_character_in_the_configuration_survives(
    folder: Path, tmp_path: Path
) -> None:
    """JSON can hold it and UTF-8 cannot: the last file written must not crash."""
    edit_config(folder, _name_or_path="\ud800")
    run(make_request(folder, "FP8", tmp_path / "out"))
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["_name_or_path"] == "\ud800"


def test_predictions_that_are_no_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    """Even without a limit: nothing was measured."""
    huge = torch.full((128, 256), 1e38, dtype=torch.bfloat16)
    change(folder, model__layers__1__mlp__down_proj__weight=huge)
    with pytest.raises(CheckFailed, match="no numbers"):
        run(make_request(folder, "FP8", tmp_path / "out", check="yes"))


def test_attack_activations_that_are_not_finite_are_refused(folder: Path, tmp_path: Path) -> None:
    """A NaN would spread into every weight, or be blamed on one."""
    edit_config(folder, rms_norm_eps=float("nan"))
    with pytest.raises(MalformedWeights, match=r"self_attn\.q_proj is not finite"):
        run(make_request(folder, "AWQ", tmp_path / "out", **FEW))


@pytest.mark.parametrize(
    ("rounder", "dtype", "hint"),
    [
        (quantize, torch.float16, "--to w4a16 or --to fp8"),
        (quantize_symmetric, torch.bfloat16, "--to fp8"),
    ],
)
def test_weight_too_large_is_told_with_a_way_out(
    rounder: Callable[..., object], dtype: torch.dtype, hint: str
) -> None:
    """The type named is the one that it does not fit."""
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(MalformedWeights, match=f"too large for {name}") as caught:
        rounder(torch.full((8, 32), 3.4e38), 32, None, dtype)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("target", ["AWQ", "FP8"])
def test_code_of_the_model_is_not_asked_for(target: str, folder: Path, tmp_path: Path) -> None:
    """It is not carried, so that a server told to trust it would look for it in vain."""
    edit_config(folder, auto_map={"AutoConfig": "configuration_phi3.Phi3Config"})
    few = FEW if target == "AWQ" else {}
    run(make_request(folder, target, tmp_path / "out", **few))
    assert "auto_map" not in json.loads((tmp_path / "out" / "config.json").read_text())


@pytest.mark.parametrize("target", ["AWQ", "FP8"])
def test_further_chat_templates_are_carried(target: str, folder: Path, tmp_path: Path) -> None:
    """Those for tools and documents lie in a folder of their own."""
    path = "additional_chat_templates/tool_use.jinja"
    templates = folder / "additional_chat_templates"
    templates.mkdir()
    (folder / path).write_text("{{ tools }}")
    request = make_request(folder, target, tmp_path / "out", **(FEW if target == "AWQ" else {}))
    files = [file for file in request.files if file.path != templates.name]
    held = SourceFile(path=path, location=str(folder / path), size=11)
    result = produced(run(replace(request, files=(*files, held))))
    assert path in result.files
    assert (tmp_path / "out" / path).read_text() == "{{ tools }}"


def test_tokenizer_of_twenty_megabytes_is_read(tmp_path: Path) -> None:
    """Mistral's newer tokenizers are larger than any other small file."""
    path = tmp_path / "tekken.json"
    with open(path, "wb") as stream:
        stream.truncate(20 << 20)
    source = Checkpoint((SourceFile(path=path.name, location=str(path), size=20 << 20),))
    assert len(source.read("tekken.json")) == 20 << 20
