"""What we compute beside what llama.cpp itself says it allocates."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.gguf.running import convert
from tests.support.fits import compare
from tests.support.recorded import unpack
from tests.support.sparsegguf import make_decoder

VECTORS = Path(__file__).parents[1] / "vectors" / "gguf"
MODELS = ("deepseek2", "gemma2", "llama-spm", "llama3", "llama3-odd", "mixtral", "phi3", "qwen2")
RECORDED = ("cohere2", "gemma3", "granite", "olmo3", "qwen3", "qwen3-experts", "smollm3", "bge")
LOADS = ((512, 1, "f16"), (4096, 1, "f16"), (16384, 1, "f16"), (2048, 4, "f16"),
         (4096, 1, "q8_0"), (8192, 2, "q4_0"))  # fmt: skip
WITHIN = 0.05
"""Of llama.cpp's sum."""

Make = Callable[[str], Path]


@pytest.fixture(scope="session")
def vector(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return what makes the GGUF of a vector model, each once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp("fit")
            if name in MODELS:
                made[name] = convert(_unpacked(name, folder), "F16", folder / "out")
            else:
                unpack(VECTORS / "recorded" / f"{name}.tar.zst", folder / "in")
                made[name] = convert(folder / "in", "F16", folder / "out")
        return made[name]

    return make


def _unpacked(name: str, folder: Path) -> Path:
    with (
        open(VECTORS / "models" / f"{name}.tar.zst", "rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        archive.extractall(folder / "in", filter="data")
    (config,) = (folder / "in").rglob("config.json")
    return config.parent


@pytest.mark.parametrize("load", LOADS, ids=lambda load: "-".join(map(str, load)))
@pytest.mark.parametrize("name", [*MODELS, *RECORDED])
def test_vector_model_needs_what_llamacpp_allocates(
    vector: Make, name: str, load: tuple[int, int, str]
) -> None:
    """Weights, cache and compute buffer together are within a twentieth of its own figures."""
    context, sequences, cache = load
    found = compare(vector(name), context=context, sequences=sequences, cache=cache)
    assert abs(found.off) < WITHIN, found


@pytest.mark.parametrize("name", MODELS)
def test_cache_is_llamacpps_to_the_byte(vector: Make, name: str) -> None:
    """What is printed to the hundredth of a MiB is the same number."""
    for context, sequences, cache in LOADS:
        found = compare(vector(name), context=context, sequences=sequences, cache=cache)
        assert abs(found.ours.cache - found.theirs.cache) < 2**20 / 50


GIANTS: dict[str, dict[str, object]] = {
    "Llama 3.1 8B": {"layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "inner": 14336,
                     "rows": 128256},
    "Llama 3.1 70B": {"layers": 80, "hidden": 8192, "heads": 64, "kv_heads": 8, "inner": 28672,
                      "rows": 128256},
    "Qwen2.5 72B": {"arch": "qwen2", "layers": 80, "hidden": 8192, "heads": 64, "kv_heads": 8,
                    "inner": 29568, "rows": 152064, "biased": True, "kind": "Q8_0"},
    "Qwen3 30B A3B": {"arch": "qwen3moe", "layers": 48, "hidden": 2048, "heads": 32, "kv_heads": 4,
                      "inner": 768, "rows": 151936, "normed": True, "experts": 128, "used": 8},
    "Gemma 2 9B": {"arch": "gemma2", "layers": 42, "hidden": 3584, "heads": 16, "kv_heads": 8,
                   "inner": 14336, "rows": 256000, "width": 256,
                   "attention__sliding_window": 4096},
}  # fmt: skip


@pytest.mark.parametrize("name", GIANTS)
@pytest.mark.parametrize("load", [(4096, 1, "f16"), (131072, 1, "q8_0"), (8192, 8, "f16")])
def test_large_model_needs_what_llamacpp_would_allocate(
    tmp_path: Path, name: str, load: tuple[int, int, str]
) -> None:
    """Real shapes, from a header alone: cache and compute buffer are llama.cpp's within 2 %."""
    path = tmp_path / "giant.gguf"
    make_decoder(path, **GIANTS[name])  # type: ignore[arg-type] # each by its own name
    context, sequences, cache = load
    found = compare(path, context=context, sequences=sequences, cache=cache, allocate=False)
    assert abs(found.ours.cache / found.theirs.cache - 1) < 0.001
    assert abs(found.ours.compute / found.theirs.compute - 1) < 0.05
    assert abs(found.off) < 0.02
