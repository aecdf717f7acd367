"""Configurations and headers that lie: refused by name, never believed, never a traceback."""

import contextlib
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelvault.errors import MalformedWeights, ModelVaultError, ShapeUnknown, UnsuitableArtifact
from modelvault.fit.config_shape import shape_of_config
from modelvault.fit.files import ModelFile, find_variants, read_variant
from modelvault.fit.gguf_shape import GgufKeys, shape_of_gguf
from tests.fit.test_verdict import CONFIG
from tests.support import tinygguf

NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
         "vocab_size", "head_dim", "intermediate_size", "sliding_window", "kv_lora_rank",
         "num_local_experts", "num_experts_per_tok", "max_position_embeddings", "layer_types",
         "full_attention_interval", "block_configs", "text_config",
         "linear_attn_config")  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
    st.lists(st.one_of(st.integers(-3, 2**33), st.text(max_size=8), st.none()), max_size=4),
    st.dictionaries(st.text(max_size=8), st.integers(-3, 2**40), max_size=3),
)  # fmt: skip


def file(path: str, data: bytes) -> ModelFile:
    """Return a file that is in memory."""
    return ModelFile(path=path, size=len(data), open=lambda: io.BytesIO(data))


def safetensors(tensors: dict[str, tuple[int, ...]]) -> bytes:
    """Return a file of BF16 zeros."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in tensors.items():
        size = 2
        for width in shape:
            size *= width
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_attention_heads", 0), ("num_attention_heads", -4), ("num_key_value_heads", 0),
        ("num_key_value_heads", 64), ("num_key_value_heads", 5), ("hidden_size", 0),
        ("hidden_size", 10**30), ("hidden_size", "4096"), ("hidden_size", True),
        ("num_hidden_layers", 0), ("num_hidden_layers", 10**9), ("num_hidden_layers", 1.5),
        ("head_dim", 0), ("head_dim", 2**40), ("max_position_embeddings", -1),
        ("max_position_embeddings", 2**60), ("vocab_size", -5), ("intermediate_size", "wide"),
        ("sliding_window", -1), ("kv_lora_rank", 2**50),
    ],
)  # fmt: skip
def test_lie_in_a_configuration_is_named(name: str, value: object) -> None:
    """The message says which key, and what stands there."""
    with pytest.raises(ShapeUnknown, match=f"config.json: {name} cannot be"):
        shape_of_config(CONFIG | {name: value})


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "num_attention_heads"])
def test_missing_number_is_named(name: str) -> None:
    """Nothing is made up where everything depends on it."""
    with pytest.raises(ShapeUnknown, match=f"{name} is missing"):
        shape_of_config({key: value for key, value in CONFIG.items() if key != name})


def test_experts_more_used_than_there_are_is_a_lie() -> None:
    """Eight of four cannot be asked."""
    with pytest.raises(ShapeUnknown, match="num_experts_per_tok"):
        shape_of_config(CONFIG | {"num_local_experts": 4, "num_experts_per_tok": 8})


def test_unknown_architecture_is_computed_and_said() -> None:
    """A decoder of next year is taken as one of the usual kind."""
    shape = shape_of_config(
        CONFIG | {"architectures": ["FutureForCausalLM"], "model_type": "future"}
    )
    assert len(shape.attentions) == 32
    assert "FutureForCausalLM is not known" in shape.assumptions[0]


def test_unknown_recurrence_is_refused_with_the_way() -> None:
    """What a layer keeps cannot be guessed."""
    with pytest.raises(ShapeUnknown) as caught:
        shape_of_config(CONFIG | {"model_type": "rwkv7", "architectures": ["RWKV7ForCausalLM"]})
    assert "GGUF" in caught.value.hint


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
@settings(max_examples=300, deadline=None)
def test_attack_of_any_configuration_ends_in_a_shape_or_a_refusal(changes: dict[str, Any]) -> None:
    """No other exception leaves, whatever stands where."""
    with contextlib.suppress(ShapeUnknown):
        shape = shape_of_config(CONFIG | changes)
        assert 1 <= len(shape.layers) <= 4096


@given(st.dictionaries(st.text(max_size=12), VALUES, max_size=6))
@settings(max_examples=100, deadline=None)
def test_attack_of_an_object_that_is_no_configuration_is_refused(values: dict[str, Any]) -> None:
    """Any JSON object may stand in config.json."""
    with contextlib.suppress(ShapeUnknown):
        shape_of_config(values)


GGUF_KEYS: dict[str, object] = {
    "general.architecture": "llama",
    "llama.embedding_length": 256,
    "llama.block_count": 2,
    "llama.attention.head_count": 4,
    "llama.context_length": 4096,
    "llama.feed_forward_length": 512,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [("embedding_length", 0), ("block_count", 0), ("block_count", 10**8),
     ("attention.head_count", 2**33), ("context_length", 2**50), ("attention.key_length", 0),
     ("expert_count", 2**30), ("attention.head_count", 0)],
)  # fmt: skip
def test_lie_in_a_gguf_is_named(key: str, value: int) -> None:
    """The message says which key."""
    keys = GGUF_KEYS | {f"llama.{key}": value}
    with pytest.raises(ShapeUnknown, match=f"llama.{key}"):
        shape_of_gguf(GgufKeys(metadata=keys, lists={}, arrays={}))


def test_list_that_is_too_short_for_the_layers_is_a_lie() -> None:
    """A number for each layer means for each."""
    keys = {key: value for key, value in GGUF_KEYS.items() if "head_count" not in key}
    with pytest.raises(ShapeUnknown, match="1 numbers for 2 layers"):
        shape_of_gguf(
            GgufKeys(metadata=keys, lists={"llama.attention.head_count": (4,)}, arrays={})
        )


def test_gguf_without_architecture_is_refused() -> None:
    """Every key depends on it."""
    with pytest.raises(ShapeUnknown, match=r"general\.architecture is missing"):
        shape_of_gguf(GgufKeys(metadata={}, lists={}, arrays={}))


@given(
    st.dictionaries(
        st.sampled_from([key.partition(".")[2] for key in GGUF_KEYS if key.startswith("llama")]),
        st.one_of(st.integers(-5, 2**40), st.text(max_size=5), st.booleans(), st.floats()),
    )
)
@settings(max_examples=200, deadline=None)
def test_attack_of_any_keys_ends_in_a_shape_or_a_refusal(changes: dict[str, object]) -> None:
    """No other exception leaves."""
    keys = GGUF_KEYS | {f"llama.{key}": value for key, value in changes.items()}
    with contextlib.suppress(ShapeUnknown):
        shape_of_gguf(GgufKeys(metadata=keys, lists={}, arrays={}))


def test_folder_without_configuration_is_refused_with_the_way() -> None:
    """Weights alone do not say what a cache takes."""
    files = [file("model.safetensors", safetensors({"a.weight": (4, 4)}))]
    with pytest.raises(ShapeUnknown, match=r"there is no config\.json"):
        read_variant(find_variants(files)[0], files)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 500, b" " * 2_000_000]
)
def test_configuration_that_is_none_is_refused(data: bytes) -> None:
    """Neither empty, nor torn, nor nested without end, nor as long as a book."""
    files = [
        file("config.json", data),
        file("model.safetensors", safetensors({"a.weight": (4, 4)})),
    ]
    with pytest.raises(ShapeUnknown, match=r"config\.json"):
        read_variant(find_variants(files)[0], files)


def test_header_that_lies_is_refused_with_its_file() -> None:
    """A length beyond the file, in a shard among sound ones."""
    files = [
        file("config.json", json.dumps(CONFIG).encode()),
        file("model-00001-of-00002.safetensors", safetensors({"a.weight": (4, 4)})),
        file("model-00002-of-00002.safetensors", b"\xff" * 64),
    ]
    with pytest.raises(MalformedWeights, match="model-00002-of-00002"):
        read_variant(find_variants(files)[0], files)


def test_missing_shard_of_a_gguf_is_named() -> None:
    """Half a model is not weighed as a whole one."""
    with pytest.raises(ShapeUnknown, match=r"m-00002-of-00002\.gguf"):
        find_variants([file("m-00001-of-00002.gguf", tinygguf.tiny_llama())])


@pytest.mark.parametrize(
    ("names", "said"),
    [(["adapter_config.json", "adapter_model.safetensors"], "adapter"), (["README.md"], "weights"),
     ([], "weights"), (["mmproj-F16.gguf"], "weights")],
)  # fmt: skip
def test_what_is_no_model_is_refused(names: list[str], said: str) -> None:
    """An adapter loads on a model; a projector and a text are none."""
    with pytest.raises(UnsuitableArtifact, match=said):
        find_variants([file(name, b"{}") for name in names])


def test_refusals_are_errors_of_our_tree() -> None:
    """Whatever is refused here has an exit status."""
    assert issubclass(ShapeUnknown, ModelVaultError)
    assert ShapeUnknown.exit_code == 2
