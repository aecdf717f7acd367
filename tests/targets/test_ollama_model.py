"""Ollama's names, config and manifest, as pure values."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.digest import Digest
from modelvault.errors import BadOption, MalformedRecord
from modelvault.targets.ollama_model import (
    OllamaName,
    encode_manifest,
    human_count,
    parse_references,
)
from modelvault.targets.runtime import PlannedFile


@pytest.mark.parametrize(
    ("text", "shown", "path"),
    [
        ("llama", "llama:latest", "registry.ollama.ai/library/llama/latest"),
        ("llama:q4_k_m", "llama:q4_k_m", "registry.ollama.ai/library/llama/q4_k_m"),
        ("acme/llama:1.0", "acme/llama:1.0", "registry.ollama.ai/acme/llama/1.0"),
        ("hub.example/acme/l:x", "hub.example/acme/l:x", "hub.example/acme/l/x"),
        ("Llama_3.1-8B:Q4", "Llama_3.1-8B:Q4", "registry.ollama.ai/library/Llama_3.1-8B/Q4"),
    ],
)
def test_name_is_completed_as_ollama_does(text: str, shown: str, path: str) -> None:
    """Missing parts get Ollama's defaults, and are not shown again."""
    name = OllamaName.parse(text)
    assert str(name) == shown
    assert name.path == f"manifests/{path}"
    assert OllamaName.parse(shown) == name


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "a:", ":b", "/a", "a/", "a//b", "a/b/c/d", ".a", "-a", "a:.b", "a b", "a:b:c",
        "a.b/c", "../a", "a/../b", "host:5000/a/b", "é", "a" * 81, "a:" + "b" * 81, "a..b", "a\n",
    ],
)  # fmt: skip
def test_name_that_ollama_refuses_is_refused(text: str) -> None:
    """Every part keeps to Ollama's rules."""
    with pytest.raises(BadOption):
        OllamaName.parse(text)


@given(st.text(max_size=30))
def test_no_name_leads_out_of_the_manifests(text: str) -> None:
    """Whatever the text: five plain parts, or BadOption."""
    try:
        path = OllamaName.parse(text).path
    except BadOption:
        return
    parts = path.split("/")
    assert len(parts) == 5
    assert not {"", ".", ".."} & set(parts)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1K"),
        (22_500, "22K"),
        (134_515_008, "134.52M"),
        (137_000_000, "137M"),
        (1_100_048_384, "1.1B"),
        (7_615_616_512, "7.6B"),
        (8_030_261_248, "8.0B"),
        (70_000_000_000, "70B"),
    ],
)
def test_parameter_counts_read_as_in_ollama(count: int, text: str) -> None:
    """The model's size is written as ``ollama show`` writes it."""
    assert human_count(count) == text


def test_references_of_a_manifest_are_its_config_and_layers() -> None:
    """What a manifest names is kept when another model is removed."""
    config, layer = PlannedFile.of("c", b"config"), PlannedFile.of("l", b"layer")
    data = encode_manifest(config, [("application/vnd.ollama.image.model", layer)])
    assert parse_references(data) == {config.digest, layer.digest}
    old = json.loads(data)
    old["config"]["digest"] = old["config"]["digest"].replace(":", "-")
    old["layers"] = None
    assert parse_references(json.dumps(old).encode()) == {config.digest}


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{}", b'{"config":{"digest":"x"}}', b"[" * 99_999]
)
def test_attack_hostile_manifest_is_no_traceback(data: bytes) -> None:
    """Another program's broken manifest is one error."""
    with pytest.raises(MalformedRecord):
        parse_references(data)


def test_manifest_is_what_ollama_reads() -> None:
    """Field by field as the server's structure has it."""
    config, layer = PlannedFile.of("c", b"config"), PlannedFile.of("l", b"layer")
    value = json.loads(encode_manifest(config, [("application/vnd.ollama.image.model", layer)]))
    assert value == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": str(Digest.of(b"config")),
            "size": 6,
        },
        "layers": [
            {
                "mediaType": "application/vnd.ollama.image.model",
                "digest": str(Digest.of(b"layer")),
                "size": 5,
            }
        ],
    }
