"""Which files are pulled: one copy of the weights, unless the user says otherwise."""

import re

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
    "speech, with tables and a vocoder": (
        ("model.safetensors", "speakers.pt", "speaker_embeddings/en_0.npz", "vocoder/model.pth",
         "campplus.onnx", "preprocessor.pkl", "vocoder/pytorch_model.bin"),
        ("pytorch_model.bin",),
    ),
    "sentence-transformers": (
        ("model.safetensors", "2_Dense/pytorch_model.bin", "3_Dense/model.safetensors",
         "openvino/openvino_model.bin", "openvino/openvino_model.xml"),
        ("pytorch_model.bin", "3_Dense/pytorch_model.bin", "onnx/model.onnx",
         "onnx/model_O4.onnx", "onnx/model_qint8_avx512.onnx", "tf_model.h5"),
    ),
    "a folder of exports that holds a model of its own": (
        ("model.safetensors", "onnx/vad.onnx", "onnx/model.onnx"), (),
    ),
    "diffusers, every framework": (
        ("text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
         "safety_checker/pytorch_model.bin"),
        ("text_encoder/pytorch_model.bin", "unet/diffusion_pytorch_model.bin",
         "unet/diffusion_flax_model.msgpack", "unet/diffusion_pytorch_model.non_ema.safetensors"),
    ),
    "same stem": (("lora.safetensors", "other.pt"), ("lora.pt", "lora.npz", "lora.ckpt")),
    "half precision is no copy of the whole": (
        ("model.fp16.safetensors", "pytorch_model.bin"), ("pytorch_model.fp16.bin",),
    ),
    "safetensors that lack a part": (
        ("model-00001-of-00002.safetensors", "pytorch_model.bin", "model.safetensors.index.json"),
        (),
    ),
    "an index alone": (("model.safetensors.index.json", "pytorch_model.bin"), ()),
    "CTranslate2 beside transformers": (("model.safetensors", "model.bin"), ()),
    "GPT-OSS": (
        ("model-00001-of-00001.safetensors", "model.safetensors.index.json", "metal/model.bin"),
        ("original/model.safetensors", "original/dtypes.json"),
    ),
    "a folder called original without weights": (
        ("model.safetensors", "original/readme.txt"), (),
    ),
    "GGUF beside its source": (
        ("model.safetensors", "imatrix.gguf"), ("model-Q4_0.gguf", "mmproj-f16.gguf"),
    ),
    "GGUF below its source": (("model.safetensors", "gguf/model-Q4_0.gguf"), ()),
    "GPT-2's first copies": (("model.safetensors",), ("64.tflite", "64-fp16.tflite")),
}  # fmt: skip


@pytest.mark.parametrize("name", REPOSITORIES)
def test_one_copy_of_the_weights_is_chosen(name: str) -> None:
    """Duplicates are left out, each with a reason; everything else comes along."""
    kept, left = REPOSITORIES[name]
    selection = choose(*REST, *kept, *left)
    assert paths(selection) == sorted((*REST, *kept))
    assert [item.path for item in selection.left_out] == sorted(left)
    assert all(item.reason and item.size == len(item.path) for item in selection.left_out)


def test_datasets_are_taken_whole() -> None:
    """Data of any format is data: nothing in it is a copy, a variant or training's."""
    names = ("data.npz", "data.safetensors", "data.bin", "optimizer.pt", "original/a.bin",
             "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin")  # fmt: skip
    files = [OfferedFile(path=path, size=1) for path in names]
    selection = select(files, include=(), exclude=(), dataset=True)
    assert paths(selection) == sorted(names)
    assert selection.left_out == ()


@pytest.mark.parametrize(
    ("include", "others", "taken"),
    [
        ("*Q4_K_M*", ("mmproj-F32.gguf", "mmproj-F16.gguf", "mmproj-BF16.gguf"), "mmproj-F16.gguf"),
        ("*Q4_K_M*", ("X-mmproj-f32.gguf", "X-mmproj-bf16.gguf"), "X-mmproj-bf16.gguf"),
        ("sub/*", ("mmproj-F16.gguf",), "mmproj-F16.gguf"),
        ("sub/*", ("mmproj-F16.gguf", "sub/mmproj-Q8_0.gguf"), "sub/mmproj-Q8_0.gguf"),
        ("*Q4_K_M*", ("mmproj/mmproj-F16.gguf",), "mmproj/mmproj-F16.gguf"),
    ],
)
def test_projector_comes_along_with_a_chosen_quantisation(
    include: str, others: tuple[str, ...], taken: str
) -> None:
    """Without it the model sees no images: one, the nearest and most usable, and it is said."""
    model = "sub/m-Q4_K_M.gguf" if include == "sub/*" else "m-Q4_K_M.gguf"
    selection = choose(model, "m-Q8_0.gguf", *others, include=(include,))
    assert taken in paths(selection)
    assert [path for path in paths(selection) if "mmproj" in path] == [taken]
    if not taken.startswith("sub/"):
        assert any(note.startswith(f"{taken} comes along") for note in selection.notes)


def test_projector_that_is_left_out_by_name_stays_out() -> None:
    """An exclude goes first; and whoever asks for no model gets no projector."""
    names = ("m-Q4_K_M.gguf", "mmproj-F16.gguf", "config.json")
    assert paths(choose(*names, include=("*Q4*",), exclude=("mmproj*",))) == ["m-Q4_K_M.gguf"]
    assert paths(choose(*names, include=("*.json",))) == ["config.json"]


def test_parts_of_a_chosen_model_come_along() -> None:
    """One part of three is no model: the others are added, and it is said."""
    parts = [f"m-Q4_K_M-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    selection = choose(*parts, "m-Q8_0.gguf", include=(parts[0],))
    assert paths(selection) == parts
    assert any("2 more parts of m-Q4_K_M-*-of-00003.gguf" in note for note in selection.notes)


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
    for label in ("Q4_0", "Q4_0_4_4"):
        taken = paths(choose(*names, include=(groups[label].include,)))
        assert taken == [f"m-{label}.gguf", "m-mmproj-f16.gguf"]  # the projector is everybody's


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


def test_names_that_cannot_be_carried_are_refused_all_at_once() -> None:
    """With patterns that leave them out, and the other files are not to blame."""
    names = ("config.json", "a:b", "x\ty", "dir/..", "cafe\u0301.txt")
    with pytest.raises(BadPath) as error:
        choose(*names)
    assert len(error.value.issues) == 4
    patterns = re.findall(r"--exclude '([^']+)'", error.value.hint)
    assert paths(choose(*names, exclude=tuple(patterns))) == ["config.json"]


def test_file_that_cannot_be_taken_is_refused_only_where_it_is_chosen() -> None:
    """A link out of a folder hinders nobody who leaves it out."""
    files = [
        OfferedFile(path="config.json", size=2),
        OfferedFile(path="link", size=None, fault="link: a link out of the folder"),
    ]
    with pytest.raises(BadPath, match="out of the folder"):
        select(files, include=(), exclude=())
    assert paths(select(files, include=(), exclude=("link",))) == ["config.json"]


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
