"""Names of tensors: one model in the spellings that publishers use gives one file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelvault.errors import UnsupportedSource
from tests.gguf.running import convert, edit_json, plan
from tests.support.tinyfamilies import FAMILIES, make_tiny_family


def rename(folder: Path, spell: Callable[[str], str]) -> None:
    """Give a model's tensors other names."""
    path = folder / "model.safetensors"
    found = load_file(path)
    save_file({spell(name): tensor for name, tensor in found.items()}, path)


@pytest.mark.parametrize("family", FAMILIES)
def test_names_without_a_prefix_give_the_same_file(tmp_path: Path, family: str) -> None:
    """What was trained as a bare model, without ``model.``, is read as llama.cpp reads it."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, family)
    expected = convert(folder, "F16", tmp_path / "a").read_bytes()
    rename(folder, lambda name: name.removeprefix("model."))
    assert convert(folder, "F16", tmp_path / "b").read_bytes() == expected


@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.model."])
@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_names_of_a_text_part_give_the_same_file(tmp_path: Path, family: str, prefix: str) -> None:
    """A language model that was saved as a part of one that sees."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, family)
    expected = convert(folder, "F16", tmp_path / "a").read_bytes()
    head = "language_model." if prefix.startswith("language") else ""
    rename(
        folder,
        lambda name: name.replace("model.", prefix, 1) if "lm_head" not in name else head + name,
    )
    assert convert(folder, "F16", tmp_path / "b").read_bytes() == expected


def test_bare_model_without_an_output_shares_the_embedding(tmp_path: Path) -> None:
    """A base model has no output, whatever its configuration says of one."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, "qwen3", tie_word_embeddings=True)
    expected = convert(folder, "F16", tmp_path / "a").read_bytes()
    rename(folder, lambda name: name.removeprefix("model."))
    edit_json(folder / "config.json", lambda config: config.update(tie_word_embeddings=False))
    assert convert(folder, "F16", tmp_path / "b").read_bytes() == expected


def test_name_that_two_tensors_would_have_is_refused(tmp_path: Path) -> None:
    """Nothing is chosen in silence where one tensor is there in two spellings."""
    folder = tmp_path / "tiny"
    make_tiny_family(folder, "qwen3")
    found = load_file(folder / "model.safetensors")
    found["model.language_model.norm.weight"] = torch.zeros(128, dtype=torch.bfloat16)
    save_file(found, folder / "model.safetensors")
    with pytest.raises(UnsupportedSource, match=r"model\.language_model\.norm\.weight"):
        plan(folder)
