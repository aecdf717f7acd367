"""Which files are pulled: one copy of the weights, unless the user says otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.errors import BadOption, BadPath, NothingSelected
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.quantizations import group_quantizations
from modelvault.sources.selection import Selection, select


def choose(*paths: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Selection:
    """Return the selection among files of these paths."""
    files = [OfferedFile(path=path, size=len(path)) for path in paths]
    return select(files, include=include, exclude=exclude)


def paths(selection: Selection) -> list[str]:
    """Return the chosen paths."""
    return [file.path for file in selection.chosen]


REST = ("README.md", "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model")

REPOSITORIES = {
    "transformers, every framework": (
        ("model.safetensors",),
        ("flax_model.msgpack", "onnx/model.onnx", "onnx/model.onnx_data", "pytorch_model.bin",
         "rust_model.ot", "tf_model.h5", "model.gguf"),
    ),
    "sharded, both ways": (
        ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
         "model.safetensors.index.json"),
        ("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"),
    ),
    "Llama": (
        ("model-00001-of-00001.safetensors", "model.safetensors.index.json"),
        ("original/consolidated.00.pth", "original/params.json", "original/tokenizer.model"),
    ),
    "Mistral": (
        ("model-00001-of-00001.safetensors", "model.safetensors.index.json", "params.json"),
        ("consolidated.safetensors", "consolidated.00.pth", "consolidated.safetensors.index.json"),
    ),
    "Mistral, consolidated alone": (("consolidated.safetensors", "params.json"), ()),
    "Llama, original alone": (("original/consolidated.00.pth", "original/params.json"), ()),
    "pickle alone": (("pytorch_model.bin",), ("flax_model.msgpack", "tf_model.h5")),
    "TensorFlow alone": (("tf_model.h5",), ()),
    "variants": (
        ("model.safetensors",),
        ("model.fp16.safetensors", "model.fp32-00001-of-00002.safetensors",
         "model-00001-of-00002.fp16.safetensors", "model.safetensors.index.fp16.json"),
    ),
    "sharded variants": (
        ("model-00001-of-00001.safetensors", "model.safetensors.index.json"),
        ("model.bf16-00001-of-00001.safetensors", "model.safetensors.index.bf16.json"),
    ),
    "variant alone": (("model.fp16.safetensors",), ()),
    "diffusers": (
        ("model_index.json", "unet/diffusion.safetensors", "vae/diffusion.safetensors"),
        ("unet/diffusion.bin", "unet/diffusion.fp16.safetensors", "vae/diffusion.ckpt"),
    ),
    "adapter beside a pickled model": (
        ("adapter_model.safetensors", "pytorch_model.bin"), ("adapter_model.bin",),
    ),
    "training leftovers": (
        ("pytorch_model.bin", "checkpoint/model.pt"),
        ("optimizer.pt", "rng_state_0.pth", "scheduler.pt", "training_args.bin",
         "checkpoint/optimizer.bin"),
    ),
    "quantised": (("model-Q4_K_M.gguf", "model-Q8_0.gguf", "mmproj-F16.gguf"), ()),
    "names that only look like variants": (("model.safetensors", "model.v2.safetensors"), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", REPOSITORIES)
def test_one_copy_of_the_weights_is_chosen(name: str) -> None:
    """Duplicates are left out, each with a reason; everything else comes along."""
    kept, left = REPOSITORIES[name]
    selection = choose(*REST, *kept, *left)
    assert paths(selection) == sorted((*REST, *kept))
    assert [item.path for item in selection.left_out] == sorted(left)
    assert all(item.reason and item.size == len(item.path) for item in selection.left_out)


def test_include_overrides_every_default() -> None:
    """What is asked for comes, pickle or not, and nothing else does."""
    left = ("original/consolidated.00.pth", "pytorch_model.bin", "optimizer.pt")
    selection = choose("config.json", "model.safetensors", *left, include=("original/", "*.bin"))
    assert paths(selection) == ["original/consolidated.00.pth", "pytorch_model.bin"]
    everything = choose("config.json", "model.safetensors", *left, include=("*",))
    assert everything.left_out == ()


def test_exclude_comes_first_so_that_the_next_best_is_chosen() -> None:
    """Without the safetensors, pickle is the only copy left."""
    selection = choose("model.safetensors", "pytorch_model.bin", exclude=("*.safetensors",))
    assert paths(selection) == ["pytorch_model.bin"]
    assert selection.left_out[0].reason == "matches --exclude"


def test_patterns_match_as_the_hubs_client_does() -> None:
    """``*`` crosses folders, a trailing slash means below, case counts."""
    names = ("a/b/c.json", "a/d.txt", "D.TXT", "e.txt")
    assert paths(choose(*names, include=("a*json",))) == ["a/b/c.json"]
    assert paths(choose(*names, include=("a/",))) == ["a/b/c.json", "a/d.txt"]
    assert paths(choose(*names, include=("a\\",))) == ["a/b/c.json", "a/d.txt"]
    assert paths(choose(*names, include=("*.txt",), exclude=("a/*",))) == ["e.txt"]
    assert paths(choose(*names, include=("[De].*",))) == ["D.TXT", "e.txt"]


def test_nothing_left_names_what_there_is() -> None:
    """The hint lists some paths; an empty repository says so."""
    with pytest.raises(NothingSelected) as error:
        choose(*REST, "z.txt", include=("*.gguf",))
    assert "README.md" in error.value.hint
    assert "and 1 more" in error.value.hint
    with pytest.raises(NothingSelected, match="no files"):
        choose()


def test_empty_pattern_is_refused() -> None:
    """An unset shell variable does not silently select nothing."""
    with pytest.raises(BadOption, match="--include"):
        choose("a", include=("",))


def test_many_quantisations_are_kept_and_remarked_on() -> None:
    """A GGUF repository pulled whole is probably a mistake: one sentence says how to take one."""
    names = ("m-IQ2_XXS.gguf", "m-Q4_K_M-00001-of-00002.gguf", "m-Q4_K_M-00002-of-00002.gguf",
             "m.q8_0.gguf", "m-Q3_K_XL.gguf")  # fmt: skip
    selection = choose(*names)
    assert len(selection.chosen) == 5
    (note,) = selection.notes
    assert "IQ2_XXS, Q3_K_XL, Q4_K_M, Q8_0" in note
    assert "--include '*Q4_K_M*'" in note
    assert choose(*names, include=("*q8_0*",)).notes == ()
    assert choose("m-Q8_0.gguf").notes == ()


def test_quantisation_that_was_dropped_is_not_the_one_it_begins_with() -> None:
    """``Q4_0_4_4`` is a group of its own, and the pattern for ``Q4_0`` does not take it."""
    names = ("m-Q4_0.gguf", "m-Q4_0_4_4.gguf", "m-Q8_0.gguf", "m-mmproj-f16.gguf")
    selection = choose(*names)
    groups = {group.label: group for group in group_quantizations(selection.chosen)}
    assert sorted(groups) == ["Q4_0", "Q4_0_4_4", "Q8_0"]
    assert paths(choose(*names, include=(groups["Q4_0"].include,))) == ["m-Q4_0.gguf"]
    assert paths(choose(*names, include=(groups["Q4_0_4_4"].include,))) == ["m-Q4_0_4_4.gguf"]


def test_capitals_change_nothing() -> None:
    """A pickle in capitals is a second copy like any other."""
    assert paths(choose("model.safetensors", "PYTORCH_MODEL.BIN")) == ["model.safetensors"]
    assert paths(choose("a-Q8_0.GGUF", "MODEL.SAFETENSORS")) == ["MODEL.SAFETENSORS"]


def test_pattern_that_matches_nothing_is_remarked_on() -> None:
    """A misspelt pattern does not go unnoticed beside one that matches."""
    selection = choose("a.json", include=("*.json", "*.safetensor"), exclude=("nope",))
    assert selection.notes == (
        "--include '*.safetensor' matches no file",
        "--exclude 'nope' matches no file",
    )


def test_paths_that_collide_on_other_systems_are_refused_unless_excluded() -> None:
    """Attack: two names that one Windows or macOS folder cannot hold apart."""
    with pytest.raises(BadPath, match="README") as error:
        choose("README.md", "readme.md")
    assert "--exclude" in error.value.hint
    assert paths(choose("README.md", "readme.md", exclude=("readme.md",))) == ["README.md"]


NAMES = st.text("abm/.-01", min_size=1, max_size=12).map(
    lambda text: "/".join(part for part in text.split("/") if part.strip(".")) or "x"
)
SUFFIXES = st.sampled_from(
    ["", ".safetensors", ".bin", ".gguf", ".fp16.safetensors", ".bin.index.json"]
)


@given(st.lists(st.tuples(NAMES, SUFFIXES), min_size=1, max_size=8))
def test_every_file_is_either_chosen_or_left_out(parts: list[tuple[str, str]]) -> None:
    """Nothing vanishes, whatever the names, and something is always chosen."""
    names = {name + suffix for name, suffix in parts}
    try:
        selection = choose(*names)
    except BadPath:
        return
    left = [item.path for item in selection.left_out]
    assert sorted([*paths(selection), *left]) == sorted(names)
    assert selection.chosen
